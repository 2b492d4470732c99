"""Adam and AdamW for any weights, and Muon for the large matrices inside a network.

torch.optim has them too, but its first optimizer loads torch's compiler, which takes longer than an epoch.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pellucid.recipe import Recipe

# Muon's learning rate as a multiple of AdamW's; found by trials on validation pictures.
MUON_RATE_FACTOR = 10.0


class Optimizers:
    """All the optimizers of a recipe behind one interface: each weight of a network belongs to one of them.

    With "muon", Muon updates the matrices and filter banks between first and last layer, AdamW the rest.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        hidden = hidden_matrices(network) if recipe.optimizer == "muon" else []
        hidden_ids = {id(weight) for weight in hidden}
        rest = [weight for weight in network.parameters() if id(weight) not in hidden_ids]
        decay = 0.0 if recipe.optimizer == "adam" else recipe.weight_decay
        self.optimizers: list[Adam | Muon] = [
            Adam(rest, weight_decay=decay),
            Muon(hidden, weight_decay=decay),
        ]

    def step(self, learning_rate: float) -> None:
        """Updates every weight that has a gradient, at that learning rate."""
        with torch.no_grad():
            for optimizer in self.optimizers:
                optimizer.step(learning_rate)

    def state_dict(self) -> dict[str, Tensor]:
        """The state of all optimizers, flat, under names such as "0/3/exp_avg": live, not copied."""
        return {
            f"{number}/{index}/{name}": tensor
            for number, optimizer in enumerate(self.optimizers)
            for index, state in enumerate(optimizer.state)
            for name, tensor in state.items()
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies in what `state_dict` gave. Raises KeyError when a tensor is missing."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(tensors[name])


class Adam:
    """Adam (Kingma and Ba, arXiv:1412.6980); with a weight decay, which is decoupled, AdamW (Loshchilov and
    Hutter, arXiv:1711.05101)."""

    def __init__(self, weights: Sequence[Tensor], *, weight_decay: float = 0.0) -> None:
        self.weights, self.weight_decay = weights, weight_decay
        self.state = [
            {
                "step": torch.zeros((), device=weight.device),
                "exp_avg": torch.zeros_like(weight, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(weight, requires_grad=False),
            }
            for weight in weights
        ]

    def step(self, learning_rate: float) -> None:
        """One update of all weights that have a gradient, in one call."""
        updated = [
            (weight, weight.grad, *state.values())
            for weight, state in zip(self.weights, self.state, strict=True)
            if weight.grad is not None
        ]
        if not updated:
            return
        weights, gradients, steps, averages, squares = map(list, zip(*updated, strict=True))
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            weights,
            gradients,
            averages,
            squares,
            [],
            steps,
            lr=learning_rate,
            beta1=0.9,
            beta2=0.999,
            eps=1e-7,
            weight_decay=self.weight_decay,
            amsgrad=False,
            maximize=False,
        )


class Muon:
    """Momentum with orthogonalized updates, so that all directions of a matrix learn equally fast.

    Keller Jordan and others, "Muon: an optimizer for hidden layers in neural networks"
    (kellerjordan.github.io/posts/muon, 2024), with Nesterov's momentum and decoupled decay. A filter bank
    (filters, channels, 3, 3) is a matrix with one row per filter.
    """

    def __init__(
        self, weights: Sequence[Tensor], *, momentum: float = 0.9, weight_decay: float = 0.0
    ) -> None:
        self.weights, self.momentum, self.weight_decay = weights, momentum, weight_decay
        self.state = [{"momentum": torch.zeros_like(weight, requires_grad=False)} for weight in weights]

    def step(self, learning_rate: float) -> None:
        """One update of all weights that have a gradient, matrix by matrix."""
        rate = MUON_RATE_FACTOR * learning_rate
        for weight, state in zip(self.weights, self.state, strict=True):
            if weight.grad is None:
                continue
            average = state["momentum"].lerp_(weight.grad, 1 - self.momentum)
            nesterov = weight.grad.lerp(average, self.momentum)
            update = orthogonalized(nesterov.flatten(1))  # (M, N)
            scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
            weight.mul_(1 - rate * self.weight_decay)
            weight.sub_(update.view_as(weight), alpha=rate * scale)


def orthogonalized(matrix: Tensor, *, steps: int = 3) -> Tensor:
    """Nearly U V' for `matrix` = U S V' (M, N): the same singular vectors, with singular values near 1.

    Newton and Schulz's iteration, p(S) = 3.4445 S - 4.7750 S^3 + 2.0315 S^5 (Jordan 2024). It is carried out
    on the Gram matrix of the shorter side, which gives the same in a fraction of the multiplications.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalized(matrix.T, steps=steps).T
    gram = matrix @ matrix.T  # (M, M)
    scale = gram.trace() + 1e-14  # at least the square of the largest singular value
    gram, identity = gram / scale, torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    product = identity
    for _ in range(steps):
        polynomial = torch.addmm(3.4445 * identity - 4.7750 * gram, gram, gram, alpha=2.0315)
        product, gram = polynomial @ product, polynomial @ gram @ polynomial
    return (product * scale.rsqrt()) @ matrix


def hidden_matrices(network: nn.Module) -> list[nn.Parameter]:
    """The weights of more than one dimension, except the first and the last."""
    return [weight for weight in network.parameters() if weight.dim() > 1][1:-1]

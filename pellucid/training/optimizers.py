"""What moves the weights: Adam and AdamW, and Muon for the large matrices inside a network.

torch.optim has them too, but its first optimizer loads torch's compiler, which takes longer than an epoch.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pellucid.recipe import Recipe

# How much further than AdamW's a step of Muon goes at the same learning rate; found by trials on validation.
STRIDE = 10.0


class Optimizers:
    """All that moves a network's weights, each by the optimizer its recipe gives it, as one.

    With "muon", Muon moves the matrices and filter banks between first and last layer, AdamW the rest.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        inner = inner_matrices(network) if recipe.optimizer == "muon" else []
        taken = {id(weight) for weight in inner}
        rest = [weight for weight in network.parameters() if id(weight) not in taken]
        decay = 0.0 if recipe.optimizer == "adam" else recipe.weight_decay
        self.parts: list[Adam | Muon] = [Adam(rest, weight_decay=decay), Muon(inner, weight_decay=decay)]

    def step(self, rate: float) -> None:
        """Every weight that has a gradient moves along it at that learning rate."""
        with torch.no_grad():
            for part in self.parts:
                part.step(rate)

    def tensors(self) -> dict[str, Tensor]:
        """All that they remember, under one level of names, "0/3/exp_avg": live, not copied."""
        return {
            f"{number}/{index}/{name}": tensor
            for number, part in enumerate(self.parts)
            for index, memory in enumerate(part.memories)
            for name, tensor in memory.items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """They remember what `tensors` gave. Raises KeyError when it was not these that gave it."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])


class Adam:
    """Kingma and Ba, arXiv:1412.6980; with a decay, which is decoupled, Loshchilov and Hutter's AdamW
    (arXiv:1711.05101)."""

    def __init__(self, weights: Sequence[Tensor], *, weight_decay: float = 0.0) -> None:
        self.weights, self.weight_decay = weights, weight_decay
        self.memories = [
            {
                "step": torch.zeros((), device=weight.device),
                "exp_avg": torch.zeros_like(weight, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(weight, requires_grad=False),
            }
            for weight in weights
        ]

    def step(self, rate: float) -> None:
        """One step down, all weights in one call."""
        moved = [
            (weight, weight.grad, *memory.values())
            for weight, memory in zip(self.weights, self.memories, strict=True)
            if weight.grad is not None
        ]
        if not moved:
            return
        weights, gradients, steps, averages, squares = map(list, zip(*moved, strict=True))
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            weights,
            gradients,
            averages,
            squares,
            [],
            steps,
            lr=rate,
            beta1=0.9,
            beta2=0.999,
            eps=1e-7,
            weight_decay=self.weight_decay,
            amsgrad=False,
            maximize=False,
        )


class Muon:
    """Momentum whose every step is made orthogonal, so that all directions of a matrix learn equally fast.

    Keller Jordan and others, "Muon: an optimizer for hidden layers in neural networks"
    (kellerjordan.github.io/posts/muon, 2024), with Nesterov's momentum and decoupled decay. A filter bank
    (filters, channels, 3, 3) is a matrix of one row a filter.
    """

    def __init__(
        self, weights: Sequence[Tensor], *, momentum: float = 0.9, weight_decay: float = 0.0
    ) -> None:
        self.weights, self.momentum, self.weight_decay = weights, momentum, weight_decay
        self.memories = [{"momentum": torch.zeros_like(weight, requires_grad=False)} for weight in weights]

    def step(self, rate: float) -> None:
        """One step down, matrix by matrix."""
        stride = STRIDE * rate
        for weight, memory in zip(self.weights, self.memories, strict=True):
            if weight.grad is None:
                continue
            average = memory["momentum"].lerp_(weight.grad, 1 - self.momentum)
            ahead = weight.grad.lerp(average, self.momentum)
            direction = orthogonal(ahead.flatten(1))  # (M, N)
            gain = max(1.0, direction.shape[0] / direction.shape[1]) ** 0.5
            weight.mul_(1 - stride * self.weight_decay)
            weight.sub_(direction.view_as(weight), alpha=stride * gain)


def orthogonal(matrix: Tensor, *, steps: int = 3) -> Tensor:
    """Nearly U V' for `matrix` = U S V' (M, N): its directions, each about as long as the others.

    Newton and Schulz's iteration, p(S) = 3.4445 S - 4.7750 S^3 + 2.0315 S^5 (Jordan 2024). It is carried out
    on the Gram matrix of the shorter side, which gives the same in a fraction of the multiplications.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T, steps=steps).T
    gram = matrix @ matrix.T  # (M, M)
    scale = gram.trace() + 1e-14  # at least the square of the largest singular value
    gram, one = gram / scale, torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    whole = one
    for _ in range(steps):
        part = torch.addmm(3.4445 * one - 4.7750 * gram, gram, gram, alpha=2.0315)
        whole, gram = part @ whole, part @ gram @ part
    return (whole * scale.rsqrt()) @ matrix


def inner_matrices(network: nn.Module) -> list[nn.Parameter]:
    """The weights of more than one dimension, but for the first and the last."""
    return [weight for weight in network.parameters() if weight.dim() > 1][1:-1]

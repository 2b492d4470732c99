"""What moves the weights: torch's Adam and AdamW, and Muon for the large matrices inside a network."""

from collections.abc import Iterable, Mapping
from typing import Any

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
        kind: type[torch.optim.Adam] = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
        decay = 0.0 if recipe.optimizer == "adam" else recipe.weight_decay
        self._all: list[torch.optim.Optimizer] = [
            kind(rest, lr=recipe.learning_rate, weight_decay=decay, eps=1e-7, fused=True)
        ]
        if inner:
            self._all.append(Muon(inner, lr=recipe.learning_rate, weight_decay=decay))

    def step(self, rate: float) -> None:
        """Every weight moves along its gradient at that learning rate."""
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """All that they remember, under one level of names, "0/3/exp_avg": live, not copied."""
        return {
            f"{number}/{index}/{name}": tensor
            for number, optimizer in enumerate(self._all)
            for index, weight in enumerate(_weights(optimizer))
            for name, tensor in optimizer.state[weight].items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """They remember what `tensors` gave."""
        states: list[dict[int, dict[str, Tensor]]] = [{} for _ in self._all]
        for key, tensor in tensors.items():
            number, index, name = key.split("/")
            states[int(number)].setdefault(int(index), {})[name] = tensor
        for optimizer, state in zip(self._all, states, strict=True):
            optimizer.load_state_dict(
                {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
            )


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal, so that all directions of a matrix learn equally fast.

    Keller Jordan and others, "Muon: an optimizer for hidden layers in neural networks"
    (kellerjordan.github.io/posts/muon, 2024), with Nesterov's momentum and decoupled decay. A filter bank
    (filters, channels, 3, 3) is a matrix of one row a filter.
    """

    def __init__(
        self, weights: Iterable[Tensor], *, lr: float, momentum: float = 0.9, weight_decay: float = 0.0
    ) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Every weight that has a gradient moves against it."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                average = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(average, group["momentum"])
                direction = orthogonal(ahead.flatten(1))  # (M, N)
                gain = max(1.0, direction.shape[0] / direction.shape[1]) ** 0.5
                stride = STRIDE * group["lr"]
                weight.mul_(1 - stride * group["weight_decay"])
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


def _weights(optimizer: torch.optim.Optimizer) -> Iterable[Tensor]:
    return (weight for group in optimizer.param_groups for weight in group["params"])

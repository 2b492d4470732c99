"""Is a training healthy? How long the gradient of each layer was, and how far a step moved its weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LayerDiagnostics:
    """One layer at the step halfway through an epoch.

    gradient_norm  the length of the loss's gradient for the layer's weights
    update_ratio   the length of the step as a share of that of the weights: about 0.001 is usual
    """

    epoch: int
    layer: str
    gradient_norm: float
    update_ratio: float


def weights_now(network: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights that are learned, by name."""
    return {name: weight.detach().clone() for name, weight in network.named_parameters()}


def diagnostics(network: nn.Module, before: Mapping[str, Tensor], epoch: int) -> list[LayerDiagnostics]:
    """What the step from the weights `before` did, one entry a layer; it reads what the step left behind."""
    layers: dict[str, list[tuple[Tensor, Tensor, Tensor | None]]] = {}
    for name, weight in network.named_parameters():
        layer = name.rpartition(".")[0] or "network"
        layers.setdefault(layer, []).append((before[name], weight.detach(), weight.grad))
    return [
        LayerDiagnostics(
            epoch,
            layer,
            _length([gradient for _, _, gradient in parts if gradient is not None]),
            _length([now - then for then, now, _ in parts])
            / max(_length([then for then, _, _ in parts]), 1e-12),
        )
        for layer, parts in layers.items()
    ]


def _length(parts: list[Tensor]) -> float:
    return math.sqrt(sum(float(torch.linalg.vector_norm(part.detach().float())) ** 2 for part in parts))

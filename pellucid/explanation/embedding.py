"""A map of pictures: the last hidden layer laid out flat, with how much of it a flat map can keep."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.classifier import Classifier
from pellucid.errors import UsageError
from pellucid.explanation.neighbours import hidden_features
from pellucid.formatting import percent

NEIGHBOURS = 10
METHODS = ("pca", "t-sne")
PAIRWISE = 500  # pictures up to which all pairs are quicker than loading what approximates them
STEPS, EARLY = 1000, 250  # of t-SNE: in the early ones clusters are pulled together, twelve times as hard
EXAGGERATION, MOMENTUM_EARLY, MOMENTUM = 12, 0.5, 0.8


@dataclass(frozen=True, eq=False)
class Embedding:
    """Pictures on a plane.

    points  float32 (N, 2), centred, the larger spread within -1..1
    kept    share, 0..1, of each picture's ten nearest neighbours that are still among its ten nearest here
    chance  what `kept` would be if places were drawn at random
    method  "pca" or "t-sne"
    """

    points: Tensor
    kept: float
    chance: float
    method: str

    @property
    def sentence(self) -> str:
        """How far the map can be trusted."""
        kept = f"{percent(self.kept)} of true neighbours kept (by chance {percent(self.chance)})"
        return f"{self.method}: {kept}; distances on a flat map mislead."


def embed(classifier: Classifier, images: Tensor, *, method: str = "pca", seed: int = 0) -> Embedding:
    """uint8 pictures (N, C, H, W) on a plane, alike ones close together, by the last hidden layer.

    method  "pca": the two directions of largest spread, the same at every call (Hotelling 1933); "t-sne":
            neighbours kept at the cost of all larger distances (van der Maaten and Hinton, JMLR 9:2579),
            seconds for a thousand pictures

    Raises UsageError for another method or fewer than three pictures.
    """
    if method not in METHODS:
        raise UsageError(f"Unknown method '{method}'. Known: {', '.join(METHODS)}.")
    if len(images) < 3:
        raise UsageError(f"Expected at least 3 pictures to lay out; got {len(images)}.")
    return flattened(hidden_features(classifier, images), method=method, seed=seed)


def flattened(features: Tensor, *, method: str = "pca", seed: int = 0) -> Embedding:
    """Features (N, F) on a plane, as `embed` does for pictures."""
    points = _principal(features) if method == "pca" else _stochastic(features, seed)
    points = points - points.mean(dim=0)
    points = (points / points.abs().max().clamp_min(1e-12)).float()
    count = min(NEIGHBOURS, len(features) - 1)
    chance = count / (len(features) - 1)
    return Embedding(points, _kept(features, points, count), chance, method)


def _principal(features: Tensor) -> Tensor:
    centred = (features - features.mean(dim=0)).double()
    width = min(2, *centred.shape)
    vectors = torch.linalg.svd(centred, full_matrices=False).Vh[:width]  # (2, F)
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    flat = centred @ (vectors * largest.sign()).T  # (N, 2): the sign, which is arbitrary, is fixed
    return torch.nn.functional.pad(flat, (0, 2 - width))


def _stochastic(features: Tensor, seed: int) -> Tensor:
    """t-SNE from the two directions of largest spread: of few pictures by all pairs, else by Barnes and Hut's
    approximation, which `seed` plays a part in."""
    perplexity = min(30.0, (len(features) - 1) / 3)
    if len(features) <= PAIRWISE:
        return _by_pairs(features, perplexity)
    from sklearn.manifold import TSNE  # takes a second to import; only who asks for it waits

    layout: Any = TSNE(init="pca", perplexity=perplexity, random_state=seed)
    return torch.from_numpy(np.asarray(layout.fit_transform(features.double().numpy())))


def _by_pairs(features: Tensor, perplexity: float) -> Tensor:
    """The layout whose neighbourhoods are most like those of the features, float64 (N, 2): gradient descent
    with momentum and a gain for every coordinate, with scikit-learn's settings."""
    wanted = neighbourliness(features, perplexity)
    points = _principal(features)
    points = points / points[:, 0].std(correction=0).clamp_min(1e-12) * 1e-4
    pace = max(len(points) / EXAGGERATION / 4, 50)
    move, gain = torch.zeros_like(points), torch.ones_like(points)
    for step in range(STEPS):
        early = step < EARLY
        forces = divergence_gradient(wanted * EXAGGERATION if early else wanted, points)
        gain = torch.where(forces * move < 0, gain + 0.2, gain * 0.8).clamp_min(0.01)
        move = (MOMENTUM_EARLY if early else MOMENTUM) * move - pace * gain * forces
        points = points + move
    return points


def neighbourliness(features: Tensor, perplexity: float) -> Tensor:
    """How likely each picture is to take each other one for its neighbour, both ways, float64 (N, N); all add
    up to 1. Of each picture the effective number of neighbours is `perplexity` (found by bisection)."""
    distances = torch.cdist(features.double(), features.double()).square().fill_diagonal_(float("inf"))
    distances = distances - distances.amin(dim=1, keepdim=True)
    low, sharpness = torch.zeros(len(features), 1).double(), torch.ones(len(features), 1).double()
    high = torch.full_like(low, float("inf"))
    for _ in range(64):
        shares = torch.exp(-sharpness * distances)
        shares = shares / shares.sum(dim=1, keepdim=True)
        surprise = -(shares * shares.clamp_min(1e-300).log()).sum(dim=1, keepdim=True)  # (N, 1)
        wide = surprise > math.log(perplexity)
        low, high = torch.where(wide, sharpness, low), torch.where(wide, high, sharpness)
        sharpness = torch.where(high.isinf(), 2 * low, (low + high) / 2)
    return (shares + shares.T) / (2 * len(features))


def divergence_gradient(wanted: Tensor, points: Tensor) -> Tensor:
    """By how much the divergence of a layout's neighbourhoods from the `wanted` ones rises as each point
    moves, (N, 2) (van der Maaten and Hinton, equation 5)."""
    squares = points.square().sum(dim=1)
    nearness = (1 + squares[:, None] + squares - 2 * points @ points.T).reciprocal_().fill_diagonal_(0)
    pull = (wanted - nearness / nearness.sum()).mul_(nearness)  # (N, N)
    return 4 * (pull.sum(dim=1, keepdim=True) * points - pull @ points)


def _kept(features: Tensor, points: Tensor, count: int) -> float:
    true, flat = _neighbourhoods(features.double(), count), _neighbourhoods(points.double(), count)
    return float((true & flat).sum()) / (len(features) * count)


def _neighbourhoods(rows: Tensor, count: int) -> Tensor:
    """Which pictures are among the `count` nearest of each, bool (N, N)."""
    distances = torch.cdist(rows, rows).fill_diagonal_(float("inf"))
    nearest = distances.topk(count, dim=1, largest=False).indices
    return torch.zeros_like(distances, dtype=torch.bool).scatter(1, nearest, True)

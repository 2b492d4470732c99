"""Embedding: pictures on a plane by the last hidden layer, and how much of their neighbourhoods it
preserves."""

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
PAIRWISE = 500  # pictures up to which exact t-SNE is faster than loading scikit-learn's approximation
STEPS, EARLY = 500, 250  # of t-SNE: the early ones exaggerate attraction twelvefold; see docs/decisions.md
EXAGGERATION, MOMENTUM_EARLY, MOMENTUM = 12, 0.5, 0.8


@dataclass(frozen=True, eq=False)
class Embedding:
    """Pictures on a plane.

    points     float32 (N, 2), centred, scaled to -1..1
    preserved  share, 0..1, of each picture's ten nearest neighbours that are still among its ten nearest here
    chance     what `preserved` would be for random points
    method     "pca" or "t-sne"
    """

    points: Tensor
    preserved: float
    chance: float
    method: str

    @property
    def sentence(self) -> str:
        """How far the map can be trusted."""
        preserved = (
            f"{percent(self.preserved)} of true neighbours preserved (by chance {percent(self.chance)})"
        )
        return f"{self.method}: {preserved}; distances on a flat map mislead."


def embed(classifier: Classifier, images: Tensor, *, method: str = "pca", seed: int = 0) -> Embedding:
    """uint8 pictures (N, C, H, W) on a plane, similar ones close together, by the last hidden layer.

    method  "pca": the two principal components, deterministic (Hotelling 1933); "t-sne": neighbourhoods
            preserved at the cost of larger distances (van der Maaten and Hinton, JMLR 9:2579), which takes
            seconds for a thousand pictures

    Raises UsageError for another method or fewer than three pictures.
    """
    if method not in METHODS:
        raise UsageError(f"Unknown method '{method}'. Known: {', '.join(METHODS)}.")
    if len(images) < 3:
        raise UsageError(f"Expected at least 3 pictures to embed; got {len(images)}.")
    return project(hidden_features(classifier, images), method=method, seed=seed)


def project(features: Tensor, *, method: str = "pca", seed: int = 0) -> Embedding:
    """Features (N, F) on a plane: what `embed` does for pictures."""
    points = _pca(features) if method == "pca" else _tsne(features, seed)
    points = points - points.mean(dim=0)
    points = (points / points.abs().max().clamp_min(1e-12)).float()
    count = min(NEIGHBOURS, len(features) - 1)
    chance = count / (len(features) - 1)
    preserved = _neighbourhoods(features.double(), count) & _neighbourhoods(points.double(), count)
    share = float(preserved.sum()) / (len(features) * count)
    return Embedding(points, share, chance, method)


def _pca(features: Tensor) -> Tensor:
    centred = (features - features.mean(dim=0)).double()
    width = min(2, *centred.shape)
    vectors = torch.linalg.svd(centred, full_matrices=False).Vh[:width]  # (2, F)
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    flat = centred @ (vectors * largest.sign()).T  # (N, 2), with the arbitrary sign fixed
    return torch.nn.functional.pad(flat, (0, 2 - width))


def _tsne(features: Tensor, seed: int) -> Tensor:
    """t-SNE started from PCA: exact for few pictures, by the Barnes-Hut approximation, which depends on
    `seed`, for more."""
    perplexity = min(30.0, (len(features) - 1) / 3)
    if len(features) <= PAIRWISE:
        return _exact_tsne(features, perplexity)
    from sklearn.manifold import TSNE  # takes a second to import

    layout: Any = TSNE(init="pca", perplexity=perplexity, random_state=seed)
    return torch.from_numpy(np.asarray(layout.fit_transform(features.double().numpy())))


def _exact_tsne(features: Tensor, perplexity: float) -> Tensor:
    """Exact t-SNE, float64 (N, 2): gradient descent with momentum and a gain per coordinate, with
    scikit-learn's settings."""
    wanted = joint_probabilities(features, perplexity)
    points = _pca(features)
    points = points / points[:, 0].std(correction=0).clamp_min(1e-12) * 1e-4
    rate = max(len(points) / EXAGGERATION / 4, 50)
    move, gain = torch.zeros_like(points), torch.ones_like(points)
    for step in range(STEPS):
        early = step < EARLY
        gradient = kl_gradient(wanted * EXAGGERATION if early else wanted, points)
        gain = torch.where(gradient * move < 0, gain + 0.2, gain * 0.8).clamp_min(0.01)
        move = (MOMENTUM_EARLY if early else MOMENTUM) * move - rate * gain * gradient
        points = points + move
    return points


def joint_probabilities(features: Tensor, perplexity: float) -> Tensor:
    """t-SNE's symmetric joint probabilities of neighbours, float64 (N, N), which add up to 1. The effective
    number of neighbours of each picture is `perplexity` (found by bisection)."""
    distances = torch.cdist(features.double(), features.double()).square().fill_diagonal_(float("inf"))
    distances = distances - distances.amin(dim=1, keepdim=True)
    low, precision = torch.zeros(len(features), 1).double(), torch.ones(len(features), 1).double()
    high = torch.full_like(low, float("inf"))
    for _ in range(64):
        shares = torch.exp(-precision * distances)
        shares = shares / shares.sum(dim=1, keepdim=True)
        entropy = -(shares * shares.clamp_min(1e-300).log()).sum(dim=1, keepdim=True)  # (N, 1)
        too_wide = entropy > math.log(perplexity)
        low, high = torch.where(too_wide, precision, low), torch.where(too_wide, high, precision)
        precision = torch.where(high.isinf(), 2 * low, (low + high) / 2)
    return (shares + shares.T) / (2 * len(features))


def kl_gradient(wanted: Tensor, points: Tensor) -> Tensor:
    """The gradient (N, 2) of the Kullback-Leibler divergence of the points' neighbourhoods from the `wanted`
    ones (N, N) (van der Maaten and Hinton, equation 5)."""
    squares = points.square().sum(dim=1)
    similarity = (1 + squares[:, None] + squares - 2 * points @ points.T).reciprocal_().fill_diagonal_(0)
    pull = (wanted - similarity / similarity.sum()).mul_(similarity)  # (N, N)
    return 4 * (pull.sum(dim=1, keepdim=True) * points - pull @ points)


def _neighbourhoods(rows: Tensor, count: int) -> Tensor:
    """Which pictures are among the `count` nearest of each, bool (N, N)."""
    distances = torch.cdist(rows, rows).fill_diagonal_(float("inf"))
    nearest = distances.topk(count, dim=1, largest=False).indices
    return torch.zeros_like(distances, dtype=torch.bool).scatter(1, nearest, True)

"""Linear probes: what can be read from a layer (Alain and Bengio, arXiv:1610.01644), and which one leads."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from pellucid.evaluation.chance import LEVEL, holm, paired_p_values
from pellucid.task import DECIDED_AT, shares_of

FOLDS = 3  # each picture is answered by a probe that learned from the other two thirds
RIDGE = 10.0


def probe_hits(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Whether a linear probe is right on each picture, bool (N,): ridge regression fitted to the pictures of
    the other two thirds.

    features  (N, F), in an order in which every third has its share of each class
    labels    int64 (N,); or bool (N, K), where a picture is right when exactly its labels are found
    """
    features, targets = features.double(), shares_of(labels, classes).double()
    folds = torch.arange(len(features)) * FOLDS // max(1, len(features))
    hits = torch.zeros(len(features), dtype=torch.bool)
    for fold in range(FOLDS):
        held_out = folds == fold  # (N,)
        scores = _fitted(features[~held_out], targets[~held_out], features[held_out])
        wanted = labels[held_out]
        if labels.dim() == 2:
            hits[held_out] = ((scores >= DECIDED_AT) == wanted).all(dim=1)
        else:
            hits[held_out] = scores.argmax(dim=1) == wanted
    return hits


def leading_layers(hits: Mapping[str, Tensor]) -> list[str]:
    """The layer from which most can be read, and those whose probes may be as good, in the order given.

    hits  of each layer the `probe_hits` (N,) of the same pictures

    A layer is left out where McNemar's exact test finds it worse than the best, corrected for all layers by
    Holm's method. One name: its lead is beyond chance.
    """
    if not hits:
        return []
    best = max(hits, key=lambda name: int(hits[name].sum()))
    others = [name for name in hits if name != best]
    lost = torch.tensor([int((hits[best] & ~hits[name]).sum()) for name in others])
    gained = torch.tensor([int((hits[name] & ~hits[best]).sum()) for name in others])
    corrected = holm(paired_p_values(lost, gained)) if others else torch.empty(0)
    worse = {name for name, value in zip(others, corrected.tolist(), strict=True) if value < LEVEL}
    return [name for name in hits if name not in worse]


def _fitted(training: Tensor, targets: Tensor, held_out: Tensor) -> Tensor:
    """The scores (n, K) that ridge regression of `targets` on standardised features gives `held_out`."""
    mean, std = training.mean(dim=0), training.std(dim=0, correction=0).clamp_min(1e-6)
    training, held_out = (
        functional.pad((part - mean) / std, (0, 1), value=1.0) for part in (training, held_out)
    )
    count, number = training.shape
    if count < number:  # the same weights by a smaller system
        penalty = RIDGE * torch.eye(count, dtype=torch.float64)
        weights = training.T @ torch.linalg.solve(training @ training.T + penalty, targets)  # (F + 1, K)
    else:
        penalty = RIDGE * torch.eye(number, dtype=torch.float64)
        weights = torch.linalg.solve(training.T @ training + penalty, training.T @ targets)  # (F + 1, K)
    scores: Tensor = held_out @ weights
    return scores

"""What scores are made of: counts, intervals, bins of confidence."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Z_95 = 1.959963984540054  # the 97.5 % point of the normal distribution


@dataclass(frozen=True)
class Confusion:
    """How many pictures of class `label` were predicted as class `prediction`."""

    label: str
    prediction: str
    count: int


@dataclass(frozen=True)
class ClassScore:
    """One class: how many pictures have its label, and its scores 0..1, 0 where undefined."""

    name: str
    support: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class LabelScore:
    """One of several labels: how many pictures have it, and its scores 0..1, 0 where undefined.

    threshold          the probability from which it is given
    average_precision  with its 95 % interval; None for a label that does not occur
    missed, mistaken   how many pictures have it without being given it, and the other way round
    """

    name: str
    support: int
    threshold: float
    average_precision: float | None
    average_precision_interval: tuple[float, float] | None
    precision: float
    recall: float
    f1: float
    f1_interval: tuple[float, float]
    missed: int
    mistaken: int


@dataclass(frozen=True)
class Bin:
    """Predictions of like confidence: the mean confidence, the accuracy, how many there are."""

    confidence: float
    accuracy: float
    count: int


def likeliest(probabilities: Tensor, classes: Sequence[str], number: int) -> list[tuple[str, float]]:
    """The names with the highest of `probabilities` (K,), at most `number`, and these, the highest first."""
    values, places = probabilities.topk(min(number, len(classes)))
    return [(classes[k], value) for value, k in zip(values.tolist(), places.tolist(), strict=True)]


def places_without(sources: Sequence[str], dropped: Iterable[str]) -> list[int]:
    """The positions of the sources that are not dropped."""
    left_out = set(dropped)
    return [index for index, source in enumerate(sources) if source not in left_out]


def bins_of_equal_number(confidence: Tensor, right: Tensor, number: int) -> list[Bin]:
    """Predictions in up to `number` bins of as many each, from the least to the most confident (Nguyen and
    O'Connor, arXiv:1508.05154). Both (N,). Predictions of equal confidence share what is right of them, so
    that no bin depends on the order of pictures."""
    order = confidence.sort(stable=True).indices
    _, group, sizes = torch.unique(confidence, return_inverse=True, return_counts=True)
    right = (torch.bincount(group, weights=right.double(), minlength=len(sizes)) / sizes)[group]
    return [
        Bin(float(confidence[part].double().mean()), float(right[part].mean()), len(part))
        for part in order.tensor_split(min(number, len(order)))
    ]


@dataclass(frozen=True)
class FoldScore:
    """One fold: how many pictures were held out, how many of them predicted correctly, and that share."""

    fold: int
    count: int
    correct: int
    accuracy: float


def dispersion(folds: Sequence[FoldScore]) -> float:
    """How many times as much the accuracies of folds vary as those of pictures drawn one by one: at least 1,
    and 1 where there are no folds.

    Pearson's statistic over its degrees of freedom (McCullagh and Nelder 1989, 4.5): above 1 where pictures
    of one fold fail together, as those of a group do, or where the networks of the folds differ.
    """
    if len(folds) < 2:
        return 1.0
    count = sum(fold.count for fold in folds)
    share = sum(fold.correct for fold in folds) / count
    expected = share * (1 - share) * (len(folds) - 1)
    varied = sum(fold.count * (fold.accuracy - share) ** 2 for fold in folds)
    return max(1.0, varied / expected) if expected else 1.0


def wilson(share: float, count: float) -> tuple[float, float]:
    """The 95 % interval of a share 0..1 of `count` (Wilson 1927, JASA 22:209)."""
    centre = (share + Z_95**2 / (2 * count)) / (1 + Z_95**2 / count)
    half = Z_95 / (1 + Z_95**2 / count) * math.sqrt(share * (1 - share) / count + Z_95**2 / (4 * count**2))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))

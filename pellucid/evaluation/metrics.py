"""What scores are made of: counts, intervals, bins of confidence."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.language import Message, lazy_ngettext
from pellucid.records import Count, Interval, Share

Z_95 = 1.959963984540054  # the 97.5 % point of the normal distribution
Bounds = tuple[float, float]  # of a 95 % interval


@dataclass(frozen=True)
class Confusion:
    """How many pictures of class `label` were predicted as class `prediction`."""

    label: str
    prediction: str
    count: Count


@dataclass(frozen=True)
class ClassScore:
    """One class: how many pictures have its label and how many were predicted as it; its scores 0..1, 0 where
    undefined, with their 95 % intervals, None where there are too few pictures or groups for one."""

    name: str
    support: Count
    predicted: Count
    precision: Share
    precision_interval: Interval | None
    recall: Share
    recall_interval: Interval | None
    f1: Share
    f1_interval: Interval | None


@dataclass(frozen=True)
class AverageScore:
    """The scores of all classes averaged: "macro" counts every class that occurs or is predicted equally,
    "weighted" by its number of pictures. Intervals as in ClassScore."""

    name: str
    precision: Share
    precision_interval: Interval | None
    recall: Share
    recall_interval: Interval | None
    f1: Share
    f1_interval: Interval | None


@dataclass(frozen=True)
class LabelScore:
    """One of several labels: how many pictures have it, and its scores 0..1, 0 where undefined.

    threshold          the probability from which it is given
    average_precision  None for a label that does not occur
    ..._interval       95 %; None where there are too few pictures or groups for one
    missed, mistaken   how many pictures have it without being given it, and the other way round
    """

    name: str
    support: Count
    threshold: Share
    average_precision: Share | None
    average_precision_interval: Interval | None
    precision: Share
    precision_interval: Interval | None
    recall: Share
    recall_interval: Interval | None
    f1: Share
    f1_interval: Interval | None
    missed: Count
    mistaken: Count


@dataclass(frozen=True)
class Bin:
    """Predictions of like confidence: the mean confidence, the accuracy, how many there are, from which
    confidence to which."""

    confidence: float
    accuracy: float
    count: int
    low: float
    high: float


def likeliest(probabilities: Tensor, classes: Sequence[str], number: int) -> list[tuple[str, float]]:
    """The names with the highest of `probabilities` (K,), at most `number`, and these, the highest first."""
    values, places = probabilities.topk(min(number, len(classes)))
    return [(classes[k], value) for value, k in zip(values.tolist(), places.tolist(), strict=True)]


def places_without(sources: Sequence[str], dropped: Iterable[str]) -> list[int]:
    """The positions of the sources that are not dropped."""
    left_out = set(dropped)
    return [index for index, source in enumerate(sources) if source not in left_out]


def copies_note(number: int) -> Message:
    """That so many test pictures are left out of a score."""
    return lazy_ngettext(
        "%(count)s test picture is left out: what was learned from has a copy of it.",
        "%(count)s test pictures are left out: what was learned from has copies of them.",
        number,
    )


def numbers_in(rows: Sequence[Mapping[str, str]], column: str) -> Tensor | None:
    """A column of numbers from 1 of a table as int64 (N,) from 0; None where the table lacks it."""
    if not rows or column not in rows[0]:
        return None
    return torch.tensor([int(row[column]) - 1 for row in rows], dtype=torch.int64)


def table_fault(error: Exception) -> str:
    """What is wrong with a table of predictions, from the error that reading a row raised."""
    return f"there is no column or class {error}" if isinstance(error, KeyError) else str(error)


def bins_of_equal_number(confidence: Tensor, right: Tensor, number: int) -> list[Bin]:
    """Predictions in up to `number` bins of as many each, from the least to the most confident (Nguyen and
    O'Connor, arXiv:1508.05154). Both (N,). Predictions of equal confidence share what is right of them, so
    that no bin depends on the order of pictures."""
    order = confidence.sort(stable=True).indices
    _, group, sizes = torch.unique(confidence, return_inverse=True, return_counts=True)
    right = (torch.bincount(group, weights=right.double(), minlength=len(sizes)) / sizes)[group]
    return [
        Bin(
            float(confidence[part].double().mean()),
            float(right[part].mean()),
            len(part),
            float(confidence[part].min()),
            float(confidence[part].max()),
        )
        for part in order.tensor_split(min(number, len(order)))
    ]


@dataclass(frozen=True)
class FoldScore:
    """One fold: how many pictures were held out, how many of them predicted correctly, and that share."""

    fold: Count
    count: Count
    correct: Count
    accuracy: Share


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


def wilson(share: float, count: float, z: float = Z_95) -> tuple[float, float]:
    """The 95 % interval of a share 0..1 of `count` (Wilson 1927, JASA 22:209); `z` gives another level."""
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))

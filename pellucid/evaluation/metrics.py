"""What scores are made of: counts, intervals, bins of confidence."""

import math
from dataclasses import dataclass

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
class Bin:
    """Predictions of like confidence: the mean confidence, the accuracy, how many there are."""

    confidence: float
    accuracy: float
    count: int


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share 0..1 of `count` (Wilson 1927, JASA 22:209)."""
    centre = (share + Z_95**2 / (2 * count)) / (1 + Z_95**2 / count)
    half = Z_95 / (1 + Z_95**2 / count) * math.sqrt(share * (1 - share) / count + Z_95**2 / (4 * count**2))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))

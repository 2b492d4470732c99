"""Trainings that differ in their seed alone: what their scores say together, and what parts two recipes."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.evaluation.chance import LEVEL
from pellucid.formatting import percent, points


@dataclass(frozen=True, eq=False)
class SeedScores:
    """Which pictures of one test set each of S trainings predicts correctly, bool (S, N).

    seeds  S numbers, in the order of the rows
    """

    right: NDArray[np.bool_]
    seeds: tuple[int, ...]

    @property
    def count(self) -> int:
        """N, the test pictures."""
        return int(self.right.shape[1])

    @cached_property
    def accuracies(self) -> list[float]:
        """The accuracy of each training, 0..1."""
        scores: list[float] = self.right.mean(axis=1).tolist()
        return scores

    @property
    def mean(self) -> float:
        """The mean accuracy, 0..1."""
        return sum(self.accuracies) / len(self.accuracies)

    @property
    def spread(self) -> float:
        """The standard deviation of the accuracy over seeds; 0 of a single one."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else 0.0

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean over further seeds, on these test pictures (Student's t); None of a
        single seed."""
        number = len(self.accuracies)
        if number < 2:
            return None
        from scipy.stats import t  # type: ignore[import-untyped]

        half = float(t.ppf(1 - LEVEL / 2, number - 1)) * self.spread / math.sqrt(number)
        return max(0.0, self.mean - half), min(1.0, self.mean + half)

    @property
    def test_error(self) -> float:
        """The standard error of the mean that comes from the test set's size: how far the mean would move on
        as many other pictures of the same kind. Further seeds do not lessen it."""
        shares = self.right.mean(axis=0)  # (N,) of seeds that predict each picture correctly
        return float(shares.std(ddof=1)) / math.sqrt(self.count)

    @property
    def verdict(self) -> str:
        """Mean, spread and both kinds of doubt, in words."""
        text = f"mean {percent(self.mean, count=self.count)}"
        if self.interval is not None:
            low, high = (percent(end, count=self.count) for end in self.interval)
            text += f" over {len(self.seeds)} seeds, 95 % interval {low} to {high} for further seeds"
        low, high = (percent(end(self.accuracies), count=self.count) for end in (min, max))
        spread, error = (points(each, count=self.count) for each in (self.spread, self.test_error))
        return (
            f"{text}; from {low} to {high}. The seed moves a score by {spread} points (standard deviation); "
            f"the {self.count:,} test pictures move the mean by {error} points (standard error), whatever "
            "the number of seeds."
        )

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values."""
        return {
            "seeds": list(self.seeds),
            "count": self.count,
            "accuracies": self.accuracies,
            "mean": self.mean,
            "standard_deviation": self.spread,
            "interval": list(self.interval) if self.interval else None,
            "test_set_standard_error": self.test_error,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class RecipeDifference:
    """The mean accuracy of one recipe's trainings less that of another's, on the same test pictures.

    interval  95 %, for further seeds and other pictures of the same kind
    shown     whether it leaves nought out
    """

    difference: float
    interval: tuple[float, float]
    count: int

    @property
    def shown(self) -> bool:
        """Whether the trainings show that one recipe is better."""
        low, high = self.interval
        return low > 0 or high < 0

    def verdict(self, names: tuple[str, str]) -> str:
        """Which of the two recipes is better, as far as their trainings show."""
        low, high, middle = (
            points(each, count=self.count, signed=True) for each in (*self.interval, self.difference)
        )
        claim = "No difference between the two recipes is shown"
        if self.shown:
            claim = f"The recipe of {names[1 if self.difference > 0 else 0]} is better"
        return f"{claim}: {names[1]} less {names[0]} is {middle} points (95 % interval {low} to {high})."

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values."""
        return {"accuracy": self.difference, "interval": list(self.interval), "shown": self.shown}


def compare_recipes(first: SeedScores, second: SeedScores) -> RecipeDifference:
    """How two recipes differ, each trained with two seeds or more and judged on the same N pictures in order.

    Two things are left to chance, seeds and pictures. The variance over seeds is Welch's (Biometrika 34,
    1947), that over pictures is of each picture's share of right trainings under one recipe less that under
    the other. Their sum counts chance that strikes a seed and a picture together twice, so the interval is
    rather too wide.
    """
    from scipy.stats import t

    of_seeds = [each.spread**2 / len(each.seeds) for each in (first, second)]
    apart = second.right.mean(axis=0) - first.right.mean(axis=0)  # (N,)
    of_pictures = float(apart.var(ddof=1)) / len(apart)
    variance = sum(of_seeds) + of_pictures
    difference = second.mean - first.mean
    if variance == 0:
        return RecipeDifference(difference, (difference, difference), len(apart))
    # Satterthwaite's degrees of freedom of a sum of variances
    freedom = [len(first.seeds) - 1, len(second.seeds) - 1, len(apart) - 1]
    parts = zip((*of_seeds, of_pictures), freedom, strict=True)
    half = float(t.ppf(1 - LEVEL / 2, variance**2 / sum(part**2 / each for part, each in parts)))
    half *= math.sqrt(variance)
    return RecipeDifference(difference, (difference - half, difference + half), len(apart))

"""Two networks on the same pictures: what their difference says, and whether it is more than chance."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from pellucid.evaluation.chance import LEVEL, paired_p_values
from pellucid.evaluation.metrics import Z_95
from pellucid.formatting import points
from pellucid.language import translate

HALVINGS = 60  # of an interval's end, to the last digit of a float


@dataclass(frozen=True)
class PairedDifference:
    """The accuracy of a second network less that of a first, both judged on the same pictures.

    count        number of pictures
    only_first   how many the first alone predicts correctly
    only_second  how many the second alone does
    """

    count: int
    only_first: int
    only_second: int

    @property
    def difference(self) -> float:
        """Accuracy of the second less that of the first, -1..1."""
        return (self.only_second - self.only_first) / self.count

    @cached_property
    def p_value(self) -> float:
        """How often chance alone would part them as much or more, were both equally good: McNemar's exact
        test, two-sided. Pictures on which both are right, or both wrong, tell nothing."""
        return float(paired_p_values(torch.tensor([self.only_first]), torch.tensor([self.only_second])))

    @property
    def shown(self) -> bool:
        """Whether the pictures show that one network is better."""
        return self.p_value < LEVEL

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference on other pictures of the same kind: Tango's score interval for
        paired shares (Statistics in Medicine 17, 1998).

        At nought the exact test stands in for Tango's: where it shows no difference, the interval reaches
        nought, so that the two never contradict each other.
        """
        low, high = (_end(self, sign) for sign in (-1, 1))
        return (low, high) if self.shown else (min(low, 0.0), max(high, 0.0))

    def verdict(self, names: tuple[str, str]) -> str:
        """What the pictures show about the two networks, in a sentence."""
        p_value = "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"
        signed = not self.shown
        sign = -1 if self.shown and self.difference < 0 else 1
        low, high = sorted(sign * end for end in self.interval)
        figures = {
            name: points(value, count=self.count, signed=signed)
            for name, value in (("points", sign * self.difference), ("low", low), ("high", high))
        }
        if self.shown:
            return translate(
                "Of these two networks %(better)s is better, by %(points)s points of accuracy (95 %% "
                "interval %(low)s to %(high)s; McNemar's exact test, %(p)s).",
                better=names[0 if self.difference < 0 else 1],
                p=p_value,
                **figures,
            )
        return translate(
            "No difference between these two networks is shown: %(second)s less %(first)s is %(points)s "
            "points of accuracy (95 %% interval %(low)s to %(high)s; McNemar's exact test, %(p)s).",
            first=names[0],
            second=names[1],
            p=p_value,
            **figures,
        )

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values."""
        return {
            "accuracy": self.difference,
            "interval": list(self.interval),
            "p_value": self.p_value,
            "shown": self.shown,
            "only_first": self.only_first,
            "only_second": self.only_second,
        }


def _end(pair: PairedDifference, sign: int) -> float:
    """The difference farthest from the measured one, below (-1) or above (1), that Tango's test keeps."""
    inside, outside = pair.difference, float(sign)
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        if abs(_score(pair, middle)) <= Z_95:
            inside = middle
        else:
            outside = middle
    return inside


def _score(pair: PairedDifference, difference: float) -> float:
    """Tango's statistic for a true `difference`, standard normal where it is the true one."""
    count, first, second = pair.count, pair.only_first, pair.only_second
    # The likeliest share of pictures that the first alone predicts correctly, given the difference.
    linear = (2 * count - second + first) * difference - second - first
    constant = -first * difference * (1 - difference)
    share = (math.sqrt(linear**2 - 8 * count * constant) - linear) / (4 * count)
    variance = count * (2 * share + difference * (1 - difference))
    distance = second - first - count * difference
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)

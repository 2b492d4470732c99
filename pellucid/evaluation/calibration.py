"""Whether probabilities mean what they say: the temperature that mends them, and what chance alone does."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.classifier import LEAST_TEMPERATURE, MOST_TEMPERATURE
from pellucid.evaluation.intervals import MIN_GROUPS
from pellucid.evaluation.metrics import Bin, bins_of_equal_number
from pellucid.language import translate
from pellucid.records import Count, Difference, Share
from pellucid.task import shares_of

LEAST_PICTURES = 50  # to fit a temperature on
DRAWS = 1000  # of labels, to learn what chance does
LEAST_DRAWS, MOST_DRAWN = 200, 20_000_000  # fewer draws of many predictions
BINS = 10
LEAST_SPREAD = 30  # groups over which mistakes are spread, to learn how they go together
TOO_FEW, NOT_FINITE, STOPPED = "too few pictures", "scores are not finite", "training was stopped"
NOT_GIVEN = "no validation pictures were given"


@dataclass(frozen=True)
class TemperatureFit:
    """How a classifier came to its temperature.

    held_out  what it was fitted on: "validation"; "first training", the validation pictures as the first of
              two trainings predicts them; "folds", every picture as predicted out of fold
    pictures  how many those are
    reason    why it was not fitted, and is 1; "" where it was
    loss_before, loss_after    mean cross-entropy in nats on those pictures, at temperature 1 and as fitted
    error_before, error_after  expected calibration error on them, 0..1
    """

    held_out: str
    pictures: int
    reason: str = ""
    loss_before: float = 0.0
    loss_after: float = 0.0
    error_before: float = 0.0
    error_after: float = 0.0


NOT_FITTED = TemperatureFit("validation", 0, STOPPED)


@dataclass(frozen=True)
class Calibration:
    """Confidence beside accuracy, and how far apart chance alone brings them.

    count        predictions
    confidence   their mean confidence, 0..1
    accuracy     the share that is right
    error        expected calibration error, 0..1 (Guo et al. 2017, arXiv:1706.04599), in bins of equal number
    error_limit  what 95 % of perfectly calibrated classifiers with these very confidences stay below
    gap_low, gap_high  between which lies the gap of 95 % of them
    groups       how many groups of pictures that belong together they are of; None where each stands alone
    """

    count: Count
    confidence: Share
    accuracy: Share
    error: Share
    error_limit: Share
    gap_low: Difference
    gap_high: Difference
    groups: Count | None = None

    @property
    def too_few(self) -> bool:
        """Whether the groups are too few to say anything beyond these pictures."""
        return self.groups is not None and self.groups < MIN_GROUPS

    @property
    def gap(self) -> float:
        """Mean confidence less accuracy: above 0 where a classifier is too sure."""
        return self.confidence - self.accuracy

    @property
    def gap_shown(self) -> bool:
        """Whether the gap is wider than chance alone makes it, in 95 of 100 cases."""
        return not self.too_few and not self.gap_low <= self.gap <= self.gap_high

    @property
    def error_shown(self) -> bool:
        """Whether the calibration error is larger than chance alone makes it, in 95 of 100 cases."""
        return not self.too_few and self.error > self.error_limit

    @property
    def sentence(self) -> str:
        """Whether confidence agrees with accuracy, in a sentence that claims no more than was measured."""
        points = f"{abs(self.gap) * 100:.1f}"
        if self.too_few:
            return translate(
                "The pictures belong to only %(groups)s groups: too few to say whether confidence agrees with"
                " accuracy.",
                groups=self.groups,
            )
        if self.gap_shown and self.gap > 0:
            return translate("On average it is %(points)s points overconfident.", points=points)
        if self.gap_shown:
            return translate("On average it is %(points)s points underconfident.", points=points)
        if self.error_shown:
            return translate("Confidence agrees with accuracy on average, but not at every level.")
        count = f"{self.count:,}"
        if self.groups is not None:
            return translate(
                "Confidence agrees with accuracy, as far as %(count)s pictures of %(groups)s groups can "
                "show.",
                count=count,
                groups=f"{self.groups:,}",
            )
        return translate(
            "Confidence agrees with accuracy, as far as %(count)s pictures can show.", count=count
        )


@dataclass(frozen=True, eq=False)
class IsotonicReliability:
    """How often predictions of each confidence are right, if that never falls as confidence rises: CORP
    (Dimitriadis, Gneiting and Jordan 2021, PNAS 118:e2016191118).

    confidence  float64 (M,), ascending, each once
    accuracy    float64 (M,), never falling: isotonic regression, which needs no bins
    low, high   float64 (M,): between which lie 95 % of perfectly calibrated classifiers, point by point
    """

    confidence: Tensor
    accuracy: Tensor
    low: Tensor
    high: Tensor


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the least cross-entropy on pictures that were not learned from (Guo et al. 2017,
    arXiv:1706.04599), from LEAST_TEMPERATURE to MOST_TEMPERATURE.

    logits  (N, K)
    labels  int64 (N,); of several labels bool (N, K): then one temperature for all

    As if one more picture had been predicted wrongly (Platt 1999, Probabilistic outputs for SVMs): N pictures
    without a mistake can't show that there is never one, and would be answered with no doubt at all.
    """
    from scipy.optimize import brentq  # type: ignore[import-untyped]

    scores = logits.double()
    several = labels.dim() == 2
    targets = shares_of(labels, scores.shape[1]).double()  # (N, K)
    others = (1 - targets) / (1 if several else scores.shape[1] - 1)
    targets = targets + (others - targets) / (labels.numel() + 2)
    expected = float((targets * scores).sum(dim=1).mean())

    def slope(power: float) -> float:
        """The derivative of the loss by the factor exp(power), which the loss is convex in."""
        scaled = scores * float(np.exp(power))
        shares = scaled.sigmoid() if several else scaled.softmax(dim=1)
        return float((shares * scores).sum(dim=1).mean()) - expected

    low, high = -float(np.log(MOST_TEMPERATURE)), -float(np.log(LEAST_TEMPERATURE))
    if slope(low) >= 0:
        power = low if slope(high) > 0 else 0.0  # flat: scores that are all the same say nothing
    elif slope(high) <= 0:
        power = high
    else:
        power = float(brentq(slope, low, high, xtol=1e-9))
    return min(max(float(f"{np.exp(-power):.6g}"), LEAST_TEMPERATURE), MOST_TEMPERATURE)


def calibration_of(
    confidence: Tensor, right: Tensor, groups: Tensor | None = None, *, seed: int = 0
) -> Calibration:
    """Predictions of these confidences, float (N,), that were right or not, bool (N,), beside what chance
    alone would do: labels are drawn again and again from the confidences themselves.

    groups  int64 (N,) from 0 without gaps: pictures that belong together, which may be right or wrong
            together; None where each stands alone

    Of groups, what chance does is drawn by groups too, and the wider of both holds (_drawn_by_groups).
    """
    parts = bins_of_equal_number(confidence, right, BINS)
    limits = [_limits(_drawn(confidence, seed))]
    if groups is not None:
        limits.append(_limits(_drawn_by_groups(confidence, right, groups, seed)))
    error_limits, lows, highs = zip(*limits, strict=True)
    return Calibration(
        count=len(confidence),
        confidence=float(confidence.double().mean()),
        accuracy=float(right.double().mean()),
        error=error_of(parts),
        error_limit=max(error_limits),
        gap_low=min(lows),
        gap_high=max(highs),
        groups=None if groups is None else int(groups.max()) + 1,
    )


def at_temperature_one(probabilities: Tensor, temperature: float, *, several_labels: bool = False) -> Tensor:
    """What the probabilities (N, K) were before the temperature, float32: scores are known from them but for
    what is added to all scores of a picture, which changes nothing."""
    least = float(torch.finfo(torch.float64).tiny)
    logs = probabilities.double().clamp_min(least).log()
    if several_labels:
        return ((logs - (1 - probabilities.double()).clamp_min(least).log()) * temperature).sigmoid().float()
    return (logs * temperature).softmax(dim=1).float()


def error_of(parts: list[Bin]) -> float:
    """The expected calibration error of these bins, 0..1: their gaps, weighed by how many each holds."""
    gaps = [abs(part.confidence - part.accuracy) * part.count for part in parts]
    return sum(gaps) / max(1, sum(part.count for part in parts))


def isotonic_reliability(
    confidence: Tensor, right: Tensor, groups: Tensor | None = None, *, seed: int = 0
) -> IsotonicReliability:
    """Accuracy by confidence without bins, with what chance alone allows; given as to `calibration_of`."""
    from sklearn.isotonic import isotonic_regression

    ties = _Ties.of(confidence)
    hits = np.bincount(ties.place, weights=right.double().numpy(), minlength=len(ties.values))

    def regression(shares: NDArray[Any]) -> NDArray[Any]:
        fitted: NDArray[Any] = isotonic_regression(shares, sample_weight=ties.sizes, y_min=0, y_max=1)
        return fitted

    generator = np.random.default_rng(seed)
    drawn = np.stack([regression(ties.draw(generator, 1)[0]) for _ in range(LEAST_DRAWS)])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    if groups is not None:
        clusters = _Clusters.of(confidence, right, groups)
        sums = (
            np.bincount(ties.place, weights=clusters.draw(generator, 1)[0], minlength=len(ties.values))
            for _ in range(LEAST_DRAWS)
        )
        drawn = np.stack([regression(ties.values + each / ties.sizes) for each in sums])
        wider = np.quantile(drawn, [0.025, 0.975], axis=0)
        low, high = np.minimum(low, wider[0]), np.maximum(high, wider[1])
    found = regression(hits / ties.sizes)
    columns = (torch.from_numpy(np.ascontiguousarray(column)) for column in (ties.values, found, low, high))
    return IsotonicReliability(*columns)


@dataclass(frozen=True, eq=False)
class _Ties:
    """Predictions of equal confidence together: `values` (V,) ascending, how many there are of each, and the
    place of each prediction among them (N,)."""

    values: NDArray[Any]
    sizes: NDArray[Any]
    place: NDArray[Any]

    @staticmethod
    def of(confidence: Tensor) -> "_Ties":
        values, place, sizes = np.unique(confidence.double().numpy(), return_inverse=True, return_counts=True)
        return _Ties(values.clip(0, 1), sizes, place)

    def bins(self) -> NDArray[Any]:
        """The share of each prediction that lies in each bin of equal number, (N, bins): those of equal
        confidence are spread over the same bins."""
        order = np.sort(self.place, kind="stable")
        counts = np.zeros((len(self.values), min(BINS, len(order))))
        for number, part in enumerate(np.array_split(order, counts.shape[1])):
            np.add.at(counts[:, number], part, 1)
        shares: NDArray[Any] = (counts / self.sizes[:, None])[self.place]
        return shares

    def draw(self, generator: np.random.Generator, draws: int) -> NDArray[Any]:
        """The share that is right of each confidence if confidences are true, (draws, V)."""
        shape = draws, len(self.values)
        if len(self.values) == len(self.place):
            return (generator.random(shape) < self.values).astype(np.float64)
        shares: NDArray[Any] = generator.binomial(self.sizes, self.values, shape) / self.sizes
        return shares


def _drawn(confidence: Tensor, seed: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Calibration errors and gaps of classifiers that are perfectly calibrated, in portions."""
    ties = _Ties.of(confidence)
    order = np.sort(ties.place, kind="stable")  # (N,), the least confident first
    count = len(order)
    starts = np.cumsum([0, *(len(part) for part in np.array_split(order, min(BINS, count)))])[:-1]
    expected = np.add.reduceat(ties.values[order], starts)  # (bins,)
    draws = max(LEAST_DRAWS, min(DRAWS, MOST_DRAWN // count))
    generator = np.random.default_rng(seed)
    at_once = max(1, min(draws, 2_000_000 // count))
    for start in range(0, draws, at_once):
        shares = ties.draw(generator, min(at_once, draws - start))[:, order]  # (draws, N)
        gaps = (expected - np.add.reduceat(shares, starts, axis=1)) / count  # (draws, bins)
        yield np.abs(gaps).sum(axis=1), gaps.sum(axis=1)


@dataclass(frozen=True, eq=False)
class _Clusters:
    """Predictions of pictures that belong together, which may be right or wrong together.

    confidence, residual  float64 (N,): the residual is 1 or 0, for right or wrong, less the confidence
    group                 int64 (N,), of `count` groups
    together              whether mistakes lie in so few groups that nothing is known of how they go together
    """

    confidence: NDArray[Any]
    residual: NDArray[Any]
    group: NDArray[Any]
    count: int
    together: bool

    @staticmethod
    def of(confidence: Tensor, right: Tensor, groups: Tensor) -> "_Clusters":
        shares, group = confidence.double().clamp(0, 1).numpy(), groups.numpy()
        count = int(group.max()) + 1
        mistakes = np.bincount(group, weights=(~right.bool()).double().numpy(), minlength=count)
        # How many groups the mistakes are spread over, as if evenly.
        spread = mistakes.sum() ** 2 / max(1.0, float(np.square(mistakes).sum()))
        return _Clusters(shares, right.double().numpy() - shares, group, count, spread < LEAST_SPREAD)

    def draw(self, generator: np.random.Generator, draws: int) -> NDArray[Any]:
        """Residuals of calibrated classifiers, (draws, N).

        Those of each group times one random number of mean 0, variance and third moment 1 (the wild
        bootstrap by groups; Mammen 1993, Annals of Statistics 21:255; Cameron, Gelbach and Miller 2008,
        Review of Economics and Statistics 90:414), which keeps how they go together and how skewed they are.
        Where that cannot be learned, a group is right or wrong as one picture would be: the widest case.
        """
        if self.together:
            drawn = generator.random((draws, self.count))[:, self.group]
            apart: NDArray[Any] = (drawn < self.confidence) - self.confidence
            return apart
        root = math.sqrt(5)
        low = generator.random((draws, self.count)) < (root + 1) / (2 * root)
        multiplied: NDArray[Any] = (
            np.where(low, (1 - root) / 2, (1 + root) / 2)[:, self.group] * self.residual
        )
        return multiplied


def _drawn_by_groups(
    confidence: Tensor, right: Tensor, groups: Tensor, seed: int
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """As `_drawn`, where the pictures of a group may be right or wrong together."""
    clusters, bins = _Clusters.of(confidence, right, groups), _Ties.of(confidence).bins()
    count = len(confidence)
    draws = max(LEAST_DRAWS, min(DRAWS, MOST_DRAWN // count))
    generator = np.random.default_rng(seed)
    at_once = max(1, min(draws, 2_000_000 // count))
    for start in range(0, draws, at_once):
        sums = clusters.draw(generator, min(at_once, draws - start)) @ bins / count  # (draws, bins)
        yield np.abs(sums).sum(axis=1), -sums.sum(axis=1)


def _limits(drawn: Iterator[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[float, float, float]:
    """What 95 % of calibration errors stay below, and between which 95 % of gaps lie."""
    errors, gaps = map(np.concatenate, zip(*drawn, strict=True))
    low, high = np.quantile(gaps, [0.025, 0.975])
    return float(np.quantile(errors, 0.95)), float(low), float(high)

"""The 95 % intervals of scores, of pictures drawn one by one or in groups whose pictures belong together.

Every interval is Wilson's, of as many pictures as were worth what was drawn: the score's variance, by the
linear terms of each picture or group, decides how many. Measured in benchmarks/coverage.py.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pellucid.data.dataset import Dataset, content_hashes
from pellucid.data.split_by_content import connected
from pellucid.evaluation.metrics import Z_95, Bounds, wilson
from pellucid.formatting import percent, plural
from pellucid.language import Message, lazy_gettext

MIN_GROUPS = 10  # fewer say too little of how much groups differ
MIN_OF_A_CLASS = 10  # pictures or groups of the rarest class, for the interval of a mean over classes
MIN_MISTAKES = 10  # for the interval of a loss, which rests on the few pictures it is highest of


@dataclass(frozen=True)
class Estimate:
    """A score and its 95 % interval.

    too_few  why there is no interval, such as too few groups; None where there is one, or never is
    """

    value: float
    interval: Bounds | None
    too_few: Message | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values, the reason in words."""
        interval = None if self.interval is None else list(self.interval)
        return {"value": self.value, "interval": interval, "too_few": str(self.too_few or "")}


@dataclass(frozen=True, eq=False)
class Sampling:
    """How test pictures were drawn, which decides how far a score may lie from that of all such pictures.

    count   N pictures
    groups  int64 (N,) from 0 without gaps: pictures of one number were drawn together; None: one by one
    spread  how many times as much the score varies as these pictures alone explain, at least 1
    """

    count: int
    groups: Tensor | None = None
    spread: float = 1.0

    @cached_property
    def units(self) -> int:
        """How many were drawn: groups, or pictures."""
        return self.count if self.groups is None else int(self.groups.max()) + 1

    @property
    def too_few(self) -> Message | None:
        """That there are too few groups for any interval; None where there are enough."""
        return None if self.groups is None or self.units >= MIN_GROUPS else self._too_few(self.units)

    def shares(
        self, parts: Tensor, hits: Tensor, pictures: Tensor | None = None, *, number: int = 1
    ) -> list[Estimate]:
        """The share of hits in each of `number` parts, 0 where a part is empty.

        parts     int64 (M,) from 0: the part of each decision
        hits      bool (M,): whether it was a hit
        pictures  int64 (M,): the picture that each decision is of; None: one decision a picture
        """
        totals = torch.bincount(parts, minlength=number).double()
        values = torch.bincount(parts, weights=hits.double(), minlength=number) / totals.clamp_min(1)
        units, effective = totals, totals
        if self.groups is not None or pictures is not None:
            owners = torch.arange(self.count) if self.groups is None else self.groups
            units, effective = _effective(
                parts, hits, owners if pictures is None else owners[pictures], values, totals
            )
        table = zip(values.tolist(), totals.tolist(), units.tolist(), effective.tolist(), strict=True)
        return [self._share(*row) for row in table]

    def _share(self, value: float, total: float, units: float, effective: float) -> Estimate:
        if not total:
            return Estimate(value, None, lazy_gettext("no picture"))
        if units == total:
            return Estimate(value, wilson(value, total / self.spread))
        if units < MIN_GROUPS:
            return Estimate(value, None, self._too_few(int(units)))
        return Estimate(value, wilson(value, effective / self.spread, quantile(int(units) - 1)))

    def mean(self, value: float, terms: Tensor, rarest: int) -> Estimate:
        """A score 0..1 that is a mean over classes.

        terms   float64 (N,): by how much each picture moves the score, to first order; they add up to 0
        rarest  how many pictures or groups the rarest of its classes has
        """
        if self.too_few:
            return Estimate(value, None, self.too_few)
        if rarest < MIN_OF_A_CLASS:
            return Estimate(value, None, self._too_few(rarest))
        variance = self._variance(terms)
        certain = variance <= 1e-15 or not 0 < value < 1
        effective = self.units if certain else min(float(self.count), value * (1 - value) / variance)
        return Estimate(value, wilson(value, effective, self._quantile))

    def loss(self, values: Tensor, mistakes: int) -> Estimate:
        """The mean of a loss of each picture (N,), its interval even on the scale of logarithms."""
        value = float(values.mean())
        if self.too_few:
            return Estimate(value, None, self.too_few)
        if mistakes < MIN_MISTAKES or not value > 0:
            return Estimate(value, None, lazy_gettext("too few mistakes: %(count)s", count=mistakes))
        half = self._quantile * math.sqrt(self._variance((values - value) / self.count)) / value
        return Estimate(value, (value * math.exp(-half), value * math.exp(half)))

    def effect(self, hits: Tensor) -> float:
        """How many pictures drawn one by one a picture of these is worth less, at least 1: the design effect
        of a share (Kish 1965). `hits` is bool (N,)."""
        if self.groups is None:
            return 1.0
        whole, totals = torch.zeros(self.count, dtype=torch.int64), torch.tensor([float(self.count)]).double()
        return self.count / float(_effective(whole, hits, self.groups, hits.double().mean()[None], totals)[1])

    def fewest(self, parts: Tensor, pictures: Tensor | None = None) -> int:
        """How many pictures or groups the rarest part has of those that occur; arguments as of `shares`."""
        owners = torch.arange(self.count) if self.groups is None else self.groups
        keys = parts * (self.units + 1) + (owners if pictures is None else owners[pictures])
        counts = torch.bincount(torch.div(torch.unique(keys), self.units + 1, rounding_mode="floor"))
        return int(counts[counts > 0].min()) if len(parts) else 0

    def _too_few(self, count: int) -> Message:
        if self.groups is None:
            return lazy_gettext("too few pictures: %(count)s", count=count)
        return lazy_gettext("too few groups: %(count)s", count=count)

    def _variance(self, terms: Tensor) -> float:
        if self.groups is None:
            return float(terms.square().sum()) * self.spread
        sums = torch.bincount(self.groups, weights=terms)
        return float(sums.square().sum()) * self.units / (self.units - 1) * self.spread

    @property
    def _quantile(self) -> float:
        return Z_95 if self.groups is None else quantile(self.units - 1)


def _effective(
    parts: Tensor, hits: Tensor, owners: Tensor, values: Tensor, totals: Tensor
) -> tuple[Tensor, Tensor]:
    """How many units each part has, and how many decisions drawn one by one its share is worth, float64.

    A share is the ratio of two sums over units; its variance is that of the linear terms (Cochran 1977,
    6.3), and the decisions it is worth are Kish's (1965): those that would have that variance.
    """
    number, span = len(totals), int(owners.max()) + 1
    keys, place = torch.unique(parts * span + owners, return_inverse=True)
    size, right = torch.bincount(place).double(), torch.bincount(place, weights=hits.double())
    part = torch.div(keys, span, rounding_mode="floor")
    units = torch.bincount(part, minlength=number).double()
    squares = torch.bincount(part, weights=(right - values[part] * size).square(), minlength=number)
    variance = squares * units / (units - 1).clamp_min(1) / totals.clamp_min(1).square()
    worth = values * (1 - values) / variance.clamp_min(1e-300)
    # Where all units agree, they say nothing of how much units differ: then one counts once.
    return units, torch.where(variance > 1e-15, torch.minimum(totals, worth), units)


def quantile(freedom: int) -> float:
    """The 97.5 % point of Student's distribution with so many degrees of freedom."""
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # slow to import

    return float(stdtrit(freedom, 0.975))


def groups_of(dataset: Dataset) -> Tensor | None:
    """The group of each picture, int64 (N,) from 0, in the order in which they first appear: identical
    pictures and those of one of the data set's groups are together. None where every picture is alone."""
    names: Sequence[str] = dataset.groups or [""] * len(dataset)
    roots = connected(zip(content_hashes(dataset), names, strict=True))
    return numbered(roots)


def numbered(groups: Sequence[int]) -> Tensor | None:
    """Groups as int64 (N,) from 0 without gaps, in the order in which they first appear; None where each
    has one member."""
    numbers: dict[int, int] = defaultdict(lambda: len(numbers))
    found = [numbers[group] for group in groups]
    return torch.tensor(found, dtype=torch.int64) if len(numbers) < len(found) else None


def effective_count(groups: Tensor) -> float:
    """How many single pictures those of these groups, int64 (N,), are worth at least: as many as if all of a
    group were right or wrong together (Kish 1965, Survey Sampling, 8.2)."""
    sizes = torch.unique(groups, return_counts=True)[1].double()
    return float(sizes.sum() ** 2 / sizes.square().sum()) if len(sizes) else 0.0


def interval_in_words(score: Estimate, sampling: Sampling) -> str:
    """The 95 % interval of a share in percent, and over how many groups; or why there is none."""
    if score.interval is None:
        return f"{score.too_few}, so no interval"
    low, high = (percent(bound, count=sampling.count) for bound in score.interval)
    groups = "" if sampling.groups is None else f" over {plural(sampling.units, 'group', 'groups')}"
    return f"95 % interval {low} to {high}{groups}"

"""When to answer and when not: the error among the pictures answered, by how many are answered."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.evaluation.held_out import HeldOut
from pellucid.evaluation.intervals import MIN_GROUPS
from pellucid.evaluation.metrics import wilson
from pellucid.formatting import percent

DOUBT = 0.05  # how often a promised error may fail, over the drawing of the pictures held out
STEPS = 100  # coverages tried, from the fewest pictures up
SPARED = (0, 3)  # mistakes that the first step bears, of two series of steps that share the doubt


@dataclass(frozen=True)
class Threshold:
    """The confidence from which a classifier answers; below it, it is not sure.

    confidence   0..1
    pictures     those held out, on which it was chosen
    answered     how many of them reach it
    wrong        how many of these are predicted wrongly
    error_limit  what the share wrong stays below with 95 % probability, 0..1 (Clopper and Pearson 1934), of
                 as many pictures as those answered are worth where they belong together in groups; None
                 where the groups are too few to say anything of others
    groups       how many groups the pictures held out come from; None where each stands alone
    """

    confidence: float
    pictures: int
    answered: int
    wrong: int
    error_limit: float | None
    groups: int | None = None


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The error among the pictures answered, by the threshold of confidence (El-Yaniv and Wiener 2010, JMLR
    11:1605). A row for each confidence that occurs, the highest first.

    confidence  float64 (M,): the thresholds
    coverage    float64 (M,), 0..1: the share of pictures answered
    error       float64 (M,), 0..1: the share of these that is wrong
    low, high   float64 (M,): the 95 % interval of the error (Wilson 1927, JASA 22:209)
    """

    confidence: Tensor
    coverage: Tensor
    error: Tensor
    low: Tensor
    high: Tensor

    @property
    def area(self) -> float:
        """The mean error over all coverages, 0..1 (AURC; Geifman et al. 2019, arXiv:1805.08206)."""
        shares = torch.diff(self.coverage, prepend=self.coverage.new_zeros(1))
        return float((shares * self.error).sum())


def risk_coverage(confidence: Tensor, right: Tensor, groups: Tensor | None = None) -> RiskCoverage:
    """The error by coverage of predictions of these confidences, float (N,), right or not, bool (N,).
    Predictions of equal confidence are answered together, so that their order does not matter.

    groups  int64 (N,): pictures of one number belong together; the intervals are as wide as if all of a group
            were right or wrong together
    """
    thresholds, answered, wrong, worth = _steps(confidence, right, groups)
    error = wrong / answered
    bounds = [wilson(*pair) for pair in zip(error.tolist(), worth.tolist(), strict=True)]
    low, high = torch.tensor(bounds, dtype=torch.float64).reshape(-1, 2).T
    return RiskCoverage(thresholds, answered / len(confidence), error, low, high)


def threshold_for_coverage(held_out: HeldOut, coverage: float) -> Threshold:
    """The highest threshold by which at least this share of the pictures held out is answered.

    Raises UsageError for a share that is not above 0 and at most 1.
    """
    if not 0 < coverage <= 1:
        raise UsageError(f"Expected a coverage above 0 and at most 1, such as 0.95; got {coverage}.")
    steps = _steps(held_out.confidence, held_out.right, held_out.groups)
    at = int(torch.searchsorted(steps.answered, coverage * len(held_out.right) - 1e-9))
    return _threshold(held_out, steps, min(at, len(steps.answered) - 1))


def threshold_for_error(held_out: HeldOut, max_error: float) -> Threshold:
    """The lowest threshold that keeps the error among the pictures answered below `max_error`, a promise that
    holds with 95 % probability over the drawing of the pictures held out.

    Up to a hundred coverages are tested in a fixed order, the fewest pictures first, until the upper bound of
    Clopper and Pearson is no longer below `max_error`: so the promise holds although the threshold is chosen
    on the same pictures (fixed sequence testing; Angelopoulos et al. 2021, Learn then Test,
    arXiv:2110.01052). Once from the fewest pictures that can show it, and once from those that bear a few
    mistakes, so that a single early one does not end it all; the two share the doubt. Pictures that belong
    together in groups count as if all of a group were right or wrong together.

    Raises UsageError for an error that is not between 0 and 1, and where the pictures held out, or their
    groups, cannot show that any threshold keeps it.
    """
    if not 0 < max_error < 1:
        raise UsageError(f"Expected an error above 0 and below 1, such as 0.01; got {max_error}.")
    if held_out.few_groups:
        raise UsageError(
            f"The pictures held out come from {held_out.few_groups} groups that belong together: too few to "
            f"promise an error of others. It takes {MIN_GROUPS}; train with more groups, or use --coverage."
        )
    steps, count = _steps(held_out.confidence, held_out.right, held_out.groups), len(held_out.right)
    wanted = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)[1:] * count
    places = torch.searchsorted(steps.answered, wanted - 1e-9).clamp_max(len(steps.answered) - 1)
    doubt, found = DOUBT / len(SPARED), None
    for spared in SPARED:
        for at in sorted(set(places.tolist())):
            if error_limit(spared, float(steps.worth[at]), doubt) > max_error:
                continue  # by the number of pictures alone, not by what is wrong
            tried = _threshold(held_out, steps, at, doubt)
            if tried.error_limit is None or tried.error_limit > max_error:
                break
            found = tried if found is None or tried.answered > found.answered else found
    if found is not None:
        return found
    needed = int(np.ceil(np.log(doubt) / np.log1p(-max_error)))  # with fewer, not even none wrong is enough
    share = percent(max_error, count=count)
    worth = math.floor(float(steps.worth[-1]) + 1e-9)
    if needed > worth:
        groups = (
            f", worth {worth:,} single ones as they come in groups," if held_out.groups is not None else ""
        )
        raise UsageError(
            f"{count:,} pictures held out{groups} cannot show an error below {share}: that takes {needed:,}, "
            "even if none of them is wrong. Ask for a larger error, or train with more validation pictures."
        )
    raise UsageError(
        f"No threshold keeps the error below {share}: even among its most confident answers this network has "
        "more mistakes, or too few pictures were held out to show it. Ask for a larger error."
    )


def error_limit(wrong: float, answered: float, doubt: float = DOUBT) -> float:
    """What the error among the pictures answered stays below but for a probability of `doubt`: the upper
    bound of Clopper and Pearson (1934, Biometrika 26:404), of fractions of pictures too."""
    from scipy.stats import beta  # type: ignore[import-untyped]

    return 1.0 if wrong >= answered else float(beta.ppf(1 - doubt, wrong + 1, answered - wrong))


class _Steps(NamedTuple):
    """Every confidence that occurs, the highest first, how many predictions reach it, how many of these are
    wrong, and how many single pictures they are worth: float64 (M,) each."""

    confidence: Tensor
    answered: Tensor
    wrong: Tensor
    worth: Tensor


def _threshold(held_out: HeldOut, steps: _Steps, at: int, doubt: float = DOUBT) -> Threshold:
    confidence, answered, wrong, worth = (float(column[at]) for column in steps)
    limit = None if held_out.few_groups else error_limit(wrong * worth / answered, worth, doubt)
    groups = None if held_out.groups is None else len(torch.unique(held_out.groups))
    return Threshold(confidence, len(held_out.right), int(answered), int(wrong), limit, groups)


def _steps(confidence: Tensor, right: Tensor, groups: Tensor | None) -> _Steps:
    values, step = torch.unique(confidence.double(), return_inverse=True)
    sizes = torch.bincount(step, minlength=len(values)).double()
    wrong = torch.bincount(step, weights=(~right).double(), minlength=len(values))
    answered = sizes.flip(0).cumsum(0)
    worth = answered
    if groups is not None:  # one picture more in a group of m raises the sum of squares by 2 m + 1
        squares = torch.bincount(step, weights=2 * _places_in_groups(confidence, groups) + 1.0)
        worth = answered.square() / squares.flip(0).cumsum(0)
    return _Steps(values.flip(0), answered, wrong.flip(0).cumsum(0), worth)


def _places_in_groups(confidence: Tensor, groups: Tensor) -> Tensor:
    """How many of its group are more confident than each picture, or as confident and before it: (N,)."""
    order = confidence.double().argsort(descending=True, stable=True)
    by_group = order[groups[order].argsort(stable=True)]  # each group's pictures, the most confident first
    sizes = torch.unique_consecutive(groups[by_group], return_counts=True)[1]
    places = torch.cat([torch.arange(int(size)) for size in sizes.tolist()])
    return torch.empty(len(groups), dtype=torch.float64).scatter(0, by_group, places.double())

"""When to answer and when not: the error among the pictures answered, by how many are answered."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.evaluation.held_out import HeldOut
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
    error_limit  what the share wrong stays below with 95 % probability, 0..1 (Clopper and Pearson 1934)
    """

    confidence: float
    pictures: int
    answered: int
    wrong: int
    error_limit: float


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


def risk_coverage(confidence: Tensor, right: Tensor) -> RiskCoverage:
    """The error by coverage of predictions of these confidences, float (N,), right or not, bool (N,).
    Predictions of equal confidence are answered together, so that their order does not matter."""
    thresholds, answered, wrong = _steps(confidence, right)
    error = wrong / answered
    bounds = [wilson(*pair) for pair in zip(error.tolist(), answered.tolist(), strict=True)]
    low, high = torch.tensor(bounds, dtype=torch.float64).reshape(-1, 2).T
    return RiskCoverage(thresholds, answered / len(confidence), error, low, high)


def threshold_for_coverage(held_out: HeldOut, coverage: float) -> Threshold:
    """The highest threshold by which at least this share of the pictures held out is answered.

    Raises UsageError for a share that is not above 0 and at most 1.
    """
    if not 0 < coverage <= 1:
        raise UsageError(f"Expected a coverage above 0 and at most 1, such as 0.95; got {coverage}.")
    thresholds, answered, wrong = _steps(held_out.confidence, held_out.right)
    at = int(torch.searchsorted(answered, coverage * len(held_out.right) - 1e-9))
    at = min(at, len(answered) - 1)
    return _threshold(held_out, thresholds[at], int(answered[at]), int(wrong[at]))


def threshold_for_error(held_out: HeldOut, max_error: float) -> Threshold:
    """The lowest threshold that keeps the error among the pictures answered below `max_error`, a promise that
    holds with 95 % probability over the drawing of the pictures held out.

    Up to a hundred coverages are tested in a fixed order, the fewest pictures first, until the upper bound of
    Clopper and Pearson is no longer below `max_error`: so the promise holds although the threshold is chosen
    on the same pictures (fixed sequence testing; Angelopoulos et al. 2021, Learn then Test,
    arXiv:2110.01052). Once from the fewest pictures that can show it, and once from those that bear a few
    mistakes, so that a single early one does not end it all; the two share the doubt.

    Raises UsageError for an error that is not between 0 and 1, and where the pictures held out cannot show
    that any threshold keeps it.
    """
    if not 0 < max_error < 1:
        raise UsageError(f"Expected an error above 0 and below 1, such as 0.01; got {max_error}.")
    thresholds, answered, wrong = _steps(held_out.confidence, held_out.right)
    count = len(held_out.right)
    wanted = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)[1:] * count
    places = torch.searchsorted(answered, wanted - 1e-9).clamp_max(len(answered) - 1)
    steps = sorted(set(places.tolist()))
    doubt, found = DOUBT / len(SPARED), None
    for spared in SPARED:
        for at in steps:
            if error_limit(spared, int(answered[at]), doubt) > max_error:
                continue  # by the number of pictures alone, not by what is wrong
            tried = _threshold(held_out, thresholds[at], int(answered[at]), int(wrong[at]), doubt)
            if tried.error_limit > max_error:
                break
            found = tried if found is None or tried.answered > found.answered else found
    if found is not None:
        return found
    needed = int(np.ceil(np.log(doubt) / np.log1p(-max_error)))  # with fewer, not even none wrong is enough
    share = percent(max_error, count=count)
    if needed > count:
        raise UsageError(
            f"{count:,} pictures held out cannot show an error below {share}: that takes {needed:,}, even if "
            "none of them is wrong. Ask for a larger error, or train with more validation pictures."
        )
    raise UsageError(
        f"No threshold keeps the error below {share}: even among its most confident answers this network has "
        "more mistakes, or too few pictures were held out to show it. Ask for a larger error."
    )


def error_limit(wrong: int, answered: int, doubt: float = DOUBT) -> float:
    """What the error among the pictures answered stays below but for a probability of `doubt`: the upper
    bound of Clopper and Pearson (1934, Biometrika 26:404)."""
    from scipy.stats import beta  # type: ignore[import-untyped]

    return 1.0 if wrong >= answered else float(beta.ppf(1 - doubt, wrong + 1, answered - wrong))


def _threshold(
    held_out: HeldOut, confidence: Tensor, answered: int, wrong: int, doubt: float = DOUBT
) -> Threshold:
    limit = error_limit(wrong, answered, doubt)
    return Threshold(float(confidence), len(held_out.right), answered, wrong, limit)


def _steps(confidence: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every confidence that occurs, the highest first, how many predictions reach it, and how many of these
    are wrong: float64 (M,) each."""
    values, group = torch.unique(confidence.double(), return_inverse=True)
    sizes = torch.bincount(group, minlength=len(values)).double()
    wrong = torch.bincount(group, weights=(~right).double(), minlength=len(values))
    return values.flip(0), sizes.flip(0).cumsum(0), wrong.flip(0).cumsum(0)

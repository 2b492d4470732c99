"""What chance alone would show: a paired test of right answers, and its correction for many tests."""

from collections.abc import Sequence

import torch
from torch import Tensor

LEVEL = 0.05  # of false findings among all that are tested together


def paired_p_values(lost: Tensor, gained: Tensor) -> Tensor:
    """McNemar's exact test (Psychometrika 12, 1947) of two answers to the same pictures, two-sided, float64
    of any shape but a single number's.

    lost, gained  numbers of pictures that only the first and only the second has right
    """
    from scipy.stats import binom  # type: ignore[import-untyped]  # slow to import, so only when needed

    number, fewer = (lost + gained).double(), torch.minimum(lost, gained).double()
    return torch.from_numpy(2 * binom.cdf(fewer.numpy(), number.numpy(), 0.5)).clamp_max(1.0)


def holm(p_values: Sequence[float] | Tensor) -> Tensor:
    """P values corrected for all tests together, float64 (N,): of those under 0.05 any is false in one of
    twenty cases at most (Holm 1979, Scandinavian Journal of Statistics 6:65)."""
    given = torch.as_tensor(p_values, dtype=torch.float64)
    order = given.argsort()
    factors = torch.arange(len(given), 0, -1, dtype=torch.float64)
    corrected = (given[order] * factors).clamp_max(1.0).cummax(dim=0).values if len(given) else given
    return torch.empty_like(given).scatter_(0, order, corrected)

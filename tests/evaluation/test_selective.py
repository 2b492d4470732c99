"""Thresholds answer as many pictures, and get as few of them wrong, as they promise."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.evaluation.held_out import HeldOut
from pellucid.evaluation.metrics import wilson
from pellucid.evaluation.selective import (
    error_limit,
    risk_coverage,
    threshold_for_coverage,
    threshold_for_error,
)


def held_out(confidence: Tensor, right: Tensor) -> HeldOut:
    return HeldOut(right, confidence.float(), torch.where(right, confidence, 1 - confidence).float())


def drawn(count: int, seed: int) -> HeldOut:
    """Confidences from one half to 1, right as often as they say."""
    generator = torch.Generator().manual_seed(seed)
    confidence = 1 - torch.rand(count, generator=generator) ** 3 / 2
    return held_out(confidence, torch.rand(count, generator=generator) < confidence)


def test_the_error_by_coverage_is_what_counting_gives() -> None:
    confidence = torch.tensor([0.9, 0.5, 0.9, 0.7, 0.6, 0.9])
    right = torch.tensor([True, False, False, True, False, True])
    found = risk_coverage(confidence, right)
    assert found.confidence.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.5])
    for at, threshold in enumerate(found.confidence.tolist()):
        answered = confidence.double() >= threshold
        error = float((~right[answered]).double().mean())
        assert found.coverage[at] == pytest.approx(float(answered.double().mean()))
        assert found.error[at] == pytest.approx(error)
        assert (found.low[at], found.high[at]) == pytest.approx(wilson(error, int(answered.sum())))
    shares = [3 / 6, 1 / 6, 1 / 6, 1 / 6]
    assert found.area == pytest.approx(sum(s * e for s, e in zip(shares, found.error.tolist(), strict=True)))


def test_the_limit_of_the_error_is_that_of_clopper_and_pearson() -> None:
    for wrong, answered in ((0, 59), (3, 500), (40, 50)):
        exact = binomtest(wrong, answered).proportion_ci(confidence_level=0.9, method="exact").high
        assert error_limit(wrong, answered) == pytest.approx(exact)
    assert error_limit(5, 5) == 1.0


@pytest.mark.parametrize("coverage", [0.01, 0.5, 0.95, 1.0])
def test_a_coverage_is_reached_by_the_highest_threshold_that_does(coverage: float) -> None:
    pictures = drawn(1000, 1)
    found = threshold_for_coverage(pictures, coverage)
    answered = pictures.confidence >= found.confidence
    assert int(answered.sum()) == found.answered == round(coverage * 1000)
    assert found.wrong == int((~pictures.right[answered]).sum())
    equal = held_out(torch.full((10,), 0.5), torch.arange(10) < 5)
    assert threshold_for_coverage(equal, coverage).answered == 10


def test_a_promised_error_is_kept_by_new_pictures_in_at_least_95_of_100_cases() -> None:
    broken = found = answered = 0
    for seed in range(200):
        try:
            threshold = threshold_for_error(drawn(800, seed), 0.05)
        except UsageError:
            continue
        new = drawn(20_000, 10_000 + seed)
        error = (1 - new.confidence[new.confidence >= threshold.confidence]).mean()  # its expectation
        found, broken = found + 1, broken + int(error > 0.05)
        answered += threshold.answered
        assert threshold.error_limit is not None
        assert threshold.error_limit <= 0.05
    assert found > 150
    assert broken <= 10
    assert answered / found > 300  # and it is no promise of nothing


def in_groups(groups: int, size: int, wrong: float, generator: torch.Generator) -> HeldOut:
    """All pictures of a group are right, or all are wrong, whatever the confidence says."""
    right = (torch.rand(groups, generator=generator) >= wrong).repeat_interleave(size)
    confidence = 0.5 + torch.rand(groups * size, generator=generator) / 2
    return replace(held_out(confidence, right), groups=torch.arange(groups).repeat_interleave(size))


@pytest.mark.parametrize(("groups", "size"), [(12, 25), (30, 10), (100, 3)])
def test_of_pictures_in_groups_the_promise_is_kept_for_other_groups(groups: int, size: int) -> None:
    generator = torch.Generator().manual_seed(groups)
    pictures = [in_groups(groups, size, 0.1, generator) for _ in range(200)]
    limits = [threshold_for_coverage(each, 0.95).error_limit for each in pictures]
    alone = [threshold_for_coverage(replace(each, groups=None), 0.95).error_limit for each in pictures]
    assert sum(limit is not None and limit < 0.1 for limit in limits) <= 16  # of 200: 5 %, and chance
    assert sum(limit is not None and limit < 0.1 for limit in alone) > 16  # taken for single pictures
    broken = 0
    for each in pictures:
        try:
            broken += threshold_for_error(each, 0.099).error_limit is not None
        except UsageError:
            continue
    assert broken <= 16


def test_of_too_few_groups_nothing_is_promised() -> None:
    few = in_groups(9, 40, 0.0, torch.Generator().manual_seed(0))
    found = threshold_for_coverage(few, 0.95)
    assert (found.error_limit, found.groups) == (None, 9)
    with pytest.raises(UsageError, match="come from 9 groups that belong together: too few"):
        threshold_for_error(few, 0.1)
    some = in_groups(20, 40, 0.0, torch.Generator().manual_seed(0))
    with pytest.raises(
        UsageError, match="800 pictures held out, worth 20 single ones as they come in groups"
    ):
        threshold_for_error(some, 0.01)


def test_groups_of_one_picture_change_nothing() -> None:
    pictures = drawn(800, 3)
    each = replace(pictures, groups=torch.arange(800))
    assert replace(threshold_for_error(each, 0.05), groups=None) == threshold_for_error(pictures, 0.05)
    one, other = risk_coverage(pictures.confidence, pictures.right), risk_coverage(*pictures_of(each))
    assert torch.allclose(one.high, other.high)


def pictures_of(held_out: HeldOut) -> tuple[Tensor, Tensor, Tensor | None]:
    return held_out.confidence, held_out.right, held_out.groups


def test_what_the_pictures_cannot_show_is_not_promised() -> None:
    perfect = held_out(torch.linspace(0.5, 1, 100), torch.ones(100, dtype=torch.bool))
    assert threshold_for_error(perfect, 0.05).answered == 100
    with pytest.raises(
        UsageError, match=r"100 pictures held out cannot show an error below 1\.0 %: that takes 368"
    ):
        threshold_for_error(perfect, 0.01)
    wrong = held_out(torch.linspace(0.5, 1, 100), torch.zeros(100, dtype=torch.bool))
    with pytest.raises(UsageError, match=r"No threshold keeps the error below 10\.0 %"):
        threshold_for_error(wrong, 0.1)


@pytest.mark.parametrize("number", [0.0, -0.1, 1.1, float("nan")])
def test_shares_that_make_no_sense_are_refused(number: float) -> None:
    pictures = drawn(100, 0)
    with pytest.raises(UsageError, match=r"Expected a coverage above 0 and at most 1, such as 0\.95; got"):
        threshold_for_coverage(pictures, number)
    with pytest.raises(UsageError, match=r"Expected an error above 0 and below 1, such as 0\.01; got"):
        threshold_for_error(pictures, number)

"""A figure of a sample is above a limit, below it, or neither for sure."""

import math

import pytest
import torch
from scipy import stats

from pellucid.explanation.outcomes import Correlations, Findings, Interval, Lead, Trial, find_faults


@pytest.mark.parametrize("number", [8, 16, 128])
def test_a_mean_lies_between_students_bounds(number: int) -> None:
    values = torch.linspace(0.1, 0.4, number)
    spread = float(values.double().std()) / number**0.5
    quantile = stats.t.ppf(0.99, number - 1)
    found = Interval.of_mean(values, 2.0)
    assert found.low == pytest.approx(0.25 - quantile * spread, abs=0.02 * spread)
    assert found.high == pytest.approx(0.25 + quantile * spread, abs=0.02 * spread)


def test_of_one_value_or_none_nothing_is_known() -> None:
    assert Interval.of_mean(torch.tensor([0.3]), 2.0)[1:] == (-2, 2)
    assert Interval.of_mean(torch.empty(0), 1.0) == (0, -1, 1)


@pytest.mark.parametrize(("count", "number"), [(0, 8), (90, 100), (500, 500)])
def test_a_share_lies_between_wilsons_bounds(count: int, number: int) -> None:
    known = stats.binomtest(count, number).proportion_ci(0.98, method="wilson")
    assert Interval.of_share(count, number)[1:] == pytest.approx((known.low, known.high), abs=1e-3)


def test_a_limit_is_kept_surely_broken_surely_or_neither() -> None:
    limit = 0.5
    assert Interval(0.4, 0.3, 0.5).below(limit) == "passed"
    assert Interval(0.5, 0.4, 0.6).below(limit) == Interval(0.5, 0.4, 0.6).above(limit) == "undecided"
    assert Interval(0.6, 0.51, 0.7).below(limit) == "failed"
    assert Interval(0.6, 0.51, 0.7).above(limit) == "passed"
    assert Interval(0.5, 0.5, 0.5).above(limit) == "failed"


def test_what_is_no_number_fails() -> None:
    nothing = Interval.of_mean(torch.tensor([0.5, math.nan]), 1.0)
    assert nothing.below(2) == nothing.above(-2) == "failed"


SOUND = Correlations(Interval(0.0, -0.1, 0.1), Interval(-0.3, -0.4, -0.2), Interval(1.0, 1.0, 1.0))


def trial(**changed: object) -> Trial:
    leads = (Lead("random", 0.3, 0.2, 0.4), Lead("ink", 0.2, 0.1, 0.3))
    values = {"maps": torch.ones(2, 4, 4), "correlations": SOUND, "leads": leads, "gaps": None}
    return Trial(**{**values, **changed})  # type: ignore[arg-type]


def test_without_faults_and_doubts_a_method_passes() -> None:
    assert find_faults(trial(), "passed") == Findings([], [])
    assert find_faults(trial(), "passed").outcome == "passed"
    for knowing in ("failed", "undecided"):
        assert find_faults(trial(), knowing).outcome == knowing  # type: ignore[arg-type]


def test_a_lead_that_is_not_sure_is_told_from_none() -> None:
    leads = (Lead("random", 0.3, 0.2, 0.4), Lead("edges", 0.1, -0.1, 0.3), Lead("ink", -0.1, -0.2, 0.01))
    found = find_faults(trial(leads=leads), "passed")
    assert found.faults == ["the places it highlights matter no more than ink"]
    assert found.doubts[0].endswith("it is not certain that the places it highlights matter more than edges")
    assert found.outcome == "failed"
    assert find_faults(trial(leads=leads[:2]), "passed").outcome == "undecided"


@pytest.mark.parametrize("figure", ["weights", "classes", "signs"])
def test_a_method_that_shows_the_same_for_other_weights_classes_or_signs_fails(figure: str) -> None:
    for found, outcome in (((0.7, 0.6, 0.8), "failed"), ((0.5, 0.3, 0.95), "undecided")):
        changed = SOUND._replace(**{figure: Interval(*found)})
        findings = find_faults(trial(correlations=changed), "passed")
        assert findings.outcome == outcome
        assert f"{found[0]:.2f}" in str(findings)


@pytest.mark.parametrize(
    ("off", "outcome"), [(0, "passed"), (1, "passed"), (12, "passed"), (14, "undecided"), (40, "failed")]
)
def test_one_map_that_misses_its_sum_does_not_decide(off: int, outcome: str) -> None:
    gaps = torch.zeros(128)
    gaps[:off] = 1.0
    assert find_faults(trial(gaps=gaps), "passed").outcome == outcome


def test_no_evidence_and_no_numbers_fail() -> None:
    assert find_faults(trial(maps=torch.zeros(2, 4, 4)), "passed").faults == ["it finds no evidence at all"]
    for odd in (math.nan, math.inf):
        found = find_faults(trial(maps=torch.full((2, 4, 4), odd)), "passed")
        assert found.faults == ["its maps, or the answers to changed pictures, are no numbers"]

"""Two networks on the same pictures: the test is McNemar's, the interval holds what it promises."""

from functools import cache

import numpy as np
import pytest
from scipy.stats import binomtest, chi2  # type: ignore[import-untyped]

from pellucid.evaluation.paired import PairedDifference
from pellucid.language import use_language


@cache
def interval(count: int, first: int, second: int) -> tuple[float, float]:
    return PairedDifference(count, first, second).interval


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 5), (0, 6), (3, 14), (40, 41), (9, 1)])
def test_the_test_is_mcnemars_exact_one(first: int, second: int) -> None:
    found = PairedDifference(500, first, second).p_value
    flips = first + second
    assert found == pytest.approx(binomtest(first, flips).pvalue if flips else 1.0)


@pytest.mark.parametrize(("first", "second"), [(12, 9), (30, 70), (5, 21), (110, 60)])
def test_no_difference_farther_than_the_interval_passes_tangos_test(first: int, second: int) -> None:
    """The likeliest shares given a difference are found here by trying them all."""
    count = 400
    pair = PairedDifference(count, first, second)

    def statistic(difference: float) -> float:
        share = np.linspace(max(0.0, -difference), (1 - difference) / 2, 200_001)[1:-1]  # first alone right
        both = 1 - 2 * share - difference
        likelihood = first * np.log(share) + second * np.log(share + difference)
        likelihood += (count - first - second) * np.log(both)
        best = share[likelihood.argmax()]
        variance = (2 * best + difference - difference**2) / count
        return float((pair.difference - difference) ** 2 / variance)

    for end in pair.interval:
        if end != 0:  # there the exact test decides
            assert statistic(end) == pytest.approx(chi2.ppf(0.95, 1), rel=2e-3)


def test_where_no_difference_is_shown_the_interval_reaches_nought_and_only_there() -> None:
    for count in (60, 5_000):
        for first in range(25):
            for second in range(25):
                found = PairedDifference(count, first, second)
                low, high = found.interval
                assert found.shown == (low > 0 or high < 0), found
                assert low <= found.difference <= high


def test_the_interval_holds_the_true_difference_in_19_of_20_cases_or_more() -> None:
    generator = np.random.default_rng(0)
    for count in (100, 360, 2_000):
        for first, second in ((0.01, 0.01), (0.02, 0.05), (0.05, 0.12), (0.0, 0.03), (0.1, 0.3)):
            drawn = generator.multinomial(count, [first, second, 1 - first - second], size=2_000)
            ends = np.array([interval(count, int(one), int(other)) for one, other, _ in drawn])
            held = (ends[:, 0] <= second - first) & (second - first <= ends[:, 1])
            assert held.mean() > 0.93, (count, first, second)


def test_two_equally_good_networks_differ_in_one_case_of_twenty_at_most() -> None:
    generator = np.random.default_rng(1)
    drawn = generator.multinomial(360, [0.02, 0.02, 0.96], size=2_000)
    shown = [PairedDifference(360, int(one), int(other)).shown for one, other, _ in drawn]
    assert np.mean(shown) < 0.05


def test_the_verdict_names_the_better_network_or_none() -> None:
    names = ("old", "new")
    assert PairedDifference(360, 10, 11).verdict(names) == (
        "No difference between these two networks is shown: new less old is +0.3 points of accuracy "
        "(95 % interval −2.4 to +3.0; McNemar's exact test, p = 1.000)."
    )
    better = PairedDifference(10_000, 20, 70)
    assert better.verdict(names).startswith(
        "Of these two networks new is better, by 0.50 points of accuracy ("
    )
    assert better.verdict(names).endswith("McNemar's exact test, p < 0.001).")
    worse = PairedDifference(10_000, 70, 20)
    assert worse.verdict(names) == better.verdict(("new", "old"))
    with use_language("ko"):
        assert "정확도가 0.50%p 더 높습니다" in better.verdict(names)


def test_networks_that_never_differ_are_not_told_apart() -> None:
    same = PairedDifference(200, 0, 0)
    low, high = same.interval
    assert (same.difference, same.p_value, same.shown) == (0, 1, False)
    assert low == pytest.approx(-high)
    assert 0.01 < high < 0.03  # 3.84 of 204: none of 200 flips says little about the next

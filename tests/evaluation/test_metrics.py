"""The interval is Wilson's, and wider where folds differ by more than chance."""

import pytest
from scipy.stats import chi2_contingency  # type: ignore[import-untyped]

from pellucid.evaluation.metrics import FoldScore, dispersion, wilson
from tests.toys import given_answers


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3 (Wilson without correction)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # and its mirror image: all right
        (20, 20, 0.8389, 1.0000),
    ],
)
def test_the_interval_is_wilsons(right: int, count: int, low: float, high: float) -> None:
    answers = [[0.9, 0.1]] * right + [[0.2, 0.8]] * (count - right)
    assert given_answers(answers, [0] * count).interval == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("right", [0, 1, 50, 99, 100])
def test_the_interval_stays_within_zero_and_one_and_holds_the_accuracy(right: int) -> None:
    found = given_answers([[0.9, 0.1]] * right + [[0.2, 0.8]] * (100 - right), [0] * 100)
    assert found.interval is not None
    low, high = found.interval
    assert 0 <= low <= found.accuracy <= high <= 1
    assert low < high


def folds_of(*right: int, count: int = 20) -> list[FoldScore]:
    return [FoldScore(number, count, hits, hits / count) for number, hits in enumerate(right, 1)]


def test_folds_that_differ_by_chance_widen_nothing() -> None:
    assert dispersion(folds_of(10, 11, 10, 9, 10)) == 1
    assert dispersion(folds_of(20, 20, 20)) == 1
    assert dispersion(folds_of(7)) == dispersion([]) == 1


def test_folds_that_differ_by_more_count_as_fewer_pictures() -> None:
    scores = folds_of(4, 18, 9, 19, 5)
    table = [[score.correct, score.count - score.correct] for score in scores]
    statistic = chi2_contingency(table, correction=False).statistic  # an independent oracle
    assert dispersion(scores) == pytest.approx(statistic / 4)
    assert wilson(0.55, 100 / dispersion(scores))[0] < wilson(0.55, 100)[0]

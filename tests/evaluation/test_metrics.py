"""The interval is Wilson's."""

import pytest

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
    low, high = found.interval
    assert 0 <= low <= found.accuracy <= high <= 1
    assert low < high

"""The learning curve: what its interval promises it keeps, and what it names stands out."""

import numpy as np
import pytest

from pellucid.evaluation.learning_curve import LearningCurve, forecast_errors
from pellucid.language import use_language

COUNTS = (50, 100, 200, 400)


def trainings(
    generator: np.random.Generator, errors: list[float], hard: np.ndarray, *, repeats: int = 3
) -> tuple[np.ndarray, ...]:
    """Trainings with these mean errors on pictures of which some are harder, the same for all: `hard` (N,)
    is 1 on average. Whole trainings vary by a twentieth."""
    moved = np.exp(generator.normal(0, 0.05, (len(errors), repeats, 1)))
    chance = np.clip(np.array(errors)[:, None, None] * moved * hard, 0, 1)
    return tuple(generator.random(chance.shape) >= chance)


def power_law(count: int, *, floor: float = 0.01) -> float:
    return float(floor + 2.0 * count**-0.7)


def curve_of(right: tuple[np.ndarray, ...], labels: np.ndarray | None = None) -> LearningCurve:
    count = right[0].shape[1]
    return LearningCurve(right, COUNTS, np.zeros(count, int) if labels is None else labels, ("a", "b"))


def test_the_interval_for_twice_and_four_times_as_many_holds_what_they_bring() -> None:
    generator = np.random.default_rng(0)
    held = []
    for number in range(60):
        hard = generator.gamma(0.5, 2.0, 200)
        right = trainings(generator, [power_law(count) for count in COUNTS], hard)
        _, ahead = forecast_errors(right, COUNTS, (800, 1_600), seed=number)
        low, high = np.quantile(ahead, (0.025, 0.975), axis=0)
        truth = np.array([power_law(800), power_law(1_600)])
        held.append((low <= truth) & (truth <= high))
    assert 0.9 <= np.mean(held) <= 1


def test_more_test_pictures_make_the_interval_narrower() -> None:
    widths = []
    for count in (100, 1_600):
        generator = np.random.default_rng(1)
        hard = generator.gamma(0.5, 2.0, count)
        (twice, four) = curve_of(trainings(generator, [power_law(each) for each in COUNTS], hard)).ahead
        widths.append(twice.interval[1] - twice.interval[0])
        assert twice.interval[0] < twice.accuracy < twice.interval[1]
        assert twice.accuracy < four.accuracy
        assert twice.gain < four.gain
    assert widths[1] < widths[0] / 2


def test_copies_of_a_picture_in_one_group_tell_no_more_than_the_picture() -> None:
    generator = np.random.default_rng(2)
    right = trainings(generator, [power_law(each) for each in COUNTS], generator.gamma(0.5, 2.0, 150))
    copied = tuple(np.tile(each, 4) for each in right)
    groups = np.tile(np.arange(150), 4)
    spreads = [
        np.log(forecast_errors(given, COUNTS, (800,), groups=own)[1]).std()
        for given, own in ((right, None), (copied, groups), (copied, None))
    ]
    assert spreads[1] == pytest.approx(spreads[0], rel=0.15)
    assert spreads[2] < 0.85 * spreads[0]


def test_where_no_mistake_was_seen_the_interval_still_allows_for_some() -> None:
    perfect = tuple(np.ones((3, 40), dtype=bool) for _ in COUNTS)
    twice = curve_of(perfect).ahead[0]
    assert twice.interval[0] < 0.98
    assert twice.accuracy > 0.97


def test_the_class_that_gains_most_is_named_and_none_where_none_stands_out() -> None:
    generator = np.random.default_rng(3)
    labels = np.repeat([0, 1], 300)
    hard = np.where(labels == 0, 2.0, 0.02)
    right = trainings(generator, [power_law(each) for each in COUNTS], hard)
    uneven = curve_of(right, labels)
    assert uneven.gains_most == "a"
    assert "Class 'a' would gain most." in uneven.verdict
    alike = curve_of(right, np.tile([0, 1], 300))
    assert alike.gains_most is None
    assert "No single class is shown to gain most." in alike.verdict


def test_a_class_of_few_test_pictures_has_no_forecast_of_its_own() -> None:
    generator = np.random.default_rng(4)
    labels = np.array([0] * 95 + [1] * 5)
    found = curve_of(trainings(generator, [power_law(each) for each in COUNTS], np.ones(100)), labels)
    first, second = found.classes_ahead
    assert len(first.ahead) == 2
    assert (second.count, second.ahead) == (5, ())
    assert found.to_json()["classes"][1] == {"class": "b", "count": 5, "recall": second.recall, "ahead": []}
    assert "Too few test pictures per class" in found.verdict


def test_the_verdict_says_how_many_pictures_how_much_and_how_sure() -> None:
    generator = np.random.default_rng(5)
    found = curve_of(trainings(generator, [power_law(each) for each in COUNTS], np.ones(300)))
    assert found.verdict.startswith(
        "Twice as many training pictures (800) would bring an accuracy of about 9"
    )
    assert "Four times as many (1,600): about 9" in found.verdict
    assert "300 test pictures" in found.scope
    with use_language("ko"):
        assert found.verdict.startswith("학습 이미지가 두 배(800장)")

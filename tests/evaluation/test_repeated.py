"""Scores over seeds: the figures are the usual ones, and equal recipes are rarely told apart."""

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from pellucid.evaluation.repeated import SeedScores, compare_recipes


def trainings(
    generator: np.random.Generator, *, seeds: int = 5, hard: np.ndarray, moved: float = 0.0
) -> SeedScores:
    """Trainings that fail on each picture with its own probability; `moved` is the spread of a whole seed."""
    chance = np.clip(hard + generator.normal(0, moved, (seeds, 1)), 0, 1)
    return SeedScores(generator.random((seeds, len(hard))) >= chance, tuple(range(1, seeds + 1)))


def test_mean_spread_and_interval_are_those_of_scipy() -> None:
    found = trainings(np.random.default_rng(0), hard=np.full(400, 0.1))
    scores = found.right.mean(axis=1)
    assert found.mean == pytest.approx(scores.mean())
    assert found.spread == pytest.approx(scores.std(ddof=1))
    expected = stats.t.interval(0.95, 4, scores.mean(), stats.sem(scores))
    assert found.interval == pytest.approx(expected)
    facts = found.to_json()
    assert facts["accuracies"] == scores.tolist()
    assert "The seed moves a score by" in facts["verdict"]


def test_a_single_seed_has_a_score_and_no_interval() -> None:
    found = trainings(np.random.default_rng(0), seeds=1, hard=np.full(50, 0.1))
    assert (found.interval, found.spread) == (None, 0)
    assert "interval" not in found.verdict


def test_seeds_that_fail_on_the_same_pictures_leave_the_doubt_of_the_test_set() -> None:
    hard = (np.arange(400) < 40).astype(float)  # the same tenth fails whatever the seed
    found = trainings(np.random.default_rng(0), hard=hard)
    assert found.spread == 0
    assert found.test_error == pytest.approx(np.sqrt(0.1 * 0.9 / 399))


@pytest.mark.parametrize("moved", [0.0, 0.01, 0.03])
def test_two_equal_recipes_are_told_apart_in_one_case_of_twenty_at_most(moved: float) -> None:
    generator = np.random.default_rng(1)
    shown = []
    for _ in range(400):
        hard = generator.beta(0.2, 2, 360)
        pair = [trainings(generator, hard=hard, moved=moved) for _ in range(2)]
        shown.append(compare_recipes(*pair).shown)
    assert np.mean(shown) <= 0.05


def test_a_recipe_that_is_better_by_far_is_found() -> None:
    generator = np.random.default_rng(2)
    hard = generator.beta(0.2, 2, 360)
    first = trainings(generator, hard=np.clip(hard + 0.05, 0, 1))
    second = trainings(generator, hard=hard)
    found = compare_recipes(first, second)
    assert found.shown
    assert found.difference == pytest.approx(second.mean - first.mean)
    assert found.verdict(("few", "all")).startswith("The recipe of all is better: all less few is +")
    assert not compare_recipes(first, first).shown

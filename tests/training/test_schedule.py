"""The learning rate rises and falls as its schedule says."""

import itertools

import pytest

from pellucid.recipe import Recipe
from pellucid.training.schedule import learning_rate


def test_the_schedule_climbs_for_a_quarter_and_falls_to_nothing() -> None:
    recipe = Recipe(epochs=10, learning_rate=0.1, schedule="one-cycle")
    rates = [learning_rate(recipe, step, 40) for step in range(400)]
    peak = rates.index(max(rates))
    assert 98 <= peak <= 100
    assert max(rates) == pytest.approx(0.1, rel=1e-3)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[-1] < 1e-4 * 0.1
    assert 0 < rates[0] < 0.01 * 0.1 + 1e-9
    constant = Recipe(learning_rate=0.1, schedule="constant")
    assert {learning_rate(constant, step, 40) for step in range(400)} == {0.1}


def test_the_linear_schedule_climbs_for_a_tenth_and_falls_straight_to_nothing() -> None:
    recipe = Recipe(epochs=10, learning_rate=0.1, schedule="linear")
    rates = [learning_rate(recipe, step, 40) for step in range(400)]
    peak = rates.index(max(rates))
    assert 38 <= peak <= 41
    assert max(rates) == pytest.approx(0.1, rel=0.01)
    falls = [earlier - later for earlier, later in itertools.pairwise(rates[peak + 1 :])]
    assert falls == pytest.approx([falls[0]] * len(falls))
    assert 0 < rates[-1] < 0.1 / 300

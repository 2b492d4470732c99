"""The network is chosen on validation pictures, within the budget, and the run says what was tried."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pellucid.data.dataset import Origin
from pellucid.recipe import Recipe
from pellucid.runs import choose as choosing
from pellucid.runs.choose import Candidate, candidate_recipes, choose
from pellucid.runs.fit import fit
from pellucid.training.loop import Step
from tests.toys import economical, toy_splits

SPLITS = toy_splits(120, channels=3)
SETTINGS = {"threads": 1, "precision": "float32"}
QUICK = Recipe(model="tutorial", epochs=8, batch_size=16)


@pytest.fixture(autouse=True)
def cheaply() -> Any:
    with economical():
        yield


def of(*recipes: Recipe, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> choosing.Choice:
    monkeypatch.setattr(choosing, "candidate_recipes", lambda train_set: list(recipes))
    return choose(SPLITS.train, SPLITS.validation, SETTINGS, **settings)


def test_the_best_on_validation_is_chosen_and_trains_again_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poor = replace(QUICK, epochs=1, learning_rate=1e-9, augment="none")
    choice = of(poor, replace(QUICK, augment="none"), monkeypatch=monkeypatch)
    first, second = choice.candidates
    assert (first.chosen, second.chosen) == (False, True)
    assert choice.recipe == replace(QUICK, augment="none", **SETTINGS)
    run = fit(
        SPLITS.train,
        SPLITS.validation,
        choice.recipe,
        folder=tmp_path / "run",
        candidates=choice.candidates,
        origin=Origin("toys"),
    )
    assert run.best is not None
    assert (run.best.val_accuracy, run.best.val_loss) == (second.val_accuracy, second.val_loss)
    written = json.loads((tmp_path / "run" / "environment.json").read_text())["candidates"]
    assert [Candidate.from_json(values) for values in written] == list(choice.candidates)


def test_what_does_not_fit_the_budget_is_dropped_after_its_first_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[Step] = []
    train_network = choosing.train_network

    def counted(*given: Any, **named: Any) -> Any:
        for event in train_network(*given, **named):
            if isinstance(event, Step):
                steps.append(event)
            yield event

    monkeypatch.setattr(choosing, "train_network", counted)
    announced: list[tuple[str, float]] = []
    choice = of(
        QUICK,
        replace(QUICK, epochs=100_000),
        monkeypatch=monkeypatch,
        budget=30.0,
        on_start=lambda name, seconds: announced.append((name, seconds)),
    )
    finished, dropped = choice.candidates
    assert (finished.chosen, dropped.chosen, dropped.val_loss) == (True, False, None)
    assert dropped.estimated > 30
    assert [name for name, _ in announced] == ["tutorial", "tutorial"]
    assert len(steps) <= 8 * 5 + 4 * choosing.MEASURED_STEPS + 1


def test_the_first_is_finished_however_small_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = of(QUICK, QUICK, monkeypatch=monkeypatch, budget=0.0)
    assert [candidate.val_loss is None for candidate in choice.candidates] == [False, True]


def test_few_pictures_get_as_many_updates_as_many_do_and_large_resnets_wait_for_many() -> None:
    recipes = candidate_recipes(SPLITS.train)
    assert [(recipe.model, recipe.fine_tune > 0) for recipe in recipes] == [
        ("lite0", False), ("compact", False), ("tutorial", False), ("lite0", True),
    ]  # fmt: skip
    assert recipes[1].epochs == choosing.MOST_EPOCHS  # of two steps each
    two_channels = toy_splits(60, channels=2)
    assert {recipe.model for recipe in candidate_recipes(two_channels.train)} == {"compact", "tutorial"}

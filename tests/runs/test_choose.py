"""The network is chosen on validation pictures, within the budget, and the run says what was tried."""

import itertools
import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pellucid.cli.train import described
from pellucid.data.dataset import Dataset, Origin
from pellucid.errors import PellucidError, UsageError
from pellucid.recipe import Recipe
from pellucid.runs import choose as choosing
from pellucid.runs import session
from pellucid.runs.choose import Candidate, Choice, Listener, candidate_recipes, choose, leaves_open
from pellucid.runs.fit import fit
from pellucid.training.loop import Epoch, Progress
from tests.toys import economical, left, toy_splits

SPLITS = toy_splits(120, channels=3)
SETTINGS = {"threads": 1, "precision": "float32"}
QUICK = Recipe(model="tutorial", epochs=8, batch_size=16, augment="none")
POOR = replace(QUICK, epochs=1, learning_rate=1e-9)


@pytest.fixture(autouse=True)
def cheaply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PELLUCID_HOME", str(tmp_path / "cache"))
    with economical():
        yield


def of(*recipes: Recipe, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Choice:
    monkeypatch.setattr(choosing, "candidate_recipes", lambda train_set: list(recipes))
    return choose(SPLITS.train, SPLITS.validation, SETTINGS, **settings)


def models(choice: Choice) -> list[tuple[str, bool]]:
    """(name, whether it was tried) of every candidate."""
    return [(candidate.model, candidate.val_accuracy is not None) for candidate in choice.candidates]


def test_the_best_on_validation_is_chosen_and_trains_again_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = of(POOR, QUICK, monkeypatch=monkeypatch)
    first, second = choice.candidates
    assert (first.chosen, second.chosen) == (False, True)
    assert choice.recipe == replace(QUICK, **SETTINGS)
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


def test_a_clock_that_races_changes_nothing_unless_a_budget_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", lambda: next(hours) * 3600.0)
        by_work = of(POOR, QUICK, monkeypatch=patch)
        by_clock = of(replace(POOR, seed=1), replace(QUICK, seed=1), monkeypatch=patch, budget=120.0)
    assert models(by_work) == [("tutorial", True), ("tutorial", True)]
    assert models(by_clock) == [("tutorial", True), ("tutorial", False)]


def test_what_does_not_fit_is_named_with_the_time_it_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = of(QUICK, replace(QUICK, epochs=1_000_000), monkeypatch=monkeypatch)
    assert models(choice) == [("tutorial", True), ("tutorial", False)]
    assert choice.candidates[1].seconds > 120


def test_the_quickest_is_tried_however_small_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = of(replace(QUICK, epochs=9), QUICK, monkeypatch=monkeypatch, budget=1e-6)
    assert models(choice) == [("tutorial", True), ("tutorial", False)]
    assert choice.recipe.epochs == QUICK.epochs


def test_the_plan_is_announced_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[object] = []
    listener = Listener(
        lambda names, seconds: heard.append((names, seconds > 0)),
        lambda candidate: heard.append(candidate.val_accuracy is not None),
    )
    of(POOR, QUICK, monkeypatch=monkeypatch, listener=listener)
    assert heard == [(["tutorial", "tutorial"], True), True, True]


def test_what_was_tried_on_the_same_pictures_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(POOR, QUICK, monkeypatch=monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(choosing, "train_network", None)  # a training would fail
        assert of(POOR, QUICK, monkeypatch=patch) == before
        with pytest.raises(TypeError):
            choose(SPLITS.train.subset(list(range(60))), SPLITS.validation, SETTINGS)


def test_a_training_that_diverges_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wild = replace(QUICK, model="compact")
    build = choosing.build

    def built(model: str, *shape: Any, seed: int) -> nn.Module:
        network = build(model, *shape, seed=seed)
        if model == wild.model:
            with torch.no_grad():
                next(iter(network.parameters())).fill_(math.nan)
        return network

    monkeypatch.setattr(choosing, "build", built)
    choice = of(wild, QUICK, monkeypatch=monkeypatch)
    first, second = choice.candidates
    assert (first.val_accuracy, first.chosen, second.chosen) == (None, False, True)
    assert "Training stopped at epoch 1" in first.failed
    with pytest.raises(PellucidError, match="None of the networks could be trained: Training stopped at"):
        of(wild, monkeypatch=monkeypatch)


def test_the_chosen_network_is_not_trained_again_and_the_run_is_the_same_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = fit(SPLITS, replace(QUICK, **SETTINGS), folder=tmp_path / "alone")
    monkeypatch.setattr(choosing, "candidate_recipes", lambda train_set: [POOR, QUICK])
    first = fit(SPLITS, Recipe.named("fast", **SETTINGS), folder=tmp_path / "first")
    heard: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(session, "train_network", None)  # a training would fail
        patch.setattr(choosing, "train_network", None)
        second = fit(
            SPLITS, Recipe.named("fast", **SETTINGS), folder=tmp_path / "second", callbacks=[heard.append]
        )
    assert heard == list(second.history) == list(first.history)
    assert left(first.folder) == left(second.folder) == left(alone.folder)
    fewer = fit(SPLITS, Recipe.named("fast", **SETTINGS), folder=tmp_path / "fewer", snapshots=2)
    assert len(fewer.snapshots()) < len(first.snapshots())


def test_ctrl_c_while_choosing_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(candidate: Candidate) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        of(QUICK, POOR, monkeypatch=monkeypatch, listener=Listener(tried=stop))
    trained: list[Recipe] = []
    train_network = choosing.train_network

    def counted(network: Any, train_set: Any, validation_set: Any, recipe: Recipe, **rest: Any) -> Any:
        trained.append(recipe)
        return train_network(network, train_set, validation_set, recipe, **rest)

    monkeypatch.setattr(choosing, "train_network", counted)
    of(QUICK, POOR, monkeypatch=monkeypatch)
    assert trained == [replace(POOR, **SETTINGS)]


def scripted(monkeypatch: pytest.MonkeyPatch, **accuracies: list[float]) -> list[str]:
    """Trainings whose validation accuracy after each epoch is as given; the list grows by every epoch."""
    epochs: list[str] = []

    def train(
        network: nn.Module, train_set: Dataset, validation_set: Dataset, recipe: Recipe, *, progress: Progress
    ) -> Iterator[Epoch]:
        for number, accuracy in enumerate(accuracies[recipe.model], 1):
            epochs.append(recipe.model)
            epoch = Epoch(number, 1.0, 0.1, 1.0, 1.0, 1 - accuracy, accuracy, best=number == recipe.epochs)
            progress.history.append(epoch)
            yield epoch

    monkeypatch.setattr(choosing, "train_network", train)
    return epochs


FIRST, SECOND = replace(QUICK, epochs=6), replace(QUICK, model="compact", epochs=6)


def test_what_is_far_behind_after_half_of_its_epochs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = scripted(monkeypatch, tutorial=[0.9] * 6, compact=[0.1, 0.6, 0.3, 1.0, 1.0, 1.0])
    for _ in range(2):  # the second time it is remembered
        choice = of(FIRST, SECOND, monkeypatch=monkeypatch)
        behind = choice.candidates[1]
        assert epochs == ["tutorial"] * 6 + ["compact"] * 3
        assert (behind.pruned, behind.half_accuracy, behind.val_accuracy) == (True, 0.6, None)
        assert (behind.tried, choice.recipe.model) == (True, "tutorial")
    assert "given up after half of its epochs, far behind with validation accuracy 0.6000" in described(
        behind
    )


def test_what_is_a_little_behind_is_trained_to_its_end_and_may_win(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, tutorial=[0.9] * 6, compact=[0.1, 0.82, 0.3, 0.3, 0.3, 0.95])
    assert of(FIRST, SECOND, monkeypatch=monkeypatch).recipe.model == "compact"


def test_a_choice_does_not_depend_on_the_choices_before(monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = scripted(monkeypatch, tutorial=[0.9] * 6, compact=[0.1, 0.6, 0.3, 1.0, 1.0, 0.97])
    alone = of(SECOND, monkeypatch=monkeypatch)
    assert alone.candidates[0].val_accuracy == 0.97
    beside = of(FIRST, SECOND, monkeypatch=monkeypatch)  # the whole training of the second is remembered
    assert (beside.recipe.model, beside.candidates[1].pruned) == ("tutorial", True)
    again = of(SECOND, monkeypatch=monkeypatch)
    assert again.candidates[0].val_accuracy == 0.97
    assert epochs.count("compact") <= 12


def test_fine_tuning_is_tried_with_a_budget_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    at_rest = Recipe(model="lite0", batch_size=32, epochs=1, augment="none")
    tuned = replace(at_rest, fine_tune=1)
    scripted(monkeypatch, lite0=[0.9])
    monkeypatch.setattr(choosing, "expected_seconds", lambda *_: 1.0)
    assert models(of(at_rest, tuned, monkeypatch=monkeypatch)) == [
        ("lite0", True), ("lite0, fine-tuned", False),
    ]  # fmt: skip
    with_budget = of(at_rest, tuned, monkeypatch=monkeypatch, budget=600.0)
    assert models(with_budget) == [("lite0", True), ("lite0, fine-tuned", True)]


def test_nothing_is_begun_once_every_validation_picture_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = scripted(monkeypatch, tutorial=[0.5, 1.0, 1.0, 1.0, 1.0, 1.0], compact=[1.0] * 6)
    choice = of(FIRST, SECOND, monkeypatch=monkeypatch)
    assert epochs == ["tutorial"] * 6
    left_out = choice.candidates[1]
    assert (left_out.pruned, left_out.tried, left_out.half_accuracy) == (True, False, None)
    assert described(left_out) == "compact: not tried, every validation picture is right already"


def test_candidates_suit_the_number_of_pictures_and_their_size() -> None:
    recipes = candidate_recipes(SPLITS.train)
    assert [(recipe.model, recipe.fine_tune > 0) for recipe in recipes] == [
        ("lite0", False), ("compact", False), ("tutorial", False), ("lite0", True),
    ]  # fmt: skip
    updates = recipes[1].epochs * -(-len(SPLITS.train) // recipes[1].batch_size)
    assert updates >= choosing.UPDATES
    two_channels = toy_splits(60, channels=2)
    assert {recipe.model for recipe in candidate_recipes(two_channels.train)} == {"compact", "tutorial"}
    many = toy_splits(4_000).train
    assert "resnet" in {recipe.model for recipe in candidate_recipes(many)}
    wide = SPLITS.train.images.repeat(1, 1, 5, 5)  # 80x80
    large = Dataset(wide, SPLITS.train.labels, SPLITS.train.classes, SPLITS.train.sources)
    assert {recipe.model for recipe in candidate_recipes(large)} == {"compact", "lite0"}


@pytest.mark.parametrize(
    ("recipe", "own", "known"),
    [
        (Recipe.named("fast"), True, False),
        (Recipe.named("fast", seed=7, threads=1), True, False),
        (Recipe.named("fast", epochs=3), False, False),
        (Recipe.named("fast", model="tutorial"), False, False),
        (Recipe.named("accurate"), False, False),
        (Recipe.named("fast", model="auto"), True, True),
    ],
)
def test_your_own_pictures_leave_the_network_open_unless_it_is_said(
    recipe: Any, own: bool, known: bool
) -> None:
    assert leaves_open(recipe, Origin("photos", "/photos")) is own
    assert leaves_open(recipe, Origin("mnist", known=True)) is known


def test_fit_chooses_for_pictures_of_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "candidate_recipes", lambda train_set: [POOR, QUICK])
    plain = fit(SPLITS, Recipe.named("fast", **SETTINGS), folder=tmp_path / "plain")
    asked = fit(
        SPLITS, Recipe.named("fast", **SETTINGS), model="auto", budget=60.0, folder=tmp_path / "asked"
    )
    named = fit(SPLITS, POOR, model="compact", folder=tmp_path / "named")
    assert plain.recipe == asked.recipe == replace(QUICK, balance="none", **SETTINGS)
    assert [values["chosen"] for values in plain.environment["candidates"]] == [False, True]
    assert named.recipe.model == "compact"
    assert "candidates" not in named.environment


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"recipe": QUICK, "model": "auto"}, "chooses a recipe itself"),
        ({"recipe": "accurate", "model": "auto"}, "chooses a recipe itself"),
        ({"recipe": QUICK, "budget": 5.0}, "`budget` is for trying several networks"),
        ({"recipe": "fast", "model": "lite"}, "Unknown model 'lite'"),
    ],
)
def test_what_leaves_nothing_to_choose_is_refused(
    settings: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=expected):
        fit(SPLITS, folder=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": 3}, "'time' is not known"),
        ({"model": None}, "'model' is None"),
        ({"seconds": -1}, "'seconds' is -1"),
        ({"val_accuracy": 7}, "'val_accuracy' is 7"),
        ({"half_accuracy": "0.5"}, "'half_accuracy' is '0.5'"),
        ({"chosen": 1}, "'chosen' is 1"),
    ],
)
def test_damaged_candidates_are_refused(change: dict[str, Any], message: str) -> None:
    sound = Candidate("tutorial", 3.0, 0.5, 1.0).to_json()
    assert Candidate.from_json(sound) == Candidate("tutorial", 3.0, 0.5, 1.0)
    with pytest.raises(PellucidError, match=f"environment.json is damaged: {message}"):
        Candidate.from_json({**sound, **change})

"""A second training on all pictures, and folds: what they are judged by, what they leave, how they go on."""

import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.data.dataset import Dataset, Splits
from pellucid.data.folds import everything
from pellucid.errors import UsageError
from pellucid.evaluation.metrics import wilson
from pellucid.files import read_json
from pellucid.models import build
from pellucid.models.tutorial import Tutorial
from pellucid.recipe import NamedRecipe, Recipe
from pellucid.runs.fit import fit, resume
from pellucid.runs.run import Run
from pellucid.runs.session import Callback
from pellucid.runs.stopping import Stopped, StopTraining
from pellucid.training.loop import Epoch, Step
from tests.runs.toy_runs import SHORT, SPLITS, TOYS, resumed, started
from tests.toys import at, economical, left, rows_of, same_weights, toy_splits

AGAIN = replace(SHORT, use_all=True)
FOLDED = replace(SHORT, folds=3, epochs=1)
FEW = Splits(*(part.subset(range(0, len(part), 2)) for _, part in SPLITS.items()), TOYS)


def trained(folder: Path, recipe: Recipe, *callbacks: Callback, **named: Any) -> Run:
    return fit(FEW, recipe, folder=folder, callbacks=callbacks, **named)


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with economical():
        return trained(tmp_path_factory.mktemp("folded"), FOLDED).folder


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with economical():
        return trained(tmp_path_factory.mktemp("again"), AGAIN).folder


def test_the_first_training_is_that_without_the_second(again: Path, tmp_path: Path) -> None:
    alone = trained(tmp_path / "alone", SHORT)
    run = Run.open(again)
    assert [replace(epoch, seconds=0) for epoch in run.history] == [
        replace(epoch, seconds=0) for epoch in alone.history
    ]
    assert not same_weights(run.classifier.network, alone.classifier.network)


def test_the_second_training_is_that_on_all_pictures_for_as_many_epochs(again: Path, tmp_path: Path) -> None:
    run = Run.open(again)
    assert run.best is not None
    assert run.all_pictures is not None
    assert run.all_pictures.epochs == run.best.epoch
    assert run.all_pictures.pictures == len(FEW.train) + len(FEW.validation)
    both = Dataset(
        torch.cat([FEW.train.images, FEW.validation.images]),
        torch.cat([FEW.train.labels, FEW.validation.labels]),
        FEW.train.classes,
        [*FEW.train.sources, *FEW.validation.sources],
    )
    # The validation part plays no role in the weights of a training whose last epoch is its best.
    stop = run.best.epoch

    def until(event: Step | Epoch) -> None:
        if isinstance(event, Epoch) and event.epoch == stop:
            raise StopTraining

    alone = fit(both, both, SHORT, folder=tmp_path / "alone", callbacks=[until], origin=TOYS)
    assert alone.best is not None
    assert alone.best.epoch == stop
    assert same_weights(run.classifier.network, alone.classifier.network)


def test_validation_figures_are_told_to_be_those_of_the_first(again: Path) -> None:
    run, training = Run.open(again), read_json(again / "model.json")["training"]
    assert "in a first training; then on all" in run.summary
    assert "'best' and metrics.csv are of the first" in training["why"]
    assert training["best"]["val_loss"] == run.best.val_loss if run.best else False
    assert not {"val_loss", "val_accuracy"} & training["all_pictures"].keys()
    seconds = rows_of(again / "metrics_all.csv")
    assert [(row["val_loss"], row["val_accuracy"]) for row in seconds] == [("", "")] * len(seconds)
    assert [row["epoch"] for row in seconds] == [f"{n + 1}" for n in range(len(seconds))]
    assert all(snapshot[1] < len(seconds) * 2 for snapshot in run.snapshots())


def test_events_tell_which_training_they_are_of(tmp_path: Path) -> None:
    stages: list[str] = []
    trained(tmp_path / "run", FOLDED, lambda event: stages.append(event.stage))
    assert list(dict.fromkeys(stages)) == ["fold 1 of 3", "fold 2 of 3", "fold 3 of 3", "all pictures"]


@pytest.mark.parametrize("number", [1, 4, 5, 7])
def test_a_second_training_resumed_equals_one_never_stopped(again: Path, tmp_path: Path, number: int) -> None:
    with pytest.raises(Stopped):
        trained(tmp_path / "run", AGAIN, at(number, signal.SIGINT))
    stopped = Run.open(tmp_path / "run")  # whenever it was stopped, its weights are those of one training
    assert stopped.all_pictures is None
    resume(tmp_path / "run", FEW.train, FEW.validation)
    assert left(tmp_path / "run") == left(again)
    assert [{**row, "seconds": 0} for row in rows_of(tmp_path / "run" / "metrics_all.csv")] == [
        {**row, "seconds": 0} for row in rows_of(again / "metrics_all.csv")
    ]


@pytest.mark.parametrize("number", [0, 2, 4, 8])
def test_folds_resumed_equal_folds_never_stopped(folded: Path, tmp_path: Path, number: int) -> None:
    with pytest.raises(Stopped):
        trained(tmp_path / "run", FOLDED, at(number, signal.SIGINT))
    with pytest.raises(UsageError, match="its folds were not completed"):
        Run.open(tmp_path / "run").evaluate()
    resume(tmp_path / "run", FEW)
    assert left(tmp_path / "run") == left(folded)
    for name in ("predictions.csv", "evaluation.json", "split.csv", "held_out.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (folded / name).read_bytes()


def test_each_picture_is_judged_by_a_network_that_did_not_see_it(folded: Path, tmp_path: Path) -> None:
    whole = everything(FEW).train
    evaluation = Run.open(folded).evaluation()
    assert evaluation is not None
    assert evaluation.folds is not None
    assert list(evaluation.sources) == list(whole.sources)
    kept = whole.subset(evaluation.folds != 1)
    alone = fit(kept, kept, replace(SHORT, epochs=1), folder=tmp_path / "alone", origin=TOYS)
    held_out = evaluation.folds == 1
    logits = alone.classifier.logits(whole.images[held_out]).double()
    found = evaluation.probabilities[held_out].double().log()
    centred = [scores - scores.mean(dim=1, keepdim=True) for scores in (logits, found)]
    temperature = float((centred[0] ** 2).sum() / (centred[0] * centred[1]).sum())  # that of the other folds
    assert temperature != alone.classifier.temperature
    assert torch.allclose(found.exp(), (logits / temperature).softmax(dim=1), atol=1e-6)


def test_the_network_kept_learned_from_all(folded: Path, tmp_path: Path) -> None:
    whole = everything(FEW).train
    alone = fit(whole, whole, replace(SHORT, epochs=1), folder=tmp_path / "alone", origin=TOYS)
    run = Run.open(folded)
    assert same_weights(run.classifier.network, alone.classifier.network)
    assert run.all_pictures is not None
    assert run.all_pictures.pictures == len(whole)
    assert math.isnan(run.history["val_loss"][0])
    assert "after 3 folds, nothing held out" in run.summary


def test_what_folds_found_is_their_evaluation_whoever_asks(folded: Path) -> None:
    run = Run.open(folded)
    evaluation = run.evaluate(FEW.test)
    assert evaluation.count == sum(len(part) for _, part in FEW.items())
    facts = read_json(folded / "evaluation.json")
    assert [fold["count"] for fold in facts["folds"]] == [
        int((evaluation.folds == fold).sum()) for fold in range(3)
    ]
    low, high = wilson(evaluation.accuracy, evaluation.count)
    assert facts["interval"][0] <= low < high <= facts["interval"][1]
    assert {row["split"] for row in rows_of(folded / "split.csv")} == {"train"}
    assert {row["fold"] for row in rows_of(folded / "split.csv")} == {"1", "2", "3"}
    assert facts["leaking"] == []


def test_a_network_of_ones_own_begins_every_training_from_its_first_weights(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = Tutorial(1, 4, (16, 16))
    first = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    whole = trained(tmp_path / "whole", AGAIN, model=network)
    other = Tutorial(1, 4, (16, 16))
    other.load_state_dict(first)
    with pytest.raises(Stopped):
        trained(tmp_path / "run", AGAIN, at(7, signal.SIGINT), model=other)
    resume(tmp_path / "run", FEW.train, FEW.validation, model=Tutorial(1, 4, (16, 16)))
    assert left(tmp_path / "run") == left(whole.folder)


def test_a_callback_that_ends_the_second_training_leaves_the_first(tmp_path: Path) -> None:
    alone = trained(tmp_path / "alone", SHORT)
    run = trained(tmp_path / "run", AGAIN, at(7, StopTraining("enough")))
    assert run.ended == "enough"
    assert run.all_pictures is None
    assert same_weights(run.classifier.network, alone.classifier.network)


def test_the_last_layer_is_solved_for_each_fold(tmp_path: Path) -> None:
    coloured = toy_splits(90, channels=3)
    run = fit(coloured, Recipe.named("fast", folds=3, threads=1), folder=tmp_path / "run")
    assert run.recipe.model == "lite0"
    evaluation = run.evaluation()
    assert evaluation is not None
    assert evaluation.accuracy > 0.6
    fresh = build("lite0", 3, 4, (16, 16), seed=0)
    assert same_weights(run.classifier.network.get_submodule("backbone"), fresh.get_submodule("backbone"))


def test_the_last_layer_is_solved_again_with_the_settings_chosen_first(tmp_path: Path) -> None:
    coloured = toy_splits(90, channels=3)
    recipe = Recipe.named("fast", model="lite0", threads=1)
    twice = fit(coloured, recipe, folder=tmp_path / "twice")
    once = fit(coloured, NamedRecipe("fast", {**recipe.settings, "use_all": False}), folder=tmp_path / "once")
    assert once.all_pictures is None
    assert twice.head == once.head is not None
    assert twice.all_pictures is not None
    count = len(coloured.train) + len(coloured.validation)
    assert (twice.all_pictures.epochs, twice.all_pictures.pictures) == (1, count)
    assert not same_weights(twice.classifier.network, once.classifier.network)


class Killed(BaseException):
    """What a process that is killed does: nothing any more."""


AT_THE_END = ("held_out.csv", "margins.csv", "model.safetensors", "model.json", "reference.safetensors")


@pytest.mark.parametrize("name", AT_THE_END)
def test_killed_while_the_end_is_saved_a_training_can_be_gone_on_with(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder, replace_file = tmp_path / "run", Path.replace

    def replace_until_killed(path: Path, target: Path) -> Path:
        if target.name == name:
            raise Killed
        return replace_file(path, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", replace_until_killed)
        started(folder)
    assert not (folder / name).exists()
    resumed(folder)
    assert left(folder) == left(finished)
    assert not (folder / "checkpoint.safetensors").exists()

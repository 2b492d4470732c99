"""A training that begins from a run: what it takes, what it refuses, what it writes down."""

import signal
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.data.dataset import Dataset, Origin, Splits
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.files import read_json
from pellucid.recipe import Recipe
from pellucid.runs.fit import fit, resume
from pellucid.runs.run import Run
from pellucid.runs.session import Callback
from pellucid.runs.stopping import Stopped, StopTraining
from pellucid.runs.warm_start import WarmStart, take_weights
from tests.runs.toy_runs import SHORT, SPLITS, TOYS
from tests.toys import CLASSES, at, economical, left, rows_of, same_weights, toy_splits

NEW = toy_splits(120, seed=5)  # other pictures of the same classes


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("source")
    with economical():
        return fit(SPLITS.train, SPLITS.validation, SHORT, folder=folder, origin=TOYS)


def begun(folder: Path, source: Run | Path, splits: Splits = NEW, *callbacks: Callback) -> Run:
    given = replace(splits, origin=TOYS)
    return fit(given, SHORT, folder=folder, warm_start=source, callbacks=callbacks)


def renamed(splits: Splits, classes: tuple[str, ...]) -> Splits:
    """The same pictures under other class names."""
    return Splits(*(Dataset(p.images, p.labels, classes, p.sources) for _, p in splits.items()))


def test_before_its_first_step_it_is_the_run_it_begins_from(source: Run, tmp_path: Path) -> None:
    still = replace(SHORT, learning_rate=1e-12)
    run = fit(replace(NEW, origin=TOYS), still, folder=tmp_path / "run", warm_start=source)
    for name, weights in run.classifier.network.state_dict().items():
        assert torch.allclose(weights, source.classifier.network.state_dict()[name], atol=1e-6)
    taken = WarmStart.from_json(run.environment["warm_start"])
    assert taken.kept == CLASSES
    assert (taken.new, taken.dropped) == ((), ())
    assert taken.weights == read_json(source.folder / "model.json")["sha256"]
    assert taken.run == str(source.folder)
    assert begun(tmp_path / "by path", source.folder).environment["warm_start"] == taken.to_json()


def test_classes_keep_their_weights_by_name_and_new_ones_are_drawn(source: Run, tmp_path: Path) -> None:
    splits = renamed(NEW, ("box", "star", "bar", "moon"))
    run = fit(replace(splits, origin=TOYS), replace(SHORT, learning_rate=1e-12, model="tutorial"),
              folder=tmp_path / "run", warm_start=source)  # fmt: skip
    names = [name for name, tensor in run.classifier.network.named_parameters() if tensor.shape[0] == 4]
    last = names[-2].rpartition(".")[0]
    mine, theirs = (each.classifier.network.state_dict() for each in (run, source))
    for part in ("weight", "bias"):
        now, before = mine[f"{last}.{part}"], theirs[f"{last}.{part}"]
        assert torch.allclose(now[0], before[CLASSES.index("box")], atol=1e-6)
        assert torch.allclose(now[2], before[CLASSES.index("bar")], atol=1e-6)
        assert not torch.allclose(now[1], before[1], atol=1e-6)
    taken = WarmStart.from_json(run.environment["warm_start"])
    assert (taken.kept, taken.new, taken.dropped) == (("box", "bar"), ("star", "moon"), ("cross", "post"))
    assert "2 of its classes kept, new: 'star', 'moon'; left out: 'cross', 'post'" in str(taken)


def test_it_learns_faster_than_from_nothing(source: Run, tmp_path: Path) -> None:
    warm, cold = begun(tmp_path / "warm", source), fit(
        replace(NEW, origin=TOYS), SHORT, folder=tmp_path / "cold"
    )  # fmt: skip
    assert warm.history[0].loss < cold.history[0].loss


def test_resumed_it_equals_one_never_stopped(source: Run, tmp_path: Path) -> None:
    recipe = replace(SHORT, use_all=True)
    given = replace(NEW, origin=TOYS)
    whole = fit(given, recipe, folder=tmp_path / "whole", warm_start=source)
    for number in (1, 6, 7):
        folder = tmp_path / f"{number}"
        with pytest.raises(Stopped):
            fit(given, recipe, folder=folder, warm_start=source, callbacks=[at(number, signal.SIGINT)])
        resume(folder, given)
        assert left(folder) == left(whole.folder), number


def test_a_test_picture_that_the_run_has_learned_from_is_refused(source: Run, tmp_path: Path) -> None:
    leaking = Splits(NEW.train, NEW.validation, SPLITS.train)
    with pytest.raises(UsageError, match=r"has learned from 144 of these 144 test pictures.*`split_file="):
        begun(tmp_path / "run", source, leaking)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="none of its folds could judge them"):
        fit(SPLITS, replace(SHORT, folds=3), folder=tmp_path / "run", warm_start=source)
    assert begun(tmp_path / "same split", source, SPLITS)  # as the run split them


def test_what_is_no_longer_new_to_it_in_validation_is_told(source: Run, tmp_path: Path) -> None:
    swapped = Splits(SPLITS.validation, SPLITS.train, SPLITS.test)
    with pytest.warns(UserWarning, match=r"has learned from 144 of 144 validation pictures"):
        run = begun(tmp_path / "run", source, swapped)
    assert run.environment["warm_start"]["learned_in_validation"] == 144


def test_what_earlier_runs_have_seen_is_remembered(source: Run, tmp_path: Path) -> None:
    second = begun(tmp_path / "second", source)
    third = toy_splits(80, seed=9)
    with pytest.raises(UsageError, match="has learned from"):
        begun(tmp_path / "third", second, Splits(third.train, third.validation, SPLITS.train))
    seen = {(row["content"], row["split"]) for row in rows_of(second.folder / "seen.csv")}
    assert seen == {(row["content"], row["split"]) for row in rows_of(source.folder / "split.csv")}
    basis = second.basis(SPLITS.train)
    assert len(basis.leaking) == len(SPLITS.train)


def test_other_pictures_and_networks_are_refused(source: Run, tmp_path: Path) -> None:
    coloured = toy_splits(60, seed=5, channels=3)
    with pytest.raises(UsageError, match=r"takes pictures of 16x16, gray; these are 16x16, colour"):
        begun(tmp_path / "run", source, coloured)
    inverted = Origin("toys", preprocess=Preprocess(1, 16, 16, "stretch", background=255))
    other = replace(
        source, classifier=replace(source.classifier, preprocess=Preprocess(1, 16, 16, "stretch"))
    )
    with pytest.raises(UsageError, match="reads pictures as"):
        fit(replace(NEW, origin=inverted), SHORT, folder=tmp_path / "run", warm_start=other)
    with pytest.raises(UsageError, match="holds the weights of 'tutorial', which do not fit 'compact'"):
        fit(NEW, Recipe.named("fast", model="compact"), folder=tmp_path / "run", warm_start=source)
    with pytest.raises(UsageError, match="do not fit this network"):
        take_weights(torch.nn.Linear(3, 4), CLASSES, source)
    assert not (tmp_path / "run").exists()


def test_without_a_model_the_recipe_takes_that_of_the_run(source: Run, tmp_path: Path) -> None:
    short = Recipe.named("fast", epochs=1, threads=1)
    run = fit(NEW, short, folder=tmp_path / "run", warm_start=source, callbacks=[at(0, StopTraining())])
    assert run.recipe.model == "tutorial"


def test_a_fine_tuned_backbone_is_taken_and_its_last_layer_solved_anew(tmp_path: Path) -> None:
    first, second = toy_splits(40, channels=3), toy_splits(40, seed=8, channels=3)
    settings = {"threads": 1, "precision": "float32", "batch_size": 32, "augment": "none"}
    tuned = fit(
        first, Recipe.named("fast", model="lite0", fine_tune=1, **settings), folder=tmp_path / "first"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = fit(second, Recipe.named("fast", **settings), folder=tmp_path / "second", warm_start=tuned)
    assert same_weights(
        run.classifier.network.get_submodule("backbone"), tuned.classifier.network.get_submodule("backbone")
    )
    assert not same_weights(
        run.classifier.network.get_submodule("head"), tuned.classifier.network.get_submodule("head")
    )


def test_a_damaged_note_of_what_was_taken_is_refused() -> None:
    sound = WarmStart("runs/a", "0" * 64, ("a",), ("b",), ()).to_json()
    assert WarmStart.from_json(sound).new == ("b",)
    for change in (
        {"kept": "a"},
        {"new": [3]},
        {"learned_in_validation": -1},
        {"weights": None},
        {"other": 1},
    ):
        with pytest.raises(PellucidError, match=r"The warm start in environment\.json is damaged"):
            WarmStart.from_json({**sound, **change})

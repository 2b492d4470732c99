"""A run's folder tells the truth, loses nothing, and can be gone on with from wherever it was left."""

import errno
import gc
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset, Origin, Splits
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.evaluation.evaluation import evaluate
from pellucid.files import read_json, sha256
from pellucid.models.tutorial import Tutorial
from pellucid.recipe import Recipe, read_recipe
from pellucid.runs.fit import Callback, fit, resume
from pellucid.runs.run import NO_TEST_PICTURE_LEFT, Run
from pellucid.runs.stopping import Stopped
from pellucid.training.loop import Epoch, Step
from tests.toys import (
    QUICK,
    at,
    economical,
    left,
    only_class,
    rows_of,
    same_weights,
    surroundings,
    toy_dataset,
    toy_splits,
)

SPLITS = toy_splits()
TOYS = Origin("toys", augmentation="crop")
SHORT = replace(QUICK, epochs=2)
EVENTS = 2 * 4  # an epoch of SHORT has three steps and a judgement


@pytest.fixture(autouse=True)
def cheaply() -> Iterator[None]:
    with economical():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of SHORT that was never stopped, and judged."""
    folder = tmp_path_factory.mktemp("finished")
    with economical():
        started(folder).evaluate(SPLITS.test)
    return folder


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of SHORT that was stopped at the fifth event."""
    folder = tmp_path_factory.mktemp("unfinished")
    with economical(), pytest.raises(Stopped):
        started(folder, at(5, signal.SIGINT))
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def cut_off(unfinished: Path, tmp_path: Path) -> Path:
    """A copy of the stopped run, to be damaged or gone on with."""
    return Path(shutil.copytree(unfinished, tmp_path / "run"))


def started(folder: Path, *callbacks: Callback, recipe: Recipe = SHORT) -> Run:
    return fit(SPLITS.train, SPLITS.validation, recipe, folder=folder, callbacks=callbacks, origin=TOYS)


def resumed(folder: Path) -> Run:
    return resume(folder, SPLITS.train, SPLITS.validation)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_same_seed_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    torch.rand(11)
    run = started(tmp_path / "again")
    assert left(tmp_path / "again") == left(finished)
    other = started(tmp_path / "other", recipe=replace(SHORT, seed=1))
    assert sha256(other.folder / "model.safetensors") != sha256(run.folder / "model.safetensors")


def test_another_process_with_other_hashes_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.runs.test_run import started; "
        "started(Path(sys.argv[1]))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / seed], env=surroundings(PYTHONHASHSEED=seed))
        for seed in ("1", "77")
    ]
    assert [process.wait(timeout=100) for process in processes] == [0, 0]
    digests = {sha256(folder / "model.safetensors") for folder in (finished, tmp_path / "1", tmp_path / "77")}
    assert len(digests) == 1


@pytest.mark.parametrize("number", range(EVENTS))
def test_a_run_stopped_at_any_event_and_resumed_equals_one_never_stopped(
    finished: Path, tmp_path: Path, number: int
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stopped) as caught:
        started(folder, at(number, signal.SIGINT))
    assert caught.value.exit_code == 130
    assert (folder / "model.safetensors").is_file()
    if number == EVENTS - 1:
        assert "--resume" not in str(caught.value)
        assert not (folder / "checkpoint.safetensors").exists()
    else:
        assert f"pellucid train --resume {folder}" in str(caught.value)
        assert resumed(folder).history[-1].epoch == SHORT.epochs
    assert left(folder) == left(finished)
    assert names_in(folder) == names_in(finished) - {"evaluation.json", "predictions.csv"}


def test_a_run_stopped_again_and_again_equals_one_never_stopped(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        started(folder, at(0, signal.SIGTERM))
    for _ in range(EVENTS - 3):
        with pytest.raises(Stopped) as caught:
            resume(folder, SPLITS.train, SPLITS.validation, callbacks=[at(0, signal.SIGTERM)])
        assert caught.value.exit_code == 143
    resumed(folder)
    assert left(folder) == left(finished)


def test_a_stopped_run_can_be_judged_and_then_gone_on_with(cut_off: Path, finished: Path) -> None:
    run = Run.open(cut_off)
    assert run.best is not None
    found = run.evaluate(SPLITS.test)
    assert found.accuracy == Run.open(cut_off).evaluation().accuracy  # type: ignore[union-attr]
    later = resumed(cut_off)
    assert later.evaluation() is None, "the weights are others now"
    later.evaluate(SPLITS.test)
    assert read_json(cut_off / "evaluation.json")["opened"] == 2
    assert left(cut_off) == left(finished)


@pytest.mark.parametrize("number", [1, 4, 6])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a callback failed")])
def test_what_an_error_tears_off_can_be_resumed(
    finished: Path, tmp_path: Path, number: int, error: BaseException
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(type(error)):
        started(folder, at(number, error))
    if number < 3:  # before the first judgement there is nothing to lose
        with pytest.raises(UsageError):
            resumed(folder)
        return
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(UsageError, match=r"was cut off before its model was saved.*train --resume"):
            Run.open(folder)
    else:  # what was reached is saved
        assert Run.open(folder).ended == "a callback failed"
    resumed(folder)
    assert left(folder) == left(finished)


def test_a_second_signal_acts_at_once_and_damages_nothing(finished: Path, tmp_path: Path) -> None:
    def twice(event: Step | Epoch) -> None:
        if isinstance(event, Step) and event.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):  # the interpreter sees a signal between two instructions
                pass

    with pytest.raises(KeyboardInterrupt):
        started(tmp_path / "run", twice)
    resumed(tmp_path / "run")
    assert left(tmp_path / "run") == left(finished)


OPTIONAL = ("diagnostics.csv", "snapshots.safetensors")


class Disk:
    """Counts what is flushed to the disk, and refuses from the `first` flush on, `times` times."""

    def __init__(self, first: int, times: int) -> None:
        self.count = self.refusals = 0
        self.refused = range(first, first + times)
        self.fsync = os.fsync

    def __call__(self, descriptor: int) -> None:
        self.count += 1
        if self.count - 1 in self.refused and stat.S_ISREG(os.fstat(descriptor).st_mode):
            self.refusals += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.fsync(descriptor)


def test_a_disk_that_fills_while_optional_files_are_written_does_not_end_the_training(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise PellucidError("Cannot write 'diagnostics.csv': no space is left.")

    monkeypatch.setattr("pellucid.runs.fit.write_diagnostics", full)
    with pytest.warns(UserWarning, match="Training goes on, but what pages show of it is incomplete: Cannot"):
        started(tmp_path / "run")
    assert Run.open(tmp_path / "run").diagnostics() == []
    assert left(tmp_path / "run", "diagnostics.csv") == left(finished, "diagnostics.csv")


@pytest.mark.filterwarnings("ignore:Training goes on:UserWarning")
@pytest.mark.parametrize("times", [2, 10_000], ids=["for a while", "for good"])
def test_a_disk_that_fills_at_any_write_is_told_and_loses_nothing(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    first = 0
    while True:
        folder, disk = tmp_path / f"{first}", Disk(first, times)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", disk)
            try:
                started(folder)
                if not disk.refusals:
                    break
            except PellucidError as error:
                assert f"Cannot write '{folder}" in str(error)  # noqa: PT017
                assert os.strerror(errno.ENOSPC) in str(error)  # noqa: PT017
        assert not [name for name in names_in(folder) if name.startswith(".")]
        if not (folder / "model.safetensors").exists() and not (folder / "checkpoint.safetensors").exists():
            with pytest.raises(UsageError):
                resumed(folder)
        elif (folder / "checkpoint.safetensors").exists():
            resumed(folder)
            assert left(folder, *OPTIONAL) == left(finished, *OPTIONAL), first
        first += 2  # a write flushes the file, then the folder
    assert first > 12


def test_a_folder_tells_how_it_came_to_be(finished: Path) -> None:
    run = Run.open(finished)
    assert names_in(finished) == {
        "recipe.json", "metrics.csv", "split.csv", "model.safetensors", "model.json", "environment.json",
        "snapshots.safetensors", "evaluation.json", "predictions.csv", "diagnostics.csv",
    }  # fmt: skip
    assert replace(run.recipe, threads=1) == replace(SHORT, augment="crop")  # what "auto" meant for them
    assert run.recipe == read_recipe(finished / "recipe.json")
    header = (finished / "metrics.csv").read_text().splitlines()[0]
    assert header == "epoch,seconds,learning_rate,loss,accuracy,val_loss,val_accuracy"
    manifest = read_json(finished / "model.json")
    assert manifest["training"]["why"] == "lowest validation loss"
    assert run.best is not None
    assert (
        manifest["training"]["best"]["val_loss"] == run.best.val_loss == min(e.val_loss for e in run.history)
    )
    assert manifest["sha256"] == sha256(finished / "model.safetensors")
    assert run.origin.name == run.environment["origin"]["name"] == "toys"
    assert run.environment["fingerprints"]["train"] == SPLITS.train.fingerprint
    assert run.environment["machine"]["threads"] == 1
    assert {"python", "torch", "numpy", "pellucid"} <= run.environment["versions"].keys()
    assert str(finished) in repr(run)


def test_the_split_is_written_down_and_shares_no_picture(finished: Path) -> None:
    rows = rows_of(finished / "split.csv")
    assert {row["split"] for row in rows} == {"train", "validation", "test"}
    for name, part in SPLITS.items():
        found = [(row["source"], row["label"]) for row in rows if row["split"] == name]
        labels = [part.classes[label] for label in part.labels.tolist()]
        assert found == list(zip(part.sources, labels, strict=True))
    assert len({row["content"] for row in rows}) == len(rows)


def test_an_opened_run_is_the_one_that_was_made(tmp_path: Path) -> None:
    made = started(tmp_path / "run")
    opened = Run.open(tmp_path / "run")
    assert opened.history == made.history
    assert opened.recipe == made.recipe
    assert opened.best == made.best
    assert same_weights(opened.classifier.network, made.classifier.network)
    images = SPLITS.test.images
    assert torch.equal(opened.classifier.predict(images), made.classifier.predict(images))
    assert (opened.summary, opened._repr_html_()) == (made.summary, made._repr_html_())


def test_the_recipe_of_a_run_replays_it(finished: Path, tmp_path: Path) -> None:
    started(tmp_path / "replayed", recipe=read_recipe(finished / "recipe.json"))
    assert left(tmp_path / "replayed") == left(finished)


def test_the_test_set_is_opened_once_and_every_further_time_is_counted(folder: Path) -> None:
    run = Run.open(folder)
    recorded = run.evaluation()
    assert recorded is not None
    direct = evaluate(run.classifier, SPLITS.test)
    assert recorded.to_json() == direct.to_json()
    assert torch.equal(recorded.probabilities, direct.probabilities)
    assert read_json(folder / "evaluation.json")["opened"] == 1
    assert read_json(folder / "evaluation.json")["leaking"] == []
    run.evaluate(SPLITS.test)
    run.evaluate(SPLITS.test)
    assert read_json(folder / "evaluation.json")["opened"] == 3
    assert len(rows_of(folder / "split.csv")) == sum(len(part) for _, part in SPLITS.items())


def test_a_run_that_was_never_judged_has_no_evaluation(folder: Path) -> None:
    (folder / "evaluation.json").unlink()
    assert Run.open(folder).evaluation() is None


def test_test_pictures_that_were_trained_on_are_named(folder: Path) -> None:
    Run.open(folder).evaluate(SPLITS.validation.subset(torch.arange(5)))
    facts = read_json(folder / "evaluation.json")
    assert facts["leaking"] == list(SPLITS.validation.sources[:5])
    assert facts["without_leaking"] is None, "no picture is left without them"
    assert Run.open(folder).without_leaking() == NO_TEST_PICTURE_LEFT


def test_the_score_without_leaking_pictures_is_that_of_the_others(folder: Path) -> None:
    run, test = Run.open(folder), SPLITS.test
    leaked = SPLITS.train.subset(torch.arange(7))
    sources = [*(f"leak/{n}" for n in range(7)), *test.sources]
    mixed = Dataset(
        torch.cat([leaked.images, test.images]),
        torch.cat([leaked.labels, test.labels]),
        test.classes,
        sources,
    )
    run.evaluate(mixed)
    facts, alone = read_json(folder / "evaluation.json"), evaluate(run.classifier, test)
    assert facts["leaking"] == sources[:7]
    assert facts["count"] == len(test) + 7
    names = ("verdict", "count", "correct", "accuracy", "interval")
    assert facts["without_leaking"] == {name: alone.to_json()[name] for name in names}
    assert run.without_leaking() == alone.verdict


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"opened": "x"}', '{"opened": [1]}'])
def test_a_damaged_evaluation_is_refused_and_can_be_made_anew(folder: Path, content: str) -> None:
    weights = read_json(folder / "model.json")["sha256"]
    text = content.replace("}", f', "weights": "{weights}"}}') if content.endswith("}") else content
    (folder / "evaluation.json").write_text(text)
    run = Run.open(folder)
    with pytest.raises(PellucidError):
        run.evaluation()
    run.evaluate(SPLITS.test)
    assert read_json(folder / "evaluation.json")["opened"] == 2, "it was opened at least once before"
    assert run.evaluation() is not None


def test_predictions_that_lost_rows_are_not_taken_for_the_result(folder: Path) -> None:
    path = folder / "predictions.csv"
    lines = path.read_text().splitlines(keepends=True)
    for kept in (lines[:-1], lines[:1], [*lines, lines[-1]]):
        path.write_text("".join(kept))
        with pytest.raises(PellucidError, match=r"one of them is damaged.*evaluate --again"):
            Run.open(folder).evaluation()


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda content: None,
    "empty": lambda content: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "a list": lambda content: b"[]",
    "a word": lambda content: b'"word"',
    "something else": lambda content: b"\xff\xd8\xff\xe0 a picture",
}


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "recipe.json", "environment.json"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_run_with_a_damaged_file_is_refused_with_its_name(
    folder: Path, name: str, damage: Callable[[bytes], bytes | None]
) -> None:
    content = damage((folder / name).read_bytes())
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(PellucidError, match=name.replace(".", r"\.")):
        Run.open(folder)


@pytest.mark.parametrize("content", ["epoch\n1\n", "epoch,seconds\nx,y\n", "\x00", "", None])
def test_damaged_metrics_are_refused_with_their_name(folder: Path, content: str | None) -> None:
    (folder / "metrics.csv").unlink()
    if content is not None:
        (folder / "metrics.csv").write_text(content)
    with pytest.raises(PellucidError, match=r"metrics\.csv"):
        Run.open(folder)


def test_metrics_that_lost_an_epoch_are_refused(folder: Path) -> None:
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join(lines[:-1]))
    with pytest.raises(PellucidError, match=r"metrics\.csv' is damaged.*only 1 epochs are left"):
        Run.open(folder)


def test_a_damaged_split_stops_an_evaluation_before_anything_is_written(folder: Path) -> None:
    before = (folder / "evaluation.json").read_bytes()
    (folder / "split.csv").write_text("source,label\na,b\n")
    with pytest.raises(PellucidError, match=r"split\.csv' is damaged"):
        Run.open(folder).evaluate(SPLITS.test)
    assert (folder / "evaluation.json").read_bytes() == before


def test_what_is_no_run_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(UsageError, match=r"is not a folder\. Expected the folder of a run"):
            Run.open(place)
    with pytest.raises(UsageError, match=r"holds no model\.json"):
        Run.open(tmp_path)


def test_pictures_that_changed_are_not_taken_for_those_of_the_run(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(finished)
    monkeypatch.setattr("pellucid.runs.run.load_again", lambda *_, **__: SPLITS)
    assert run.splits() is SPLITS
    others = Splits(SPLITS.train, toy_splits(seed=5).validation, SPLITS.test)
    monkeypatch.setattr("pellucid.runs.run.load_again", lambda *_, **__: others)
    with pytest.raises(UsageError, match="no longer what"):
        run.splits()


def test_a_finished_run_is_not_resumed(folder: Path, tmp_path: Path) -> None:
    for place in (folder, tmp_path):
        with pytest.raises(UsageError, match="has nothing to resume"):
            resumed(place)


def test_resuming_with_other_pictures_or_versions_is_refused(cut_off: Path) -> None:
    before = sha256(cut_off / "checkpoint.safetensors")
    changed = toy_splits(seed=5)
    for train_set, validation_set in [
        (changed.train, SPLITS.validation),
        (SPLITS.train, changed.validation),
        (SPLITS.validation, SPLITS.train),
    ]:
        with pytest.raises(UsageError, match="was begun with other fingerprints"):
            resume(cut_off, train_set, validation_set)
    environment = read_json(cut_off / "environment.json")
    environment["versions"]["torch"] = "1.0"
    (cut_off / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(UsageError, match="was begun with other versions"):
        resumed(cut_off)
    assert sha256(cut_off / "checkpoint.safetensors") == before


def test_a_damaged_checkpoint_is_refused(cut_off: Path) -> None:
    path = cut_off / "checkpoint.safetensors"
    content = path.read_bytes()
    generator = random.Random(1)
    places = [0, 9, 40, 300, 900, *(generator.randrange(len(content)) for _ in range(40)), len(content) - 1]
    damaged = [content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :] for place in places]
    damaged += [content[:length] for length in (0, 7, 100, len(content) // 2, len(content) - 1)]
    for wrong in damaged:
        path.write_bytes(wrong)
        with pytest.raises(PellucidError, match=r"checkpoint\.safetensors' is damaged"):
            resumed(cut_off)
        assert path.read_bytes() == wrong


def test_the_checkpoint_of_another_run_is_refused(cut_off: Path, tmp_path: Path) -> None:
    for change in ({"seed": 3}, {"epochs": 5}, {"learning_rate": 1e-3}):
        with pytest.raises(Stopped):
            started(tmp_path / "other", at(0, signal.SIGINT), recipe=replace(SHORT, **change))
        shutil.copy(tmp_path / "other" / "checkpoint.safetensors", cut_off)
        shutil.rmtree(tmp_path / "other")
        with pytest.raises(PellucidError, match="belongs to another run"):
            resumed(cut_off)


def test_what_cannot_be_trained_on_leaves_no_folder(tmp_path: Path) -> None:
    nothing = SPLITS.train.subset(torch.empty(0, dtype=torch.int64))
    cases = [
        (only_class(SPLITS.train, "box"), SPLITS.validation),
        (nothing, SPLITS.validation),
        (SPLITS.train, nothing),
        (SPLITS.train, toy_dataset(20, channels=3)),
    ]
    for train_set, validation_set in cases:
        with pytest.raises(UsageError):
            fit(train_set, validation_set, SHORT, folder=tmp_path / "run")
    with pytest.raises(UsageError, match="Unknown model 'resnte'"):
        started(tmp_path / "run", recipe=replace(SHORT, model="resnte"))
    small = Dataset(
        SPLITS.train.images[..., :3, :3], SPLITS.train.labels, SPLITS.train.classes, SPLITS.train.sources
    )
    with pytest.raises(UsageError, match="expected 4x4 or more"):
        fit(small, small, SHORT, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_something_is_refused_and_left_alone(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError, match="is not empty"):
        started(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_runs_are_numbered_and_the_latest_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        run = fit(SPLITS.train, SPLITS.validation, replace(SHORT, epochs=1), origin=Origin("toys"))
        assert run.folder == Path(f"runs/toys-tutorial-{number}")
        assert Path("runs/latest").resolve() == (tmp_path / run.folder).resolve()
    assert Run.open("runs/latest").origin.name == "toys"


@pytest.mark.parametrize("number", [None, 2, 5])
def test_fitting_leaves_random_state_threads_and_signals_as_they_were(
    tmp_path: Path, number: int | None
) -> None:
    torch.manual_seed(8)
    state = torch.random.get_rng_state()
    threads = torch.get_num_threads()
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    inside: list[int] = []
    callbacks: list[Callback] = [lambda _: inside.append(torch.get_num_threads())]
    recipe = replace(SHORT, threads=2, epochs=1 if number is None else 2)
    if number is None:
        started(tmp_path / "run", *callbacks, recipe=recipe)
    else:
        with pytest.raises(ValueError, match="x"):
            started(tmp_path / "run", *callbacks, at(number, ValueError("x")), recipe=recipe)
    assert set(inside) == {2}
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_a_training_off_the_main_thread_needs_no_signals(tmp_path: Path) -> None:
    runs: list[Run] = []
    worker = threading.Thread(target=lambda: runs.append(started(tmp_path / "run")))
    worker.start()
    worker.join(timeout=60)
    assert len(runs[0].history) == SHORT.epochs


def test_callbacks_hear_every_event_in_order(tmp_path: Path) -> None:
    heard: list[Step | Epoch] = []
    run = started(tmp_path / "run", heard.append)
    assert len(heard) == EVENTS
    assert [event for event in heard if isinstance(event, Epoch)] == list(run.history)


def test_a_loss_that_is_no_number_ends_with_the_good_weights_saved(tmp_path: Path) -> None:
    """The second epoch begins with a planted NaN: what the first one found is on the disk."""

    def plant(event: Step | Epoch) -> None:
        if isinstance(event, Epoch) and event.epoch == 1:
            for network in (
                thing for thing in gc.get_objects() if type(thing) is Tutorial and thing.training
            ):
                with torch.no_grad():
                    network.dense2.bias.fill_(float("nan"))

    with pytest.raises(PellucidError, match="epoch 2, step 1: the loss is nan") as caught:
        started(tmp_path / "run", plant)
    assert caught.value.exit_code == 1
    assert "Try a smaller `learning_rate`" in str(caught.value)
    run = Run.open(tmp_path / "run")
    assert [epoch.epoch for epoch in run.history] == [1]
    assert all(bool(tensor.isfinite().all()) for tensor in run.classifier.network.state_dict().values())


def test_the_preprocessing_given_travels_with_the_classifier(tmp_path: Path) -> None:
    preprocess = Preprocess(1, 16, 16, "stretch")
    recipe = replace(SHORT, epochs=1)
    fit(
        SPLITS.train,
        SPLITS.validation,
        recipe,
        folder=tmp_path / "run",
        origin=Origin("toys", preprocess=preprocess),
    )
    assert Classifier.load(tmp_path / "run").preprocess == preprocess


def test_more_threads_than_cores_and_kernels_that_fail_to_compile_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = toy_splits(60)
    monkeypatch.setattr("pellucid.runs.fit.cores", lambda: 1)
    monkeypatch.setattr("pellucid.runs.fit.compile_failure", lambda: "no space left")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(splits.train, splits.validation, Recipe(epochs=1, threads=2), folder=tmp_path / "run")
    messages = [str(warning.message) for warning in caught]
    assert any("2 threads slow each other down on 1 cores" in message for message in messages)
    assert any("could not be compiled" in message and "no space left" in message for message in messages)

"""Fitting gives the same bytes from the same seed, leaves the process as it was, and loses nothing."""

import errno
import gc
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid import manifest
from pellucid.classifier import Classifier
from pellucid.data.audit.record import FINDINGS
from pellucid.data.dataset import Dataset, Origin, Splits
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.files import CLAIM, read_json, sha256
from pellucid.models.tutorial import Tutorial
from pellucid.recipe import Recipe, read_recipe
from pellucid.runs import BEGINNING
from pellucid.runs.environment import ENVIRONMENT
from pellucid.runs.fit import fit
from pellucid.runs.run import RECIPE, Run
from pellucid.runs.session import Callback
from pellucid.runs.tables import EXCLUDED, RELABELLED, SEEN, SPLIT
from pellucid.training.loop import Epoch, Step
from pellucid.training.snapshots import SNAPSHOTS
from tests.released import begun, ended, go, said
from tests.runs.toy_runs import EVENTS, SHORT, SPLITS, names_in, resumed, started
from tests.toys import at, left, only_class, surroundings, toy_dataset, toy_splits, toys_of_several_labels


def test_same_seed_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    torch.rand(11)
    run = started(tmp_path / "again")
    assert left(tmp_path / "again") == left(finished)
    other = started(tmp_path / "other", recipe=replace(SHORT, seed=1))
    assert sha256(other.folder / "model.safetensors") != sha256(run.folder / "model.safetensors")


def test_another_process_with_other_hashes_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.runs.toy_runs import started; "
        "started(Path(sys.argv[1]))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / seed], env=surroundings(PYTHONHASHSEED=seed))
        for seed in ("1", "77")
    ]
    assert [process.wait(timeout=100) for process in processes] == [0, 0]
    digests = {sha256(folder / "model.safetensors") for folder in (finished, tmp_path / "1", tmp_path / "77")}
    assert len(digests) == 1


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

    monkeypatch.setattr("pellucid.runs.session.write_diagnostics", full)
    with pytest.warns(UserWarning, match="Training goes on, but what pages show of it is incomplete: Cannot"):
        started(tmp_path / "run")
    assert Run.open(tmp_path / "run").diagnostics() == []
    assert left(tmp_path / "run", "diagnostics.csv") == left(finished, "diagnostics.csv")


@pytest.mark.filterwarnings("ignore:Training goes on:UserWarning")
@pytest.mark.parametrize("times", [2, 10_000], ids=["for a while", "for good"])
# A write flushes the file, then the folder. Every fourth write in a moment, every one in the slow tests.
@pytest.mark.parametrize("step", [8, pytest.param(2, marks=pytest.mark.slow)], ids=["some", "any"])
def test_a_disk_that_fills_at_any_write_is_told_and_loses_nothing(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, step: int
) -> None:
    first, kept = 0, False
    while True:
        folder, disk = tmp_path / f"{first}", Disk(first, times)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", disk)
            try:
                started(folder)
                if disk.count <= first:
                    break
            except PellucidError as error:
                assert f"Cannot write '{folder}" in str(error)  # noqa: PT017
                assert os.strerror(errno.ENOSPC) in str(error)  # noqa: PT017
        if not folder.exists():
            assert not kept, "a checkpoint had been written, and is gone"
            first += step
            continue
        kept = True
        assert not [name for name in names_in(folder) if name.startswith(".")]
        if not (folder / "model.safetensors").exists() and not (folder / "checkpoint.safetensors").exists():
            with pytest.raises(UsageError):
                resumed(folder)
        elif (folder / "checkpoint.safetensors").exists():
            resumed(folder)
            assert left(folder, *OPTIONAL) == left(finished, *OPTIONAL), first
        first += step
    assert first > 12


def test_a_folder_tells_how_it_came_to_be(finished: Path) -> None:
    run = Run.open(finished)
    assert names_in(finished) == {
        "recipe.json", "metrics.csv", "split.csv", "model.safetensors", "model.json", "environment.json",
        "snapshots.safetensors", "evaluation.json", "predictions.csv", "diagnostics.csv", "held_out.csv",
        "findings.json", "margins.csv", "reference.safetensors", "manifest.json",
    }  # fmt: skip
    meant = replace(SHORT, augment="crop", balance="none")  # what "auto" meant for them
    assert replace(run.recipe, threads=1) == meant
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


def test_the_recipe_of_a_run_replays_it(finished: Path, tmp_path: Path) -> None:
    started(tmp_path / "replayed", recipe=read_recipe(finished / "recipe.json"))
    assert left(tmp_path / "replayed") == left(finished)


def test_a_finished_run_is_not_resumed(folder: Path, tmp_path: Path) -> None:
    for place in (folder, tmp_path):
        with pytest.raises(UsageError, match="has nothing to resume"):
            resumed(place)


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

    def networks() -> list[Tutorial]:
        return [thing for thing in gc.get_objects() if type(thing) is Tutorial]

    others = networks()  # of other tests, which go on with them

    def plant(event: Step | Epoch) -> None:
        if isinstance(event, Epoch) and event.epoch == 1:
            (trained,) = (each for each in networks() if not any(each is other for other in others))
            with torch.no_grad():
                trained.dense2.bias.fill_(float("nan"))

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


@pytest.mark.parametrize("settings", [{"folds": 3}, {"use_all": True}, {"balance": "sampler"}])
def test_what_several_labels_do_not_go_with_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    several = toys_of_several_labels(60)
    parts = Splits(several.subset(slice(0, 40)), several.subset(slice(40, 50)), several.subset(slice(50, 60)))
    with pytest.raises(UsageError, match="several labels"):
        fit(parts, replace(SHORT, **settings), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_does_not_begin_from_a_run_where_either_has_several_labels(
    finished: Path, tmp_path: Path
) -> None:
    several = toys_of_several_labels(60)
    parts = Splits(several.subset(slice(0, 40)), several.subset(slice(40, 50)), several.subset(slice(50, 60)))
    with pytest.raises(UsageError, match="several labels"):
        fit(parts, SHORT, folder=tmp_path / "run", warm_start=finished)
    source = fit(parts, replace(SHORT, epochs=1), folder=tmp_path / "several").folder
    with pytest.raises(UsageError, match="several labels"):
        fit(SPLITS, SHORT, folder=tmp_path / "run", warm_start=source)


ONE_OF_SEVERAL = """
import sys
from pathlib import Path
from pellucid.errors import PellucidError
from tests.runs.toy_runs import resumed, started
from tests.toys import economical
print("ready", flush=True)
sys.stdin.readline()
heard = []

def wait(event):
    if not heard:
        heard.append(event)
        print("training", flush=True)
        sys.stdin.readline()

try:
    with economical():
        (started if sys.argv[2] == "new" else resumed)(Path(sys.argv[1]), wait)
except PellucidError as error:
    print(type(error).__name__, error, flush=True)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(
    "what", ["a new folder", pytest.param("an empty folder", marks=pytest.mark.slow), "a stopped run"]
)
def test_of_trainings_into_one_folder_begun_at_once_one_goes_on_and_the_others_change_nothing(
    finished: Path, unfinished: Path, tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "runs" / "run"
    if what == "a stopped run":
        shutil.copytree(unfinished, folder)
    elif what == "an empty folder":
        folder.mkdir(parents=True)
    how = "resumed" if what == "a stopped run" else "new"
    processes = [begun(ONE_OF_SEVERAL, folder, how) for _ in range(3)]
    for process in processes:
        go(process)
    answers = [said(process) for process in processes]
    (number,) = (number for number, answer in enumerate(answers) if answer == "training")
    winner = processes.pop(number)
    expected = f"PellucidError '{folder}' is being written by process {winner.pid} on "
    assert all(answer.startswith(expected) for answer in answers if answer != "training"), answers
    assert ended(processes) == [1, 1]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(PellucidError, match="is being written"):
        resumed(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    go(winner)
    assert ended([winner]) == [0]
    assert left(folder) == left(finished)
    assert not (folder / CLAIM).exists()


def test_a_training_goes_on_at_once_where_one_was_killed(finished: Path, tmp_path: Path) -> None:
    killed, folder = begun(ONE_OF_SEVERAL, tmp_path / "run", "new"), tmp_path / "run"
    go(killed)
    assert said(killed) == "training"
    killed.kill()
    ended([killed])
    assert (folder / CLAIM).exists()
    resumed(folder)
    assert left(folder) == left(finished)
    assert names_in(folder) == names_in(finished) - {"evaluation.json", "predictions.csv"}


def test_killed_before_its_first_checkpoint_a_training_begins_anew_in_the_same_folder(
    finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    killed = begun(KILLED_AT_THE_FIRST_CHECKPOINT, folder)
    go(killed)
    assert ended([killed]) == [-signal.SIGKILL]
    assert names_in(folder) & {"recipe.json", "split.csv", CLAIM} == {"recipe.json", "split.csv", CLAIM}
    assert names_in(folder) - {CLAIM} <= {*BEGINNING} | {
        name for name in names_in(folder) if ".pellucid-" in name
    }
    with pytest.raises(UsageError, match="has nothing to resume"):
        resumed(folder)
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        started(folder)
    (folder / "mine.txt").unlink()
    started(folder)
    assert left(folder) == left(finished)
    assert not (folder / CLAIM).exists()


def test_a_folder_that_holds_no_more_than_a_recipe_is_left_alone(tmp_path: Path) -> None:
    """Only where a process was killed are these files known to be nobody's."""
    (tmp_path / "recipe.json").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        started(tmp_path)
    assert (tmp_path / "recipe.json").read_text() == "mine"


KILLED_AT_THE_FIRST_CHECKPOINT = """
import os, signal, sys
from pathlib import Path
from tests.runs.toy_runs import started
rename = Path.replace

def rename_until_killed(path, target):
    if target.name == "checkpoint.safetensors":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)

Path.replace = rename_until_killed
print("ready", flush=True)
sys.stdin.readline()
started(Path(sys.argv[1]))
"""


def test_what_a_run_begins_with_are_the_files_that_it_is_said_to_begin_with() -> None:
    assert {
        RECIPE,
        ENVIRONMENT,
        SPLIT,
        FINDINGS,
        EXCLUDED,
        RELABELLED,
        SEEN,
        SNAPSHOTS,
        manifest.NAME,
    } == set(BEGINNING)

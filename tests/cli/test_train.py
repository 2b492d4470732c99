"""A training from the command line ends with a judged run, and is stopped and resumed without a loss."""

import fcntl
import inspect
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid import data
from pellucid.cli import train
from pellucid.cli.output import Output
from pellucid.data.dataset import Splits
from pellucid.files import sha256
from pellucid.recipe import RECIPES, Recipe
from pellucid.runs.checkpoint import read_checkpoint
from pellucid.runs.fit import Activity, Callback, fit, resume
from pellucid.runs.run import Run
from pellucid.training.loop import Epoch, Step
from tests.toys import Call, left, only_class, pellucid, surroundings, toy_splits


def test_train_ends_with_a_judged_run_and_its_report(trained: tuple[Path, Any]) -> None:
    place, done = trained
    assert (done.returncode, done.stderr) == (0, "")
    folder = place / "runs" / "digits-tutorial-1"
    assert (place / "runs" / "latest").resolve() == folder
    assert {path.name for path in folder.iterdir()} == {
        "recipe.json", "metrics.csv", "split.csv", "model.safetensors", "model.json", "environment.json",
        "snapshots.safetensors", "evaluation.json", "predictions.csv", "report.html", "diagnostics.csv",
        "faithfulness.json", "findings.json", "held_out.csv",
        "margins.csv", "causes.csv", "reference.safetensors", "manifest.json",
    }  # fmt: skip
    assert "8x8 gray uint8, train 1,150, validation 287, test 360 pictures" in done.stdout
    assert len(re.findall(r"^epoch +\d/2 ", done.stdout, re.MULTILINE)) == 2
    assert f"Test set: {Run.open(folder).evaluation().verdict}" in done.stdout  # type: ignore[union-attr]
    assert done.stdout.splitlines()[-1] == "Report: runs/digits-tutorial-1/report.html"
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["command"].endswith("train digits --epochs 2 --threads 1")


def test_the_same_command_in_another_process_gives_the_same_weights(
    trained: tuple[Path, Any], tmp_path: Path
) -> None:
    recipe = trained[0] / "runs" / "latest" / "recipe.json"
    done = pellucid("train", "digits", "--recipe", recipe, "--json", cwd=tmp_path, PYTHONHASHSEED="5")
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events == ["data", "recipe", "plan", "epoch", "epoch", "evaluation", "report"]
    one, other = (place / "runs" / "latest" / "model.safetensors" for place in (trained[0], tmp_path))
    assert sha256(one) == sha256(other)


def test_a_bare_train_prints_three_examples(call: Call) -> None:
    code, out, err = call("train")
    assert (code, out) == (2, "")
    assert len(re.findall(r"^  pellucid train \w+", err, re.MULTILINE)) == 3


def test_a_reader_that_leaves_stops_training_with_the_command_that_goes_on(tmp_path: Path) -> None:
    words = "train digits --epochs 400 --threads 1 --out run"
    command = f"{sys.executable} -c 'from pellucid.cli import main; main()' {words} | head -1"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, env=surroundings(), cwd=tmp_path, timeout=110
    )
    assert done.stdout.startswith("digits: 8x8 gray")
    assert "Traceback" not in done.stderr
    assert "pellucid train --resume run" in done.stderr


TINY_STEPS = replace(Recipe.named("fast", model="tutorial").resolve(1150, (1, 8, 8)), epochs=1, batch_size=1)
TINY_WORDS = (
    "train",
    "digits",
    "--model",
    "tutorial",
    "--epochs",
    "1",
    "--batch-size",
    "1",
    "--threads",
    "1",
)


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory: pytest.TempPathFactory, digits: Splits) -> Path:
    """The training of 1,150 steps in a single epoch that others are torn off from."""
    return fit(digits, replace(TINY_STEPS, threads=1), folder=tmp_path_factory.mktemp("whole") / "run").folder


@pytest.mark.parametrize(
    ("what", "code"), [("killed", -signal.SIGKILL), ("terminal closed", 129), ("output unread", 143)]
)
def test_torn_off_in_its_first_epoch_a_training_goes_on_to_the_same_bytes(
    tmp_path: Path, never_stopped: Path, digits: Splits, what: str, code: int
) -> None:
    ours, theirs = os.pipe() if what == "output unread" else pty.openpty()
    command = [sys.executable, "-c", "from pellucid.cli import main; main()", *TINY_WORDS, "--out", "run"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=surroundings(TERM="xterm"),
        stdin=theirs if what != "output unread" else None,
        stdout=theirs, stderr=theirs if what == "terminal closed" else subprocess.PIPE,
        start_new_session=True, preexec_fn=own_terminal if what == "terminal closed" else None,
    )  # fmt: skip
    os.close(theirs)
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    shown = b""
    # The checkpoint is there from before the first step on.
    while not checkpoint.exists() or (what == "terminal closed" and b", step " not in shown):
        if select.select([ours], [], [], 0.01)[0]:
            shown += os.read(ours, 10_000)
        assert process.poll() is None
    if what == "killed":
        process.kill()
    os.close(ours)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert what != "output unread" or b"Go on with: pellucid train --resume run" in err
    progress = read_checkpoint(checkpoint)[0].progress
    assert (progress.epoch, progress.history) == (1, [])
    resume(tmp_path / "run", digits)
    assert left(tmp_path / "run") == left(never_stopped)


def own_terminal() -> None:
    """In a new process: what it prints to is its controlling terminal, whose closing is told to it."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which tests that were started with nohup do not hear
    fcntl.ioctl(1, termios.TIOCSCTTY, 0)


def test_ctrl_c_in_a_later_stage_ends_with_the_command_for_it(
    call: Call, toys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "evaluate", interrupted)
    code, _, err = call("train", "toys", "--epochs", "1", "--threads", "1", "--out", "run")
    assert code == 130
    assert err == "pellucid: Stopped by Ctrl-C. To do this part again: pellucid evaluate run\n"


def test_every_setting_of_a_recipe_has_a_flag_and_reaches_the_run(call: Call, toys: None) -> None:
    flags = set(inspect.signature(train.train).parameters)
    assert {field.name for field in fields(Recipe)} <= flags
    other: dict[str, Any] = {
        "model": "tutorial", "epochs": 1, "batch_size": 40, "optimizer": "adam", "learning_rate": 0.002,
        "schedule": "constant", "weight_decay": 0.02, "label_smoothing": 0.1, "patience": 4,
        "validation": 0.3, "seed": 7, "precision": "float32", "threads": 1,
        "augment": "shift,flip", "balance": "weights", "fine_tune": 0,
        "folds": 0,
    }  # fmt: skip
    # For pictures of one's own; a known set refuses them.
    own = {"size": 0, "fit": "stretch", "group_by": "", "label_from": "", "crop_boxes": False}
    switched = {"use_all": True}
    assert other.keys() | own.keys() | switched.keys() == {field.name for field in fields(Recipe)}
    words = [word for name, value in other.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    code, _, err = call("train", "toys", *words, "--use-all", "--out", "run", "--quiet")
    assert (code, err) == (0, "")
    assert json.loads(Path("run/recipe.json").read_text()) == {**other, **own, **switched}


def test_what_will_be_done_with_the_pictures_is_said_before_training(call: Call, toys: None) -> None:
    settings = ("--epochs", "1", "--threads", "1", "--augment", "flip,crop", "--balance", "sampler")
    _, out, _ = call("train", "toys", *settings)
    told, first = out.index("augmented: crop,flip; balanced by sampler"), out.index("epoch  1/1")
    assert told < first
    assert "not augmented" in call("train", "toys", "--epochs", "1", "--threads", "1")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--augment", "flop"), "Unknown augmentation 'flop'. Did you mean 'flip'?"),
        (("--balance", "weight"), "Unknown balance 'weight'. Known: auto, none, weights, sampler."),
    ],
)
def test_a_misspelt_way_to_treat_pictures_is_told_before_they_are_loaded(
    call: Call, words: tuple[str, str], message: str
) -> None:
    code, out, err = call("train", "mnist", *words)
    assert (code, out) == (2, "")
    assert message in err


def test_train_tells_what_is_wrong_and_the_score_without_leaking_pictures(
    call: Call, leaky: Splits, toys: None
) -> None:
    code, out, _ = call("train", "toys", "--epochs", "1", "--threads", "1", "--out", "run")
    assert code == 0
    assert "error: 3 test pictures are also in training or validation" in out
    assert "Look at them with: pellucid check toys" in out
    run = Run.open(Path("run"))
    alone = run.basis().clean(run.evaluation())  # type: ignore[arg-type]
    assert alone is not None
    assert "of 45 right" in alone.verdict
    first = out.index(f"Test set without copies of pictures that were learned from: {alone.verdict}")
    assert first < out.index("Test set, copies included: ")
    assert "3 test pictures are also in training or validation, pixel for pixel." in out
    events = call("train", "toys", "--epochs", "1", "--threads", "1", "--out", "other", "--json")[1]
    assert json.loads(events.splitlines()[0])["findings"][0]["kind"] == "leak"


def test_out_is_exact_and_a_folder_that_holds_something_is_left_alone(call: Call, toys: None) -> None:
    Path("mine").mkdir()
    Path("mine/note.txt").write_text("mine")
    code, _, err = call("train", "toys", "--out", "mine")
    assert code == 2
    assert "'mine' is not empty. Expected a new or empty folder: name another with --out." in err
    assert [path.name for path in Path("mine").iterdir()] == ["note.txt"]
    assert "'mine/note.txt' is a file" in call("train", "toys", "--out", "mine/note.txt")[2]
    code, out, err = call("train", "toys", "--out", "mine/note.txt/run")
    assert (code, out) == (1, ""), "it is told before anything is computed"
    assert "Cannot write 'mine/note.txt/run'" in err
    assert call("train", "toys", "--epochs", "1", "--threads", "1", "--out", "deep/er", "--quiet")[0] == 0
    assert Path("deep/er/report.html").is_file()


def test_one_class_only_is_refused_and_leaves_nothing(
    call: Call, toys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = toy_splits()
    one = replace(splits, train=only_class(splits.train, "box"))
    monkeypatch.setattr(data, "load_by", lambda *_, **__: one)
    code, _, err = call("train", "toys")
    assert code == 2
    assert "Expected training pictures of at least two classes; got 36 pictures of box." in err
    assert not Path("runs").exists()


def test_fewer_pictures_than_a_batch_train(call: Call, toys: None) -> None:
    words = ("--epochs", "1", "--threads", "1", "--batch-size", "5000", "--quiet")
    assert call("train", "toys", *words) == (0, "", "")


def test_a_loss_that_is_no_number_exits_1_with_advice_and_a_run_that_can_be_judged(
    call: Call, toys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.training import loop

    real, steps = loop.apply_augmentations, iter(range(1000))

    def breaks_down(images: torch.Tensor, *rest: Any, **options: Any) -> Any:
        begun = Path("run/checkpoint.safetensors").exists()  # its time is no longer estimated
        broken = begun and next(steps) == 4
        return real(images * float("nan") if broken else images, *rest, **options)

    monkeypatch.setattr(loop, "apply_augmentations", breaks_down)
    code, _, err = call("train", "toys", "--epochs", "3", "--threads", "1", "--out", "run")
    assert code == 1
    assert "epoch 2, step 2: the loss is nan" in err
    assert "Try a smaller --learning-rate" in err
    assert "Traceback" not in err
    assert call("evaluate", "run")[0] == 0
    assert len(Run.open(Path("run")).history) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_mid_training_saves_and_the_run_goes_on(
    tmp_path: Path, call: Call, number: int, code: int
) -> None:
    words = ["train", "digits", "--epochs", "400", "--threads", "1", "--out", "run", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from pellucid.cli import main; main()", *words],
        cwd=tmp_path, env=surroundings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(5)]  # data, recipe, plan, two epochs
    assert [json.loads(line)["event"] for line in lines] == ["data", "recipe", "plan", "epoch", "epoch"]
    begun = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert time.monotonic() - begun < 30
    assert "pellucid: Stopped and saved in 'run'. Go on with: pellucid train --resume run;" in err
    assert "Traceback" not in err
    run = Run.open(tmp_path / "run")
    assert len(run.history) >= 2
    assert call("evaluate", "run")[0] == 0
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


def test_resume_from_the_command_line_ends_like_one_never_stopped(
    call: Call, toys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "toys", "--epochs", "2", "--threads", "1", "--quiet", "--out")
    assert call(*words, "whole")[0] == 0
    shown = Output.training

    @contextmanager
    def interrupting(self: Output, recipe: Recipe) -> Iterator[tuple[Callback, Activity]]:
        with shown(self, recipe) as (show, show_pictures):

            def show_and_interrupt(event: Step | Epoch) -> None:
                show(event)
                if getattr(event, "step", 0) == 2:
                    os.kill(os.getpid(), signal.SIGINT)

            yield show_and_interrupt, show_pictures

    with monkeypatch.context() as patch:
        patch.setattr(Output, "training", interrupting)
        assert call(*words, "stopped")[0] == 130
    assert call("train", "--resume", "stopped", "--quiet") == (0, "", "")
    assert sha256(Path("whole/model.safetensors")) == sha256(Path("stopped/model.safetensors"))
    assert Path("stopped/report.html").is_file()
    assert not Path("stopped/checkpoint.safetensors").exists()


def test_every_recipe_can_be_named(call: Call, toys: None) -> None:
    for name in RECIPES:
        words = ("--recipe", name, "--epochs", "1", "--threads", "1", "--quiet", "--out", name)
        assert call("train", "toys", *words)[0] == 0
        assert Run.open(Path(name)).recipe.epochs == 1


def test_folds_are_explained_before_and_after(call: Call, toys: None) -> None:
    code, out, err = call(
        "train", "toys", "--model", "tutorial", "--epochs", "1", "--folds", "3", "--out", "run"
    )
    assert (code, err) == (0, "")
    assert "3 folds: each of all 240 pictures is judged by a network that learned from the other" in out
    for stage in ("fold 1 of 3", "fold 3 of 3", "all pictures"):
        assert re.search(rf"^{stage}: epoch  1/1 .* accuracy 0\.\d{{4}}$", out, re.MULTILINE)
    evaluation = Run.open("run").evaluate()
    assert f"Out of fold: {evaluation.verdict}" in out
    assert "nothing is left to judge it by" in out
    assert "Test set" not in out
    code, out, err = call("evaluate", "run", "--again")
    assert (code, err) == (0, "")
    assert f"Out of fold: {evaluation.verdict}" in out


def test_events_for_a_program_have_no_figure_that_was_not_measured(call: Call, toys: None) -> None:
    words = ("train", "toys", "--epochs", "1", "--use-all", "--model", "tutorial", "--json", "--out", "run")
    code, out, _ = call(*words)
    assert code == 0
    events = [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]
    first, second = (event for event in events if event["event"] == "epoch")
    assert (first["stage"], second["stage"]) == ("first training", "all pictures")
    assert isinstance(first["val_loss"], float)
    assert second["val_loss"] is second["val_accuracy"] is None
    assert isinstance(second["loss"], float)


def test_the_second_training_says_whose_figures_are_shown(call: Call, toys: None) -> None:
    code, out, err = call(
        "train", "toys", "--model", "tutorial", "--epochs", "1", "--use-all", "--out", "run"
    )
    assert (code, err) == (0, "")
    assert "in a first training; then on all 192 pictures, 1 epoch" in out
    assert "the validation figures are those of the first training" in out


def test_training_begins_from_a_run_that_is_named(call: Call, toys: None) -> None:
    assert call("train", "toys", "--model", "tutorial", "--epochs", "1", "--out", "first")[0] == 0
    code, out, err = call("train", "toys", "--epochs", "1", "--warm-start", "first", "--out", "second")
    assert (code, err) == (0, "")
    assert f"Begins from the weights of {Path('first').resolve()}: all 4 classes kept." in out
    assert Run.open("second").environment["warm_start"]["weights"] == sha256(Path("first/model.safetensors"))
    code, out, err = call("train", "toys", "--model", "compact", "--warm-start", "first", "--out", "third")
    assert code == 2
    assert "Expected --model tutorial, or no --model." in err
    code, out, err = call("train", "toys", "--folds", "3", "--warm-start", "first", "--out", "third")
    assert code == 2
    assert "none of its folds could judge them. Leave --warm-start or --folds out." in err
    assert not Path("third").exists()


def test_folds_leave_nothing_to_choose_a_network_by(call: Call, toys: None) -> None:
    code, _, err = call("train", "toys", "--folds", "3", "--model", "auto")
    assert code == 2
    assert "--folds holds no pictures out to choose a network by" in err

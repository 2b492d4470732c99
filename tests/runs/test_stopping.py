"""A run stopped anywhere and resumed equals one that was never stopped."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pellucid.data import load
from pellucid.files import read_json
from pellucid.runs.fit import fit, resume
from pellucid.runs.run import Run
from pellucid.runs.stopping import Stopped
from pellucid.training.loop import Epoch, Step
from tests.data.folders import shapes
from tests.runs.toy_runs import EVENTS, SHORT, SPLITS, names_in, resumed, started
from tests.toys import at, left


@pytest.fixture(autouse=True)
def hang_up() -> Iterator[None]:
    """SIGHUP is heard, even by tests that were started with nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", range(EVENTS))
def test_a_run_stopped_at_any_event_and_resumed_equals_one_never_stopped(
    finished: Path, tmp_path: Path, number: int
) -> None:
    folder = tmp_path / "run"
    sent = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[number % 3]
    with pytest.raises(Stopped) as caught:
        started(folder, at(number, sent))
    assert caught.value.exit_code == 128 + sent
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


def test_a_run_with_corrected_labels_goes_on_with_them(tmp_path: Path) -> None:
    photos = shapes(tmp_path / "photos", count=40)
    first = load(photos).train
    splits = load(
        photos,
        exclude=[first.sources[0]],
        relabel={first.sources[1]: "dark" if first.label_names[1] == "bright" else "bright"},
    )
    whole = fit(splits, SHORT, folder=tmp_path / "whole")
    with pytest.raises(Stopped):
        fit(splits, SHORT, folder=tmp_path / "cut", callbacks=[at(2, signal.SIGINT)])
    resume(tmp_path / "cut")
    assert left(tmp_path / "cut") == left(whole.folder)
    assert (whole.folder / "excluded.csv").read_text("utf-8") == f"source\n{first.sources[0]}\n"


def test_a_stopped_run_can_be_judged_and_then_gone_on_with(cut_off: Path, finished: Path) -> None:
    run = Run.open(cut_off)
    assert run.best is not None
    found = run.evaluate(SPLITS.test)
    assert found.accuracy == Run.open(cut_off).evaluation().accuracy  # type: ignore[union-attr]
    later = resumed(cut_off)
    assert later.evaluation() is None, "the weights are others now"
    later.evaluate(SPLITS.test)
    assert read_json(cut_off / "evaluation.json")["network_number"] == 2
    assert left(cut_off) == left(finished)


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


def test_a_terminal_that_is_closed_may_say_so_more_than_once(finished: Path, tmp_path: Path) -> None:
    """So may a system that shuts down: it sends SIGTERM, then SIGHUP."""

    def several(_: Step | Epoch) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGHUP):
            os.kill(os.getpid(), number)
            for _ in range(1000):  # the interpreter sees a signal between two instructions
                pass

    with pytest.raises(Stopped) as caught:
        started(tmp_path / "run", several)
    assert caught.value.exit_code == 143
    resumed(tmp_path / "run")
    assert left(tmp_path / "run") == left(finished)


def test_a_process_that_was_told_to_outlive_its_terminal_does(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        run = started(tmp_path / "run", at(1, signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert len(run.history) == SHORT.epochs

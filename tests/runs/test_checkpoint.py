"""A checkpoint is resumed after any error, and refused when damaged or another run's."""

import random
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.data.dataset import Splits
from pellucid.errors import PellucidError, UsageError
from pellucid.models.tutorial import Tutorial
from pellucid.recipe import Recipe
from pellucid.runs import checkpoint
from pellucid.runs.checkpoint import read_checkpoint
from pellucid.runs.fit import fit, resume
from pellucid.runs.run import Run
from pellucid.runs.stopping import Stopped
from pellucid.training import timer
from tests.runs.toy_runs import EVENTS, SHORT, SPLITS, TOYS, resumed, started
from tests.toys import Clock, at, left, toy_splits


@pytest.mark.parametrize("number", [1, 4, 6])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a callback failed")])
def test_what_an_error_tears_off_can_be_resumed(
    finished: Path, tmp_path: Path, number: int, error: BaseException
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(type(error)):
        started(folder, at(number, error))
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(UsageError, match=r"was cut off before its model was saved.*train --resume"):
            Run.open(folder)
    else:  # what was reached is saved
        assert Run.open(folder).ended == "a callback failed"
    resumed(folder)
    assert left(folder) == left(finished)


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


@pytest.mark.parametrize("part", ["weights", "best_weights", "optimizer"])
@pytest.mark.parametrize("change", ["shape", "missing"])
def test_a_checkpoint_that_was_made_to_fit_no_network_is_refused(
    finished: Path, tmp_path: Path, part: str, change: str
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        started(folder, at(6, signal.SIGINT))
    state, manifest = read_checkpoint(folder / "checkpoint.safetensors")
    tensors = getattr(state.progress, part)
    name = next(iter(tensors))
    if change == "missing":
        del tensors[name]
    else:
        tensors[name] = torch.zeros(7, 7)
    checkpoint.write_checkpoint(folder / "checkpoint.safetensors", state, manifest)
    with pytest.raises(PellucidError, match=f"does not fit this network: {re.escape(name)}"):
        resumed(folder)
    manifest["preprocess"] = {}
    checkpoint.write_checkpoint(folder / "checkpoint.safetensors", state, manifest)
    with pytest.raises(PellucidError, match=r"checkpoint\.safetensors' is damaged"):
        resumed(folder)


def test_the_checkpoint_of_another_run_is_refused(cut_off: Path, tmp_path: Path) -> None:
    for change in ({"seed": 3}, {"epochs": 5}, {"learning_rate": 1e-3}):
        with pytest.raises(Stopped):
            started(tmp_path / "other", at(0, signal.SIGINT), recipe=replace(SHORT, **change))
        shutil.copy(tmp_path / "other" / "checkpoint.safetensors", cut_off)
        shutil.rmtree(tmp_path / "other")
        with pytest.raises(PellucidError, match="belongs to another run"):
            resumed(cut_off)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(timer, "clock", made)
    return made


KINDS = {
    "muon": replace(SHORT, optimizer="muon", augment="shift,scale"),
    "sampler": replace(SHORT, balance="sampler", augment="flip"),
    "mixed pictures": replace(SHORT, augment="mixup"),
    "several trainings": replace(SHORT, use_all=True),
    "batch norm": replace(SHORT, model="compact"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_killed_in_mid_epoch_goes_on_from_there_to_the_same_bytes(
    tmp_path: Path, time: Clock, kind: str
) -> None:
    """Optimizer, augmentation, margins, diagnostics, batch norm: what a step leaves is in the checkpoint."""
    recipe, folder = KINDS[kind], tmp_path / "run"
    whole = left(started(tmp_path / "whole", recipe=recipe).folder)
    steps: list[int] = []

    def minute(_: object) -> None:
        time.now += 61

    for number in (1, 0, 3):  # killed in the first epoch, then again and again
        torn = [minute, at(number, KeyboardInterrupt())]
        with pytest.raises(KeyboardInterrupt):
            started(folder, *torn, recipe=recipe) if not steps else resumed(folder, *torn)
        progress = read_checkpoint(folder / "checkpoint.safetensors")[0].progress
        steps.append((progress.epoch - 1) * 3 + progress.step)
    assert steps == [2, 2, 5]
    resumed(folder)
    assert left(folder) == whole


def test_checkpoints_at_every_step_or_never_change_no_byte(
    finished: Path, tmp_path: Path, time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    write = checkpoint.write_checkpoint
    monkeypatch.setattr(
        "pellucid.runs.session.write_checkpoint",
        lambda path, *rest: (written.append(path), write(path, *rest)),
    )

    def minute(_: object) -> None:
        time.now += 61

    counts = []
    for seconds in (60.0, 0.0):
        folder = tmp_path / f"{seconds}"
        fit(SPLITS.train, SPLITS.validation, SHORT, folder=folder, callbacks=[minute], origin=TOYS,
            checkpoint_seconds=seconds)  # fmt: skip
        counts.append(len(written))
        written.clear()
        assert left(folder) == left(finished)
    assert counts == [1 + EVENTS - 1 - 1, 2], "the first step has none before it, the end needs none"


def test_weights_of_ones_own_are_those_it_goes_on_from_before_the_first_step(tmp_path: Path) -> None:
    """They cannot be drawn again: the checkpoint before the first step has them."""
    splits: Splits = toy_splits(120)
    recipe: Recipe = replace(SHORT, epochs=1)
    networks = [Tutorial(1, 4, (16, 16)) for _ in range(3)]
    networks[1].load_state_dict(networks[0].state_dict())
    whole = fit(splits, recipe, folder=tmp_path / "whole", model=networks[0])
    with pytest.raises(KeyboardInterrupt):
        fit(
            splits, recipe, folder=tmp_path / "run", model=networks[1], callbacks=[at(0, KeyboardInterrupt())]
        )
    resume(tmp_path / "run", splits, model=networks[2])
    assert left(tmp_path / "run") == left(whole.folder)

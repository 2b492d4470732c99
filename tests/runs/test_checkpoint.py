"""A checkpoint is resumed after any error, and refused when damaged or another run's."""

import random
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.errors import PellucidError, UsageError
from pellucid.runs.run import Run
from pellucid.runs.stopping import Stopped
from tests.runs.toy_runs import SHORT, resumed, started
from tests.toys import at, left


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


def test_the_checkpoint_of_another_run_is_refused(cut_off: Path, tmp_path: Path) -> None:
    for change in ({"seed": 3}, {"epochs": 5}, {"learning_rate": 1e-3}):
        with pytest.raises(Stopped):
            started(tmp_path / "other", at(0, signal.SIGINT), recipe=replace(SHORT, **change))
        shutil.copy(tmp_path / "other" / "checkpoint.safetensors", cut_off)
        shutil.rmtree(tmp_path / "other")
        with pytest.raises(PellucidError, match="belongs to another run"):
            resumed(cut_off)

"""The Tab key offers names, quickly: what a shell asks the program, and what it prints."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pellucid.cli import completion
from pellucid.data import DATASETS
from pellucid.models import MODELS, PRETRAINED
from pellucid.recipe import AUTO, RECIPES
from tests.toys import surroundings

PROGRAM = """
import atexit, sys
from pellucid.cli import main
atexit.register(lambda: print([name for name in ("torch", "numpy") if name in sys.modules], file=sys.stderr))
main()
"""
Complete = Callable[[str], list[str]]


@pytest.fixture
def complete(tmp_path: Path) -> Complete:
    """What is offered for the last word of a line, in a folder of a few runs; asked as bash asks."""

    def ask(line: str) -> list[str]:
        words = line.split(" ")
        asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_PELLUCID_COMPLETE": "complete_bash"}
        answer = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, env=surroundings(**asked),
        )  # fmt: skip
        assert answer.stderr == "[]\n"  # neither torch nor numpy was loaded
        return answer.stdout.split()

    return ask


def _run(folder: Path, *, stopped: bool = False) -> None:
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text("{}")
    if stopped:
        (folder / "checkpoint.safetensors").write_bytes(b"")


def test_names_are_those_of_the_tables_that_need_torch() -> None:
    assert set(completion.DATA_SETS) == set(DATASETS)
    assert set(completion.MODELS) == {AUTO, *MODELS, *PRETRAINED}


def test_data_sets_are_offered_and_what_lies_here_beside_them(complete: Complete, tmp_path: Path) -> None:
    (tmp_path / "my-photos").mkdir()
    assert complete("pellucid train m") == ["mnist", "my-photos"]
    assert complete("pellucid check emnist-l") == ["emnist-letters"]
    assert complete("pellucid train ./m") == []  # nothing from here: the shell completes paths itself


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("pellucid train digits --model ", sorted({AUTO, *MODELS, *PRETRAINED})),
        ("pellucid train digits --recipe ", list(RECIPES)),
        ("pellucid train digits --recipe fa", ["fast"]),
        ("pellucid train digits --optimizer ada", ["adam", "adamw"]),
        ("pellucid report runs/latest --lang ", ["en", "ko"]),
        ("pellucid explain runs/latest a.png --format h", ["html"]),
        ("pellucid help exp", ["explain", "export"]),
        ("pellucid train digits --label-from ", []),
    ],
)
def test_names_and_values_of_options_are_offered(complete: Complete, line: str, offered: list[str]) -> None:
    assert complete(line) == offered


def test_runs_are_offered_where_a_command_takes_one(complete: Complete, tmp_path: Path) -> None:
    _run(tmp_path / "runs" / "digits-1")
    _run(tmp_path / "runs" / "digits-2", stopped=True)
    _run(tmp_path / "elsewhere" / "mine")
    (tmp_path / "runs" / "notes").mkdir()
    runs = ["runs/digits-1", "runs/digits-2"]
    for command in ("evaluate", "report", "predict", "explain", "export", "live", "compare runs/digits-1"):
        assert complete(f"pellucid {command} ") == runs, command
    assert complete("pellucid evaluate elsewhere/") == ["elsewhere/mine"]
    assert complete("pellucid evaluate else") == []
    assert complete("pellucid train --resume ") == ["runs/digits-2"]

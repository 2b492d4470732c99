"""A listing of the checkout finds whatever a test leaves there, and a session that leaves anything fails."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.checkout import differences, listing
from tests.toys import ROOT


def write_over(folder: Path) -> None:
    (folder / "kept.txt").write_text("kept")


def put_back(folder: Path) -> None:
    facts = (folder / "kept.txt").stat()
    (folder / "kept.txt").write_text("kept")
    os.utime(folder / "kept.txt", ns=(facts.st_atime_ns, facts.st_mtime_ns))


def point_elsewhere(folder: Path) -> None:
    (folder / "runs/latest").unlink()
    (folder / "runs/latest").symlink_to("digits-2")


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a new file": (lambda folder: (folder / "runs/new.txt").touch(), ["added: runs/new.txt"]),
    "a new folder": (lambda folder: (folder / "runs/new").mkdir(), ["added: runs/new"]),
    "a file gone": (lambda folder: (folder / "kept.txt").unlink(), ["removed: kept.txt"]),
    "a file written over": (write_over, ["changed: kept.txt"]),
    "a file written over, its time put back": (put_back, ["changed: kept.txt"]),
    "a link turned": (point_elsewhere, ["changed: runs/latest"]),
    "nothing": (listing, []),
    "a cache": (lambda folder: (folder / "runs/__pycache__").mkdir(), []),
    "an environment": (lambda folder: (folder / ".venv/new.py").touch(), []),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_listing_finds(change: str, tmp_path: Path) -> None:
    for name in ("runs/digits-1", "runs/digits-2", ".venv"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("kept.txt", ".venv/pyvenv.cfg"):
        (tmp_path / name).write_text("kept")
    (tmp_path / "runs/latest").symlink_to("digits-1")
    before = listing(tmp_path)
    act, expected = CHANGES[change]
    act(tmp_path)
    assert differences(before, listing(tmp_path)) == expected


TESTS = """
from pathlib import Path


def test_that_writes_where_it_works() -> None:
    Path("runs").mkdir()


def test_that_litters() -> None:
    (Path(__file__).parents[1] / "litter.txt").touch()
"""


def test_a_session_whose_tests_litter_the_checkout_fails(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    for name in ("conftest.py", "checkout.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests" / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests/test_litter.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--numprocesses", "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("added")] == ["added: litter.txt"]
    assert done.returncode == 1

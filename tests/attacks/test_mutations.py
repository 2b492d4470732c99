"""Mutated pictures, run folders and archives are read or refused: some of each, by their numbers.
benchmarks/mutations.py tries a hundred thousand."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.attacks.mutations import MEGABYTES, Found, Kind, attack, of_archives, of_pictures, of_runs

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def all_outcomes(found: Found) -> Counter[str]:
    return sum(found.outcomes.values(), Counter())


def test_mutated_pictures_are_read_or_refused() -> None:
    found = attack(of_pictures(), 700)
    assert found.wrong == []
    assert found.count == 700
    assert found.memory < MEGABYTES
    assert min(all_outcomes(found)[each] for each in ("read", "refused")) > 100


def test_mutated_archives_are_read_or_refused(tmp_path: Path) -> None:
    found = attack(of_archives(tmp_path), 210)
    assert found.wrong == []
    assert found.count == 210
    assert found.memory < MEGABYTES
    assert min(all_outcomes(found)[each] for each in ("read", "refused")) > 50


def test_mutated_runs_are_read_or_refused_and_no_file_changes_without_a_word(tmp_path: Path) -> None:
    found = attack(of_runs(tmp_path), 96)
    assert found.wrong == []
    assert found.count == 96
    assert found.memory < MEGABYTES
    assert min(all_outcomes(found)[each] for each in ("read", "refused")) > 2


def test_the_same_number_is_the_same_input(tmp_path: Path) -> None:
    pictures, archives = of_pictures(), of_archives(tmp_path)
    for number in range(0, 300, 7):
        assert pictures.of(number) == of_pictures().of(number)
        assert archives.of(number) == archives.of(number)


def broken(name: str, _: bytes) -> str:
    """What reading must not do: raise, end the process, go on for ever."""
    if name == "raises":
        raise MemoryError("too much")
    if name == "ends":
        os.kill(os.getpid(), signal.SIGKILL)
    while name == "goes on":
        pass
    return "read"


def test_what_crashes_hangs_or_raises_is_known_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.attacks.mutations.SECONDS", 0.2)
    names = ("sound", "raises", "sound", "ends", "sound", "goes on", "sound")
    found = attack(Kind(lambda number: (names[number], b""), broken), len(names))
    assert all_outcomes(found) == {"read": 4, "wrong": 1}
    raised, ended, hung = found.wrong
    assert raised.startswith("1, raises: ")
    assert "MemoryError: too much" in raised
    assert ended == f"3, ends: ended the process with {-signal.SIGKILL}"
    assert hung == "5, goes on: took too long"

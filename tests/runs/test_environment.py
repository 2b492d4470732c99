"""A run is resumed only with the pictures it was begun with, and in the environment; else it says so."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from pellucid.errors import PellucidError, UsageError
from pellucid.files import read_json, sha256, write_json
from pellucid.report import reproduce
from pellucid.report.context import ReportContext
from pellucid.runs.environment import ENVIRONMENT, changes, not_repeatable
from pellucid.runs.fit import resume
from pellucid.runs.run import Run
from pellucid.runs.stopping import Stopped
from tests.resealed import rewrite
from tests.runs.toy_runs import SPLITS, resumed
from tests.toys import at, toy_splits


def test_resuming_with_other_pictures_is_refused(cut_off: Path) -> None:
    before = sha256(cut_off / "checkpoint.safetensors")
    changed = toy_splits(seed=5)
    for train_set, validation_set in [
        (changed.train, SPLITS.validation),
        (SPLITS.train, changed.validation),
        (SPLITS.validation, SPLITS.train),
    ]:
        with pytest.raises(UsageError, match="was begun with other pictures, by their"):
            resume(cut_off, train_set, validation_set)
    assert sha256(cut_off / "checkpoint.safetensors") == before


CHANGES = [
    ("versions", "torch", "1.0"),
    ("machine", "processor", "80486"),
    ("machine", "instructions", "MMX"),
    ("machine", "threads", 7),
    ("machine", "precision", "bfloat16"),
    ("machine", "kernels", "e184876e e64f6b26"),
]


def begun_elsewhere(folder: Path, part: str, name: str, value: object) -> object:
    """The run was begun where this was another; gives what it is here."""
    environment = read_json(folder / "environment.json")
    here = environment[part][name]
    environment[part][name] = value
    write_json(folder / "environment.json", environment)
    return here


@pytest.mark.parametrize(("part", "name", "value"), CHANGES)
def test_resuming_under_other_arithmetic_is_refused_with_both_values(
    cut_off: Path, part: str, name: str, value: object
) -> None:
    here = begun_elsewhere(cut_off, part, name, value)
    before = {path.name: path.read_bytes() for path in cut_off.iterdir()}
    with pytest.raises(UsageError) as refused:
        resumed(cut_off)
    assert f"was begun in another environment: {name} {value} → {here}." in str(refused.value)
    assert "go on all the same with `allow_changed_environment`" in str(refused.value)
    assert {path.name: path.read_bytes() for path in cut_off.iterdir()} == before


def test_kernels_that_are_off_are_other_arithmetic(cut_off: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.runs.environment.loaded_kernels", lambda: "e184876e e64f6b26")
    with pytest.raises(UsageError, match="kernels none → e184876e e64f6b26"):
        resumed(cut_off)


def test_a_run_that_goes_on_all_the_same_says_that_its_bytes_cannot_be_repeated(cut_off: Path) -> None:
    here = begun_elsewhere(cut_off, "versions", "torch", "1.0")
    with pytest.raises(Stopped):
        resume(
            cut_off, SPLITS.train, SPLITS.validation, callbacks=[at(0, signal.SIGINT)],
            allow_changed_environment=True,
        )  # fmt: skip
    run = resumed(cut_off)  # here nothing has changed since
    (note,) = run.environment["resumed"]
    assert note["changed"] == f"torch 1.0 → {here}"
    assert note["at"] == {"epoch": 2, "step": 2}
    assert note["versions"]["torch"] == here
    assert run.environment["versions"]["torch"] == "1.0"
    run.evaluate(SPLITS.test)
    (sentence,) = (message for kind, message in Run.open(cut_off).basis().warnings if kind == "environment")
    assert str(sentence) == (
        "The run cannot be repeated to the same bytes: it was gone on with in another environment "
        f"(torch 1.0 → {here})."
    )
    section = reproduce.gather(ReportContext(run, SPLITS, run.evaluation(), "en"))
    assert section.changed == sentence


def test_a_run_that_stayed_where_it_was_says_nothing_of_it(finished: Path) -> None:
    environment = read_json(finished / "environment.json")
    assert not_repeatable(environment) is None
    assert changes(environment, environment) == {}
    assert "environment" not in [kind for kind, _ in Run.open(finished).basis().warnings]


WRONG: dict[str, list[Any]] = {
    "command": [None, 3, []],
    "begun": [None, 3],
    "machine": [None, [], "x", {"cores": [2]}, {"cores": 1.5}],
    "versions": [None, [], {"torch": {}}],
    "fingerprints": [None, {}, {"train": "x", "validation": "y"}, {"train": "0" * 64}],
    "pictures": [None, {}, {"train": {"a": -1}, "validation": {}}, {"train": {"a": 1.5}, "validation": {}}],
    "origin": [None, [], {}, "x"],
    "candidates": [3, ["x"], {}],
    "resumed": [3, ["x"], [{}], [{"at": 3}]],
    "other": [1],
}


@pytest.mark.parametrize("key", WRONG)
def test_a_key_of_another_kind_or_size_is_refused_with_the_name_of_the_file(folder: Path, key: str) -> None:
    sound = json.loads((folder / ENVIRONMENT).read_text())
    changes = [{**sound, key: value} for value in WRONG[key]]
    if key in sound:
        changes.append({name: value for name, value in sound.items() if name != key})
    for changed in changes:
        rewrite(folder / ENVIRONMENT, json.dumps(changed))
        with pytest.raises(PellucidError, match=r"environment\.json' is damaged: .*Lost is which pictures"):
            Run.open(folder)

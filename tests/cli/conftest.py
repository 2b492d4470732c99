"""What the commands' tests share: runs trained once, and `toys`, a data set in three parts."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid import data
from pellucid.cli import train
from pellucid.data import DATASETS
from pellucid.data.dataset import Origin, Splits
from pellucid.runs.fit import fit
from tests.toys import QUICK, economical, pellucid, toy_splits

TRAIN = ("train", "digits", "--epochs", "2", "--threads", "1")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder in which `pellucid train digits` was run as a person would, and what it printed."""
    place = tmp_path_factory.mktemp("trained")
    return place, pellucid(*TRAIN, cwd=place)


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toys") / "run"
    splits = toy_splits()
    with economical():
        fit(splits.train, splits.validation, replace(QUICK, epochs=1), folder=folder, origin=Origin("toys"))
    return folder


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """`toys` is a data set the command line knows, in three parts whatever the seed; its report is empty."""
    known = replace(
        DATASETS["digits"], name="toys", parse=lambda *_: toy_splits(), shape=(1, 16, 16), pictures=240
    )
    monkeypatch.setitem(DATASETS, "toys", known)
    monkeypatch.setattr(train, "write_and_name", lambda run, *_: (run.folder / "report.html").touch())


@pytest.fixture
def leaky(monkeypatch: pytest.MonkeyPatch) -> Splits:
    """`toys` holds three training pictures in its test part."""
    splits = toy_splits()
    images = splits.test.images.clone()
    images[:3] = splits.train.images[:3]
    leaky = replace(splits, test=replace(splits.test, images=images), origin=Origin("toys", known=True))
    monkeypatch.setattr(data, "load_by", lambda *_, **__: leaky)
    monkeypatch.setitem(DATASETS, "toys", DATASETS["digits"])
    return leaky

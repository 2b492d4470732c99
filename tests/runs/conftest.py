"""A finished and a stopped run, made once, and copies of both to be damaged."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pellucid.runs.stopping import Stopped
from tests.runs.toy_runs import SPLITS, started
from tests.toys import at, economical


@pytest.fixture(autouse=True)
def cheaply() -> Iterator[None]:
    with economical():
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of SHORT that was never stopped, and judged."""
    folder = tmp_path_factory.mktemp("finished")
    with economical():
        started(folder).evaluate(SPLITS.test)
    return folder


@pytest.fixture(scope="session")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of SHORT that was stopped at the fifth event."""
    folder = tmp_path_factory.mktemp("unfinished")
    with economical(), pytest.raises(Stopped):
        started(folder, at(5, signal.SIGINT))
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def cut_off(unfinished: Path, tmp_path: Path) -> Path:
    """A copy of the stopped run, to be damaged or gone on with."""
    return Path(shutil.copytree(unfinished, tmp_path / "run"))

"""A run of toys with its report, and two runs of digits to explain: made once for all tests of this room."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pellucid import cli
from pellucid.data import load
from pellucid.data.dataset import Origin, Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.recipe import Recipe
from pellucid.report import report
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from tests.report.asking import Done
from tests.toys import economical, toy_splits, write_picture


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Splits, Evaluation]:
    splits = toy_splits()
    run = fit(
        splits.train,
        splits.validation,
        Recipe(epochs=2),
        folder=tmp_path_factory.mktemp("run"),
        origin=Origin("toy"),
    )
    return run, splits, run.evaluate(splits.test)


@pytest.fixture(scope="session")
def steps() -> list[tuple[str, int, int]]:
    """What writing the page reported of its progress."""
    return []


@pytest.fixture(scope="session")
def page(made: tuple[Run, Splits, Evaluation], steps: list[tuple[str, int, int]]) -> str:
    def progress(*step) -> None:
        steps.append(step)

    return report.write_report(*made, progress=progress).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def digits() -> Splits:
    return load("digits")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, digits: Splits) -> Path:
    """A folder with two runs, "one" and "two", and two pictures."""
    folder = tmp_path_factory.mktemp("explained")
    with economical():
        for name, seed in (("one", 1), ("two", 2)):
            recipe = Recipe(epochs=2, batch_size=32, learning_rate=0.004, threads=1, seed=seed)
            splits = load("digits", seed=seed)
            fit(splits, recipe, folder=folder / name)
    for number in (0, 1):
        write_picture(folder / f"{number}.png", digits.test.images[number])
    return folder


@pytest.fixture
def ran(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """The command line run inside this process, in the folder with the runs."""
    monkeypatch.chdir(place)

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["pellucid", *words])
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        printed = capsys.readouterr()
        return Done(int(leaving.value.code or 0), printed.out, printed.err)

    return run

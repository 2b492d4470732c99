"""A run of toys with its report: made once for all tests of this room."""

import pytest

from pellucid.data.dataset import Origin, Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.recipe import Recipe
from pellucid.report import report
from pellucid.report.context import ReportContext
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from tests.toys import toy_splits


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Splits, Evaluation]:
    splits = toy_splits()
    run = fit(
        splits,
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
def context(made: tuple[Run, Splits, Evaluation]) -> ReportContext:
    """What the report of that run is made from."""
    return ReportContext(*made)

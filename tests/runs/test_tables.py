"""A run's tables hold what was split and measured, and damaged ones are refused."""

from pathlib import Path

import pytest

from pellucid.errors import PellucidError
from pellucid.runs.run import Run
from tests.resealed import rewrite
from tests.runs.toy_runs import SPLITS
from tests.toys import rows_of


def test_the_split_is_written_down_and_shares_no_picture(finished: Path) -> None:
    rows = rows_of(finished / "split.csv")
    assert {row["split"] for row in rows} == {"train", "validation", "test"}
    for name, part in SPLITS.items():
        found = [(row["source"], row["label"]) for row in rows if row["split"] == name]
        labels = [part.classes[label] for label in part.labels.tolist()]
        assert found == list(zip(part.sources, labels, strict=True))
    assert len({row["content"] for row in rows}) == len(rows)


@pytest.mark.parametrize("content", ["epoch\n1\n", "epoch,seconds\nx,y\n", "\x00", "", None])
def test_damaged_metrics_are_refused_with_their_name(folder: Path, content: str | None) -> None:
    (folder / "metrics.csv").unlink()
    if content is not None:
        rewrite(folder / "metrics.csv", content)
    with pytest.raises(PellucidError, match=r"metrics\.csv"):
        Run.open(folder)


def test_metrics_that_lost_an_epoch_are_refused(folder: Path) -> None:
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    rewrite(folder / "metrics.csv", "".join(lines[:-1]))
    with pytest.raises(PellucidError, match=r"metrics\.csv' is damaged.*only 1 epochs are left"):
        Run.open(folder)


def test_a_damaged_split_stops_an_evaluation_before_anything_is_written(folder: Path) -> None:
    before = (folder / "evaluation.json").read_bytes()
    rewrite(folder / "split.csv", "source,label\na,b\n")
    with pytest.raises(PellucidError, match=r"split\.csv' is damaged"):
        Run.open(folder).evaluate(SPLITS.test)
    assert (folder / "evaluation.json").read_bytes() == before

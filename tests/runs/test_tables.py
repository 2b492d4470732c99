"""A run's tables hold what was split and measured, and damaged ones are refused."""

from pathlib import Path

import pytest

from pellucid.errors import PellucidError
from pellucid.runs.run import Run
from pellucid.runs.tables import read_diagnostics, read_history, read_margins, seen_contents
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
def test_a_run_goes_on_without_its_history_and_says_what_is_lost(folder: Path, content: str | None) -> None:
    (folder / "metrics.csv").unlink()
    if content is not None:
        rewrite(folder / "metrics.csv", content)
    with pytest.warns(UserWarning, match=r"metrics\.csv' .*Lost is the history by epoch\. The run goes on"):
        run = Run.open(folder)
    assert (len(run.history), run.best, run.epochs) == (0, None, 2)
    assert run.summary == "its history by epoch is lost"
    assert run.evaluate(SPLITS.test).count == len(SPLITS.test)
    assert run.snapshots()


def test_of_a_file_that_is_not_as_it_was_written_it_is_said_once(folder: Path) -> None:
    (folder / "metrics.csv").write_text("epoch\n1\n")
    with pytest.warns(UserWarning, match=r"metrics\.csv' is damaged") as caught:
        Run.open(folder)
    assert len(caught) == 1


METRICS = "epoch,seconds,learning_rate,loss,accuracy,val_loss,val_accuracy\n"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,1,0.1,1,0.5,1,0.5\n", "only 1 of 2 epochs are left"),
        ("1,1,0.1,1,0.5,1,0.5\n1,2,0.1,1,0.5,1,0.5\n", "'epoch' is '1'; expected 2"),
        ("1,-1,0.1,1,0.5,1,0.5\n", "'seconds' is '-1'"),
        ("1,1,x,1,0.5,1,0.5\n", "could not convert string to float: 'x'"),
        ("1,1,0.1,nan,0.5,1,0.5\n", "'loss' is 'nan'"),
        ("1,1,0.1,-1,0.5,1,0.5\n", "'loss' is '-1'"),
        ("1,1,0.1,1,7,1,0.5\n", "'accuracy' is '7'"),
        ("1,1,0.1,1,0.5,1,-0.5\n", "'val_accuracy' is '-0.5'"),
    ],
)
def test_figures_that_no_training_has_are_named(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "metrics.csv").write_text(METRICS + rows)
    with pytest.raises(PellucidError, match=rf"metrics\.csv' is damaged: {message}"):
        read_history(tmp_path, 2)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("split.csv", f"source,label,split,content\na,b,exam,{'0' * 64}\n", "'split' is 'exam'"),
        ("split.csv", "source,label,split,content\na,b,train,yes\n", "'content' is 'yes', which is no hash"),
        ("split.csv", "source,label,split\na,b,train\n", "no column 'content'"),
        ("seen.csv", f"content,split\n{'0' * 64},test\n", "'split' is 'test'"),
        ("seen.csv", "content\nx\n", "no column 'split'"),
        ("diagnostics.csv", "epoch,layer,gradient_norm,update_ratio\n1,a,-1,0\n", "'gradient_norm' is '-1'"),
        ("diagnostics.csv", "epoch,layer,gradient_norm,update_ratio\n0,a,1,0\n", "'epoch' is '0'"),
        (
            "diagnostics.csv",
            "epoch,layer,gradient_norm,update_ratio\n1,a,nan,0\n",
            "'gradient_norm' is 'nan'",
        ),
        ("margins.csv", "source,label,split,margin,other\n1,line,exam,0.5,ring\n", "'split' is 'exam'"),
        ("margins.csv", "source,label,split,margin,other\n1,line,train,nan,ring\n", "'margin' is 'nan'"),
        ("margins.csv", "source,label,split,margin,other\n1,cow,train,0.5,ring\n", "no column 'cow'"),
    ],
)
def test_a_table_with_values_that_none_can_have_is_named(
    folder: Path, name: str, content: str, message: str
) -> None:
    rewrite(folder / name, content)
    with pytest.raises(PellucidError, match=rf"{name}' is damaged: {message}"):
        {
            "split.csv": seen_contents, "seen.csv": seen_contents, "diagnostics.csv": read_diagnostics,
            "margins.csv": lambda folder: read_margins(folder, ("line", "ring")),
        }[name](folder)  # fmt: skip


def test_a_damaged_split_stops_an_evaluation_before_anything_is_written(folder: Path) -> None:
    before = (folder / "evaluation.json").read_bytes()
    rewrite(folder / "split.csv", "source,label\na,b\n")
    with pytest.raises(PellucidError, match=r"split\.csv' is damaged"):
        Run.open(folder).evaluate(SPLITS.test)
    assert (folder / "evaluation.json").read_bytes() == before

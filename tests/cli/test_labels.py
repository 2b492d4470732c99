"""`labels` lists suspects, writes them as a table, and `train` takes the table back."""

import json
from pathlib import Path
from typing import Any

import pytest

from pellucid.evaluation.label_errors import LabelErrors
from pellucid.runs.run import Run
from tests.toys import Call, rows_of


def test_the_table_that_labels_writes_is_taken_back_by_train(
    trained: tuple[Path, Any], call: Call, tmp_path: Path
) -> None:
    run = trained[0] / "runs" / "latest"
    code, out, err = call("labels", run, "--top", "3", "--out", tmp_path / "first.csv")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    rows = rows_of(tmp_path / "first.csv")
    assert lines[0].startswith("Labels: 1,797 labels judged, ")
    assert lines[-1].startswith(f"Table: {tmp_path / 'first.csv'}. Look at each picture first")
    assert [(row["part"], row["rank"]) for row in rows] == [
        (part, str(rank)) for part in ("train", "validation", "test") for rank in (1, 2, 3)
    ]
    assert lines[1] == (
        f"  {rows[0]['source']} (train): '{rows[0]['label']}', rather '{rows[0]['suggested_label']}'"
    )
    code, out, err = call(
        "train", "digits", "--epochs", "1", "--threads", "1", "--relabel", tmp_path / "first.csv"
    )
    assert (code, err) == (0, "")
    assert f"9 labels are changed, as '{tmp_path / 'first.csv'}' says." in out
    assert f"3 test labels were changed by '{tmp_path / 'first.csv'}'." in out
    (tmp_path / "first.csv").unlink()
    facts = json.loads(Path("runs/latest/evaluation.json").read_text())
    assert (facts["test_relabelled"], facts["test_excluded"]) == (3, 0)
    code, out, err = call("evaluate", "runs/latest", "--again")  # the run needs the table no more
    assert (code, err) == (0, "")
    assert f"3 test labels were changed by '{tmp_path / 'first.csv'}'." in out
    named = {row["source"]: row["label"] for row in rows_of(Path("runs/latest/relabelled.csv"))}
    assert named == {row["source"]: row["suggested_label"] for row in rows}
    split = {row["source"]: row["label"] for row in rows_of(Path("runs/latest/split.csv"))}
    assert {source: split[source] for source in named} == named


def test_without_a_suspect_nobody_is_told_to_look(
    trained: tuple[Path, Any], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "label_errors", lambda *_: LabelErrors(("0", "1"), (), 0.99))
    code, out, _ = call("labels", trained[0] / "runs" / "latest", "--out", tmp_path / "none.csv")
    assert code == 0
    assert out.splitlines()[-1] == f"Table: {tmp_path / 'none.csv'}"


def test_json_has_every_suspect(trained: tuple[Path, Any], call: Call, tmp_path: Path) -> None:
    run = trained[0] / "runs" / "latest"
    code, out, _ = call("labels", run, "--top", "2", "--out", tmp_path / "a.csv", "--json")
    first, *suspects = map(json.loads, out.splitlines())
    assert code == 0
    assert (first["event"], first["judged"], first["path"]) == ("labels", 1797, str(tmp_path / "a.csv"))
    assert [each["event"] for each in suspects] == ["suspect"] * 6
    assert {each["judged_by"] for each in suspects} == {"margin over epochs", "held out"}


def test_pictures_are_left_out_and_what_is_not_there_is_refused(call: Call) -> None:
    table = Path("out.csv")
    table.write_text("source\ndigits/0\ndigits/1\n")
    code, out, _ = call("train", "digits", "--epochs", "1", "--threads", "1", "--exclude", table)
    assert code == 0
    assert "2 pictures are left out, as 'out.csv' says." in out
    sources = {row["source"] for row in rows_of(Path("runs/latest/split.csv"))}
    assert len(sources) == 1795
    assert not {"digits/0", "digits/1"} & sources
    table.write_text("source\nletters/0\n")
    code, _, err = call("train", "digits", "--exclude", table)
    assert code == 2
    assert "'out.csv' names pictures that are not here: 'letters/0'. Sources look like 'digits/" in err
    code, _, err = call("train", "digits", "--exclude", "absent.csv")
    assert (code, "--exclude absent.csv is not a file" in err) == (2, True)
    code, _, err = call("train", "--resume", "runs/latest", "--exclude", table)
    assert (code, "cannot be changed" in err) == (2, True)

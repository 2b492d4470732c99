"""The test set is judged once, and a damaged run is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pellucid.data.dataset import Splits
from tests.released import CLAIMING, begun, ended, go, said
from tests.resealed import change
from tests.toys import Call, rows_of, write_picture


@pytest.mark.filterwarnings("always:.*is damaged:UserWarning")
def test_the_test_set_is_judged_once_and_again_gives_the_same(
    trained: tuple[Path, Any], tmp_path: Path, call: Call
) -> None:
    run = shutil.copytree(trained[0] / "runs" / "latest", tmp_path / "copy")
    before = (run / "evaluation.json").read_bytes()
    (run / "predictions.csv").touch()
    assert call("evaluate", run)[0] == 0
    assert (run / "evaluation.json").read_bytes() == before
    code, out, _ = call("evaluate", run, "--again", "--json")
    assert code == 0
    assert json.loads(out)["event"] == "evaluation"
    facts = json.loads((run / "evaluation.json").read_text())
    assert facts["network_number"] is not None
    assert facts["accuracy"] == json.loads(before)["accuracy"]
    (run / "evaluation.json").write_text("{")
    code, _, err = call("evaluate", run)
    assert (code, "evaluation.json' is damaged" in err, "--again" in err) == (1, True, True)
    code, _, err = call("evaluate", run, "--again")
    assert (code, "evaluation.json' is damaged" in err) == (0, True)
    code, _, err = call("evaluate", run)  # it is whole again
    assert (code, err) == (0, "")


def test_what_the_report_found_is_repeated_until_the_run_is_judged_again(
    trained: tuple[Path, Any], call: Call
) -> None:
    run = shutil.copytree(trained[0] / "runs" / "latest", Path("copy"))
    facts = json.loads((run / "evaluation.json").read_text())
    remarks = [facts[name]["remark"] for name in ("slices", "shortcuts", "stress") if facts[name]["remark"]]
    assert remarks
    assert call("evaluate", run)[1].splitlines()[-len(remarks) :] == remarks
    assert remarks[0] in trained[1].stdout
    assert remarks[0] not in call("evaluate", run, "--again")[1]


@pytest.mark.parametrize("damage", ["model.json", "model.safetensors", "split.csv", "environment.json"])
def test_a_damaged_run_exits_1_with_the_name_of_the_file(toy_run: Path, call: Call, damage: str) -> None:
    run = shutil.copytree(toy_run, Path("copy"))
    (run / damage).write_bytes((run / damage).read_bytes()[:40])
    code, _, err = call("evaluate", run)
    assert code == 1
    assert damage in err


def test_where_every_test_picture_was_learned_from_no_limit_is_kept(
    trained: tuple[Path, Any], call: Call
) -> None:
    run = shutil.copytree(trained[0] / "runs" / "latest", Path("copy"))
    assert call("evaluate", run, "--min-accuracy", "0.01", "--on", "point")[0] == 0
    sources = [row["source"] for row in rows_of(run / "predictions.csv")]
    change(run / "evaluation.json", leaking=sources, clean=None)
    assert call("evaluate", run)[0] == 0
    code, _, err = call("evaluate", run, "--min-accuracy", "0.01", "--on", "point")
    assert code == 3
    assert "No limit is kept: every test picture was also learned from" in err


@pytest.mark.filterwarnings("always:.*is damaged:UserWarning")
def test_without_its_history_a_run_is_judged_and_the_file_is_named(
    trained: tuple[Path, Any], call: Call
) -> None:
    run = shutil.copytree(trained[0] / "runs" / "latest", Path("copy"))
    said = call("evaluate", run)[1]
    (run / "metrics.csv").write_bytes((run / "metrics.csv").read_bytes()[:40])
    code, out, err = call("evaluate", run)
    assert (code, out) == (0, said)
    assert "metrics.csv' is damaged" in err
    assert "Lost is the history by epoch" in err


def test_a_limit_that_is_not_kept_exits_with_three_and_says_what_was_found(
    trained: tuple[Path, Any], call: Call
) -> None:
    run = trained[0] / "runs" / "latest"
    code, out, err = call("evaluate", run, "--min-accuracy", "0.1", "--max-loss", "9", "--on", "point")
    assert code == 0, err
    assert out.count("passed: ") == 2
    assert "at least 10.0 % asked for" in out
    code, out, err = call("evaluate", run, "--min-accuracy", "1", "--min-f1", "0.01")
    assert code == 3
    assert "failed: accuracy" in out
    assert "1 limit not kept: accuracy" in err
    code, out, _ = call("evaluate", run, "--min-accuracy", "1", "--json")
    assert code == 3
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events][:2] == ["evaluation", "gate"]
    assert (events[1]["name"], events[1]["passed"], events[1]["limit"]) == ("min_accuracy", False, 1.0)


def test_a_limit_that_makes_no_sense_is_refused_before_anything_is_judged(
    trained: tuple[Path, Any], call: Call
) -> None:
    code, out, err = call("evaluate", trained[0] / "runs" / "latest", "--min-accuracy", "97")
    assert (code, out) == (2, "")
    assert "Expected --min-accuracy as a number from 0 to 1, such as 0.99; got 97" in err


def test_every_score_is_printed_with_its_interval(trained: tuple[Path, Any], call: Call) -> None:
    code, out, _ = call("evaluate", trained[0] / "runs" / "latest")
    assert code == 0
    scores = json.loads((trained[0] / "runs" / "latest" / "evaluation.json").read_text())["scores"]
    assert "Scores with their 95 % intervals:" in out
    assert f"{scores['macro_f1']['value']:.3f}" in out
    for words in ("balanced accuracy", "weighted F1", "label among the 2 likeliest", "log loss"):
        assert f"  {words} " in out
    assert "Class by class: pictures; precision, recall and F1" in out


def test_while_another_process_writes_into_a_run_it_is_read_and_nothing_else(
    call: Call, trained: tuple[Path, Any], digits: Splits, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained[0] / "runs" / "latest", tmp_path / "run"))
    write_picture(tmp_path / "one.png", digits.test.images[0])
    writer = begun(CLAIMING, run, "written.txt")
    go(writer)
    assert said(writer) == "claimed"
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    for words in (
        ("train", "digits", "--out", "run"),
        ("train", "--resume", "run"),
        ("evaluate", "run", "--again"),
        ("report", "run"),
        ("labels", "run"),
    ):
        code, out, err = call(*words)
        assert (code, out) == (1, ""), words
        assert err.startswith(f"pellucid: 'run' is being written by process {writer.pid} on "), words
        assert "Wait until it is done, or end that process" in err
    for words in (("evaluate", "run"), ("predict", "run", "one.png")):
        assert call(*words)[0] == 0, words
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    ended([writer])
    assert call("evaluate", "run", "--again")[0] == 0

"""Several labels per picture, from a table to a report: each command answers for every label, or refuses."""

import csv
import json
import re
from pathlib import Path

import pytest

from pellucid.runs.run import Run
from pellucid.task import SeveralLabels
from tests.toys import (
    LABELS,
    Call,
    economical,
    pellucid,
    rows_of,
    toys_of_several_labels,
    write_several_labels,
)

TRAIN = "--model tutorial --epochs 14 --batch-size 16 --learning-rate 5e-3 --augment none --threads 1".split()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, a run trained on them from the command line, and what that printed."""
    place = tmp_path_factory.mktemp("several")
    write_several_labels(place / "toys")
    done = pellucid("train", "toys", *TRAIN, "--out", "run", cwd=place)
    assert (done.returncode, done.stderr) == (0, "")
    (place / "printed.txt").write_text(done.stdout)
    return place


def test_training_says_what_was_read_and_how_each_label_does(place: Path) -> None:
    printed = (place / "printed.txt").read_text()
    assert "each with any of 4 labels" in printed
    assert "4 labels, training pictures of each: 'blue'" in printed
    assert re.search(r"^Test set: mAP 0\.9\d\d|^Test set: mAP 1\.000", printed, re.MULTILINE)
    assert re.search(
        r"^  post +[01]\.\d{3} \([01]\.\d{3} to 1\.000\)  F1 [01]\.\d{3} \([01]\.\d{3} to [01]\.\d{3}\)"
        r"  from 0\.\d\d$",
        printed,
        re.MULTILINE,
    )


def test_the_run_holds_a_threshold_per_label_and_its_scores(place: Path, call: Call) -> None:
    run = Run.open(place / "run")
    assert isinstance(run.classifier.task, SeveralLabels)
    assert json.loads((place / "run" / "model.json").read_text())["thresholds"] == list(
        run.classifier.task.thresholds
    )
    code, out, err = call("evaluate", place / "run", "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert facts["mean_average_precision"] > 0.9
    assert [each["name"] for each in facts["per_label"]] == list(LABELS)
    low, high = facts["mean_average_precision_interval"]
    assert low <= facts["mean_average_precision"] <= high
    assert "confusion" not in facts
    labels = {row["source"]: row["label"] for row in rows_of(place / "run" / "predictions.csv")}
    written = {row["file"]: row["labels"] for row in rows_of(place / "toys" / "labels.csv")}
    assert labels
    assert labels == {source: written[source] for source in labels}


def test_predict_gives_every_label_above_its_threshold(place: Path, call: Call, tmp_path: Path) -> None:
    files = [place / "toys" / "images" / f"{index:03}.png" for index in range(12)]
    code, out, err = call("predict", place / "run", *files, "--json")
    assert (code, err) == (0, "")
    answers = [json.loads(line) for line in out.splitlines()]
    thresholds = dict(zip(LABELS, Run.open(place / "run").classifier.task.thresholds, strict=True))  # type: ignore[union-attr]
    for answer in answers:
        chances = answer["probabilities"]
        assert set(answer["prediction"]) == {name for name in LABELS if chances[name] >= thresholds[name]}
        assert answer["prediction"] == sorted(answer["prediction"], key=lambda name: -chances[name])
    truth = toys_of_several_labels(240).label_names[:12]
    right = sum(
        "|".join(sorted(answer["prediction"])) == label for answer, label in zip(answers, truth, strict=True)
    )
    assert right >= 10
    code, out, err = call("predict", place / "run", *files, "--csv", tmp_path / "p.csv")
    assert (code, err) == (0, "")
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["prediction"].split("|") for row in rows] == [answer["prediction"] for answer in answers]
    _, out, _ = call("predict", place / "run", files[0])
    assert re.fullmatch(r".*000\.png: \w+ [\d.]+ %, \w+ [\d.]+ %.*\n", out), out


def test_explain_shows_the_labels_given_and_refuses_what_needs_one_class(
    place: Path, call: Call, tmp_path: Path
) -> None:
    picture = place / "toys" / "images" / "000.png"
    code, _, err = call(
        "explain", place / "run", picture, "--target", "box", "--out", tmp_path / "e.json", "--json"
    )
    assert (code, err) == (0, "")
    (facts,) = json.loads((tmp_path / "e.json").read_text())
    assert facts["target"] == "box"
    assert set(facts["predictions"]) == set(toys_of_several_labels(240).label_names[0].split("|"))
    code, _, err = call("explain", place / "run", picture, "--change")
    assert code == 2
    assert "gives each label a probability of its own" in err


def test_what_shows_one_answer_among_classes_is_refused(place: Path, call: Call) -> None:
    for words in (("export", place / "run"), ("live", place / "run", "--no-open")):
        code, _, err = call(*words)
        assert code == 2
        assert "one answer among classes; this network gives each of its labels" in err


def test_two_runs_are_compared_by_whole_sets_of_labels(place: Path, call: Call, tmp_path: Path) -> None:
    code, out, err = call("compare", place / "run", place / "run", "--out", tmp_path / "c.html")
    assert (code, err) == (0, "")
    assert "They disagree on 0 of " in out


def test_check_looks_at_them_too(place: Path, call: Call, tmp_path: Path) -> None:
    code, out, err = call("check", place / "toys", "--out", tmp_path / "check.html", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["classes"] == list(LABELS)


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        (
            "en",
            ("mean average precision over the labels", "Label by label", "has no single prediction to guess"),
        ),
        ("ko", ("레이블별 평균 정밀도", "레이블별 결과", "하나의 예측이 없습니다")),
    ],
)
def test_the_report_judges_label_by_label(place: Path, language: str, sentences: tuple[str, ...]) -> None:
    with economical():
        path = Run.open(place / "run").report(language=language)
    page = path.read_text("utf-8")
    assert [sentence for sentence in sentences if sentence not in page] == []
    assert "This part could not be made" not in page
    assert "이 부분을 만들 수 없습니다" not in page
    assert 'id="mistakes"' not in page
    assert page.count('class="matrix') == 1  # which labels go together, not what was confused


def test_a_sampler_of_classes_is_refused_before_training(place: Path, call: Call) -> None:
    code, _, err = call("train", place / "toys", *TRAIN, "--balance", "sampler")
    assert code == 2
    assert "--balance sampler shows pictures of rare classes more often" in err

"""Predictions of the command line are those of Python, and a wrong picture stops no other."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid import prediction
from pellucid.classifier import Classifier
from pellucid.data import load
from pellucid.evaluation.evaluation import Evaluation
from pellucid.runs.run import Run
from tests.toys import Call, pellucid, rows_of, toy_dataset, write_picture


def test_predict_evaluate_and_report_agree_with_python_to_the_last_digit(
    trained: tuple[Path, Any], tmp_path: Path, call: Call
) -> None:
    run = trained[0] / "runs" / "latest"
    test = load("digits").test
    files = [write_picture(tmp_path / f"{n}.png", test.images[n]) for n in range(4)]
    expected = Classifier.load(run).predict(test.images)[:4]
    recorded = Evaluation.load(run, test.classes).probabilities[:4]
    assert torch.equal(recorded, expected)
    code, out, _ = call("predict", run, *files, "--json")
    assert code == 0
    answers = [json.loads(line) for line in out.splitlines()]
    found = [[answer["probabilities"][name] for name in test.classes] for answer in answers]
    assert torch.equal(torch.tensor(found), expected)
    assert call("predict", run, *files, "--csv", "table.csv")[0] == 0
    rows = rows_of(tmp_path / "table.csv")
    found = [[float(row[f"p({name})"]) for name in test.classes] for row in rows]
    assert torch.equal(torch.tensor(found), expected)
    assert [row["source"] for row in rows] == [str(file) for file in files]
    code, out, _ = call("predict", run, *files)
    assert [line.partition(": ")[0] for line in out.splitlines()] == [str(file) for file in files]


@pytest.mark.slow
def test_many_files_get_the_answers_each_would_get_alone(
    toy_run: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "READ_AT_ONCE", 3)
    files = [write_picture(Path(f"{n}.png"), image) for n, image in enumerate(toy_dataset(7).images)]
    files.insert(4, Path("absent.png"))
    code, out, err = call("predict", toy_run, *files, "--json")
    assert (code, err.count("absent.png")) == (2, 1)
    alone = "".join(call("predict", toy_run, file, "--json")[1] for file in files)
    assert out == alone
    assert len(out.splitlines()) == 7


def test_another_process_predicts_the_same_digits(trained: tuple[Path, Any], tmp_path: Path) -> None:
    run = trained[0] / "runs" / "latest"
    image = load("digits").test.images[7]
    done = pellucid("predict", run, write_picture(tmp_path / "7.png", image), "--json", cwd=tmp_path)
    found = list(json.loads(done.stdout)["probabilities"].values())
    assert torch.equal(torch.tensor(found), Classifier.load(run).predict(image[None])[0])


def test_wrong_pictures_are_named_and_the_others_answered(toy_run: Path, call: Call) -> None:
    good = write_picture(Path("good.png"), toy_dataset(1).images[0])
    write_picture(Path("large.png"), torch.zeros(1, 20, 30, dtype=torch.uint8))
    write_picture(Path("colour.png"), toy_dataset(1, channels=3).images[0])
    Path("text.png").write_text("not a picture")
    Path("cut.png").write_bytes(good.read_bytes()[:60])
    Path("folder.png").mkdir()
    wrong = ["large.png", "colour.png", "text.png", "cut.png", "folder.png", "absent.png"]
    code, out, err = call("predict", toy_run, *wrong, good)
    assert code == 2
    assert out.startswith("good.png: ")
    assert len(out.splitlines()) == 1
    messages = err.splitlines()
    for name, message in zip(wrong, messages, strict=True):
        assert message.startswith(f"pellucid: '{name}' "), message
    assert "is 30x20 gray; this classifier was trained on 16x16 gray pictures" in messages[0]
    assert call("predict", toy_run, good, "large.png")[0] == 2  # whichever comes first
    assert call("predict", toy_run, "large.png", "colour.png", "--fit", "stretch")[0] == 0
    assert "Unknown fit 'squeeze'" in call("predict", toy_run, good, "--fit", "squeeze")[2]


def test_a_coverage_leaves_the_least_confident_without_an_answer(toy_run: Path, call: Call) -> None:
    files = [write_picture(Path(f"{n}.png"), image) for n, image in enumerate(toy_dataset(12).images)]
    threshold = Run.open(toy_run).threshold(coverage=0.5)
    code, out, _ = call("predict", toy_run, *files, "--coverage", "0.5")
    first, *lines = out.splitlines()
    assert code == 0
    assert first.startswith(f"Answers from a confidence of {threshold.confidence:.4g} on: ")
    assert f"of 48 pictures held out of training, {threshold.wrong} of these wrong." in first
    answers = [
        json.loads(line)
        for line in call("predict", toy_run, *files, "--json", "--coverage", "0.5")[1].splitlines()
    ]
    assert {answer["sure"] for answer in answers} == {True, False}
    for answer, line in zip(answers, lines, strict=True):
        assert answer["sure"] == (answer["confidence"] >= threshold.confidence)
        assert (answer["prediction"] is None) == ("not sure (" in line) == (not answer["sure"])
    assert call("predict", toy_run, *files, "--coverage", "0.5", "--csv", "table.csv")[0] == 0
    rows = rows_of(Path("table.csv"))
    assert [row["sure"] for row in rows] == ["yes" if answer["sure"] else "no" for answer in answers]
    assert [row["prediction"] for row in rows] == [answer["prediction"] or "" for answer in answers]


def test_sets_name_every_class_that_may_be_it(toy_run: Path, call: Call) -> None:
    files = [write_picture(Path(f"{n}.png"), image) for n, image in enumerate(toy_dataset(12).images)]
    code, out, _ = call("predict", toy_run, *files, "--sets", "0.97", "--json")
    assert code == 0
    sets = [json.loads(line)["set"] for line in out.splitlines()]
    assert max(map(len, sets)) > 1
    lines = call("predict", toy_run, *files, "--sets", "0.97")[1].splitlines()
    for line, inside in zip(lines, sets, strict=True):
        assert (f": {' or '.join(inside)} (" in line) == (len(inside) > 1)
    assert call("predict", toy_run, *files, "--sets", "0.97", "--csv", "table.csv")[0] == 0
    assert [row["set"] for row in rows_of(Path("table.csv"))] == ["|".join(inside) for inside in sets]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--coverage", "0.9", "--max-error", "0.1"], "--coverage and --max-error both choose"),
        (["--coverage", "95"], "Expected a coverage above 0 and at most 1, such as 0.95; got 95"),
        (["--max-error", "0"], "Expected an error above 0 and below 1, such as 0.01; got 0"),
        (["--max-error", "0.01"], "48 pictures held out cannot show an error below 1.0 %: that takes 368"),
        (["--sets", "1"], "Expected a coverage above 0 and below 1, such as 0.95; got 1"),
    ],
)
def test_promises_that_cannot_be_kept_are_refused(
    toy_run: Path, call: Call, words: list[str], message: str
) -> None:
    code, out, err = call("predict", toy_run, write_picture(Path("a.png"), toy_dataset(1).images[0]), *words)
    assert (code, out) == (2, "")
    assert message in err


def test_pictures_unlike_anything_taught_are_marked_or_get_no_answer(toy_run: Path, call: Call) -> None:
    noise = torch.randint(0, 256, (6, 1, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    images = torch.cat([toy_dataset(6).images, noise])
    files = [write_picture(Path(f"{n}.png"), image) for n, image in enumerate(images)]
    found = Run.open(toy_run).novelty(images)
    assert found.unlike.any()
    assert not found.unlike.all()
    answers = [json.loads(line) for line in call("predict", toy_run, *files, "--json")[1].splitlines()]
    assert [answer["unlike"] for answer in answers] == found.unlike.tolist()
    assert [answer["novelty"] for answer in answers] == found.percentiles.tolist()
    assert None not in [answer["prediction"] for answer in answers]
    for line, unlike in zip(call("predict", toy_run, *files)[1].splitlines(), found.unlike, strict=True):
        words = "; unlike anything taught: farther from its nearest training pictures than "
        assert (words in line) == bool(unlike)
    code, out, _ = call("predict", toy_run, *files, "--refuse-unlike")
    assert code == 0
    for line, unlike in zip(out.splitlines(), found.unlike, strict=True):
        assert (": not like anything I was taught (farther from " in line) == bool(unlike)
    out = call("predict", toy_run, *files, "--refuse-unlike", "--json")[1]
    assert [json.loads(line)["prediction"] is None for line in out.splitlines()] == found.unlike.tolist()
    out = call("predict", toy_run, *files, "--csv", "table.csv")[1]
    count = int(found.unlike.sum())
    assert out.splitlines()[-1].startswith(f"Unlike anything taught: {count} of 12 pictures, ")
    assert [row["unlike"] == "yes" for row in rows_of(Path("table.csv"))] == found.unlike.tolist()


def test_a_classifier_without_a_run_answers_without_marks(toy_run: Path, call: Call) -> None:
    Path("alone").mkdir()
    Classifier.load(toy_run).save(Path("alone"))
    picture = write_picture(Path("a.png"), toy_dataset(1).images[0])
    code, out, _ = call("predict", "alone", picture, "--json")
    assert (code, "unlike" in json.loads(out)) == (0, False)

"""What a score rests on is known to the run and said wherever the score is."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.cache import cache_folder
from pellucid.data.dataset import Origin, Splits
from pellucid.errors import PellucidError
from pellucid.evaluation.ledger import LEDGER
from pellucid.files import read_json, write_json
from pellucid.formatting import percent
from pellucid.recipe import Recipe
from pellucid.report import report
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from tests.pages import Elements
from tests.photographs import changed, photographs, splits_of, tensor_of
from tests.toys import Call, economical, toy_splits

RECIPE = Recipe(epochs=1, threads=1)
SEVERAL = 20
HEAD = ("data", "scores")


@pytest.fixture(autouse=True)
def few_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a score rests on is said at the head of a report and with the data: other sections take time."""
    monkeypatch.setattr(report, "SECTIONS", [each for each in report.SECTIONS if each[0] in HEAD])


def text_of(page: Path) -> str:
    return " ".join(Elements(page.read_text(encoding="utf-8")).text.split())


def folder_with_copies(folder: Path) -> Path:
    """Two classes of drawn photographs; half of the test pictures were saved again as JPEG into training."""
    pictures = photographs(120, seed=21, side=32)
    for number, pixels in enumerate(pictures):
        part, label = ("train", "test")[number >= 80], ("hill", "lake")[number % 2]
        place = folder / part / label
        place.mkdir(parents=True, exist_ok=True)
        light = np.clip(pixels.astype(np.int16) + (60 if label == "lake" else -60), 0, 255).astype(np.uint8)
        Image.fromarray(light).save(place / f"{number}.png")
        if number >= 100:
            again = folder / "train" / label / f"again-{number}.png"
            Image.fromarray(changed(light, "brighter")).save(again)
    return folder


def test_near_copies_reach_the_terminal_the_evaluation_and_the_head_of_the_report(
    call: Call, tmp_path: Path
) -> None:
    data = folder_with_copies(tmp_path / "pictures")
    words = ("--model", "tutorial", "--epochs", "1", "--threads", "1", "--out", "run", "--lang", "en")
    code, out, _ = call("train", data, *words)
    assert code == 0
    run = Run.open(Path("run"))
    facts = read_json(run.folder / "evaluation.json")
    assert facts["leaking"] == []
    assert {leak["source"].rpartition("/")[2] for leak in facts["near_leaking"]} == {
        f"{number}.png" for number in range(100, 120)
    }
    evaluation = run.evaluation()
    assert evaluation is not None
    clean = run.basis().clean(evaluation)
    assert clean is not None
    assert (clean.count, facts["clean"]["count"], evaluation.count) == (20, 20, 40)
    assert facts["clean"]["verdict"] == clean.verdict
    first = out.index(f"Test set without copies of pictures that were learned from: {clean.verdict}")
    assert first < out.index(f"Test set, copies included: {evaluation.verdict}")
    assert "20 held-out pictures are almost the same as some that were learned from or chosen by." in out
    text = text_of(run.folder / "report.html")
    assert f"{percent(clean.accuracy)} right on the 20 test pictures without a copy in training" in text
    assert f"With the 20 copies it would be {percent(evaluation.accuracy)}." in text
    assert "right on pictures it never saw" not in text
    assert "No test picture" not in text
    pairs = Elements((run.folder / "report.html").read_text(encoding="utf-8")).text
    assert "again-100.png" in pairs


def trained(splits: Splits, folder: Path, **settings: object) -> Run:
    with economical():
        return fit(splits, replace(RECIPE, **settings), folder=folder, origin=Origin("toys"))


def test_where_near_copies_were_not_searched_for_no_place_says_that_it_never_saw_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = toy_splits()
    without = fit(splits.train, splits.validation, RECIPE, folder=tmp_path / "two")
    monkeypatch.setattr("pellucid.data.audit.findings.NEAR_LIMIT", 100)
    many = trained(splits, tmp_path / "many")
    for run, reason in (
        (without, "these test pictures were not there when it was trained."),
        (many, "there are too many to compare."),
    ):
        evaluation = run.evaluate(splits.test)
        assert run.basis().clean(evaluation) is evaluation
        text = text_of(report.write_report(run, splits, evaluation))
        assert f"Almost identical pictures were not searched for: {reason}" in text
        assert "right on test pictures not searched for near-copies" in text
        assert "right on pictures it never saw" not in text
        assert "or almost the same as one there" not in text


def test_the_twentieth_network_says_that_it_is_the_twentieth(tmp_path: Path) -> None:
    splits = toy_splits(80)
    runs = [trained(splits, tmp_path / str(seed), seed=seed) for seed in range(SEVERAL)]
    for number, run in enumerate(runs, 1):
        run.evaluate(splits.test)
        assert read_json(run.folder / "evaluation.json")["network_number"] == number
    last = runs[-1]
    (sentence,) = (str(each) for each in last.basis().sentences if "network judged" in str(each))
    assert sentence.startswith("It is the 20th network judged on these test pictures: ")
    assert sentence in text_of(report.write_report(last, splits))
    assert not any("network judged" in str(each) for each in runs[0].basis().sentences)
    # Neither a deleted evaluation nor an emptied cache makes it another.
    (ledger,) = (cache_folder() / LEDGER).iterdir()
    for file in (last.folder / "evaluation.json", ledger):
        file.unlink()
        last.evaluate(splits.test)
        assert read_json(last.folder / "evaluation.json")["network_number"] == SEVERAL


def test_the_same_training_again_is_the_same_network(tmp_path: Path) -> None:
    splits = toy_splits(80)
    files = []
    for name in ("one", "again"):
        run = trained(splits, tmp_path / name)
        run.evaluate(splits.test)
        files.append([(run.folder / each).read_bytes() for each in ("evaluation.json", "findings.json")])
    assert files[0] == files[1]


def test_where_no_record_can_be_kept_a_run_is_judged_and_says_so(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PELLUCID_HOME", str(tmp_path / "file"))
    splits = toy_splits(80)
    trained(splits, tmp_path / "run").evaluate(splits.test)
    assert read_json(tmp_path / "run" / "evaluation.json")["network_number"] is None
    code, out, _ = call("evaluate", tmp_path / "run")
    assert code == 0
    assert "Whether other networks were judged on these test pictures is not known" in out


def test_bursts_that_the_audit_warned_of_are_said_with_the_score(tmp_path: Path) -> None:
    pictures = photographs(400, seed=6, side=32)
    for frame in range(1, 6):
        pictures[20 + frame] = np.roll(pictures[19 + frame], 1, axis=1)
    splits = splits_of(tensor_of(pictures))
    names = [f"cat/IMG_{number:04}.jpg" for number in range(len(splits.train))]
    train = replace(splits.train, sources=names)
    train = replace(train, labels=torch.where(torch.arange(len(train)) < 160, 0, train.labels))
    splits = replace(splits, train=train)
    run = trained(splits, tmp_path / "run")
    evaluation = run.evaluate(splits.test)
    (sentence,) = (str(each) for each in run.basis().sentences if "burst" in str(each))
    assert sentence in text_of(report.write_report(run, splits, evaluation))


def test_a_damaged_basis_is_refused_and_can_be_made_anew(tmp_path: Path) -> None:
    splits = toy_splits(80)
    run = trained(splits, tmp_path / "run")
    run.evaluate(splits.test)
    path = run.folder / "evaluation.json"
    whole = read_json(path)
    changes: list[Callable[[dict[str, object]], object]] = [
        lambda facts: facts.pop("leaking"),
        lambda facts: facts.update(near_leaking=[{}]),
        lambda facts: facts.update(unsearched=3),
        lambda facts: facts.update(network_number="x"),
    ]
    for change in changes:
        facts = json.loads(json.dumps(whole))
        change(facts)
        write_json(path, facts)
        with pytest.raises(PellucidError, match=r"evaluation\.json' is damaged.*evaluate .* --again"):
            run.basis()
    run.evaluate(splits.test)
    assert run.basis().number == 1

"""A run's folder tells the truth, loses nothing, and can be gone on with from wherever it was left."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.data.dataset import Dataset, Splits
from pellucid.errors import PellucidError, UsageError
from pellucid.evaluation.evaluation import evaluate
from pellucid.files import read_json
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from tests.resealed import change, reseal, rewrite
from tests.runs.toy_runs import SHORT, SPLITS, started
from tests.toys import QUICK, rows_of, same_weights, toy_splits


def test_an_opened_run_is_the_one_that_was_made(tmp_path: Path) -> None:
    made = started(tmp_path / "run")
    opened = Run.open(tmp_path / "run")
    assert opened.history == made.history
    assert opened.recipe == made.recipe
    assert opened.best == made.best
    assert same_weights(opened.classifier.network, made.classifier.network)
    images = SPLITS.test.images
    assert torch.equal(opened.classifier.predict(images), made.classifier.predict(images))
    assert (opened.summary, opened._repr_html_()) == (made.summary, made._repr_html_())
    shown = replace(opened, folder=Path("runs") / "<i>x")._repr_html_()
    assert "<i>" not in shown
    assert "&lt;i&gt;x" in shown


def test_the_evaluation_is_that_of_the_test_set_and_judging_again_changes_nothing(folder: Path) -> None:
    run = Run.open(folder)
    recorded = run.evaluation()
    assert recorded is not None
    direct = evaluate(run.classifier, SPLITS.test)
    assert recorded.to_json() == direct.to_json()
    assert torch.equal(recorded.probabilities, direct.probabilities)
    assert read_json(folder / "evaluation.json")["leaking"] == []
    before = (folder / "evaluation.json").read_bytes()
    run.evaluate(SPLITS.test)
    assert (folder / "evaluation.json").read_bytes() == before
    assert len(rows_of(folder / "split.csv")) == sum(len(part) for _, part in SPLITS.items())


def test_a_run_that_was_never_judged_has_no_evaluation(folder: Path) -> None:
    (folder / "evaluation.json").unlink()
    assert Run.open(folder).evaluation() is None


def test_slices_stress_and_shortcuts_are_kept_beside_the_evaluation(folder: Path) -> None:
    run = Run.open(folder)
    first = read_json(folder / "evaluation.json")
    camera = {source: "ab"[number % 2] for number, source in enumerate(SPLITS.test.sources)}
    slices = run.slices(SPLITS, columns={"camera": camera})
    stress = run.stress(SPLITS, pictures=20)
    shortcuts = run.shortcuts(SPLITS)
    facts = read_json(folder / "evaluation.json")
    assert {each["measure"] for each in facts["slices"]["slices"]} >= {"brightness", "camera"}
    assert (stress.count, facts["stress"]["count"]) == (20, 20)
    assert facts["slices"] == slices.to_json()
    assert facts["shortcuts"]["verdict"] == shortcuts.verdict
    kept = {name: value for name, value in facts.items() if name not in ("slices", "stress", "shortcuts")}
    assert kept == first
    assert run.evaluation() is not None
    (folder / "evaluation.json").unlink()
    for ask in (run.slices, run.stress, run.shortcuts):
        with pytest.raises(UsageError, match="is not evaluated yet"):
            ask(SPLITS)


def test_test_pictures_that_were_trained_on_are_named(folder: Path) -> None:
    (folder / "evaluation.json").unlink()
    Run.open(folder).evaluate(SPLITS.validation.subset(torch.arange(5)))
    facts = read_json(folder / "evaluation.json")
    assert facts["leaking"] == list(SPLITS.validation.sources[:5])
    assert facts["clean"] is None, "no picture is left without them"
    run = Run.open(folder)
    assert run.basis().clean(run.evaluation()) is None  # type: ignore[arg-type]


def test_the_score_without_leaking_pictures_is_that_of_the_others(folder: Path) -> None:
    run, test = Run.open(folder), SPLITS.test
    leaked = SPLITS.train.subset(torch.arange(7))
    sources = [*(f"leak/{n}" for n in range(7)), *test.sources]
    mixed = Dataset(
        torch.cat([leaked.images, test.images]),
        torch.cat([leaked.labels, test.labels]),
        test.classes,
        sources,
    )
    (folder / "evaluation.json").unlink()
    evaluation = run.evaluate(mixed)
    facts, alone = read_json(folder / "evaluation.json"), evaluate(run.classifier, test)
    assert facts["leaking"] == sources[:7]
    assert facts["count"] == len(test) + 7
    names = ("verdict", "count", "correct", "accuracy", "interval")
    assert facts["clean"] == {name: alone.to_json()[name] for name in names}
    clean = run.basis().clean(evaluation)
    assert clean is not None
    assert clean.verdict == alone.verdict


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"leaking": "x"}', '{"count": [1]}'])
def test_a_damaged_evaluation_is_refused_and_can_be_made_anew(folder: Path, content: str) -> None:
    weights = read_json(folder / "model.json")["sha256"]
    text = content.replace("}", f', "weights": "{weights}"}}') if content.endswith("}") else content
    (folder / "evaluation.json").write_text(text)
    with pytest.warns(UserWarning, match=r"evaluation\.json' is damaged: .* Lost is the result .*--again"):
        run = Run.open(folder)
    with pytest.raises(PellucidError):
        run.evaluation()
    reseal(folder)  # as if its maker had meant it
    run = Run.open(folder)
    with pytest.raises(PellucidError):
        run.evaluation()
    run.evaluate(SPLITS.test)
    assert Run.open(folder).evaluation() is not None


def test_damaged_findings_may_be_removed_and_the_run_says_what_was_not_searched(
    folder: Path,
) -> None:
    change(folder / "findings.json", ungrouped=3)
    with pytest.raises(PellucidError, match=r"findings\.json' is damaged: 'ungrouped' is 3\. .*or remove it"):
        Run.open(folder).basis()
    (folder / "findings.json").unlink()
    run = Run.open(folder)
    run.evaluate(SPLITS.test)
    assert "were not searched for" in str(run.basis().unsearched)


def test_other_pictures_are_judged_and_the_run_s_own_evaluation_stays(folder: Path) -> None:
    run, part = Run.open(folder), SPLITS.test.subset(torch.arange(5))
    names = ("evaluation.json", "predictions.csv", "split.csv")
    before = [(folder / name).read_bytes() for name in names]
    assert run.evaluate(part).count == 5
    assert run.evaluate(SPLITS.train).count == len(SPLITS.train)
    assert [(folder / name).read_bytes() for name in names] == before
    assert run.evaluation().count == len(SPLITS.test)  # type: ignore[union-attr]


def test_a_run_trained_beside_its_test_pictures_knows_them_before_it_is_judged(tmp_path: Path) -> None:
    run = fit(SPLITS, SHORT, folder=tmp_path / "run")
    assert run.evaluate(SPLITS.test.subset(torch.arange(5))).count == 5
    assert run.evaluation() is None
    with pytest.raises(UsageError, match=r"has no evaluation yet: call `run\.evaluate\(\)` first"):
        run.basis()
    run.evaluate(SPLITS.test)
    assert run.basis().unsearched is None
    assert run.evaluation().count == len(SPLITS.test)  # type: ignore[union-attr]


def test_predictions_that_lost_rows_are_not_taken_for_the_result(folder: Path) -> None:
    path = folder / "predictions.csv"
    lines = path.read_text().splitlines(keepends=True)
    for kept in (lines[:-1], lines[:1], [*lines, lines[-1]]):
        rewrite(path, "".join(kept))
        with pytest.raises(PellucidError, match=r"right, but 'predictions\.csv' .*evaluate .* --again"):
            Run.open(folder).evaluation()


def test_of_folds_an_evaluation_is_written_anew_from_its_predictions_and_from_nothing_else(
    tmp_path: Path,
) -> None:
    """No network of the folds is kept that could be asked again."""
    splits = toy_splits(60)
    run = fit(splits.train, splits.validation, replace(QUICK, epochs=1, folds=2), folder=tmp_path / "run")
    path, sound = run.folder / "evaluation.json", (run.folder / "evaluation.json").read_bytes()
    change(path, accuracy=7)
    with pytest.raises(PellucidError, match=r"'accuracy' is 7\. .*evaluate .* --again"):
        Run.open(run.folder).evaluation()
    Run.open(run.folder).evaluate()
    assert path.read_bytes() == sound
    lines = (run.folder / "predictions.csv").read_text().splitlines(keepends=True)
    rewrite(run.folder / "predictions.csv", "".join([lines[0], lines[1].replace("0.", "7.", 1), *lines[2:]]))
    with pytest.raises(PellucidError, match=r"predictions\.csv' is damaged: .*none of which is kept"):
        Run.open(run.folder).evaluate()


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda content: None,
    "empty": lambda content: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "a list": lambda content: b"[]",
    "a word": lambda content: b'"word"',
    "something else": lambda content: b"\xff\xd8\xff\xe0 a picture",
}


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "recipe.json", "environment.json"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_run_with_a_damaged_file_is_refused_with_its_name(
    folder: Path, name: str, damage: Callable[[bytes], bytes | None]
) -> None:
    content = damage((folder / name).read_bytes())
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(PellucidError, match=name.replace(".", r"\.")):
        Run.open(folder)


def test_what_is_no_run_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(UsageError, match=r"is not a folder\. Expected the folder of a run"):
            Run.open(place)
    with pytest.raises(UsageError, match=r"holds no model\.json"):
        Run.open(tmp_path)


def test_pictures_that_changed_are_not_taken_for_those_of_the_run(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(finished)
    monkeypatch.setattr("pellucid.runs.run.load_again", lambda *_, **__: SPLITS)
    assert run.splits() is SPLITS
    others = Splits(SPLITS.train, toy_splits(seed=5).validation, SPLITS.test)
    monkeypatch.setattr("pellucid.runs.run.load_again", lambda *_, **__: others)
    with pytest.raises(UsageError, match="no longer what"):
        run.splits()

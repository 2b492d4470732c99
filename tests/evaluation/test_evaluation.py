"""Every figure equals that of an independent oracle, and comes back from its files to the last digit."""

import json
import math
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.metrics import balanced_accuracy_score, f1_score, top_k_accuracy_score

from pellucid.classifier import Classifier
from pellucid.data.audit.record import NearLeak
from pellucid.data.dataset import Dataset
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.evaluation import FORMAT
from pellucid.evaluation.evaluation import Evaluation, evaluate
from pellucid.evaluation.metrics import Confusion
from pellucid.evaluation.multi_label import MultiLabelEvaluation
from pellucid.explanation.causes import MistakeCause, MistakeCauses
from pellucid.formatting import percent, times
from pellucid.models import build
from pellucid.runs.basis import Basis
from pellucid.task import SeveralLabels
from tests.toys import (
    CLASSES,
    ROOT,
    given_answers,
    rows_of,
    toy_dataset,
)


def drawn(count: int, number: int = 5, *, seed: int = 0, sharpness: float = 2.0) -> Evaluation:
    """Answers drawn at random that are right more often than not."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, number, (count,), generator=generator)
    scores = torch.randn(count, number, generator=generator) * sharpness
    scores[torch.arange(count), labels] += 1.5
    names = tuple(f"class {k}" for k in range(number))
    return Evaluation(scores.softmax(dim=1), labels, names, [f"picture/{n}" for n in range(count)])


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 80), number=st.integers(2, 9), seed=st.integers(0, 10_000))
def test_figures_are_those_of_scikit_learn(count: int, number: int, seed: int) -> None:
    found = drawn(count, number, seed=seed)
    labels, predictions = found.labels.numpy(), found.predictions.numpy()
    every = np.arange(number)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, predictions))
    assert found.correct == metrics.accuracy_score(labels, predictions, normalize=False)
    expected = metrics.confusion_matrix(labels, predictions, labels=every)
    assert found.confusion.tolist() == expected.tolist()
    assert found.confusion.dtype == torch.int64
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predictions, labels=every, zero_division=0
    )
    assert [score.precision for score in found.per_class] == pytest.approx(precision.tolist())
    assert [score.recall for score in found.per_class] == pytest.approx(recall.tolist())
    assert [score.f1 for score in found.per_class] == pytest.approx(f1.tolist())
    assert [score.support for score in found.per_class] == support.tolist()
    macro = metrics.f1_score(labels, predictions, average="macro", zero_division=0)
    assert found.macro_f1 == pytest.approx(macro)
    # scikit-learn wants rows that sum to one as float64 does; float32 probabilities are off by 1e-8.
    rows = found.probabilities.double()
    loss = metrics.log_loss(labels, (rows / rows.sum(dim=1, keepdim=True)).numpy(), labels=every)
    assert found.loss == pytest.approx(loss, abs=1e-6)


def calibration_error(found: Evaluation) -> float:
    """Written again with NumPy from the definition: equal-sized groups by rising confidence."""
    probabilities = found.probabilities.numpy().astype(np.float64)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == found.labels.numpy()
    groups = np.array_split(np.argsort(confidence, kind="stable"), min(10, len(confidence)))
    gaps = [len(g) * abs(confidence[g].mean() - right[g].mean()) for g in groups]
    return float(sum(gaps)) / len(confidence)


@pytest.mark.parametrize("count", [1, 3, 9, 10, 11, 97, 1000])
def test_the_calibration_error_is_that_of_an_independent_computation(count: int) -> None:
    found = drawn(count, seed=count)
    assert found.calibration_error == pytest.approx(calibration_error(found), abs=1e-9)
    assert sum(part.count for part in found.reliability) == count
    assert [p.confidence for p in found.reliability] == sorted(p.confidence for p in found.reliability)


def test_perfect_and_perfectly_wrong_answers_have_the_extreme_calibration_errors() -> None:
    sure = [[1.0, 0.0]] * 40
    assert given_answers(sure, [0] * 40).calibration_error == 0
    assert given_answers(sure, [1] * 40).calibration_error == 1


def test_a_true_class_given_no_chance_has_a_finite_loss() -> None:
    assert given_answers([[1.0, 0.0]], [1]).loss == pytest.approx(-math.log(1e-12))


def test_mistakes_come_worst_first_and_confusions_commonest_first() -> None:
    rows = [
        [0.9, 0.1, 0.0],
        [0.6, 0.3, 0.1],
        [0.2, 0.7, 0.1],
        [0.1, 0.8, 0.1],
        [0.3, 0.3, 0.4],
        [0.1, 0.2, 0.7],
    ]
    found = given_answers(rows, [0, 1, 0, 0, 1, 2])
    assert found.mistakes.tolist() == [3, 2, 1, 4]
    assert found.confusions == [Confusion("a", "b", 2), Confusion("b", "a", 1), Confusion("b", "c", 1)]
    assert found.top(3, 2) == [("b", pytest.approx(0.8)), ("a", pytest.approx(0.1))]
    assert found.top(3, 99) == found.top(3, 3)
    assert found.confidence.tolist() == pytest.approx([0.9, 0.6, 0.7, 0.8, 0.4, 0.7])


def test_the_verdict_says_it_in_words() -> None:
    found = given_answers([[0.9, 0.1]] * 352 + [[0.2, 0.8]] * 8, [0] * 360)
    text = "352 of 360 right, 97.8 %, 95 % interval 95.7 % to 98.9 %; most confused: a -> b, 8 times."
    assert found.verdict == text
    assert repr(found) == f"Evaluation({text})"
    assert given_answers([[0.9, 0.1]] * 3, [0] * 3).verdict.endswith("; no mistakes.")
    assert (
        "9,870 of 10,000 right, 98.70 %"
        in given_answers([[0.9, 0.1]] * 9870 + [[0.2, 0.8]] * 130, [0] * 10_000).verdict
    )
    assert [times(n) for n in (1, 2, 3, 1200)] == ["once", "twice", "3 times", "1,200 times"]
    assert percent(0.97812) == "97.8 %"


def test_a_notebook_shows_names_as_text() -> None:
    found = Evaluation(torch.tensor([[0.2, 0.8]]), torch.tensor([0]), ("<b>", "&"), ["x"])
    page = found._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;" in page


@pytest.mark.parametrize(
    "names", [("a", "b"), ("x,y", 'q"z'), ("two\nlines", "cr\rhere"), ("source", "label")]
)
def test_an_evaluation_comes_back_from_its_files_to_the_last_digit(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(300, 2, generator=generator) * 20
    labels = torch.randint(0, 2, (300,), generator=generator)
    sources = [*(f"{n}.png" for n in range(298)), "a,b\r.png", 'q"\n.png']
    found = Evaluation(scores.softmax(dim=1), labels, names, sources)
    found.save(tmp_path, opened=1, weights="abc")
    loaded = Evaluation.load(tmp_path, names)
    assert torch.equal(loaded.probabilities, found.probabilities)
    assert torch.equal(loaded.labels, labels)
    assert (list(loaded.sources), loaded.classes) == (sources, names)
    assert loaded.to_json() == found.to_json()
    facts = json.loads((tmp_path / "evaluation.json").read_text())
    assert facts == {"opened": 1, "weights": "abc", **json.loads(json.dumps(found.to_json()))}
    assert facts["accuracy"] == found.accuracy
    assert facts["loss"] == found.loss
    row = rows_of(tmp_path / "predictions.csv")[5]
    assert (row["source"], row["prediction"]) == ("5.png", names[int(found.predictions[5])])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("label", "lebal", 1),
        lambda text: text.replace("class 1", "class 9"),
        lambda text: text.replace("0.", "x.", 1),
        lambda text: text[: text.rindex(",")],
        lambda text: "",
    ],
    ids=["no label", "unknown class", "no number", "cut off", "empty"],
)
def test_a_damaged_table_of_predictions_is_refused_or_empty(tmp_path: Path, change: Any) -> None:
    found = drawn(20)
    found.save(tmp_path)
    path = tmp_path / "predictions.csv"
    path.write_text(change(path.read_text()))
    if path.read_text() == "":
        assert Evaluation.load(tmp_path, found.classes).count == 0  # Run.evaluation compares the counts
        return
    said = r"predictions\.csv' (is damaged.*evaluate .* --again|is damaged: row 20 has not as many)"
    with pytest.raises(PellucidError, match=said):
        Evaluation.load(tmp_path, found.classes)


def classifier_of(classes: tuple[str, ...]) -> Classifier:
    return Classifier(
        build("tutorial", 1, len(classes), (16, 16), seed=0), classes, Preprocess(1, 16, 16), "tutorial"
    )


def test_evaluating_is_predicting_with_labels_matched_by_name() -> None:
    data = toy_dataset(30)
    classifier = classifier_of((*reversed(CLASSES), "extra"))
    found = evaluate(classifier, data)
    assert torch.equal(found.probabilities, classifier.predict(data.images))
    named = [found.classes[label] for label in found.labels.tolist()]
    assert named == [data.classes[label] for label in data.labels.tolist()]
    assert found.sources == data.sources


def test_no_pictures_and_unknown_classes_are_refused() -> None:
    data = toy_dataset(4)
    with pytest.raises(UsageError, match="No pictures to evaluate on"):
        evaluate(classifier_of(CLASSES), data.subset(torch.empty(0, dtype=torch.int64)))
    with pytest.raises(
        UsageError, match=r"does not know the classes bar, post\. It was trained on box, cross"
    ):
        evaluate(classifier_of(("box", "cross")), data)
    strange = Dataset(data.images[:, :, :8], data.labels, data.classes, data.sources)
    with pytest.raises(UsageError, match="Expected pictures as uint8"):
        evaluate(classifier_of(CLASSES), strange)


def test_macro_scores_are_scikit_learns() -> None:
    found = judged([50, 20, 10, 5])
    predictions, labels = found.predictions.numpy(), found.labels.numpy()
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predictions))
    assert found.macro_f1 == pytest.approx(f1_score(labels, predictions, average="macro"))
    assert found.to_json()["balanced_accuracy"] == found.balanced_accuracy


def test_the_label_is_among_the_likeliest_as_often_as_scikit_learn_counts() -> None:
    found = judged([50, 20, 10, 5])
    labels, probabilities = found.labels.numpy(), found.probabilities.numpy()
    for k in (2, 3):
        expected = top_k_accuracy_score(labels, probabilities, k=k, labels=range(4))
        assert found.scores[f"top_{k}"].value == pytest.approx(expected)
    assert found.accuracy < found.scores["top_2"].value < found.scores["top_3"].value < 1
    assert "top_5" not in found.scores


def test_macro_scores_are_told_only_where_classes_are_uneven() -> None:
    told = judged([60, 20, 20, 20]).uneven
    assert told.startswith(
        "Classes are uneven: 20 to 60 pictures per class. Counting every class equally: balanced"
    )
    assert "macro F1 0." in told
    assert judged([30, 20, 20, 20]).uneven == ""
    assert judged([30, 0, 0, 0]).uneven == ""


def judged(counts: list[int]) -> Evaluation:
    """Answers right about half of the time, of so many pictures of each class."""
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    generator = torch.Generator().manual_seed(2)
    hits = torch.nn.functional.one_hot(labels, 4) * torch.rand(len(labels), 1, generator=generator)
    probabilities = (hits + 0.5 * torch.rand(len(labels), 4, generator=generator)).softmax(dim=1)
    return Evaluation(probabilities, labels, CLASSES, [str(n) for n in range(len(labels))])


def test_what_folds_predicted_survives_its_file_and_says_how_they_spread(tmp_path: Path) -> None:
    answers = given_answers([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]], [0, 1, 1, 0])
    folded = replace(answers, folds=torch.tensor([0, 1, 1, 0]))
    assert "75.0 %" in folded.verdict
    assert "folds 50.0 % to 100.0 %" in folded.verdict
    assert [(score.fold, score.count, score.correct) for score in folded.fold_scores] == [
        (1, 2, 2),
        (2, 2, 1),
    ]
    folded.save(tmp_path)
    loaded = Evaluation.load(tmp_path, folded.classes)
    assert loaded.to_json() == folded.to_json()
    assert folded.to_json()["folds"][1]["accuracy"] == 0.5
    rest = folded.without(["0"])
    assert rest is not None
    assert rest.folds is not None
    assert rest.folds.tolist() == [1, 1, 0]
    assert "folds" not in answers.to_json()


def documented(heading: str) -> list[str]:
    """The keys in the table of docs/evaluation.md below a heading."""
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    table = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [
        name
        for row in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", table, re.MULTILINE)
        for name in re.findall(r"\w+", row)
    ]


def test_every_key_of_the_file_is_documented_and_no_other(tmp_path: Path) -> None:
    classes, labels = tmp_path / "classes", tmp_path / "labels"
    folds = torch.arange(40) % 2
    basis = Basis(leaking=("0",), near_leaking=(NearLeak("1", "100", "train", 0.01),), number=1)
    for folder in (classes, labels):
        folder.mkdir()
    judged = replace(drawn(40), folds=folds)
    known = {"weights": "", "fingerprint": "", "test_excluded": 0, "test_relabelled": 0}
    facts = {**known, **basis.facts(judged)}
    judged.save(classes, **facts)
    generator = torch.Generator().manual_seed(0)
    chances = torch.rand(40, 2, generator=generator)
    MultiLabelEvaluation(
        chances, chances.flip(0) > 0.5, ("a", "b"), [str(n) for n in range(40)], SeveralLabels((0.5, 0.5))
    ).save(labels, **facts)
    MistakeCauses(judged, (MistakeCause(0, "plain"),), 1).save(classes)
    one, several = (json.loads((folder / "evaluation.json").read_text()) for folder in (classes, labels))
    assert list(one.pop("causes")) == documented("`causes`")
    every = documented("Every evaluation")
    assert sorted(one) == sorted([*every, *documented("Where each picture has one class")])
    assert sorted(several) == sorted([*every, *documented("Where pictures have several labels")])
    for name in ("per_class", "averages", "folds"):
        assert list(one[name][0]) == documented(f"One of `{name}`")
    assert list(one["calibration"]) == list(several["calibration"]) == documented("`calibration`")
    assert list(one["near_leaking"][0]) == documented("One of `near_leaking`")
    assert list(several["per_label"][0]) == documented("One of `per_label`")
    assert list(one["confusions"][0]) == documented("One of `confusions`, and of `most_confused`")
    for score in (*one["scores"].values(), *several["scores"].values()):
        assert list(score) == documented("One of `scores`")
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in (*one["scores"], *several["scores"]))
    assert one["format"] == several["format"] == FORMAT
    assert f"version of this schema, {FORMAT}" in page


def test_groups_widen_every_interval_and_come_back_from_the_file(tmp_path: Path) -> None:
    found = drawn(400)
    copied = torch.arange(400).repeat_interleave(3)
    tripled = Evaluation(
        found.probabilities[copied], found.labels[copied], found.classes,
        [f"{n}" for n in range(1200)], groups=copied,
    )  # fmt: skip
    for name, score in tripled.scores.items():
        alone = found.scores[name]
        if alone.interval is None or score.interval is None:
            assert alone.interval is score.interval is None
            continue
        width, single = score.interval[1] - score.interval[0], alone.interval[1] - alone.interval[0]
        assert 0.98 * single <= width <= 1.1 * single, name
    assert "over 400 groups" in tripled.verdict
    assert tripled.to_json()["groups"] == 400
    tripled.save(tmp_path)
    loaded = Evaluation.load(tmp_path, tripled.classes)
    assert loaded.groups is not None
    assert torch.equal(loaded.groups, copied)
    assert loaded.to_json() == tripled.to_json()
    rest = tripled.without([f"{n}" for n in range(1, 1200)])
    assert rest is not None
    assert rest.groups is None, "the one that is left stands alone"


def test_below_ten_groups_the_verdict_gives_no_interval() -> None:
    found = replace(drawn(60), groups=torch.arange(60) % 4)
    assert "too few groups: 4, so no interval" in found.verdict
    assert found.interval is None
    assert found.to_json()["interval"] is None
    assert all(score.recall_interval is None for score in found.per_class if score.support > 4)


def test_evaluating_knows_the_groups_of_the_data_and_identical_pictures() -> None:
    data = toy_dataset(24)
    names = [f"person {n % 12}" for n in range(24)]
    grouped = Dataset(data.images, data.labels, data.classes, data.sources, names)
    found = evaluate(classifier_of(CLASSES), grouped)
    assert isinstance(found, Evaluation)
    assert found.groups is not None
    assert found.groups.tolist() == [n % 12 for n in range(24)]
    assert evaluate(classifier_of(CLASSES), data).groups is None
    copies = evaluate(classifier_of(CLASSES), data.subset([*range(24), *range(24)]))
    assert copies.sampling.units == 24


def test_all_figures_of_ten_thousand_pictures_take_no_loop_over_them() -> None:
    """Of as many pictures as MNIST's test set, also in groups: in far less than their prediction takes."""
    for groups in (None, torch.arange(10_000) // 4):
        found = replace(drawn(10_000, 10), groups=groups)
        began = time.process_time()
        found.to_json()
        assert time.process_time() - began < 5, "0.1 s on an idle machine"

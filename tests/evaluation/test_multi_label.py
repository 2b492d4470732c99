"""Where pictures have several labels, the figures are scikit-learn's, and are found again in the run."""

import json
from pathlib import Path

import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, hamming_loss, log_loss

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.evaluation.evaluation import evaluate
from pellucid.evaluation.multi_label import MultiLabelEvaluation
from pellucid.models import build
from pellucid.task import SeveralLabels
from tests.toys import rows_of, toy_dataset, toys_of_several_labels

CLASSES = ("cat", "dog", "red")
TASK = SeveralLabels((0.5, 0.3, 0.6))


def judged(count: int = 50) -> MultiLabelEvaluation:
    """Probabilities that say something of the labels, the same for the same count."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.rand(count, 3, generator=generator) < 0.4
    noise = torch.rand(count, 3, generator=generator)
    return MultiLabelEvaluation(
        0.4 * labels + 0.6 * noise, labels, CLASSES, [f"{n}" for n in range(count)], TASK
    )


def test_the_figures_are_those_of_scikit_learn() -> None:
    found = judged()
    labels, given, chances = found.labels.numpy(), found.predictions.numpy(), found.probabilities.numpy()
    assert found.accuracy == accuracy_score(labels, given)
    assert found.hamming_loss == pytest.approx(hamming_loss(labels, given))
    assert found.mean_average_precision == pytest.approx(average_precision_score(labels, chances))
    assert found.macro_f1 == pytest.approx(f1_score(labels, given, average="macro"))
    assert found.micro_f1 == pytest.approx(f1_score(labels, given, average="micro"))
    assert found.loss == pytest.approx(log_loss(labels.flatten(), chances.flatten(), labels=[0, 1]))
    assert found.mean_average_precision_interval is not None
    low, high = found.mean_average_precision_interval
    assert low < found.mean_average_precision < high


def test_each_label_has_its_scores_and_mistakes() -> None:
    found = judged()
    score = found.per_label[1]
    present, given = found.labels[:, 1], found.predictions[:, 1]
    assert (score.name, score.threshold, score.support) == ("dog", 0.3, int(present.sum()))
    assert (score.missed, score.mistaken) == (int((present & ~given).sum()), int((given & ~present).sum()))
    assert score.precision == pytest.approx(int((present & given).sum()) / int(given.sum()))
    assert score.average_precision_interval is not None
    low, high = score.average_precision_interval
    assert low <= score.average_precision <= high  # type: ignore[operator]


def test_mistakes_begin_with_the_least_expected() -> None:
    found = judged()
    assert len(found.mistakes) == found.count - found.correct
    of_truth = torch.where(found.labels, found.probabilities, 1 - found.probabilities).amin(dim=1)
    assert of_truth[found.mistakes].tolist() == sorted(of_truth[~found.right].tolist())


def test_what_was_missed_is_paired_with_what_was_given_instead() -> None:
    labels = torch.tensor([[True, False, True], [True, False, False], [False, True, False]])
    chances = torch.tensor([[0.1, 0.9, 0.9], [0.2, 0.8, 0.1], [0.1, 0.9, 0.1]])
    found = MultiLabelEvaluation(chances, labels, CLASSES, ["0", "1", "2"], TASK)
    assert [(c.label, c.prediction, c.count) for c in found.confusions] == [("cat", "dog", 2)]
    assert found.verdict.startswith("mAP ")
    assert "most confused: cat -> dog, twice." in found.verdict
    assert "1 of 3 with every label right, 33.3 %" in found.verdict
    assert found.together.tolist() == [[2, 0, 1], [0, 1, 0], [1, 0, 1]]


def test_it_is_saved_and_found_again_to_the_last_digit(tmp_path: Path) -> None:
    found = judged()
    found.save(tmp_path, opened=1)
    again = MultiLabelEvaluation.load(tmp_path, CLASSES, TASK)
    assert torch.equal(found.probabilities, again.probabilities)
    assert torch.equal(found.labels, again.labels)
    assert again.to_json() == found.to_json()
    facts = json.loads((tmp_path / "evaluation.json").read_text())
    assert facts["opened"] == 1
    assert [each["name"] for each in facts["per_label"]] == list(CLASSES)
    row = rows_of(tmp_path / "predictions.csv")[0]
    assert row["label"] == "|".join(n for n, there in zip(CLASSES, found.labels[0], strict=True) if there)


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    judged().save(tmp_path)
    path = tmp_path / "predictions.csv"
    path.write_text(path.read_text().replace("cat|", "cow|"))
    with pytest.raises(PellucidError, match=r"predictions\.csv' is damaged: .*no label 'cow' is known"):
        MultiLabelEvaluation.load(tmp_path, CLASSES, TASK)


def test_pictures_are_left_out_by_source() -> None:
    found = judged()
    rest = found.without(["0", "1"])
    assert rest is not None
    assert rest.count == found.count - 2
    assert found.without(found.sources) is None


def test_a_notebook_shows_labels_as_text() -> None:
    found = MultiLabelEvaluation(
        torch.tensor([[0.2, 0.8]]), torch.tensor([[False, True]]), ("<b>", "&"), ["x"],
        SeveralLabels((0.5, 0.5)),
    )  # fmt: skip
    page = found._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;" in page


def test_a_classifier_of_several_labels_judges_pictures_labelled_so_alone() -> None:
    toys = toys_of_several_labels(20)
    network = build("tutorial", 3, len(toys.classes), toys.size, seed=0)
    several = Classifier(network, toys.classes, Preprocess(3, 16, 16), "tutorial", SeveralLabels((0.5,) * 4))
    found = evaluate(several, toys)
    assert isinstance(found, MultiLabelEvaluation)
    assert torch.equal(found.labels, toys.labels)
    turned = [2, 0, 3, 1]
    other = Dataset(toys.images, toys.labels[:, turned], tuple(toys.classes[k] for k in turned), toys.sources)
    again = evaluate(several, other)
    assert isinstance(again, MultiLabelEvaluation)
    assert torch.equal(again.labels, toys.labels)
    one = toy_dataset(8, channels=3)
    renamed = type(one)(one.images, one.labels, toys.classes, one.sources)
    with pytest.raises(UsageError, match="any number of its labels each; these have one"):
        evaluate(several, renamed)

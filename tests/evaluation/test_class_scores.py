"""The scores of classes are scikit-learn's, and their intervals hold the truth."""

import numpy as np
import pytest
import torch
from sklearn.metrics import classification_report, top_k_accuracy_score
from torch import Tensor

from pellucid.evaluation.class_scores import ClassScores, f1_of
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.intervals import Sampling
from pellucid.evaluation.metrics import wilson

NAMES = tuple("abcdefghij")


def answered(count: int, classes: int, *, accuracy: float = 0.9, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Labels, the first classes more often, and predictions that are right with about this share."""
    generator = torch.Generator().manual_seed(seed)
    shares = 1 / torch.arange(1, classes + 1).double()
    labels = torch.multinomial(shares, count, replacement=True, generator=generator)
    wrong = (labels + torch.randint(1, classes, (count,), generator=generator)) % classes
    right = torch.rand(count, generator=generator) < accuracy
    return labels, torch.where(right, labels, wrong)


def scored(labels: Tensor, predictions: Tensor, classes: int, groups: Tensor | None = None) -> ClassScores:
    return ClassScores(labels, predictions, NAMES[:classes], Sampling(len(labels), groups))


@pytest.mark.parametrize("seed", range(5))
def test_every_figure_is_scikit_learns(seed: int) -> None:
    labels, predictions = answered(120, 5, seed=seed)
    found = scored(labels, predictions, 5)
    report = classification_report(
        labels.numpy(), predictions.numpy(), labels=range(5), target_names=NAMES[:5], zero_division=0,
        output_dict=True,
    )  # fmt: skip
    for score in found.per_class:
        theirs = report[score.name]
        assert [score.precision, score.recall, score.f1] == pytest.approx(
            [theirs["precision"], theirs["recall"], theirs["f1-score"]]
        )
        assert score.support == theirs["support"]
    for average, theirs in zip(found.averages, (report["macro avg"], report["weighted avg"]), strict=True):
        assert [average.precision, average.recall, average.f1] == pytest.approx(
            [theirs["precision"], theirs["recall"], theirs["f1-score"]]
        )


def test_precision_and_recall_have_wilsons_interval_and_f1_that_of_the_overlap() -> None:
    labels, predictions = answered(200, 4)
    score = scored(labels, predictions, 4).per_class[1]
    assert score.recall_interval == wilson(score.recall, score.support)
    assert score.precision_interval == wilson(score.precision, score.predicted)
    either, both = ((labels == 1) | (predictions == 1)).sum(), ((labels == 1) & (predictions == 1)).sum()
    low, high = wilson(float(both / either), int(either))
    assert score.f1_interval == pytest.approx((f1_of(low), f1_of(high)))
    assert score.f1 == pytest.approx(f1_of(float(both / either)))


@pytest.mark.parametrize("grouped", [False, True])
def test_the_variance_of_an_average_is_that_of_the_bootstrap(grouped: bool) -> None:
    """What each picture moves an average by, to first order, beside drawing the pictures again."""
    labels, predictions = answered(1500, 5, accuracy=0.8)
    groups = torch.arange(1500) // 5 if grouped else None
    found = scored(labels, predictions, 5, groups)
    draws = np.random.default_rng(0)
    scores = []
    for _ in range(400):
        chosen = draws.integers(0, 300 if grouped else 1500, 300 if grouped else 1500)
        index = (chosen[:, None] * 5 + np.arange(5)).flatten() if grouped else chosen
        again = scored(labels[index], predictions[index], 5)
        scores.append(
            [again.macro["f1"].value, again.weighted["precision"].value, again.balanced_accuracy.value]
        )
    drawn = np.quantile(np.array(scores), [0.025, 0.975], axis=0)
    mine = [found.macro["f1"], found.weighted["precision"], found.balanced_accuracy]
    for column, estimate in enumerate(mine):
        assert estimate.interval is not None
        ratio = np.diff(estimate.interval)[0] / np.diff(drawn[:, column])[0]
        assert 0.88 <= ratio <= 1.2, "no narrower, and hardly wider: never less than of as many pictures"


def test_an_average_over_classes_with_too_few_pictures_of_one_has_no_interval() -> None:
    labels = torch.tensor([0] * 100 + [1] * 9)
    found = scored(labels, labels, 2)
    assert found.macro["f1"].interval is None
    assert str(found.macro["f1"].too_few) == "too few pictures: 9"
    assert found.per_class[1].recall_interval == wilson(1.0, 9)
    more = torch.tensor([0] * 100 + [1] * 10)
    assert scored(more, more, 2).macro["f1"].interval == wilson(1.0, 110)


def test_the_intervals_of_f1_hold_the_truth_from_three_hundred_pictures() -> None:
    """Short form of benchmarks/coverage.py: 300 draws of 300 pictures of a known table of confusion."""
    draws = np.random.default_rng(4)
    table = np.array([[0.3, 0.02, 0.01], [0.03, 0.3, 0.02], [0.01, 0.02, 0.29]])
    truth = 2 * table.diagonal() / (table.sum(0) + table.sum(1))
    held, macro = np.zeros(3), 0
    for _ in range(300):
        cells = torch.tensor(draws.choice(9, size=300, p=table.flatten() / table.sum()))
        found = scored(cells // 3, cells % 3, 3)
        interval = found.macro["f1"].interval
        assert interval is not None
        macro += interval[0] <= truth.mean() <= interval[1]
        for k, score in enumerate(found.per_class):
            assert score.f1_interval is not None
            held[k] += score.f1_interval[0] <= truth[k] <= score.f1_interval[1]
    assert 0.92 <= macro / 300 <= 0.98
    assert 0.92 <= held.mean() / 300 <= 0.98


@pytest.mark.parametrize("k", [2, 3, 5])
def test_the_label_is_among_the_likeliest_as_scikit_learn_counts_it(k: int) -> None:
    generator = torch.Generator().manual_seed(k)
    labels = torch.randint(0, 8, (150,), generator=generator)
    probabilities = torch.randn(150, 8, generator=generator).softmax(dim=1)
    found = Evaluation(probabilities, labels, NAMES[:8], [str(n) for n in range(150)])
    expected = top_k_accuracy_score(labels.numpy(), probabilities.numpy(), k=k, labels=range(8))
    assert found.scores[f"top_{k}"].value == pytest.approx(expected)
    assert found.scores[f"top_{k}"].interval == wilson(expected, 150)


def test_constant_probabilities_gain_nothing_by_their_ties() -> None:
    found = Evaluation(torch.full((8, 4), 0.25), torch.arange(8) % 4, NAMES[:4], [str(n) for n in range(8)])
    assert (found.label_rank == found.labels).all()
    assert found.scores["top_2"].value == 0.5
    assert "top_5" not in found.scores

"""How well a classifier does on pictures it never saw, and how certain that figure is."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.errors import PellucidError, UsageError
from pellucid.evaluation import EVALUATION, PREDICTIONS
from pellucid.evaluation.calibration import Calibration, calibration_of, error_of
from pellucid.evaluation.metrics import (
    Bin,
    ClassScore,
    Confusion,
    FoldScore,
    bins_of_equal_number,
    dispersion,
    likeliest,
    places_without,
    wilson,
)
from pellucid.evaluation.multi_label import MultiLabelEvaluation
from pellucid.files import read_csv, write_csv, write_json
from pellucid.formatting import digits, percent, times
from pellucid.language import translate
from pellucid.recipe import refuse_unknown_keywords
from pellucid.task import SeveralLabels

BINS = 10
UNEVEN = 1.5  # times as many pictures of the commonest class as of the rarest


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured; every other figure is a property of it.

    probabilities  float32 (N, K)
    labels         int64 (N,)
    classes        K names
    sources        N names that lead back to the pictures
    folds          int64 (N,) from 0: each picture was predicted by a network that learned from those of the
                   other folds; None where one network predicted all
    """

    probabilities: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    sources: Sequence[str]
    folds: Tensor | None = None

    def __repr__(self) -> str:
        return f"Evaluation({self.verdict})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(c.name)}</td><td>{c.support}</td><td>{c.precision:.3f}</td>"
            f"<td>{c.recall:.3f}</td><td>{c.f1:.3f}</td></tr>"
            for c in self.per_class
        )
        heads = "".join(f"<th>{head}</th>" for head in ("class", "pictures", "precision", "recall", "F1"))
        return f"<p>{escape(self.verdict)}</p><table><tr>{heads}</tr>{rows}</table>"

    @property
    def count(self) -> int:
        """N, the pictures judged."""
        return len(self.labels)

    @cached_property
    def predictions(self) -> Tensor:
        """The most probable class of each picture, int64 (N,)."""
        return self.probabilities.argmax(dim=1)

    @cached_property
    def confidence(self) -> Tensor:
        """The probability of the prediction, float32 (N,)."""
        return self.probabilities.amax(dim=1)

    @cached_property
    def label_probability(self) -> Tensor:
        """The probability of the label, float32 (N,)."""
        return self.probabilities.gather(1, self.labels[:, None])[:, 0]

    @cached_property
    def right(self) -> Tensor:
        """Whether each picture was predicted correctly, bool (N,)."""
        return self.predictions == self.labels

    @cached_property
    def correct(self) -> int:
        """How many pictures were predicted correctly."""
        return int(self.right.sum())

    @property
    def accuracy(self) -> float:
        """The share predicted correctly, 0..1."""
        return self.correct / self.count

    @cached_property
    def loss(self) -> float:
        """Mean cross-entropy in nats; a label with no probability at all counts as 1e-12."""
        of_labels = self.probabilities.double().gather(1, self.labels[:, None])
        return float(-of_labels.clamp_min(1e-12).log().mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy (Wilson 1927, JASA 22:209): what other pictures of the same
        kind might give. Of folds, that of networks trained on all folds but one, widened where the folds
        differ by more than chance (see `metrics.dispersion`)."""
        return wilson(self.accuracy, self.count / dispersion(self.fold_scores))

    @cached_property
    def fold_scores(self) -> list[FoldScore]:
        """The accuracy of each fold, in order; none where there are no folds."""
        if self.folds is None:
            return []
        right = self.predictions == self.labels
        scores = []
        for fold in sorted(set(self.folds.tolist())):
            own = right[self.folds == fold]
            scores.append(FoldScore(fold + 1, len(own), int(own.sum()), float(own.double().mean())))
        return scores

    @cached_property
    def confusion(self) -> Tensor:
        """How many pictures of each label (row) were predicted as each class (column), int64 (K, K)."""
        number = len(self.classes)
        pairs = self.labels * number + self.predictions
        return torch.bincount(pairs, minlength=number * number).reshape(number, number)

    @cached_property
    def confusions(self) -> list[Confusion]:
        """Every label and the other class that it was predicted as, the commonest first."""
        wrong = self.confusion.clone().fill_diagonal_(0)
        pairs = [
            Confusion(self.classes[label], self.classes[prediction], int(wrong[label, prediction]))
            for label, prediction in torch.nonzero(wrong).tolist()
        ]
        return sorted(pairs, key=lambda pair: -pair.count)

    @cached_property
    def per_class(self) -> list[ClassScore]:
        """Precision, recall and F1 of each class, in the order of `classes`."""
        hits = self.confusion.diagonal().double()
        support, predicted = self.confusion.sum(dim=1).double(), self.confusion.sum(dim=0).double()
        precision, recall = hits / predicted.clamp_min(1), hits / support.clamp_min(1)
        f1 = 2 * hits / (support + predicted).clamp_min(1)
        table = zip(
            self.classes, support.tolist(), precision.tolist(), recall.tolist(), f1.tolist(), strict=True
        )
        return [ClassScore(name, int(n), p, r, f) for name, n, p, r, f in table]

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that occur or are predicted: a rare class counts like a common one."""
        scores = [
            score
            for score, predicted in zip(self.per_class, self.confusion.sum(0).tolist(), strict=True)
            if score.support or predicted
        ]
        return sum(score.f1 for score in scores) / len(scores)

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that occur, 0..1: guessing the commonest class gains nothing."""
        recalls = [score.recall for score in self.per_class if score.support]
        return sum(recalls) / len(recalls)

    @property
    def balanced(self) -> str:
        """The scores that count every class equally, in words."""
        share = percent(self.balanced_accuracy, count=self.count)
        return translate(
            "balanced accuracy %(share)s, macro F1 %(f1)s", share=share, f1=f"{self.macro_f1:.3f}"
        )

    @property
    def uneven(self) -> str:
        """The scores that count every class equally, in a sentence, where one class has over 1.5 times as
        many pictures as another; "" where the classes are about even, and accuracy says the same."""
        support = sorted(score.support for score in self.per_class if score.support)
        if len(support) < 2 or support[-1] <= UNEVEN * support[0]:
            return ""
        return (
            f"Classes are uneven: {support[0]:,} to {support[-1]:,} pictures per class. Counting every class "
            f"equally: {self.balanced}."
        )

    @cached_property
    def reliability(self) -> list[Bin]:
        """Predictions in up to ten bins of equal number, from the least to the most confident (Nguyen and
        O'Connor, arXiv:1508.05154)."""
        return bins_of_equal_number(self.confidence, self.right, BINS)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, 0..1: by how much confidence and accuracy differ, averaged over the
        bins of `reliability` (Guo et al., arXiv:1706.04599)."""
        return error_of(self.reliability)

    @cached_property
    def calibration(self) -> Calibration:
        """Mean confidence beside accuracy, and how far apart chance alone brings them on so many pictures."""
        return calibration_of(self.confidence, self.right)

    @cached_property
    def mistakes(self) -> Tensor:
        """Indices of the pictures predicted wrongly, the least probable label first, int64."""
        wrong = torch.nonzero(~self.right)[:, 0]
        return wrong[self.label_probability[wrong].sort(stable=True).indices]

    @property
    def verdict(self) -> str:
        """The result in one sentence, with as many places as the number of pictures can bear."""
        low, high = (percent(bound, count=self.count) for bound in self.interval)
        share = percent(self.accuracy, count=self.count)
        text = f"{self.correct:,} of {self.count:,} right, {share}, 95 % interval {low} to {high}"
        if self.fold_scores:
            shares = sorted(score.accuracy for score in self.fold_scores)
            text += f", folds {percent(shares[0])} to {percent(shares[-1])}"
        if not self.confusions:
            return f"{text}; no mistakes."
        worst = self.confusions[0]
        return f"{text}; most confused: {worst.label} -> {worst.prediction}, {times(worst.count)}."

    def top(self, index: int, number: int = 3) -> list[tuple[str, float]]:
        """The most probable classes of picture `index` with their probabilities, the likeliest first."""
        return likeliest(self.probabilities[index], self.classes, number)

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain numbers and words."""
        return {
            "verdict": self.verdict,
            "count": self.count,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "loss": self.loss,
            "macro_f1": self.macro_f1,
            "balanced_accuracy": self.balanced_accuracy,
            "calibration": asdict(self.calibration),
            "per_class": [asdict(score) for score in self.per_class],
            "confusions": [asdict(pair) for pair in self.confusions],
            "confusion": self.confusion.tolist(),
            "classes": list(self.classes),
            **({"folds": [asdict(score) for score in self.fold_scores]} if self.fold_scores else {}),
        }

    def without(self, sources: Iterable[str]) -> "Evaluation | None":
        """The same judgement with these pictures left out; None when no picture is left."""
        rest = places_without(self.sources, sources)
        if not rest:
            return None
        left = [self.sources[index] for index in rest]
        folds = None if self.folds is None else self.folds[rest]
        return Evaluation(self.probabilities[rest], self.labels[rest], self.classes, left, folds)

    def save(self, folder: Path, **facts: Any) -> None:
        """`folder` holds evaluation.json, with `facts` beside the figures, and predictions.csv."""
        header = ["source", "label", "prediction", *(f"p({name})" for name in self.classes)]
        labels, predictions = self.labels.tolist(), self.predictions.tolist()
        # Last, and only where there are folds: which one a picture was held out in, from 1.
        folds = [[]] * self.count if self.folds is None else [[fold + 1] for fold in self.folds.tolist()]
        header += ["fold"] if self.folds is not None else []
        rows = (
            [source, self.classes[label], self.classes[prediction], *digits(probabilities), *fold]
            for source, label, prediction, probabilities, fold in zip(
                self.sources, labels, predictions, self.probabilities, folds, strict=True
            )
        )
        write_csv(folder / PREDICTIONS, header, rows)
        write_json(folder / EVALUATION, {**facts, **self.to_json()})

    @staticmethod
    def load(folder: Path, classes: tuple[str, ...]) -> "Evaluation":
        """What `save` left in `folder`, to the last digit. Raises PellucidError when it is damaged."""
        rows = read_csv(folder / PREDICTIONS)
        number = {name: k for k, name in enumerate(classes)}
        try:
            labels = torch.tensor([number[row["label"]] for row in rows], dtype=torch.int64)
            values = [[float(row[f"p({name})"]) for name in classes] for row in rows]
            probabilities = torch.tensor(values, dtype=torch.float32).reshape(len(rows), len(classes))
            folds = None
            if rows and "fold" in rows[0]:
                folds = torch.tensor([int(row["fold"]) - 1 for row in rows])
            return Evaluation(probabilities, labels, classes, [row["source"] for row in rows], folds)
        except (KeyError, TypeError, ValueError) as error:
            raise PellucidError(
                f"'{folder / PREDICTIONS}' is damaged: {error!r}. Run 'pellucid evaluate --again' on the run."
            ) from error


AnyEvaluation = Evaluation | MultiLabelEvaluation


@refuse_unknown_keywords
def evaluate(classifier: Classifier, dataset: Dataset) -> AnyEvaluation:
    """How `classifier` predicts every picture of `dataset`, its labels matched by class name.

    An Evaluation; where pictures have several labels, a MultiLabelEvaluation. Raises UsageError when the data
    set has no pictures, names a class the classifier does not know, or has one label per picture where the
    classifier gives several, or the other way round.
    """
    if not len(dataset):
        raise UsageError("No pictures to evaluate on. Expected at least one.")
    unknown = [name for name in dataset.classes if name not in classifier.classes]
    if unknown:
        raise UsageError(
            f"The classifier does not know the classes {', '.join(unknown)}. It was trained on "
            f"{', '.join(classifier.classes)}."
        )
    renumbered = torch.tensor([classifier.classes.index(name) for name in dataset.classes], dtype=torch.int64)
    if classifier.multi_label != dataset.multi_label:
        expected, got = ("any number", "one") if classifier.multi_label else ("one", "any number")
        raise UsageError(
            f"The classifier was trained on pictures with {expected} of its labels each; these have {got}. "
            "Expected pictures labelled in the same way."
        )
    probabilities = classifier.predict(dataset.images)
    if isinstance(classifier.task, SeveralLabels):
        labels = torch.zeros(len(dataset), len(classifier.classes), dtype=torch.bool)
        labels[:, renumbered] = dataset.labels
        return MultiLabelEvaluation(
            probabilities, labels, classifier.classes, dataset.sources, classifier.task
        )
    return Evaluation(probabilities, renumbered[dataset.labels], classifier.classes, dataset.sources)

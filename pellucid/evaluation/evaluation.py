"""How well a classifier does on pictures it never saw, and how certain that figure is."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.evaluation import EVALUATION, FORMAT, PREDICTIONS
from pellucid.evaluation.calibration import Calibration, calibration_of, error_of
from pellucid.evaluation.class_scores import ClassScores
from pellucid.evaluation.gates import Gate, gates
from pellucid.evaluation.intervals import Estimate, Sampling, groups_of, interval_in_words, numbered
from pellucid.evaluation.ledger import number_judged, weights_digest
from pellucid.evaluation.metrics import (
    AverageScore,
    Bin,
    Bounds,
    ClassScore,
    Confusion,
    FoldScore,
    bins_of_equal_number,
    dispersion,
    likeliest,
    numbers_in,
    places_without,
    table_fault,
)
from pellucid.evaluation.most_confused import Mistakes, in_words, most_confused, seed_of
from pellucid.evaluation.multi_label import MultiLabelEvaluation
from pellucid.files import claim, read_csv, read_object, write_csv, write_json
from pellucid.formatting import decimal, digits, percent
from pellucid.language import translate
from pellucid.manifest import damage
from pellucid.recipe import refuse_unknown_keywords
from pellucid.task import SeveralLabels

BINS = 10
TOP = (2, 3, 5)  # classes among which the label is looked for
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
    groups         int64 (N,) from 0: pictures of one number belong together, as those of one patient or three
                   copies of one do; None where every picture stands alone
    """

    probabilities: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    sources: Sequence[str]
    folds: Tensor | None = None
    groups: Tensor | None = None

    def __repr__(self) -> str:
        return f"Evaluation({self.verdict})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(c.name)}</td><td>{c.support}</td><td>{decimal(c.precision)}</td>"
            f"<td>{decimal(c.recall)}</td><td>{decimal(c.f1)}</td></tr>"
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
        return float(self._losses.mean())

    @cached_property
    def _losses(self) -> Tensor:
        of_labels = self.probabilities.double().gather(1, self.labels[:, None])[:, 0]
        return -of_labels.clamp_min(1e-12).log()

    @property
    def interval(self) -> Bounds | None:
        """The 95 % interval of the accuracy (Wilson 1927, JASA 22:209): what other pictures of the same
        kind might give. Where pictures belong together in groups, what other groups might give; None below
        ten groups. Of folds, that of networks trained on all folds but one, widened where the folds differ
        by more than chance (see `metrics.dispersion`)."""
        return self.scores["accuracy"].interval

    @cached_property
    def sampling(self) -> Sampling:
        """How the pictures were drawn, from which every interval follows."""
        drawn = Sampling(self.count, self.groups)
        spread = dispersion(self.fold_scores)
        return drawn if spread == 1 else replace(drawn, spread=max(1.0, spread / drawn.effect(self.right)))

    @cached_property
    def scores(self) -> dict[str, Estimate]:
        """Every score of the whole test set with its 95 % interval, by name: "accuracy",
        "balanced_accuracy", "macro_f1", "weighted_f1", "top_2", "top_3" and "top_5" where there are more
        classes, "loss", "calibration_error"."""
        table, sampling = self._class_scores, self.sampling
        whole = torch.zeros(self.count, dtype=torch.int64)
        return {
            "accuracy": sampling.shares(whole, self.right)[0],
            "balanced_accuracy": table.balanced_accuracy,
            "macro_f1": table.macro["f1"],
            "weighted_f1": table.weighted["f1"],
            **{
                f"top_{k}": sampling.shares(whole, self.label_rank < k)[0]
                for k in TOP
                if k < len(self.classes)
            },
            "loss": sampling.loss(self._losses, self.count - self.correct),
            "calibration_error": Estimate(self.calibration_error, None),
        }

    @cached_property
    def label_rank(self) -> Tensor:
        """How many classes each picture's label came after, int64 (N,): 0 where it is the prediction; of
        equally probable ones the first class comes first."""
        own = self.label_probability[:, None]
        before = torch.arange(len(self.classes)) < self.labels[:, None]
        return ((self.probabilities > own) | ((self.probabilities == own) & before)).sum(dim=1)

    @property
    def averages(self) -> list[AverageScore]:
        """Precision, recall and F1 over all classes: every class equally ("macro"), then by its number of
        pictures ("weighted")."""
        return self._class_scores.averages

    @cached_property
    def _class_scores(self) -> ClassScores:
        return ClassScores(self.labels, self.predictions, self.classes, self.sampling)

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
    def most_confused(self) -> list[Confusion]:
        """The pair that is confused most, where it is the commonest in 80 % of resamples of the pictures, or
        of their groups; else the two or three of which one is; none where it could be any."""
        wrong = torch.nonzero(~self.right)[:, 0]
        mistakes = Mistakes(self.labels[wrong], self.predictions[wrong], wrong)
        seed = seed_of(self.labels, self.predictions)
        return most_confused(self.confusions, self.classes, mistakes, self.sampling, seed=seed)

    @property
    def per_class(self) -> list[ClassScore]:
        """Precision, recall and F1 of each class with their 95 % intervals, in the order of `classes`."""
        return self._class_scores.per_class

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that occur or are predicted: a rare class counts like a common one."""
        return self._class_scores.macro["f1"].value

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that occur, 0..1: guessing the commonest class gains nothing."""
        return self._class_scores.balanced_accuracy.value

    @property
    def balanced(self) -> str:
        """The scores that count every class equally, in words."""
        share = percent(self.balanced_accuracy, count=self.count)
        return translate(
            "balanced accuracy %(share)s, macro F1 %(f1)s", share=share, f1=decimal(self.macro_f1)
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
        """Mean confidence beside accuracy, and how far apart chance alone brings them on so many pictures, or
        groups of pictures that belong together."""
        return calibration_of(self.confidence, self.right, self.sampling.groups)

    @cached_property
    def mistakes(self) -> Tensor:
        """Indices of the pictures predicted wrongly, the least probable label first, int64."""
        wrong = torch.nonzero(~self.right)[:, 0]
        return wrong[self.label_probability[wrong].sort(stable=True).indices]

    @property
    def verdict(self) -> str:
        """The result in one sentence, with as many places as the number of pictures can bear."""
        share = percent(self.accuracy, count=self.count)
        text = f"{self.correct:,} of {self.count:,} right, {share}, {self.interval_in_words}"
        if self.fold_scores:
            least, most = self.fold_range
            text += f", folds {least} to {most}"
        if not self.confusions:
            return f"{text}; no mistakes."
        confused = in_words(self.most_confused)
        return f"{text}; {confused}." if confused else f"{text}."

    @property
    def interval_in_words(self) -> str:
        """The 95 % interval of the accuracy, and over how many groups where there are groups; or that there
        are too few of them."""
        return interval_in_words(self.scores["accuracy"], self.sampling)

    @property
    def fold_range(self) -> tuple[str, str]:
        """The lowest and the highest accuracy of the folds, in percent."""
        shares = sorted((score.accuracy, score.count) for score in self.fold_scores)
        return percent(shares[0][0], count=shares[0][1]), percent(shares[-1][0], count=shares[-1][1])

    def gates(self, *, on: str = "interval", **limits: float) -> list[Gate]:
        """Whether each limit is kept, such as `gates(min_accuracy=0.99, max_ece=0.02)`.

        limits  min_accuracy, min_balanced_accuracy, min_f1 (macro), max_loss, max_ece
        on      "interval": the less favourable end of the 95 % interval must keep the limit; where there are
                too few pictures or groups for one, it is not kept. "point": the score itself must

        Raises UsageError for an unknown limit, or one that no score can have.
        """
        return gates(self.scores, self.count, limits, on)

    def top(self, index: int, number: int = 3) -> list[tuple[str, float]]:
        """The most probable classes of picture `index` with their probabilities, the likeliest first."""
        return likeliest(self.probabilities[index], self.classes, number)

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain numbers and words."""
        return {
            "format": FORMAT,
            "verdict": self.verdict,
            "count": self.count,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "interval": None if self.interval is None else list(self.interval),
            "groups": None if self.groups is None else self.sampling.units,
            "loss": self.loss,
            "macro_f1": self.macro_f1,
            "balanced_accuracy": self.balanced_accuracy,
            "calibration": asdict(self.calibration),
            "scores": {name: score.to_json() for name, score in self.scores.items()},
            "per_class": [asdict(score) for score in self.per_class],
            "averages": [asdict(score) for score in self.averages],
            "most_confused": [asdict(pair) for pair in self.most_confused],
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
        groups = None if self.groups is None else numbered(self.groups[rest].tolist())
        return Evaluation(self.probabilities[rest], self.labels[rest], self.classes, left, folds, groups)

    def save(self, folder: Path, **facts: Any) -> None:
        """`folder` holds evaluation.json, with `facts` beside the figures, and predictions.csv."""
        header = ["source", "label", "prediction", *(f"p({name})" for name in self.classes)]
        labels, predictions = self.labels.tolist(), self.predictions.tolist()
        # Last, and only where there are any: the fold that a picture was held out in, its group; from 1.
        numbers = {"fold": self.folds, "group": self.groups}
        last = {name: (column + 1).tolist() for name, column in numbers.items() if column is not None}
        header += list(last)
        rows = (
            [
                source, self.classes[label], self.classes[prediction], *digits(probabilities),
                *(column[index] for column in last.values()),
            ]
            for index, (source, label, prediction, probabilities) in enumerate(
                zip(self.sources, labels, predictions, self.probabilities, strict=True)
            )
        )  # fmt: skip
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
            if not all(0 <= value <= 1 for row in values for value in row):
                raise ValueError("a probability is not between 0 and 1")
            if len(rows) and not bool(((probabilities.sum(dim=1) - 1).abs() < 1e-3).all()):
                raise ValueError("the probabilities of a picture do not add up to 1")
            if [row["prediction"] for row in rows] != [
                classes[k] for k in probabilities.argmax(dim=1).tolist()
            ]:
                raise ValueError("the prediction of a picture is not its most probable class")
            folds, groups = (numbers_in(rows, name) for name in ("fold", "group"))
            return Evaluation(probabilities, labels, classes, [row["source"] for row in rows], folds, groups)
        except (KeyError, TypeError, ValueError) as error:
            raise damage(folder / PREDICTIONS, table_fault(error)) from error


AnyEvaluation = Evaluation | MultiLabelEvaluation


def add_facts(folder: Path, **facts: Any) -> None:
    """evaluation.json in `folder`, which must be there, holds `facts` too."""
    with claim(folder):
        write_json(folder / EVALUATION, {**read_object(folder / EVALUATION), **facts})


@refuse_unknown_keywords
def evaluate(classifier: Classifier, dataset: Dataset) -> AnyEvaluation:
    """How `classifier` predicts every picture of `dataset`, its labels matched by class name.

    An Evaluation; where pictures have several labels, a MultiLabelEvaluation. The network is entered among
    those that were judged on these pictures, in the cache folder (`ledger`). Raises UsageError when the data
    set has no pictures, names a class the classifier does not know, or has one label per picture where the
    classifier gives several, or the other way round.
    """
    found = judge(classifier, dataset)
    number_judged(dataset.fingerprint, weights_digest(classifier.network))
    return found


def judge(classifier: Classifier, dataset: Dataset) -> AnyEvaluation:
    """`evaluate` without a record: of parts of a test set, of pictures that were changed."""
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
            probabilities, labels, classifier.classes, dataset.sources, classifier.task, groups_of(dataset)
        )
    return Evaluation(
        probabilities,
        renumbered[dataset.labels],
        classifier.classes,
        dataset.sources,
        groups=groups_of(dataset),
    )

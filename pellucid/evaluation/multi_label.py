"""How well a classifier does where a picture can have several labels: label by label, and as a whole."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.data.dataset import joined_names
from pellucid.evaluation import EVALUATION, FORMAT, PREDICTIONS
from pellucid.evaluation.calibration import Calibration, calibration_of, error_of
from pellucid.evaluation.class_scores import f1_bounds, f1_of
from pellucid.evaluation.gates import Gate, gates
from pellucid.evaluation.intervals import Estimate, Sampling, interval_in_words, numbered
from pellucid.evaluation.metrics import (
    Bin,
    Bounds,
    Confusion,
    FoldScore,
    LabelScore,
    bins_of_equal_number,
    likeliest,
    numbers_in,
    places_without,
    table_fault,
)
from pellucid.evaluation.most_confused import Mistakes, in_words, most_confused, seed_of
from pellucid.evaluation.precision_recall import average_precisions, bootstrapped, bounds, f1_scores
from pellucid.files import read_csv, write_csv, write_json
from pellucid.formatting import decimal, digits, percent
from pellucid.manifest import damage
from pellucid.task import SeveralLabels

BINS = 10


@dataclass(frozen=True, eq=False)
class MultiLabelEvaluation:
    """What was measured where pictures have several labels; every other figure is a property of it.

    probabilities  float32 (N, K)
    labels         bool (N, K)
    classes        K names
    sources        N names that lead back to the pictures
    task           with the threshold of each label
    groups         int64 (N,) from 0: pictures of one number belong together; None where each stands alone
    """

    probabilities: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    sources: Sequence[str]
    task: SeveralLabels
    groups: Tensor | None = None

    def __repr__(self) -> str:
        return f"MultiLabelEvaluation({self.verdict})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(each.name)}</td><td>{each.support}</td><td>{_short(each.average_precision)}</td>"
            f"<td>{decimal(each.precision)}</td><td>{decimal(each.recall)}</td><td>{decimal(each.f1)}</td></tr>"
            for each in self.per_label
        )
        heads = ("label", "pictures", "average precision", "precision", "recall", "F1")
        cells = "".join(f"<th>{head}</th>" for head in heads)
        return f"<p>{escape(self.verdict)}</p><table><tr>{cells}</tr>{rows}</table>"

    @property
    def fold_scores(self) -> list[FoldScore]:
        """None: pictures with several labels are not judged by folds."""
        return []

    @property
    def count(self) -> int:
        """N, the pictures judged."""
        return len(self.labels)

    @cached_property
    def predictions(self) -> Tensor:
        """The labels given, bool (N, K)."""
        return self.task.predictions(self.probabilities)

    @cached_property
    def right(self) -> Tensor:
        """Whether a picture was given exactly its labels, bool (N,)."""
        return (self.predictions == self.labels).all(dim=1)

    @property
    def correct(self) -> int:
        """How many pictures were given exactly their labels."""
        return int(self.right.sum())

    @property
    def accuracy(self) -> float:
        """The share of pictures given exactly their labels, 0..1: subset accuracy."""
        return self.correct / self.count

    @property
    def interval(self) -> Bounds | None:
        """The 95 % interval of the accuracy (Wilson 1927, JASA 22:209); over groups, where pictures belong
        together, and then None below ten of them."""
        return self.scores["accuracy"].interval

    @property
    def interval_in_words(self) -> str:
        """That interval, and over how many groups where there are groups; or that there are too few."""
        return interval_in_words(self.scores["accuracy"], self.sampling)

    @cached_property
    def sampling(self) -> Sampling:
        """How the pictures were drawn, from which every interval follows."""
        return Sampling(self.count, self.groups)

    @cached_property
    def scores(self) -> dict[str, Estimate]:
        """Every score of the whole test set with its 95 % interval, by name: "mean_average_precision",
        "accuracy", "hamming_loss", "macro_f1", "micro_f1", "loss", "calibration_error"."""
        sampling, wrong = self.sampling, self.predictions != self.labels
        decisions = torch.arange(self.count).repeat_interleave(len(self.classes))
        either = torch.nonzero(self.predictions | self.labels)[:, 0]
        both = (self.predictions & self.labels)[self.predictions | self.labels]
        (micro,) = sampling.shares(torch.zeros_like(either), both, either)
        return {
            "mean_average_precision": Estimate(
                self.mean_average_precision, self.mean_average_precision_interval, sampling.too_few
            ),
            "accuracy": sampling.shares(torch.zeros(self.count, dtype=torch.int64), self.right)[0],
            "hamming_loss": sampling.shares(torch.zeros_like(decisions), wrong.flatten(), decisions)[0],
            "macro_f1": self._macro_f1,
            "micro_f1": replace(micro, value=self.micro_f1, interval=f1_bounds(micro.interval)),
            "loss": sampling.loss(self._losses, self.count - self.correct),
            "calibration_error": Estimate(self.calibration_error, None),
        }

    @property
    def _macro_f1(self) -> Estimate:
        f1 = f1_scores(self.predictions, self.labels)
        given = self.predictions.double() + self.labels.double()  # (N, K)
        total = given.sum(dim=0)
        terms = (2 * (self.predictions & self.labels).double() - f1 * given) / total.clamp_min(1)
        pictures, labels = torch.nonzero(self.labels, as_tuple=True)
        rarest = self.sampling.fewest(labels, pictures)
        return self.sampling.mean(self.macro_f1, terms.sum(dim=1) / max(1, int((total > 0).sum())), rarest)

    @property
    def hamming_loss(self) -> float:
        """The share of all N x K decisions that are wrong, 0..1."""
        return float((self.predictions != self.labels).double().mean())

    @cached_property
    def loss(self) -> float:
        """Mean binary cross-entropy in nats; what had no probability at all counts as 1e-12."""
        return float(self._losses.mean())

    @cached_property
    def _losses(self) -> Tensor:
        return -self._of_truth.double().clamp_min(1e-12).log().mean(dim=1)

    @cached_property
    def per_label(self) -> list[LabelScore]:
        """The scores of each label, in the order of `classes`."""
        precisions = average_precisions(self.probabilities, self.labels)
        drawn, either = self._drawn, self.predictions | self.labels
        present, given = self.labels.sum(dim=0), self.predictions.sum(dim=0)
        hits = (self.predictions & self.labels).sum(dim=0)
        precision, recall, overlap = (
            self._shares(among) for among in (self.predictions, self.labels, either)
        )
        return [
            LabelScore(
                name=name,
                support=int(present[k]),
                threshold=self.task.thresholds[k],
                average_precision=float(precisions[k]) if present[k] else None,
                average_precision_interval=None
                if self.sampling.too_few or not present[k]
                else bounds(drawn[:, k], int(present[k])),
                precision=precision[k].value,
                precision_interval=precision[k].interval,
                recall=recall[k].value,
                recall_interval=recall[k].interval,
                f1=f1_of(overlap[k].value),
                f1_interval=f1_bounds(overlap[k].interval),
                missed=int(present[k] - hits[k]),
                mistaken=int(given[k] - hits[k]),
            )
            for k, name in enumerate(self.classes)
        ]

    def _shares(self, among: Tensor) -> list[Estimate]:
        """Of the pictures `among` (N, K), the share of each label that have it and were given it."""
        pictures, parts = torch.nonzero(among, as_tuple=True)
        hits = (self.predictions & self.labels)[pictures, parts]
        return self.sampling.shares(parts, hits, pictures, number=len(self.classes))

    @property
    def mean_average_precision(self) -> float:
        """mAP, 0..1: the mean average precision of the labels that occur; 0 where none does."""
        known = [each.average_precision for each in self.per_label if each.average_precision is not None]
        return sum(known) / max(1, len(known))

    @property
    def mean_average_precision_interval(self) -> Bounds | None:
        """The 95 % interval of mAP, by drawing as many test pictures, or groups of them, again with
        replacement; None below ten groups."""
        if self.sampling.too_few:
            return None
        return bounds(self._drawn.nanmean(dim=1), self.sampling.units)

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the labels that occur or are given: a rare label counts like a common one."""
        known = [each.f1 for each in self.per_label if each.support or each.mistaken]
        return sum(known) / max(1, len(known))

    @property
    def micro_f1(self) -> float:
        """The F1 of all decisions together."""
        hits = int((self.predictions & self.labels).sum())
        return 2 * hits / max(1, int(self.predictions.sum()) + int(self.labels.sum()))

    @cached_property
    def confusions(self) -> list[Confusion]:
        """Every label that was missed and the wrong one given to the same pictures, the commonest first."""
        missed, mistaken = (self.labels & ~self.predictions).long(), (~self.labels & self.predictions).long()
        counts = missed.T @ mistaken  # (K, K)
        pairs = [
            Confusion(self.classes[label], self.classes[given], int(counts[label, given]))
            for label, given in torch.nonzero(counts).tolist()
        ]
        return sorted(pairs, key=lambda pair: -pair.count)

    @cached_property
    def most_confused(self) -> list[Confusion]:
        """The pair of `confusions` that is the commonest in 80 % of resamples of the pictures, or of their
        groups; else the two or three of which one is; none where it could be any."""
        missed, mistaken = self.labels & ~self.predictions, ~self.labels & self.predictions
        pictures, labels = torch.nonzero(missed, as_tuple=True)
        entries, given = torch.nonzero(mistaken[pictures], as_tuple=True)
        mistakes = Mistakes(labels[entries], given, pictures[entries])
        seed = seed_of(self.labels, self.predictions)
        return most_confused(self.confusions, self.classes, mistakes, self.sampling, seed=seed)

    @cached_property
    def together(self) -> Tensor:
        """How many pictures have both labels, int64 (K, K); on the diagonal, how many have the label."""
        return self.labels.long().T @ self.labels.long()

    @cached_property
    def given_together(self) -> Tensor:
        """How many pictures were given both labels, int64 (K, K)."""
        return self.predictions.long().T @ self.predictions.long()

    @cached_property
    def reliability(self) -> list[Bin]:
        """All N x K probabilities in up to ten bins of equal number, from the lowest to the highest: their
        mean, and the share of them of which the label was there."""
        return bins_of_equal_number(self.probabilities.flatten(), self.labels.flatten(), BINS)

    @property
    def calibration_error(self) -> float:
        """By how much probability and frequency differ, 0..1, averaged over the bins of `reliability`."""
        return error_of(self.reliability)

    @cached_property
    def calibration(self) -> Calibration:
        """The mean of all N x K probabilities beside the share of them of which the label was there, and how
        far apart chance alone brings them. The labels of one picture count as if they did not depend on each
        other, so chance may do somewhat more; those of pictures that belong together do not."""
        groups = self.sampling.groups
        if groups is not None:
            groups = groups.repeat_interleave(len(self.classes))
        return calibration_of(self.probabilities.flatten(), self.labels.flatten(), groups)

    @property
    def confidence(self) -> Tensor:
        """The probability of the least certain decision of each picture, float32 (N,)."""
        return self.task.confidence(self.probabilities)

    @property
    def label_probability(self) -> Tensor:
        """The probability that the network gave to what it least expected of each picture: a label that is
        there, or one that is not; float32 (N,)."""
        return self._of_truth.amin(dim=1)

    @property
    def _of_truth(self) -> Tensor:
        return torch.where(self.labels, self.probabilities, 1 - self.probabilities)  # (N, K)

    @cached_property
    def mistakes(self) -> Tensor:
        """Indices of the pictures with a wrong label or a missed one, the least expected first, int64."""
        wrong = torch.nonzero(~self.right)[:, 0]
        return wrong[self.label_probability[wrong].sort(stable=True).indices]

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        share, found = percent(self.accuracy, count=self.count), self.mean_average_precision_interval
        bounds_in_words = f", 95 % interval {decimal(found[0])} to {decimal(found[1])}" if found else ""
        text = (
            f"mAP {decimal(self.mean_average_precision)}{bounds_in_words}; {self.correct:,} of "
            f"{self.count:,} with every label right, {share}, {self.interval_in_words}"
        )
        if not len(self.mistakes):
            return f"{text}; no mistakes."
        confused = in_words(self.most_confused)
        return f"{text}; {confused}." if confused else f"{text}."

    def gates(self, *, on: str = "interval", **limits: float) -> list[Gate]:
        """Whether each limit is kept, as `Evaluation.gates` judges it: min_map, min_accuracy, min_f1 (macro),
        max_loss, max_ece. Raises UsageError for an unknown limit, or one that no score can have."""
        return gates(self.scores, self.count, limits, on)

    @property
    def uneven(self) -> str:
        """The scores over all labels in a sentence."""
        return (
            f"Over {len(self.classes)} labels: macro F1 {decimal(self.macro_f1)}, micro F1 "
            f"{decimal(self.micro_f1)}, {percent(self.hamming_loss, count=self.labels.numel())} of all "
            "decisions wrong (Hamming loss)."
        )

    def top(self, index: int, number: int = 3) -> list[tuple[str, float]]:
        """The most probable labels of picture `index` with their probabilities, the likeliest first."""
        return likeliest(self.probabilities[index], self.classes, number)

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain numbers and words."""
        interval, precisions = self.interval, self.mean_average_precision_interval
        return {
            "format": FORMAT,
            "verdict": self.verdict,
            "count": self.count,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "interval": None if interval is None else list(interval),
            "groups": None if self.groups is None else self.sampling.units,
            "mean_average_precision": self.mean_average_precision,
            "mean_average_precision_interval": None if precisions is None else list(precisions),
            "loss": self.loss,
            "hamming_loss": self.hamming_loss,
            "macro_f1": self.macro_f1,
            "micro_f1": self.micro_f1,
            "calibration": asdict(self.calibration),
            "scores": {name: score.to_json() for name, score in self.scores.items()},
            "per_label": [asdict(score) for score in self.per_label],
            "most_confused": [asdict(pair) for pair in self.most_confused],
            "confusions": [asdict(pair) for pair in self.confusions],
            "together": self.together.tolist(),
            "classes": list(self.classes),
        }

    def without(self, sources: Iterable[str]) -> "MultiLabelEvaluation | None":
        """The same judgement with these pictures left out; None when no picture is left."""
        rest = places_without(self.sources, sources)
        if not rest:
            return None
        left = [self.sources[index] for index in rest]
        groups = None if self.groups is None else numbered(self.groups[rest].tolist())
        return replace(
            self,
            probabilities=self.probabilities[rest],
            labels=self.labels[rest],
            sources=left,
            groups=groups,
        )

    def rows(self) -> Iterable[list[str]]:
        """A row for predictions.csv for every picture: source, labels, labels given, probabilities; the group
        where there are groups, from 1."""
        labels, given = self.labels.tolist(), self.predictions.tolist()
        groups = [[]] * self.count if self.groups is None else (self.groups + 1)[:, None].tolist()
        for source, label, prediction, probabilities, group in zip(
            self.sources, labels, given, self.probabilities, groups, strict=True
        ):
            names = joined_names(label, self.classes), joined_names(prediction, self.classes)
            yield [source, *names, *digits(probabilities), *group]

    def save(self, folder: Path, **facts: Any) -> None:
        """`folder` holds evaluation.json, with `facts` beside the figures, and predictions.csv."""
        header = ["source", "label", "prediction", *(f"p({name})" for name in self.classes)]
        header += ["group"] if self.groups is not None else []
        write_csv(folder / PREDICTIONS, header, self.rows())
        write_json(folder / EVALUATION, {**facts, **self.to_json()})

    @staticmethod
    def load(folder: Path, classes: tuple[str, ...], task: SeveralLabels) -> "MultiLabelEvaluation":
        """What `save` left in `folder`, to the last digit. Raises PellucidError when it is damaged."""
        path = folder / PREDICTIONS
        rows = read_csv(path)
        try:
            named = [set(filter(None, row["label"].split("|"))) for row in rows]
            if unknown := set().union(*named) - set(classes):
                raise ValueError(f"no label {min(unknown)!r} is known")
            values = [[float(row[f"p({name})"]) for name in classes] for row in rows]
            shape = (len(rows), len(classes))
            if not all(0 <= value <= 1 for row in values for value in row):
                raise ValueError("a probability is not between 0 and 1")
            labels = torch.tensor([[name in names for name in classes] for names in named], dtype=torch.bool)
            probabilities = torch.tensor(values, dtype=torch.float32).reshape(shape)
            sources = [row["source"] for row in rows]
            return MultiLabelEvaluation(
                probabilities, labels.reshape(shape), classes, sources, task, numbers_in(rows, "group")
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damage(path, table_fault(error)) from error

    @cached_property
    def _drawn(self) -> Tensor:
        return bootstrapped(self.probabilities, self.labels, groups=self.groups)


def _short(value: float | None) -> str:
    return "–" if value is None else decimal(value)

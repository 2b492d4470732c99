"""Precision, recall and F1 of each class and their means over classes, each with its 95 % interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pellucid.evaluation.intervals import Estimate, Sampling
from pellucid.evaluation.metrics import AverageScore, Bounds, ClassScore


@dataclass(frozen=True, eq=False)
class ClassScores:
    """The scores of K classes from labels and predictions, int64 (N,); `sampling` is of the same pictures."""

    labels: Tensor
    predictions: Tensor
    classes: Sequence[str]
    sampling: Sampling

    @cached_property
    def per_class(self) -> list[ClassScore]:
        """Each class in the order of `classes`."""
        number, right = len(self.classes), self._right
        precision = self.sampling.shares(self.predictions, right, number=number)
        recall = self.sampling.shares(self.labels, right, number=number)
        overlap = self._overlaps()
        supports, predicted = self._support.long().tolist(), self._predicted.long().tolist()
        table = zip(self.classes, supports, predicted, precision, recall, overlap, strict=True)
        return [
            ClassScore(
                name=name,
                support=support,
                predicted=times,
                precision=own_precision.value,
                precision_interval=own_precision.interval,
                recall=own_recall.value,
                recall_interval=own_recall.interval,
                f1=f1_of(shared.value),
                f1_interval=f1_bounds(shared.interval),
            )
            for name, support, times, own_precision, own_recall, shared in table
        ]

    @cached_property
    def balanced_accuracy(self) -> Estimate:
        """The mean recall of the classes that occur."""
        occurring = self._support > 0
        value = float(self._recall[occurring].mean()) if len(self.labels) else 0.0
        return self.sampling.mean(value, self._of_recall / occurring.sum(), self._rarest)

    @cached_property
    def macro(self) -> dict[str, Estimate]:
        """ "precision", "recall" and "f1", the mean over the classes that occur or are predicted."""
        counted = (self._support + self._predicted) > 0
        return self._averaged(counted.double() / counted.sum(), weighted=False)

    @cached_property
    def weighted(self) -> dict[str, Estimate]:
        """ "precision", "recall" and "f1", the mean over classes by their number of pictures."""
        return self._averaged(self._support / max(1, len(self.labels)), weighted=True)

    @property
    def averages(self) -> list[AverageScore]:
        """Both as rows of a table."""
        return [
            AverageScore(
                name,
                precision=means["precision"].value,
                precision_interval=means["precision"].interval,
                recall=means["recall"].value,
                recall_interval=means["recall"].interval,
                f1=means["f1"].value,
                f1_interval=means["f1"].interval,
            )
            for name, means in (("macro", self.macro), ("weighted", self.weighted))
        ]

    def _averaged(self, weights: Tensor, *, weighted: bool) -> dict[str, Estimate]:
        """The weighted mean of each score. Weights that are shares of the pictures vary with them."""
        terms = {
            "precision": (self._precision, None, self._of_precision),
            "recall": (self._recall, self._of_recall, None),
            "f1": (self._f1, *self._of_f1),
        }
        return {name: self._mean(*each, weights, weighted=weighted) for name, each in terms.items()}

    def _mean(
        self, scores: Tensor, own: Tensor | None, other: Tensor | None, weights: Tensor, *, weighted: bool
    ) -> Estimate:
        """The mean of one score.

        scores, weights  float64 (K,)
        own, other       float64 (N,): by how much each picture moves the score of its label, its prediction
        """
        value = float(scores @ weights)
        terms = torch.zeros(len(self.labels), dtype=torch.float64)
        if own is not None:
            terms += weights[self.labels] * own
        if other is not None:
            terms += weights[self.predictions] * other
        if weighted:
            terms += (scores[self.labels] - value) / len(self.labels)
        # By its number of pictures, a rare class weighs little: how little is known of it does no harm.
        return self.sampling.mean(value, terms, self.sampling.units if weighted else self._rarest)

    def _overlaps(self) -> list[Estimate]:
        """Of the pictures that have a class or were predicted as it, the share of which both hold.

        F1 rises with this share J and with nothing else, as 2 J / (1 + J); and given how many such pictures
        there are, J is a plain share (Hand, Christen and Kirielle 2021, Machine Learning 110:451).
        """
        wrong = torch.nonzero(~self._right)[:, 0]
        parts = torch.cat([self.labels, self.predictions[wrong]])
        hits = torch.cat([self._right, torch.zeros(len(wrong), dtype=torch.bool)])
        pictures = torch.cat([torch.arange(len(self.labels)), wrong])
        return self.sampling.shares(parts, hits, pictures, number=len(self.classes))

    @cached_property
    def _rarest(self) -> int:
        return self.sampling.fewest(self.labels)

    @cached_property
    def _right(self) -> Tensor:
        return self.predictions == self.labels

    @cached_property
    def _support(self) -> Tensor:
        return torch.bincount(self.labels, minlength=len(self.classes)).double()

    @cached_property
    def _predicted(self) -> Tensor:
        return torch.bincount(self.predictions, minlength=len(self.classes)).double()

    @cached_property
    def _hits(self) -> Tensor:
        return torch.bincount(self.labels[self._right], minlength=len(self.classes)).double()

    @cached_property
    def _precision(self) -> Tensor:
        return self._hits / self._predicted.clamp_min(1)

    @cached_property
    def _recall(self) -> Tensor:
        return self._hits / self._support.clamp_min(1)

    @cached_property
    def _f1(self) -> Tensor:
        return 2 * self._hits / (self._support + self._predicted).clamp_min(1)

    @cached_property
    def _of_precision(self) -> Tensor:
        """By how much each picture moves the precision of its prediction, float64 (N,)."""
        part = self.predictions
        return (self._right.double() - self._precision[part]) / self._predicted[part]

    @cached_property
    def _of_recall(self) -> Tensor:
        """By how much each picture moves the recall of its label, float64 (N,)."""
        part = self.labels
        return (self._right.double() - self._recall[part]) / self._support[part]

    @cached_property
    def _of_f1(self) -> tuple[Tensor, Tensor]:
        """By how much each picture moves the F1 of its label and that of its prediction, float64 (N,)."""
        total = (self._support + self._predicted).clamp_min(1)
        own = (2 * self._right.double() - self._f1[self.labels]) / total[self.labels]
        return own, -self._f1[self.predictions] / total[self.predictions]


def f1_of(overlap: float) -> float:
    """F1 from the share of pictures that have a class and were predicted as it, of those with either."""
    return 2 * overlap / (1 + overlap)


def f1_bounds(interval: Bounds | None) -> Bounds | None:
    """The interval of F1 from that of the same share."""
    return None if interval is None else (f1_of(interval[0]), f1_of(interval[1]))

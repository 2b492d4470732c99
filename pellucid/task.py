"""What the labels of pictures mean: one class each, or any number of labels. Loss and answers follow from it.

Whatever else differs between the two asks a task, so that nothing else needs to know which one it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

DECIDED_AT = 0.5  # the threshold of a label, unless validation pictures chose another


@dataclass(frozen=True)
class OneClass:
    """Each picture shows one class of K: softmax, cross-entropy, and the most probable class as the answer.

    Labels are int64 (N,), answers likewise.
    """

    multi_label: ClassVar[bool] = False

    def probabilities(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N, K), each row adding up to 1."""
        return logits.softmax(dim=-1)

    def predictions(self, probabilities: Tensor) -> Tensor:
        """The most probable class of each picture, int64 (N,)."""
        return probabilities.argmax(dim=-1)

    def confidence(self, probabilities: Tensor) -> Tensor:
        """The probability of each prediction, (N,)."""
        return probabilities.amax(dim=-1)

    def right(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Whether each prediction is the label, bool (N,)."""
        return logits.argmax(dim=1) == labels

    def loss(
        self, logits: Tensor, targets: Tensor, weights: Tensor | None = None, *, smoothing: float = 0.0
    ) -> Tensor:
        """Mean cross-entropy of the pictures, in nats.

        targets  labels (B,), or the share of each class (B, K)
        weights  of each class (K,)
        """
        return functional.cross_entropy(logits, targets, weights, label_smoothing=smoothing)

    def total_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy of all pictures together, in nats."""
        return functional.cross_entropy(logits, labels, reduction="sum")


@dataclass(frozen=True)
class SeveralLabels:
    """Each picture has any number of K labels: sigmoid, binary cross-entropy, a threshold per label.

    Labels are bool (N, K), answers likewise.

    thresholds  K numbers 0..1: the probability from which a label is given
    """

    multi_label: ClassVar[bool] = True
    thresholds: tuple[float, ...]

    def probabilities(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N, K), each label's own, from 0 to 1."""
        return logits.sigmoid()

    def predictions(self, probabilities: Tensor) -> Tensor:
        """Whether each label is given, bool (N, K)."""
        return probabilities >= torch.tensor(self.thresholds, dtype=probabilities.dtype)

    def confidence(self, probabilities: Tensor) -> Tensor:
        """The probability of the least certain decision on each picture, (N,)."""
        return torch.where(self.predictions(probabilities), probabilities, 1 - probabilities).amin(dim=-1)

    def right(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Whether exactly the labels of each picture are given, bool (N,)."""
        return (self.predictions(self.probabilities(logits)) == labels).all(dim=1)

    def loss(
        self, logits: Tensor, targets: Tensor, weights: Tensor | None = None, *, smoothing: float = 0.0
    ) -> Tensor:
        """Mean binary cross-entropy in nats over pictures and labels.

        targets  labels (B, K), or shares 0..1
        weights  of each label where it is present (K,)
        """
        smoothed = targets.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, smoothed, pos_weight=weights)

    def total_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The binary cross-entropy of all pictures together, in nats, of each the mean over labels."""
        return self.loss(logits, labels) * len(labels)


Task = OneClass | SeveralLabels


def answer_names(task: Task, probabilities: Tensor, classes: Sequence[str]) -> tuple[str, ...]:
    """The answer to one picture by name, from its probabilities (K,): the most probable class, or every label
    whose probability reaches its threshold, the most probable first."""
    given = task.predictions(probabilities)
    if not task.multi_label:
        return (classes[int(given)],)
    order = probabilities.argsort(descending=True, stable=True).tolist()
    return tuple(classes[k] for k in order if given[k])


def task_of(labels: Tensor) -> Task:
    """The task of labels: OneClass of int64 (N,); of bool (N, K) SeveralLabels, their thresholds one half."""
    return OneClass() if labels.dim() == 1 else SeveralLabels((DECIDED_AT,) * labels.shape[1])


def shares_of(labels: Tensor, classes: int) -> Tensor:
    """How much of each class every picture shows, float32 (N, K): 0 or 1."""
    return (functional.one_hot(labels, classes) if labels.dim() == 1 else labels).float()


def label_sets(labels: Tensor) -> Tensor:
    """A number for what each picture shows, int64 (N,): its class, or one for each set of labels there is."""
    return labels if labels.dim() == 1 else torch.unique(labels, dim=0, return_inverse=True)[1]


def shows(labels: Tensor, chosen: Tensor | int) -> Tensor:
    """Whether each picture shows a class, bool (N,): one and the same, or for each picture its own (N,)."""
    if labels.dim() == 1:
        return labels == chosen
    if isinstance(chosen, int):
        return labels[:, chosen]
    return labels.gather(1, chosen[:, None])[:, 0]

"""A last layer solved rather than trained: logistic regression on features computed once.

Multinomial where a picture shows one class; where it can have several labels, one regression for each. Its
two choices, how strongly large weights are penalised and whether every class counts the same, are made on
validation pictures, or by folds where these are too few to choose by.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional

from pellucid.machine import torch_threads
from pellucid.models.head import HeadSettings
from pellucid.recipe import Balance
from pellucid.task import label_sets, shares_of, task_of
from pellucid.training.sampling import class_weights, generator_for

Part = tuple[Tensor, Tensor]  # features (N, D) of some pictures, and their labels (N,)

# Of half the squared weights, beside the mean cross-entropy of a picture; from the strongest on, so that each
# solution begins where the one before ended.
PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
FEW = 100  # validation pictures; below, folds over training and validation pictures choose
FOLDS = 5
UNEVEN = 1.5  # times as many pictures of the commonest class as of the rarest
PATIENCE = 1  # weaker penalties tried after the best
ITERATIONS = 200  # of L-BFGS, at most, for one penalty
TOLERANCE = 1e-7  # share by which an iteration must lower the loss


def choose_settings(parts: Sequence[Part], classes: int, *, seed: int, balance: Balance) -> HeadSettings:
    """The settings that do best on pictures that were not learned.

    parts    features, standardised, and labels of the training pictures and, where there are some, of the
             validation pictures; too few of these, or none, and folds over all of them choose
    balance  "auto" chooses between counting every picture and every class the same; "none" and others decide

    The penalty is that of the lowest cross-entropy, every class counting the same where they are balanced.
    They are where the commonest has over UNEVEN times as many pictures as the rarest, unless that lowers
    macro F1.
    """
    with _one_thread():
        coordinates, _ = _in_span(torch.cat([features for features, _ in parts]))
        pieces = torch.split(coordinates, [len(labels) for _, labels in parts])
        reduced = [(piece, labels) for piece, (_, labels) in zip(pieces, parts, strict=True)]
        trials = list(_trials(reduced, seed))
        if balance != "auto" or not _uneven(parts[0][1]):
            return _best(trials, classes, balanced=balance not in ("auto", "none")).settings
        plain, balanced = (_best(trials, classes, balanced=each) for each in (False, True))
        return (balanced if balanced.score >= plain.score else plain).settings


def _uneven(labels: Tensor) -> bool:
    """Whether one class has over UNEVEN times as many pictures as another; not asked of several labels."""
    if labels.dim() == 2:
        return False
    counts = torch.bincount(labels)
    return int(counts.max()) > UNEVEN * int(counts[counts > 0].min())


def solve(features: Tensor, labels: Tensor, classes: int, settings: HeadSettings) -> Tensor:
    """The weights and, in the last column, the biases (K, D + 1), float64, of the lowest penalised loss."""
    with _one_thread():
        coordinates, basis = _in_span(features)
        path = _path((coordinates, labels), classes, (settings.penalty,), balanced=settings.balanced)
        weights = next(path)
        return torch.cat([weights[:, :-1] @ basis.T, weights[:, -1:]], dim=1)


def _in_span(features: Tensor) -> tuple[Tensor, Tensor]:
    """The features (N, D) as coordinates (N, R), float64, and the directions (D, R) these are along.

    Of few pictures R is N: weights outside the span of their features would only be penalised. With 600
    pictures of 1280 features an iteration takes a tenth of the time.
    """
    features = features.double()
    if len(features) >= features.shape[1]:
        return features, torch.eye(features.shape[1], dtype=torch.float64)
    basis, _ = torch.linalg.qr(features.T)
    return features @ basis, basis


@contextmanager
def _one_thread() -> Iterator[None]:
    """The matrices are small: several threads, torch's or those of scipy, mostly wait for each other."""
    with torch_threads(1), threadpool_limits(1):
        yield


class _Candidate(NamedTuple):
    """Settings, and the macro F1 on the held-out pictures of what was solved with them."""

    settings: HeadSettings
    score: float


def _trials(parts: Sequence[Part], seed: int) -> Iterator[tuple[Part, Part]]:
    """What is learned and what is held out to choose by: validation pictures if there are enough, else each
    fold of all pictures in turn."""
    if len(parts) > 1 and len(parts[1][1]) >= FEW:
        yield parts[0], parts[1]
        return
    features, labels = (torch.cat(each) for each in zip(*parts, strict=True))
    for held_out in folds(labels, seed):
        yield (features[~held_out], labels[~held_out]), (features[held_out], labels[held_out])


def _best(trials: Sequence[tuple[Part, Part]], classes: int, *, balanced: bool) -> _Candidate:
    """The penalty of the lowest loss over all trials; where a path ended early, it had passed its best."""
    paths = [list(_held_out_scores(trial, classes, balanced=balanced)) for trial in trials]
    labels = torch.cat([held_out[1] for _, held_out in trials])
    weight = class_weights(labels, classes).double() if balanced else None
    tried = [torch.cat(scores) for scores in zip(*paths, strict=False)]  # (N, K) for each penalty
    losses = [float(task_of(labels).loss(scores, labels, weight)) for scores in tried]
    best = losses.index(min(losses))
    return _Candidate(HeadSettings(PENALTIES[best], balanced), macro_f1(tried[best], labels, classes))


def _held_out_scores(trial: tuple[Part, Part], classes: int, *, balanced: bool) -> Iterator[Tensor]:
    """The scores (M, K) of the held-out pictures for each penalty, until their loss rises."""
    learned, (features, labels) = trial
    weight = class_weights(labels, classes).double() if balanced else None
    losses: list[float] = []
    for weights in _path(learned, classes, PENALTIES, balanced=balanced):
        scores = _scores(features.double(), weights)
        yield scores
        losses.append(float(task_of(labels).loss(scores, labels, weight)))
        if len(losses) - 1 - losses.index(min(losses)) >= PATIENCE:
            break


def macro_f1(scores: Tensor, labels: Tensor, classes: int) -> float:
    """The mean F1 of the classes that occur or are predicted."""
    task = task_of(labels)
    predicted = shares_of(task.predictions(task.probabilities(scores)), classes).double()  # (N, K)
    actual = shares_of(labels, classes).double()
    counts = predicted.sum(dim=0) + actual.sum(dim=0)
    return float((2 * (predicted * actual).sum(dim=0) / counts)[counts > 0].mean())


def _path(learned: Part, classes: int, penalties: Sequence[float], *, balanced: bool) -> Iterator[Tensor]:
    """The solution (K, D + 1) for each penalty in turn."""
    features, labels = learned[0].double(), learned[1]
    shares = shares_of(labels, classes).double()  # (N, K)
    if balanced:
        shares *= class_weights(labels, classes)
    several = labels.dim() == 2
    shares /= len(labels) if several else shares.sum()  # how much a picture counts, for each class it shows
    absent = (~labels).double() / len(labels) if several else None
    weights = torch.zeros(classes, features.shape[1] + 1, dtype=torch.float64)

    def loss(flat: NDArray[np.float64], penalty: float) -> tuple[float, NDArray[np.float64]]:
        trial = torch.from_numpy(flat).view_as(weights)
        scores = _scores(features, trial)  # (N, K)
        if absent is None:
            logs = scores.log_softmax(dim=1)
            value = -(shares * logs).sum()
            errors = logs.exp() * shares.sum(dim=1, keepdim=True) - shares
        else:
            value = (shares * functional.softplus(-scores) + absent * functional.softplus(scores)).sum()
            errors = scores.sigmoid() * (shares + absent) - shares
        value = value + penalty / 2 * trial[:, :-1].square().sum()
        gradient = torch.cat(
            [errors.T @ features + penalty * trial[:, :-1], errors.sum(dim=0)[:, None]], dim=1
        )
        return float(value), gradient.flatten().numpy()

    for penalty in penalties:
        start = weights.flatten().numpy()
        found = minimize(
            loss, start, (penalty,), "L-BFGS-B", jac=True, options={"maxiter": ITERATIONS, "ftol": TOLERANCE}
        )
        weights = torch.from_numpy(found.x).view_as(weights)
        yield weights


def _scores(features: Tensor, weights: Tensor) -> Tensor:
    """(N, D), (K, D + 1) -> (N, K)"""
    return features @ weights[:, :-1].T + weights[:, -1]


def folds(labels: Tensor, seed: int) -> Iterator[Tensor]:
    """Masks, bool (N,), of the pictures held out in each of FOLDS folds, or of as many as there are pictures.

    Each picture is held out once; a class is dealt out in turn, so that it is in as many folds as it can be.
    """
    order = torch.randperm(len(labels), generator=generator_for(seed, "folds"))
    labels = label_sets(labels)
    dealt = order[labels[order].argsort(stable=True)]
    fold = torch.empty(len(labels), dtype=torch.int64)
    fold[dealt] = torch.arange(len(labels)) % FOLDS
    for number in range(min(FOLDS, len(labels))):
        yield fold == number

"""A last layer solved rather than trained: logistic regression on features computed once.

Multinomial where a picture shows one class; where it can have several labels, one regression for each. Its
one choice, how strongly large weights are penalised, is made on validation pictures, or by folds where these
are too few to choose by.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional

from pellucid.task import label_sets, shares_of, task_of
from pellucid.training.sampling import class_weights, generator_for

# Of half the squared weights, beside the mean cross-entropy of a picture; from the strongest on, so that each
# solution begins where the one before ended.
PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
FEW = 100  # validation pictures; below, folds over training and validation pictures choose
FOLDS = 5
PATIENCE = 1  # weaker penalties tried after the best
ITERATIONS = 200  # of L-BFGS, at most, for one penalty
TOLERANCE = 1e-7  # share by which an iteration must lower the loss


def chosen_penalty(
    features: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor], classes: int, *, seed: int, balanced: bool
) -> float:
    """The penalty of the lowest cross-entropy on pictures that were not learned.

    features  (N, D) of the training pictures, standardised, and (M, D) of the validation pictures, likewise
    labels    (N,) and (M,), or bool (N, K) and (M, K)
    balanced  whether each class counts the same
    """
    with _one_thread():
        if len(labels[1]) >= FEW:
            return _best([_losses(features, labels, classes, balanced=balanced)])
        every, known = torch.cat(features), torch.cat(labels)
        paths = []
        for held_out in folds(known, seed):
            parts = every[~held_out], every[held_out]
            paths.append(_losses(parts, (known[~held_out], known[held_out]), classes, balanced=balanced))
        return _best(paths)


def solved(features: Tensor, labels: Tensor, classes: int, penalty: float, *, balanced: bool) -> Tensor:
    """The weights and, in the last column, the biases (K, D + 1), float64, of the lowest penalised loss."""
    with _one_thread():
        return next(_path(features, labels, classes, (penalty,), balanced=balanced))


@contextmanager
def _one_thread() -> Iterator[None]:
    """The matrices are small: several threads would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _best(paths: list[list[float]]) -> float:
    """The penalty of the lowest loss, summed over folds; where a path ended early, it had passed its best."""
    length = min(map(len, paths))
    totals = [sum(losses[place] for losses in paths) for place in range(length)]
    return PENALTIES[totals.index(min(totals))]


def _losses(
    features: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor], classes: int, *, balanced: bool
) -> list[float]:
    """The mean cross-entropy on the second part for each penalty, until it rises."""
    losses: list[float] = []
    for weights in _path(features[0], labels[0], classes, PENALTIES, balanced=balanced):
        scores = _scores(features[1].double(), weights)
        losses.append(float(task_of(labels[1]).loss(scores, labels[1])))
        if len(losses) - 1 - losses.index(min(losses)) >= PATIENCE:
            break
    return losses


def _path(
    features: Tensor, labels: Tensor, classes: int, penalties: tuple[float, ...], *, balanced: bool
) -> Iterator[Tensor]:
    """The solution (K, D + 1) for each penalty in turn.

    Of fewer pictures than features, it lies in the space that the pictures span, and is sought there.
    """
    features = features.double()
    basis = torch.linalg.qr(features.T).Q if len(features) < features.shape[1] else None  # (D, N)
    features = features if basis is None else features @ basis  # (N, N)
    shares = shares_of(labels, classes).double()  # (N, K)
    if balanced:
        shares *= class_weights(labels, classes)
    several = labels.dim() == 2
    shares /= (
        len(labels) if several else shares.sum()
    )  # how much each picture counts, for each class it shows
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
        yield weights if basis is None else torch.cat([weights[:, :-1] @ basis.T, weights[:, -1:]], dim=1)


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

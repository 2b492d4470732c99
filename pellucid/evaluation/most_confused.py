"""Which pairs are confused most, told only where other pictures of the same kind would tell the same."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pellucid.evaluation.intervals import Sampling
from pellucid.evaluation.metrics import Confusion
from pellucid.formatting import times

RESAMPLED = 1000  # times
MAX_DRAWN = 20_000_000  # numbers drawn at most; fewer resamples where very many pictures are wrong
MIN_RESAMPLED = 100
CANDIDATES = 50  # pairs, the commonest; no other comes out on top
ALMOST_ALWAYS = 0.8  # of the resamples
MAX_NAMED = 3


@dataclass(frozen=True, eq=False)
class Mistakes:
    """The class that each of M mistakes has as label and as prediction, and its picture, int64 (M,)."""

    labels: Tensor
    predictions: Tensor
    pictures: Tensor


def steadily_on_top(cells: Tensor, pictures: Tensor, sampling: Sampling, *, seed: int) -> list[int]:
    """The fewest kinds of mistake, at most three, one of which is the commonest in 80 % of the resamples.

    cells     int64 (M,): the kind of each mistake, any number
    pictures  int64 (M,): the picture that it is of
    sampling  how the pictures were drawn; they, or their groups, are drawn again with replacement

    The commonest first; none where three do not suffice, nor below ten groups. Equally common ones
    share a resample.
    """
    if not len(cells) or sampling.too_few:
        return []
    kinds, place, counts = np.unique(cells.numpy(), return_inverse=True, return_counts=True)
    candidates = np.argsort(-counts, kind="stable")[:CANDIDATES]
    draws = np.random.default_rng(seed)
    owners = pictures.numpy() if sampling.groups is None else sampling.groups[pictures].numpy()
    units, owner = np.unique(owners, return_inverse=True)
    if len(units) == len(cells):  # one mistake a unit: how many of each kind is all that is drawn
        shares = counts[candidates] / sampling.units
        rest = max(0.0, 1 - shares.sum())
        found = draws.multinomial(sampling.units, [*shares, rest], size=RESAMPLED)[:, :-1].astype(float)
    else:
        per_unit = np.zeros((len(units), len(kinds)))
        np.add.at(per_unit, (owner, place), 1)
        size = max(MIN_RESAMPLED, min(RESAMPLED, MAX_DRAWN // len(units)))
        rest = max(0.0, 1 - len(units) / sampling.units)
        even = [1 / sampling.units] * len(units)
        weights = draws.multinomial(sampling.units, [*even, rest], size=size)[:, :-1]
        found = weights @ per_unit[:, candidates]
    top = (found == found.max(axis=1, keepdims=True)) & (found > 0)
    on_top = (top / np.maximum(1, top.sum(axis=1, keepdims=True))).mean(axis=0)
    best = np.argsort(-on_top, kind="stable")[:MAX_NAMED]
    needed = int(np.searchsorted(np.cumsum(on_top[best]), ALMOST_ALWAYS - 1e-9)) + 1
    if needed > len(best):
        return []
    return [int(kinds[candidates[index]]) for index in sorted(best[:needed])]


def most_confused(
    pairs: Sequence[Confusion], classes: Sequence[str], mistakes: Mistakes, sampling: Sampling, *, seed: int
) -> list[Confusion]:
    """Those of `pairs`, in their order, that `steadily_on_top` finds."""
    number = len(classes)
    cells = mistakes.labels * number + mistakes.predictions
    found = set(steadily_on_top(cells, mistakes.pictures, sampling, seed=seed))
    names = {(classes[cell // number], classes[cell % number]) for cell in found}
    return [pair for pair in pairs if (pair.label, pair.prediction) in names]


def seed_of(*tensors: Tensor) -> int:
    """A number that depends on these values alone: the same evaluation is resampled in the same way."""
    seed = 0
    for tensor in tensors:
        seed = zlib.crc32(tensor.contiguous().numpy().tobytes(), seed)
    return seed


def in_words(pairs: list[Confusion]) -> str:
    """The pairs that are confused most, for the end of a sentence; "" for none."""
    if not pairs:
        return ""
    if len(pairs) == 1:
        return f"most confused: {pairs[0].label} -> {pairs[0].prediction}, {times(pairs[0].count)}"
    named = ", ".join(f"{pair.label} -> {pair.prediction} ({times(pair.count)})" for pair in pairs)
    return f"among the most confused: {named}"

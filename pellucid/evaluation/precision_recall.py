"""Scores of labels that are given or not: average precision, F1, their intervals, and the best threshold."""

import torch
from torch import Tensor

from pellucid.evaluation.metrics import wilson
from pellucid.task import DECIDED_AT, SeveralLabels

DRAWS = 1000  # of as many pictures, with replacement, for an interval
MAX_DRAWN = 50_000_000  # pictures drawn for all labels together; fewer draws of many
MIN_DRAWS = 100
ENOUGH = 5  # pictures with a label, and without it, to choose its threshold by


def average_precisions(scores: Tensor, labels: Tensor) -> Tensor:
    """The average precision of each label, float64 (K,): the precision at each recall, weighted by how much
    recall it adds; equal scores count together. nan for a label that does not occur.

    scores  (N, K), higher where a label is more probable
    labels  bool (N, K)
    """
    once = torch.ones(1, len(scores), dtype=torch.float64)
    return torch.stack([_average_precision(*pair, once)[0] for pair in zip(scores.T, labels.T, strict=True)])


def f1_scores(predictions: Tensor, labels: Tensor) -> Tensor:
    """The F1 of each label, float64 (K,); 0 where it neither occurs nor is given. Both bool (N, K)."""
    hits, total = (predictions & labels).sum(dim=0), predictions.sum(dim=0) + labels.sum(dim=0)
    return 2 * hits.double() / total.clamp_min(1)


def bootstrapped(scores: Tensor, labels: Tensor, *, groups: Tensor | None = None, seed: int = 0) -> Tensor:
    """The average precision of every label on pictures drawn with replacement, as many as there are, again
    and again: float64 (B, K), nan where the label did not occur.

    groups  int64 (N,) from 0: whole groups are drawn
    """
    count, classes = labels.shape
    draws = max(MIN_DRAWS, min(DRAWS, MAX_DRAWN // max(1, count * classes)))
    generator = torch.Generator().manual_seed(seed)
    owners = torch.arange(count) if groups is None else groups
    units = int(owners.max()) + 1
    weights = torch.stack(
        [
            torch.bincount(torch.randint(units, (units,), generator=generator), minlength=units)
            for _ in range(draws)
        ]
    ).double()[:, owners]  # (B, N): how often each picture was drawn
    precisions = [_average_precision(*pair, weights) for pair in zip(scores.T, labels.T, strict=True)]
    return torch.stack(precisions, dim=1)


def bounds(drawn: Tensor, count: int) -> tuple[float, float]:
    """The 95 % interval of a score from its values on drawn pictures (B,), those that are nan left out.

    A score that drawing again never changes, such as a perfect one, would have no width: then it is Wilson's
    of a share of `count` pictures.
    """
    known = drawn[~drawn.isnan()]
    if not len(known) or not count:
        return 0.0, 1.0
    low, high = torch.quantile(known, torch.tensor([0.025, 0.975], dtype=known.dtype)).tolist()
    return (low, high) if high - low > 1e-9 else wilson(low, count)


def chosen_thresholds(probabilities: Tensor, labels: Tensor) -> SeveralLabels:
    """The threshold of each label with the highest F1 on these pictures, best validation pictures.

    It lies midway between two probabilities; of several the one nearest to one half. A label with fewer than
    five pictures that have it, or five that have it not, keeps one half: so few choose by chance.

    probabilities  float32 (N, K)
    labels         bool (N, K)
    """
    thresholds = []
    for values, present in zip(probabilities.T.double(), labels.T, strict=True):
        if min(int(present.sum()), int((~present).sum())) < ENOUGH:
            thresholds.append(DECIDED_AT)
            continue
        levels = torch.unique(values)  # sorted
        middles = torch.cat([(levels[1:] + levels[:-1]) / 2, torch.tensor([DECIDED_AT], dtype=torch.float64)])
        given = values >= middles[:, None]  # (M, N)
        hits = (given & present).sum(dim=1).double()
        f1 = 2 * hits / (given.sum(dim=1) + present.sum()).clamp_min(1)
        best = middles[f1 >= f1.max() - 1e-12]
        thresholds.append(float(best[(best - DECIDED_AT).abs().argmin()].float()))
    return SeveralLabels(tuple(min(max(value, 1e-6), 1 - 1e-6) for value in thresholds))


def _average_precision(scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The average precision (B,) of one label with scores (N,), each picture counted by weights (B, N)."""
    ordered, order = scores.sort(descending=True, stable=True)
    counted = weights[:, order]
    found = counted * labels[order]  # (B, N)
    ends = torch.cat([ordered[1:] != ordered[:-1], torch.tensor([True])])  # the last of equal scores
    hits, seen = found.cumsum(dim=1)[:, ends], counted.cumsum(dim=1)[:, ends]
    gained = torch.diff(hits, dim=1, prepend=hits.new_zeros(len(hits), 1))
    precision = hits / seen.clamp_min(1)
    total = hits[:, -1]
    return torch.where(total > 0, (gained * precision).sum(dim=1) / total.clamp_min(1), torch.nan)

"""Channels: which pictures activate one most, for how many it is active, and what accuracy is lost without
it."""

from typing import Any

import torch
from torch import Tensor

from pellucid.assets import constants
from pellucid.evaluation.chance import LEVEL, holm, paired_p_values

_PICTURES = constants("pictures")
EXAMPLES: int = _PICTURES["excited"]  # pictures shown of each channel, at both ends


def channel_maxima(output: Tensor) -> Tensor:
    """The maximum of each channel for each picture, (N, C), of maps (N, C, h, w) or numbers (N, C)."""
    return output.flatten(2).amax(dim=2) if output.dim() > 2 else output


def rank_pictures(maxima: Tensor, count: int) -> dict[str, list[Any]]:
    """For each channel of `channel_maxima` (N, C): which of the first `count` pictures activate it most and
    least, most first, and for what share of all pictures it is above zero."""
    order = maxima[:count].argsort(dim=0, descending=True, stable=True)  # (count, C)
    return {
        "top": order[:EXAMPLES].T.tolist(),
        "low": order[-EXAMPLES:].T.tolist(),
        "excited": [round(share, 4) for share in (maxima > 0).double().mean(dim=0).tolist()],
    }


def at_random(channel: int, count: int) -> list[int]:
    """Some of `count` pictures, others for every channel; assets/pad/engine.js chooses the same."""
    first = channel * _PICTURES["channel_step"] + _PICTURES["offset"]
    return [(first + place * _PICTURES["picture_step"]) % count for place in range(_PICTURES["random"])]


def accuracies(scores: Tensor, labels: Tensor) -> Tensor:
    """The accuracy of scores (N, K) for labels (N,): of all pictures, then of each class, (1 + K,)."""
    classes = scores.shape[1]
    support = torch.bincount(labels, minlength=classes).clamp_min(1)
    correct = (scores.argmax(dim=1) == labels).double()
    by_class = torch.zeros(classes, dtype=torch.double).index_add_(0, labels, correct) / support
    return torch.cat([correct.mean()[None], by_class])


def change_p_values(before: Tensor, after: Tensor, labels: Tensor) -> Tensor:
    """How often chance alone would change right answers as much, two-sided: of all pictures, then of each
    class, float64 (1 + K,), by McNemar's exact test.

    before, after  scores (N, K) for the same pictures of `labels` (N,)
    """
    right, still = before.argmax(dim=1) == labels, after.argmax(dim=1) == labels
    lost, gained = right & ~still, still & ~right  # (N,)
    classes = before.shape[1]
    counts = [
        torch.cat([each.sum()[None], torch.bincount(labels[each], minlength=classes)])
        for each in (lost, gained)
    ]
    return paired_p_values(counts[0], counts[1])


def beyond_chance(p_values: Tensor) -> list[list[int]]:
    """Which changes of `change_p_values` (C, 1 + K) of C channels are beyond chance, by channel: 0 for all
    pictures, 1 + its index for a class.

    Corrected by Holm's method for all channels, and those of classes for all channels and classes.
    """
    overall = holm(p_values[:, 0]) < LEVEL
    by_class = (holm(p_values[:, 1:].flatten()) < LEVEL).reshape(len(p_values), -1)
    found = torch.cat([overall[:, None], by_class], dim=1)
    return [torch.nonzero(row)[:, 0].tolist() for row in found]


def beyond_chance_of_one(p_values: Tensor, channels: int) -> list[int]:
    """The same of one channel (1 + K,) of so many, where the others are not known: Bonferroni's correction,
    which finds what `beyond_chance` finds or less."""
    tests = torch.full_like(p_values, channels * (len(p_values) - 1.0))
    tests[0] = channels
    found: list[int] = torch.nonzero(p_values * tests < LEVEL)[:, 0].tolist()
    return found


def accuracy_changes(before: Tensor, after: Tensor) -> list[int]:
    """The change of `accuracies` (1 + K,) in tenths of a percentage point."""
    return [round(change) for change in ((after - before) * 1000).tolist()]

"""Channels: which pictures activate one most, for how many it is active, and what accuracy is lost without
it."""

from typing import Any

import torch
from torch import Tensor

from pellucid.assets import constants

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


def accuracy_changes(before: Tensor, after: Tensor) -> list[int]:
    """The change of `accuracies` (1 + K,) in tenths of a percentage point."""
    return [round(change) for change in ((after - before) * 1000).tolist()]

"""Which pictures excite a channel, how many do at all, and what is lost without it: from values alone."""

from typing import Any

import torch
from torch import Tensor

NINE = 9


def strongest(output: Tensor) -> Tensor:
    """The highest value of each channel for each picture (N, C), of maps (N, C, h, w) or numbers (N, C)."""
    return output.flatten(2).amax(dim=2) if output.dim() > 2 else output


def ranked(highest: Tensor, shown: int) -> dict[str, list[Any]]:
    """By channel, of `strongest` (N, C): the NINE of the first `shown` pictures that excite it most and
    least, strongest first, and the share of all that excite it."""
    order = highest[:shown].argsort(dim=0, descending=True, stable=True)  # (shown, C)
    return {
        "top": order[:NINE].T.tolist(),
        "low": order[-NINE:].T.tolist(),
        "excited": [round(share, 4) for share in (highest > 0).double().mean(dim=0).tolist()],
    }


def right(scores: Tensor, labels: Tensor) -> Tensor:
    """The share of right answers among scores (N, K): of all pictures, then of each class (1 + K,)."""
    classes = scores.shape[1]
    support = torch.bincount(labels, minlength=classes).clamp_min(1)
    hit = (scores.argmax(dim=1) == labels).double()
    by_class = torch.zeros(classes, dtype=torch.double).index_add_(0, labels, hit) / support
    return torch.cat([hit.mean()[None], by_class])


def lost(before: Tensor, after: Tensor) -> list[int]:
    """By how many tenths of a point `right` changes."""
    return [round(change) for change in ((after - before) * 1000).tolist()]

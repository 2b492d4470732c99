"""Which networks were judged on which pictures: a short file per set of pictures in the user's cache folder.

The best of many scores on one test set is too good, and a single run cannot know how many there were. Only
networks are counted: judging the same weights on the same pictures again says nothing new.
"""

import hashlib
from pathlib import Path

import torch
from torch import nn

from pellucid.cache import cache_folder
from pellucid.errors import PellucidError
from pellucid.files import append_line
from pellucid.reading import JSON_BYTES, read_regular

LEDGER = "judged"  # the folder in the cache
DIGITS = 32  # of each SHA-256, in hexadecimal: 128 bits


def weights_digest(network: nn.Module) -> str:
    """A hash of all weights with their names: the same for the same network, wherever it is saved."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:DIGITS]


def number_judged(fingerprint: str, weights: str) -> int | None:
    """The how-manieth network these weights are of those judged on the pictures, from 1; they are entered
    where they were not before. None where nothing can be kept in the cache folder.

    fingerprint  of the pictures, as `Dataset.fingerprint` gives it
    weights      as `weights_digest` gives it
    """
    path = cache_folder() / LEDGER / f"{fingerprint[:DIGITS]}.txt"
    try:
        if not path.is_file() or weights not in (known := _networks(path)):
            append_line(path, weights)
            known = _networks(path)
    except (OSError, PellucidError):
        return None
    return known.index(weights) + 1 if weights in known else None


def _networks(path: Path) -> list[str]:
    """The networks in the order in which each was first entered; lines that are damaged are left out."""
    text = read_regular(path, JSON_BYTES).decode("ascii", "replace")
    return list(dict.fromkeys(line for line in text.splitlines() if len(line) == DIGITS))

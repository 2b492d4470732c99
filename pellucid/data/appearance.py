"""What pictures look like, as far as it decides how they are read and augmented.

The ground under transparent drawings, the white of 16-bit files, and whether a mirrored picture is still of
its class.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from pellucid.data.dataset import Dataset, joined_names
from pellucid.data.sources.listing import Content, Listing
from pellucid.data.store.parallel import READ_ERRORS
from pellucid.decode.images import WHITE, Ink, decode_image, ink_of
from pellucid.decode.workers import UNNAMED
from pellucid.errors import UsageError
from pellucid.language import Message, lazy_gettext

SAMPLE = 96  # pictures whose values are looked at
VISIBLE = 32  # of 255: a drawing that differs less from its ground is not seen
GROUNDS = (0, 255, 128)
NAMES = {0: lazy_gettext("black"), 255: lazy_gettext("white"), 128: lazy_gettext("medium gray")}
BITS = range(8, 16)
SIDE = 32  # pixels of the gray pictures that are mirrored
FEW = 20  # pictures of a class from which its mean means something
MOST = 0.6  # share of a class's pictures
# Words for left and right, which a mirrored picture would belie.
SIDES = (
    ("left", "right"),
    ("links", "rechts"),
    ("gauche", "droite"),
    ("izquierda", "derecha"),
    ("esquerda", "direita"),
    ("sinistra", "destra"),
    ("vänster", "höger"),
    ("lewo", "prawo"),
    ("왼쪽", "오른쪽"),
    ("왼", "오른"),
    ("좌", "우"),
    ("左", "右"),
)


class Appearance(NamedTuple):
    """The background and the white with which pictures are to be read, and a sentence on each choice."""

    background: int = 0
    white: int = WHITE
    notes: tuple[Message, ...] = ()


def appearance_of(listing: Listing) -> Appearance:
    """How a listing's pictures use transparency and 16 bits, from a sample of them.

    The background stays black unless a drawing would not be seen on it; then it is the ground on which even
    the least visible one stands out best. White is the highest value of as many bits as are used.
    """
    inks = list[Ink]()
    for content in _sample(listing):
        with suppress(UsageError):
            if isinstance(content, bytes):
                inks.append(ink_of(content, name=UNNAMED))
    notes = list[Message]()
    highest = max((ink.highest for ink in inks), default=0)
    white = next((2**bits - 1 for bits in BITS if highest < 2**bits), WHITE) if highest else WHITE
    if white != WHITE:
        notes.append(
            lazy_gettext(
                "16-bit pictures use values up to %(highest)s: %(white)s is read as white",
                highest=highest,
                white=white,
            )
        )
    drawings = [ink.brightness for ink in inks if ink.brightness is not None]
    background = 0
    if any(brightness < VISIBLE for brightness in drawings):
        background = max(GROUNDS, key=lambda ground: min(abs(brightness - ground) for brightness in drawings))
        notes.append(
            lazy_gettext(
                "transparent pictures are dark drawings: they are put on %(ground)s",
                ground=NAMES[background],
            )
        )
    return Appearance(background, white, tuple(notes))


def padding_of(listing: Listing, appearance: Appearance) -> int:
    """The ground around padded pictures, from a sample of them: the nearest to what most have on their edges.

    Where `appearance` has put dark drawings on a ground, that one.
    """
    if appearance.background:
        return appearance.background
    edges = list[float]()
    for content in _sample(listing):
        with suppress(UsageError):
            edges.append(_edge(content, appearance.white))
    return min(GROUNDS, key=lambda ground: abs(median(edges) - ground)) if edges else 0


def _sample(listing: Listing) -> Iterator[Content]:
    """Some pictures, spread over the listing; what cannot be opened is left out."""
    for index in range(0, len(listing.pictures), max(1, len(listing.pictures) // SAMPLE)):
        with suppress(*READ_ERRORS):
            yield listing.read(index)


def _edge(content: Content, white: int) -> float:
    """The median of a picture's outermost pixels, in gray on black: 0..255."""
    if isinstance(content, bytes):
        gray = np.asarray(decode_image(content, 0, white=white, name=UNNAMED).convert("L"))
    else:
        gray = content if content.ndim == 2 else content.mean(axis=2)
    return float(np.median(np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])))


def mirror_pairs(classes: Sequence[str]) -> list[tuple[str, str]]:
    """Classes of which one is named as the other's mirror image: ("turn left", "turn right")."""
    pairs = []
    for name in classes:
        for left, right in SIDES:
            other = re.sub(left, right, name, flags=re.IGNORECASE)
            twin = next(
                (each for each in classes if each.casefold() == other.casefold() != name.casefold()), None
            )
            if twin is not None:
                pairs.append((name, twin))
                break
    return pairs


def mirrored_classes(dataset: Dataset) -> tuple[str, str] | None:
    """A class most of whose pictures, mirrored, are nearer to the mean of another; None if there is none.

    Compared in gray at 32 pixels a side, half of each class with the means of the other half. Only pictures
    that are nearest to their own class's mean count, and only a class of which most are: where means say
    nothing, neither does this.
    """
    names, count = list(dataset.classes), len(dataset.classes)
    chosen = torch.arange(0, len(dataset), max(1, len(dataset) // 2000))
    labels = dataset.labels[chosen]
    if dataset.multi_label:  # pictures with the same labels are a class
        sets, labels = torch.unique(labels, dim=0, return_inverse=True)
        names, count = [joined_names(row, names) for row in sets.tolist()], len(sets)
    known = torch.bincount(labels, minlength=count) >= FEW  # (K,)
    if known.sum() < 2:
        return None
    size = min(SIDE, dataset.size[0]), min(SIDE, dataset.size[1])
    blocks = [dataset.images[part].float().mean(dim=1, keepdim=True) for part in torch.split(chosen, 64)]
    pictures = torch.cat([functional.adaptive_avg_pool2d(block, size) for block in blocks])  # (M, 1, h, w)
    earlier = functional.one_hot(labels, count).cumsum(dim=0).gather(1, labels[:, None])[:, 0]
    odd = earlier % 2 == 1  # every second picture of each class
    upright, mirrored = torch.empty_like(labels), torch.empty_like(labels)
    for half in (odd, ~odd):
        sums = torch.zeros(count, pictures[0].numel())
        sums.index_add_(0, labels[~half], pictures[~half].flatten(1))
        means = sums / torch.bincount(labels[~half], minlength=count)[:, None].clamp_min(1)
        for nearest, shown in ((upright, pictures[half]), (mirrored, pictures[half].flip(3))):
            distances = torch.cdist(shown.flatten(1), means).masked_fill(~known, float("inf"))  # (M/2, K)
            nearest[half] = distances.argmin(dim=1)
    for label in torch.nonzero(known)[:, 0].tolist():
        own = labels == label
        right = own & (upright == label)
        others = torch.bincount(mirrored[right], minlength=count)
        others[label] = 0
        if right.sum() >= MOST * own.sum() and others.max() > MOST * right.sum():
            return names[label], names[int(others.argmax())]
    return None

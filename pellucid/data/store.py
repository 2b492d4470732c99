"""Pictures decoded once: in memory, until the file that holds them comes."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pellucid.data.listing import Listing
from pellucid.data.picture import Preprocess, _opened
from pellucid.errors import UsageError

Progress = Callable[[str, int, int], None]  # what is done, how many pictures so far, how many in all
OnUnreadable = Literal["skip", "stop"]


@dataclass(frozen=True)
class Unreadable:
    """A picture that is passed over, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Facts:
    """What a picture's file is as it lies there; digest is BLAKE2b, 16 bytes, in hexadecimal."""

    width: int
    height: int
    mode: str
    bytes: int
    digest: str


@dataclass(frozen=True, eq=False)
class Packed:
    """Pictures decoded: `kept` are their places in the listing."""

    images: Tensor
    kept: list[int]
    facts: list[Facts]
    unreadable: tuple[Unreadable, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Survey:
    """What the pictures are, by their headers; None where there is no header to be read."""

    facts: list[Facts | None]
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """How many pictures have each (width, height)."""
        return Counter((facts.width, facts.height) for facts in self.facts if facts)

    @property
    def channels(self) -> int:
        """1 when no picture can hold a colour, else 3."""
        return 1 if {facts.mode for facts in self.facts if facts} <= {"L"} else 3


def survey(listing: Listing, *, cache: Path | None = None, progress: Progress | None = None) -> Survey:
    """Sizes and modes of all pictures."""
    return Survey([_facts(listing, index) for index in range(len(listing.pictures))])


def pack(
    listing: Listing,
    preprocess: Preprocess,
    *,
    cache: Path | None = None,
    on_unreadable: OnUnreadable = "skip",
    progress: Progress | None = None,
) -> Packed:
    """Every picture decoded."""
    images: list[Tensor] = []
    kept: list[int] = []
    facts: list[Facts] = []
    unreadable: list[Unreadable] = []
    for index, picture in enumerate(listing.pictures):
        try:
            images.append(preprocess.read(listing.read(index)))
        except UsageError as error:
            unreadable.append(Unreadable(picture.source, str(error)))
            continue
        known = _facts(listing, index)
        assert known is not None
        kept.append(index)
        facts.append(known)
    if unreadable and (on_unreadable == "stop" or not kept):
        first = unreadable[0]
        raise UsageError(
            f"{len(unreadable)} pictures cannot be read, such as '{first.source}': {first.reason}"
        )
    return Packed(torch.stack(images), kept, facts, tuple(unreadable))


def _facts(listing: Listing, index: int) -> Facts | None:
    try:
        content = listing.read(index)
        if isinstance(content, bytes):
            _, image = _opened(content)
            digest = hashlib.blake2b(content, digest_size=16).hexdigest()
            return Facts(image.width, image.height, image.mode, len(content), digest)
    except UsageError:
        return None
    mode = "RGB" if content.ndim == 3 and content.shape[2] == 3 else "L"
    digest = hashlib.blake2b(content.tobytes(), digest_size=16).hexdigest()
    return Facts(content.shape[1], content.shape[0], mode, content.nbytes, digest)

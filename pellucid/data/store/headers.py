"""What a person's pictures are, before one is decoded: size, mode, and a hash of each file's bytes.

It is written down in the cache, in the data set's own folder. A file whose stamp is the one written down is
not opened again; one whose stamp has changed is read and hashed, for its bytes may still be the same.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pellucid import files
from pellucid.cache import cache_folder
from pellucid.data.sources.listing import Listing
from pellucid.data.store.index import hashed, read_record, write_record
from pellucid.data.store.parallel import (
    UNREAD,
    Content,
    Progress,
    no_progress,
    over_cores,
    worked_on,
    worker_count,
)
from pellucid.decode.images import header
from pellucid.decode.workers import NAMELESS, Answer, digest_of_file, worker_pool
from pellucid.errors import PellucidError, UsageError

FACTS = "facts.json"
FEWEST_LOOKED_AT = 2000  # pictures for which workers are worth their start
GRAY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"})


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A picture that was passed over, and why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Facts:
    """A picture as it lies there, before anything is done to it.

    width, height  as stored, in pixels, before any EXIF turn
    mode    Pillow's word for what a pixel is: "RGB", "L", "P", "CMYK", "I;16"
    bytes   the size of its file
    digest  BLAKE2 of its bytes, 16 bytes in hexadecimal: equal for equal files
    """

    width: int
    height: int
    mode: str
    bytes: int
    digest: str


@dataclass(frozen=True, eq=False)
class Headers:
    """What the pictures of a listing are, by their headers: for choosing size and channels.

    facts       one a picture of the listing; None where there is no header to be read
    unreadable  the pictures without one
    """

    facts: list[Facts | None]
    unreadable: tuple[Unreadable, ...]

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """How many pictures have each (width, height)."""
        return Counter((facts.width, facts.height) for facts in self.facts if facts)

    @property
    def modes(self) -> Counter[str]:
        """How many pictures have each of Pillow's modes."""
        return Counter(facts.mode for facts in self.facts if facts)

    @property
    def channels(self) -> int:
        """1 when no picture can hold a colour, else 3. Gray that is stored as colour counts as colour."""
        return 1 if self.modes.keys() <= GRAY else 3


class Known(NamedTuple):
    """What was found out about one picture: its facts, or the reason why it has none."""

    stamp: str
    facts: Facts | None
    reason: str


NO_HEADERS: Mapping[str, Facts] = {}


def read_headers(listing: Listing, *, cache: Path | None = None, progress: Progress | None = None) -> Headers:
    """Sizes and modes of all pictures, from their headers; what is known from the last time is not read.

    cache     the folder of all stores; without it PELLUCID_CACHE, else pellucid's folder in the user's cache
    progress  called with what is done, how many pictures so far, and how many in all

    Nothing is decoded: a picture with a good header may still turn out unreadable.
    """
    path = folder_of(listing, cache) / FACTS
    book = _opened(path)
    seen = _looked_at(listing, book, progress or no_progress)
    sources = [picture.source for picture in listing.pictures]
    if dict(zip(sources, seen, strict=True)) != book:
        write_down(listing, seen, cache)
    return headers_from(listing, seen)


def headers_from(listing: Listing, seen: Sequence[Known]) -> Headers:
    """A survey from what is known of every picture."""
    bad = [
        Unreadable(picture.source, known.reason)
        for picture, known in zip(listing.pictures, seen, strict=True)
        if known.facts is None
    ]
    return Headers([known.facts for known in seen], tuple(bad))


def digest_of(content: Content) -> str:
    """BLAKE2 of a file's bytes, or of an array's shape and values, as `Facts.digest` has it."""
    if isinstance(content, bytes):
        return digest_of_file(content)
    shape = repr((content.shape, str(content.dtype))).encode()
    return hashlib.blake2b(shape + content.tobytes(), digest_size=16, person=b"array").hexdigest()


def reason_of(error: Exception) -> str:
    """Why a picture is passed over, to be told behind its name."""
    if isinstance(error, PellucidError):
        return str(error).removeprefix(NAMELESS).strip()
    return f"cannot be read: {error or type(error).__name__}."


def _looked_at(listing: Listing, book: Mapping[str, Known], progress: Progress) -> list[Known]:
    """What each picture is. Its bytes are read unless its stamp is the one written down."""
    stamps = [listing.stamp(n) for n in range(len(listing.pictures))]
    seen = [book.get(picture.source) for picture in listing.pictures]
    fresh = [n for n, known in enumerate(seen) if not known or not known.stamp or known.stamp != stamps[n]]
    headers = {known.facts.digest: known.facts for known in book.values() if known.facts}

    def look(n: int, content: Content | Known, answer: Answer | None) -> Known:
        return known_of(stamps[n], content, answer, headers)

    with worker_pool(worker_count(listing, fresh, FEWEST_LOOKED_AT)) as workers:
        found = over_cores(
            lambda some: worked_on(some, partial(read_of, listing), workers.ask, look),
            fresh,
            lambda done: progress("looked at", done, len(fresh)),
            threads=workers.threads,
        )
        for n, known in zip(fresh, found, strict=True):
            seen[n] = known
    return [known for known in seen if known]


def read_of(listing: Listing, n: int) -> Content | Known:
    """Picture n, or what there is to say of one that cannot be had."""
    try:
        return listing.read(n)
    except UNREAD as error:
        return Known("", None, reason_of(error))  # without a stamp: it may go well the next time


def known_of(
    stamp: str, content: Content | Known, answer: Answer | None, headers: Mapping[str, Facts] = NO_HEADERS
) -> Known:
    """What is known of a picture by its content or a worker's answer; `headers` by digest are not read."""
    if isinstance(content, Known):
        return content
    if answer:
        found = Facts(*answer.header, len(content), answer.digest) if answer.header else None
        return Known(stamp, found, "" if found else reason_of(UsageError(answer.reason)))
    digest = digest_of(content)
    try:
        return Known(stamp, headers.get(digest) or _facts(content, digest), "")
    except UsageError as error:
        return Known(stamp, None, reason_of(error))


def _facts(content: Content, digest: str) -> Facts:
    if isinstance(content, bytes):
        width, height, mode = header(content, name=NAMELESS)
        return Facts(width, height, mode, len(content), digest)
    if content.ndim not in (2, 3) or 0 in content.shape:
        raise UsageError(f"{NAMELESS} is an array {content.shape}; expected (H, W) or (H, W, C).")
    mode = "L" if content.ndim == 2 or content.shape[2] == 1 else "RGB"
    return Facts(content.shape[1], content.shape[0], mode, content.nbytes, digest)


def _opened(path: Path) -> dict[str, Known]:
    """What was written down there by source: nothing when it is damaged."""
    record = read_record(path)
    if record is None:
        return {}
    return {
        source: Known(stamp, Facts(*facts) if facts else None, reason)
        for source, stamp, facts, reason in record[1]["pictures"]
    }


def write_down(listing: Listing, seen: Sequence[Known], cache: Path | None) -> None:
    """It only saves time, so that a cache which takes nothing is no failure here."""
    pictures = [
        (picture.source, known.stamp, astuple(known.facts) if known.facts else None, known.reason)
        for picture, known in zip(listing.pictures, seen, strict=True)
    ]
    folder = folder_of(listing, cache)
    try:
        files.make_folder(folder)
        write_record(folder / FACTS, {"name": identity_of(listing)}, {"pictures": pictures})
    except PellucidError:
        return


# What survey and store share: where a data set's folder is, records in it, work over all cores


def root(cache: Path | None) -> Path:
    """The folder of all stores: `cache`, PELLUCID_CACHE/stores, or one in pellucid's own cache folder."""
    if cache is not None:
        return cache
    given = os.environ.get("PELLUCID_CACHE")
    return (Path(given) if given else cache_folder()) / "stores"


def identity_of(listing: Listing) -> str:
    """What a listing is known by: its place on the disk where it has one, else what it is called."""
    try:
        path = Path(listing.name)
        return str(path.resolve()) if listing.name and path.exists() else listing.name
    except (OSError, ValueError):  # a name that no file can have
        return listing.name


def folder_of(listing: Listing, cache: Path | None) -> Path:
    """The listing's own folder in the cache."""
    identity = identity_of(listing)
    word = re.sub(r"[^\w.-]+", "-", Path(identity).name)[:40].strip("-.") or "pictures"
    return root(cache) / f"{word}-{hashed(identity, 8)}"

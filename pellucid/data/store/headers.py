"""What the pictures are before any is decoded: size, mode, and a hash of each file's bytes.

The answers are stored in the data set's folder in the cache. A file whose stamp is unchanged is not opened
again; one with a new stamp is read and hashed, for its bytes may still be the same.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pellucid import files
from pellucid.cache import computed_folder
from pellucid.data.dataset import Unreadable
from pellucid.data.sources.listing import Listing
from pellucid.data.store.index import hash_text, read_record, write_record
from pellucid.data.store.parallel import (
    READ_ERRORS,
    Content,
    Progress,
    map_in_threads,
    no_progress,
    process_in_batches,
    worker_count,
)
from pellucid.decode.images import ImageHeader, is_passing, read_header
from pellucid.decode.workers import UNNAMED, WorkerResult, file_digest, worker_pool
from pellucid.errors import PellucidError, UsageError

HEADERS_FILE = "facts.json"
HEADERS_VERSION = 2  # raise it when more is read from headers, or something else
MIN_FOR_HEADER_WORKERS = 2000  # pictures for which workers are worth their start
GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"})


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A picture's file, as it is stored.

    width, height  in pixels, before any EXIF rotation
    mode    Pillow's name of the pixel format: "RGB", "L", "P", "CMYK", "I;16"
    bytes   the size of the file
    digest  BLAKE2 of its bytes, 16 bytes in hexadecimal: equal for equal files
    has_more  whether there are frames or pages after the first, the only one that is read
    """

    width: int
    height: int
    mode: str
    bytes: int
    digest: str
    has_more: bool = False


@dataclass(frozen=True, eq=False)
class Headers:
    """What the headers of a listing's pictures say: enough to choose size and channels.

    files       one per picture of the listing; None if its header cannot be read
    unreadable  the pictures without a readable header
    """

    files: list[FileInfo | None]
    unreadable: tuple[Unreadable, ...]

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """How many pictures have each (width, height)."""
        return Counter((file.width, file.height) for file in self.files if file)

    @property
    def modes(self) -> Counter[str]:
        """How many pictures have each of Pillow's modes."""
        return Counter(file.mode for file in self.files if file)

    @property
    def channels(self) -> int:
        """1 if no picture can hold a colour, else 3. Gray stored as colour counts as colour."""
        return 1 if self.modes.keys() <= GRAY_MODES else 3


class HeaderEntry(NamedTuple):
    """What is known of one picture: its file, or the reason why it is unreadable."""

    stamp: str
    file: FileInfo | None
    reason: str


NO_FILES: Mapping[str, FileInfo] = {}


def read_headers(listing: Listing, *, cache: Path | None = None, progress: Progress | None = None) -> Headers:
    """Sizes and modes of all pictures, from their headers; unchanged files are not read again.

    cache     the folder of all stores; by default PELLUCID_CACHE, else pellucid's folder in the user's cache
    progress  called with the activity, the number of pictures so far, and the number of all

    Nothing is decoded: a picture with a good header may still turn out to be unreadable.
    """
    stored = _load(store_folder(listing, cache) / HEADERS_FILE)
    entries = _read_entries(listing, stored, progress or no_progress)
    sources = [picture.source for picture in listing.pictures]
    if dict(zip(sources, entries, strict=True)) != stored:
        save_headers(listing, entries, cache)
    return headers_from(listing, entries)


def headers_from(listing: Listing, entries: Sequence[HeaderEntry]) -> Headers:
    """The headers, from one entry per picture of the listing."""
    unreadable = [
        Unreadable(picture.source, entry.reason)
        for picture, entry in zip(listing.pictures, entries, strict=True)
        if entry.file is None
    ]
    return Headers([entry.file for entry in entries], tuple(unreadable))


def content_digest(content: Content) -> str:
    """BLAKE2 of a file's bytes, or of an array's shape and values, as in `FileInfo.digest`."""
    if isinstance(content, bytes):
        return file_digest(content)
    shape = repr((content.shape, str(content.dtype))).encode()
    return hashlib.blake2b(shape + content.tobytes(), digest_size=16, person=b"array").hexdigest()


def error_reason(error: Exception) -> str:
    """Why a picture is skipped, worded to follow its name."""
    if isinstance(error, PellucidError):
        return str(error).removeprefix(UNNAMED).strip()
    return f"cannot be read: {error or type(error).__name__}."


def _read_entries(
    listing: Listing, stored: Mapping[str, HeaderEntry], progress: Progress
) -> list[HeaderEntry]:
    """An entry per picture. Its bytes are read unless its stamp is the stored one."""
    stamps = [listing.stamp(index) for index in range(len(listing.pictures))]
    entries = [stored.get(picture.source) for picture in listing.pictures]
    new = [
        index
        for index, entry in enumerate(entries)
        if not entry or not entry.stamp or entry.stamp != stamps[index]
    ]
    known_files = {entry.file.digest: entry.file for entry in stored.values() if entry.file}

    def finish(index: int, content: Content | HeaderEntry, result: WorkerResult | None) -> HeaderEntry:
        return header_entry(stamps[index], content, result, known_files)

    with worker_pool(worker_count(listing, new, MIN_FOR_HEADER_WORKERS)) as workers:
        read_entries = map_in_threads(
            lambda chunk: process_in_batches(chunk, partial(try_read, listing), workers.process, finish),
            new,
            lambda done: progress("looked at", done, len(new)),
            threads=workers.threads,
        )
        for index, entry in zip(new, read_entries, strict=True):
            entries[index] = entry
    return [entry for entry in entries if entry]


def try_read(listing: Listing, index: int) -> Content | HeaderEntry:
    """The picture's bytes or array, or an entry with the reason why it cannot be read."""
    try:
        return listing.read(index)
    except READ_ERRORS as error:
        return HeaderEntry("", None, error_reason(error))  # no stamp: the next attempt may succeed


def header_entry(
    stamp: str,
    content: Content | HeaderEntry,
    result: WorkerResult | None,
    known_files: Mapping[str, FileInfo] = NO_FILES,
) -> HeaderEntry:
    """The entry of a picture from its content or a worker's result.

    known_files  by digest: the header of such a file is not read again
    """
    if isinstance(content, HeaderEntry):
        return content
    if result:
        stamp = "" if is_passing(result.reason) else stamp
        file = _file_of(result.header, len(content), result.digest) if result.header else None
        return HeaderEntry(stamp, file, "" if file else error_reason(UsageError(result.reason)))
    digest = content_digest(content)
    try:
        return HeaderEntry(stamp, known_files.get(digest) or _file_info(content, digest), "")
    except UsageError as error:
        reason = error_reason(error)
        return HeaderEntry("" if is_passing(reason) else stamp, None, reason)  # "": the next may succeed


def _file_info(content: Content, digest: str) -> FileInfo:
    if isinstance(content, bytes):
        return _file_of(read_header(content, name=UNNAMED), len(content), digest)
    if content.ndim not in (2, 3) or content.shape[2:] not in ((), (1,), (3,)) or 0 in content.shape:
        raise UsageError(f"{UNNAMED} is an array {content.shape}; expected (H, W), (H, W, 1) or (H, W, 3).")
    mode = "L" if content.ndim == 2 or content.shape[2] == 1 else "RGB"
    return FileInfo(content.shape[1], content.shape[0], mode, content.nbytes, digest)


def _file_of(header: ImageHeader, size: int, digest: str) -> FileInfo:
    return FileInfo(header.width, header.height, header.mode, size, digest, header.has_more)


def _load(path: Path) -> dict[str, HeaderEntry]:
    """The stored entries by source; none if the file is absent or damaged."""
    record = read_record(path)
    if record is None or record[0].get("version") != HEADERS_VERSION:
        return {}
    return {
        source: HeaderEntry(stamp, FileInfo(*values) if values else None, reason)
        for source, stamp, values, reason in record[1]["pictures"]
    }


def save_headers(listing: Listing, entries: Sequence[HeaderEntry], cache: Path | None) -> None:
    """Store the entries for the next time. They only save time, so a failure to write is ignored."""
    pictures = [
        (picture.source, entry.stamp, astuple(entry.file) if entry.file else None, entry.reason)
        for picture, entry in zip(listing.pictures, entries, strict=True)
    ]
    folder, head = (
        store_folder(listing, cache),
        {"name": listing_identity(listing), "version": HEADERS_VERSION},
    )
    try:
        files.make_folder(folder)
        write_record(folder / HEADERS_FILE, head, {"pictures": pictures})
    except PellucidError:
        return


# Where a data set's folder is


def stores_folder(cache: Path | None) -> Path:
    """The folder of all stores: `cache`, or "stores" among what is computed from pictures."""
    return computed_folder() / "stores" if cache is None else cache


def listing_identity(listing: Listing) -> str:
    """What identifies a listing: its absolute path if it has one, else its name."""
    try:
        path = Path(listing.name)
        return str(path.resolve()) if listing.name and path.exists() else listing.name
    except (OSError, ValueError):  # a name that no file can have
        return listing.name


def store_folder(listing: Listing, cache: Path | None) -> Path:
    """The listing's own folder in the cache."""
    identity = listing_identity(listing)
    word = re.sub(r"[^\w.-]+", "-", Path(identity).name)[:40].strip("-.") or "pictures"
    return stores_folder(cache) / f"{word}-{hash_text(identity, 8)}"

"""Pictures decoded once into one file, and found there the next time.

A data set's folder in the cache holds what its files are (`facts.json`) and, for every preprocessing, one
file of pixels with an index that tells which content lies in which row:

    photos-1f3a9c2b7d5e8f60/
        facts.json                       source -> stamp, size, mode and hash of the bytes
        3x64x64-0a1b2c3d.json            hash of the bytes -> row; hash of its pixels, sketch; check sums;
                                         written last, it is the store
        3x64x64-0a1b2c3d-77aa88bb.pixels uint8 (R, 3, 64, 64)

Nothing is ever changed in place. A file whose stamp is unchanged is not opened; one whose stamp has changed
is read and hashed, and decoded only when its content is new. What is read back is checked first: a damaged
block is decoded again, a damaged index is no index.
"""

import math
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid import files
from pellucid.data.mapped import Held, Mapped, MappedImages
from pellucid.data.preprocess import Preprocess
from pellucid.data.sources.listing import Listing
from pellucid.data.store.headers import (
    FACTS,
    Facts,
    Headers,
    Known,
    Unreadable,
    digest_of,
    folder_of,
    headers_from,
    known_of,
    read_headers,
    read_of,
    reason_of,
    root,
    write_down,
)
from pellucid.data.store.index import CHANGED, PASSING, Index, Row, hashed, read_record, write_record
from pellucid.data.store.parallel import (
    UNREAD,
    Content,
    Progress,
    no_progress,
    over_cores,
    worked_on,
    worker_count,
)
from pellucid.decode.images import DECODER, Seen
from pellucid.decode.workers import NAMELESS, Answer, hash_of, worker_pool
from pellucid.errors import PellucidError, UsageError
from pellucid.language import Message, lazy_gettext, lazy_ngettext

CHECKED_BYTES = 4 << 20  # about what one check sum speaks for
IN_MEMORY_BYTES = 1 << 30  # what is kept in memory when the cache takes nothing
FEWEST_DECODED = 500  # pictures for which workers are worth their start
FEWEST_AT_ONCE = 500  # pictures that are looked at and decoded at one reading
SAMPLED = 256  # of them tell how
NAMED = 10  # unreadable pictures named in an error

LOCK, PIXELS = "lock", ".pixels"
OURS = re.compile(r"facts\.json|lock|\dx\d+x\d+-[0-9a-f]{8}(\.json|-[0-9a-f]{8}\.pixels)|\..+\.part")
FOLDER = re.compile(r".+-[0-9a-f]{16}")

OnUnreadable = Literal["skip", "stop"]


@dataclass(frozen=True, eq=False)
class Packed:
    """The pictures of a listing as the network receives them.

    images      uint8 (M, C, H, W), read only, in a file and read when asked for
    kept        M numbers of pictures in the listing
    facts       M
    sketches    M, each 16 bytes by what the picture shows at its own size: `decoding.sketch_of`
    unreadable  the others
    notes       a sentence each on what is not as usual: damage found and mended, no room in the cache
    """

    images: Tensor
    kept: list[int]
    facts: list[Facts]
    sketches: list[bytes]
    unreadable: tuple[Unreadable, ...]
    notes: tuple[Message, ...] = ()


def pack(
    listing: Listing,
    preprocess: Preprocess,
    *,
    cache: Path | None = None,
    on_unreadable: OnUnreadable = "skip",
    progress: Progress | None = None,
    looked: Headers | None = None,
) -> Packed:
    """All readable pictures of a listing, decoded by `preprocess` now or in an earlier call.

    looked    what `survey` or `look_through` has just told of them; without it they are looked at here
    cache     the folder that holds pellucid's stores; without it PELLUCID_CACHE, else the user's cache folder
    progress  called with what is done, how many pictures so far, and how many in all

    Any number of processes may do this at once. Where the cache takes nothing, up to 1 GB is kept in
    memory, which `notes` then tells. Raises UsageError, naming them, when there are unreadable pictures and
    `on_unreadable` is "stop", or when no picture is left; PellucidError when there is no room anywhere.
    """
    looked = looked or read_headers(listing, cache=cache, progress=progress)
    wanted = {facts.digest: n for n, facts in enumerate(looked.facts) if facts}
    place = _Place.of(listing, preprocess, folder_of(listing, cache))
    store = _opened(place)
    if not store.knows(wanted):
        work = _Work(listing, preprocess, wanted, progress or no_progress)
        store = _made(place, store, work)
    _tidy(place)
    packed = _packed(listing, looked, store)
    if packed.unreadable and on_unreadable == "stop":
        raise UsageError(_refusal(listing, packed.unreadable))
    if not packed.kept:
        raise UsageError(f"Nothing is left to work on. {_refusal(listing, packed.unreadable)}")
    return packed


def look_through(
    listing: Listing,
    choose: Callable[[Headers], Preprocess],
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Headers:
    """What `survey` gives; many pictures of which nothing is known yet are decoded at the same reading.

    choose  the preprocessing by a survey. It is asked by a sample first: where it says the same of all,
            `pack` finds them decoded; where it does not, that was for nothing, and they are decoded there.
    """
    place, seen = None, None
    if worker_count(listing, range(len(listing.pictures)), FEWEST_AT_ONCE):
        with suppress(PellucidError):  # whatever it is, the ordinary way tells it
            place = _Place.of(listing, choose(_sample(listing)), folder_of(listing, cache))
            seen = _foreseen(place, listing, progress or no_progress)
    if place is None or seen is None:
        return read_headers(listing, cache=cache, progress=progress)
    write_down(listing, seen, cache)
    looked = headers_from(listing, seen)
    if choose(looked) != place.preprocess:
        _forget(place)
    return looked


@dataclass(frozen=True)
class Stored:
    """A data set's folder in the cache: what it belongs to and what it takes."""

    name: str
    folder: Path
    files: tuple[Path, ...]
    bytes: int


def stored(cache: Path | None = None) -> list[Stored]:
    """What the cache holds of people's pictures, by name. Only files that pellucid made are counted."""
    found = []
    place = root(cache)
    for folder in sorted(place.iterdir()) if place.is_dir() else []:
        if FOLDER.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            ours = tuple(path for path in sorted(folder.iterdir()) if _is_ours(path))
            record = read_record(folder / FACTS)
            name = str(record[0]["name"]) if record else folder.name  # the path, where it has one
            found.append(Stored(name, folder, ours, sum(_size(path) for path in ours)))
    return found


def clear(entry: Stored) -> None:
    """Delete what `stored` found. Raises PellucidError when another process is building there."""
    with files.alone(entry.folder / LOCK, seconds=0) as free:
        if not free and os.name != "nt":
            raise PellucidError(
                f"'{entry.folder}' is being built by another process. Wait until it is done, "
                "then run the command again."
            )
        for path in entry.files:
            files.remove(path)
    if _is_ours(entry.folder / LOCK):
        files.remove(entry.folder / LOCK)
    files.remove_folder(entry.folder)


# The store


class _Place(NamedTuple):
    """Where the store of one listing under one preprocessing lies."""

    name: str
    folder: Path
    key: str
    preprocess: Preprocess

    @staticmethod
    def of(listing: Listing, preprocess: Preprocess, folder: Path) -> "_Place":
        """By what decides a picture's pixels: the preprocessing, and what decodes."""
        made_by = (sorted(preprocess.to_json().items()), DECODER)
        shape = "x".join(str(number) for number in _shape(preprocess))
        return _Place(listing.name, folder, f"{shape}-{hashed(repr(made_by), 4)}", preprocess)

    @property
    def record(self) -> Path:
        """The index, whose being there makes the pixels count."""
        return self.folder / f"{self.key}.json"


@dataclass(frozen=True, eq=False)
class _Store:
    """Decoded pictures by the content of their files.

    rows      digest -> row; those of damaged rows are missing
    contents  (R, 16) the hash of each row's pixels
    sketches  (R, 16) what each row's picture shows, at its own size
    broken    digest -> why it cannot be decoded
    damaged   how many rows are not as they were written
    """

    source: Mapped | Held
    rows: dict[str, int]
    contents: NDArray[np.uint8]
    sketches: NDArray[np.uint8]
    broken: dict[str, str]
    damaged: int = 0
    notes: tuple[Message, ...] = ()

    def knows(self, wanted: Iterable[str]) -> bool:
        """Whether every content is here, or is known to be no picture."""
        return all(digest in self.rows or digest in self.broken for digest in wanted)


class _Work(NamedTuple):
    """What there is to decode: `wanted` names for every content a picture that has it."""

    listing: Listing
    preprocess: Preprocess
    wanted: dict[str, int]
    progress: Progress


def _nothing(preprocess: Preprocess) -> _Store:
    return _Store(Held(np.empty((0, *_shape(preprocess)), np.uint8)), {}, _sixteens(b""), _sixteens(b""), {})


def _opened(place: _Place) -> _Store:
    """The store that lies there, checked; an empty one when there is none, or none that is whole."""
    record = read_record(place.record)
    if record is None:
        return _nothing(place.preprocess)
    head, body = record
    name, shape = str(head["pixels"]), (len(body["digests"]), *_shape(place.preprocess))
    if not OURS.fullmatch(name):  # another folder's file is never opened
        return _nothing(place.preprocess)
    try:
        with (place.folder / name).open("rb") as file:
            if os.fstat(file.fileno()).st_size != math.prod(shape):
                return _nothing(place.preprocess)
            damaged = _damaged_rows(Path(file.name), body["checks"], shape)
            source = Mapped(file, shape) if shape[0] else Held(np.empty(shape, np.uint8))
    except OSError:
        return _nothing(place.preprocess)
    rows = {digest: row for row, digest in enumerate(body["digests"]) if row not in damaged}
    contents, sketches = (_sixteens(bytes.fromhex(body[name])) for name in ("contents", "sketches"))
    return _Store(source, rows, contents, sketches, body["broken"], len(damaged))


def _made(place: _Place, old: _Store, work: _Work) -> _Store:
    """A store that knows all that is wanted: another process's by now, or built here."""
    try:
        files.make_folder(place.folder)
        waiting = partial(work.progress, "waiting for another process", 0, len(work.wanted))
        with files.alone(place.folder / LOCK, waiting=waiting) as alone:
            now = _opened(place)
            if now.knows(work.wanted):
                return now
            if alone:
                _sweep(place)
            _refuse_without_room(place, len(work.wanted))
            made = _built(place, now, work)
            if alone:
                _sweep(place)
            return made
    except PellucidError as refused:
        size = len(work.wanted) * _row_bytes(work.preprocess)
        if size > IN_MEMORY_BYTES:
            raise PellucidError(
                f"{refused} The decoded pictures take {size / 1e9:.1f} GB: name a folder with so much room "
                "in PELLUCID_CACHE, or train on smaller ones with --size."
            ) from refused
        return _held(old, work, str(refused))


def _built(place: _Place, old: _Store, work: _Work) -> _Store:
    index = _written(place, _rows(old, work))
    made = _opened(place)
    made.broken.update(index.passing)
    if not made.knows(work.wanted):
        raise PellucidError(
            f"Cannot write '{place.record}': it does not read back as written. "
            "Name a folder on another disk in PELLUCID_CACHE."
        )
    return replace(made, notes=_mended(old))


def _written(place: _Place, rows: Iterable[Row]) -> Index:
    """Write the pixels, then the index that makes them count."""
    index = Index(max(1, CHECKED_BYTES // _row_bytes(place.preprocess)))
    name = f"{place.key}-{os.urandom(4).hex()}{PIXELS}"
    with files.replacing(place.folder / name) as file:
        for row in rows:
            if index.takes(row):
                file.write(row.pixels.data)
    head = {"name": place.name, "preprocess": asdict(place.preprocess), "pixels": name}
    write_record(place.record, head, index.to_json())
    return index


def _held(old: _Store, work: _Work, why: str) -> _Store:
    """The same in memory, for this process alone."""
    index = Index(1)
    held = np.empty((len(work.wanted), *_shape(work.preprocess)), np.uint8)
    for row in _rows(old, work):
        if index.takes(row):
            held[len(index.digests) - 1] = row.pixels
    rows = {digest: row for row, digest in enumerate(index.digests)}
    contents, sketches = (_sixteens(b"".join(hashes)) for hashes in (index.contents, index.sketches))
    note = lazy_gettext(
        "The pictures are kept in memory and will be decoded again the next time. %(why)s", why=why
    )
    broken = index.broken | index.passing
    return _Store(Held(held), rows, contents, sketches, broken, notes=(*_mended(old), note))


def _mended(old: _Store) -> tuple[Message, ...]:
    if not old.damaged:
        return ()
    return (
        lazy_ngettext(
            "The store was damaged on the disk: %(count)s picture was decoded again.",
            "The store was damaged on the disk: %(count)s pictures were decoded again.",
            old.damaged,
        ),
    )


def _rows(old: _Store, work: _Work) -> Iterator[Row]:
    """A row of every content wanted, or the reason why it is no picture, in their order.

    What the old store has is copied; the rest is decoded, over all cores.
    """
    wanted = list(work.wanted.items())
    fresh = [n for digest, n in wanted if digest not in old.rows and digest not in old.broken]

    def read(item: tuple[str, int]) -> Content | Exception | None:
        digest, n = item
        if digest in old.rows or digest in old.broken:
            return None
        try:
            return work.listing.read(n)
        except UNREAD as error:
            return error

    def row(item: tuple[str, int], content: Content | Exception | None, answer: Answer | None) -> Row:
        digest, _ = item
        if content is None:
            return _copied(digest, old)
        if isinstance(content, Exception):
            return Row(digest, PASSING + reason_of(content))
        if (answer.digest if answer else digest_of(content)) != digest:
            return Row(digest, CHANGED)
        return _made_of(digest, content, answer, work.preprocess)

    with worker_pool(worker_count(work.listing, fresh, FEWEST_DECODED)) as workers:
        yield from over_cores(
            lambda some: worked_on(some, read, partial(workers.ask, form=work.preprocess.form), row),
            wanted,
            lambda done: work.progress("decoded", done, len(wanted)),
            threads=workers.threads,
        )


def _sample(listing: Listing) -> Headers:
    """The survey of some pictures from the whole of a listing."""
    numbers = range(0, len(listing.pictures), max(1, len(listing.pictures) // SAMPLED))
    return Headers([known_of("", read_of(listing, n), None).facts for n in numbers], ())


def _foreseen(place: _Place, listing: Listing, progress: Progress) -> list[Known] | None:
    """What is known of every picture, and a store of all, from one reading; None where anything is known."""
    count, seen = len(listing.pictures), list[Known]()
    files.make_folder(place.folder)
    waiting = partial(progress, "waiting for another process", 0, count)
    with files.alone(place.folder / LOCK, waiting=waiting) as alone:
        if not alone or (place.folder / FACTS).exists() or place.record.exists():
            return None
        _refuse_without_room(place, count)
        _written(place, _rows_of_all(place.preprocess, listing, progress, seen.append))
    return seen


def _rows_of_all(
    preprocess: Preprocess, listing: Listing, progress: Progress, note: Callable[[Known], None]
) -> Iterator[Row]:
    """A row of every content there is, in the listing's order; `note` is told of each picture."""
    numbers = range(len(listing.pictures))
    stamps, met = dict[int, str](), set[str]()

    def read(n: int) -> Content | Known:
        stamps[n] = listing.stamp(n)  # before it is read: what changes it afterwards is noticed
        return read_of(listing, n)

    def both(n: int, content: Content | Known, answer: Answer | None) -> tuple[Known, Row | None]:
        known = known_of(stamps[n], content, answer)
        if known.facts is None or isinstance(content, Known):
            return known, None
        return known, _made_of(known.facts.digest, content, answer, preprocess)

    with worker_pool(worker_count(listing, numbers, FEWEST_AT_ONCE)) as workers:
        for known, row in over_cores(
            lambda some: worked_on(some, read, partial(workers.ask, form=preprocess.form), both),
            numbers,
            lambda done: progress("decoded", done, len(numbers)),
            threads=workers.threads,
        ):
            note(known)
            if row is not None and row.digest not in met:
                met.add(row.digest)
                yield row


def _forget(place: _Place) -> None:
    """Delete a store that nobody asked for."""
    with suppress(PellucidError):
        record = read_record(place.record)
        files.remove(place.record)
        if record:
            files.remove(place.folder / str(record[0]["pixels"]))


def _made_of(digest: str, content: Content, answer: Answer | None, preprocess: Preprocess) -> Row:
    """A worker's answer as a row, or what is decoded here."""
    said: Answer | Seen = answer or preprocess.read_through(content, name=NAMELESS)
    if said.reason:
        return Row(digest, reason_of(UsageError(said.reason)))
    hashed_pixels = answer.content if answer else hash_of(said.pixels)
    pixels = np.frombuffer(said.pixels, np.uint8).reshape(_shape(preprocess))
    return Row(digest, "", hashed_pixels, said.sketch, pixels)


def _copied(digest: str, old: _Store) -> Row:
    if digest in old.broken:
        return Row(digest, old.broken[digest])
    at = old.rows[digest]
    pixels = old.source.read(np.array([at]))[0]
    return Row(digest, "", old.contents[at].tobytes(), old.sketches[at].tobytes(), pixels)


def _damaged_rows(path: Path, checks: dict[str, Any], shape: tuple[int, ...]) -> set[int]:
    """The rows whose bytes are not those written; read as a file, so that nothing stays in memory."""
    together, sums = int(checks["rows"]), checks["crc32"]
    row_bytes = math.prod(shape[1:])

    def are_damaged(blocks: Sequence[int]) -> list[bool]:
        with path.open("rb") as file:
            file.seek(blocks[0] * together * row_bytes)
            return [zlib.crc32(file.read(together * row_bytes)) != int(sums[block]) for block in blocks]

    found = over_cores(are_damaged, range(len(sums)), lambda done: None)
    bad = [block for block, damaged in enumerate(found) if damaged]
    return {row for block in bad for row in range(block * together, min((block + 1) * together, shape[0]))}


def _strays(place: _Place) -> list[Path]:
    """What builds that were killed, and earlier ones, left under this key, and unfinished files."""
    files_here = list(place.folder.iterdir())
    unfinished = [path for path in files_here if path.name.startswith(".") and path.suffix == ".part"]
    pixels = [path for path in files_here if path.name.startswith(f"{place.key}-") and path.suffix == PIXELS]
    if len(pixels) < 2:
        return unfinished
    record = read_record(place.record)
    kept = str(record[0]["pixels"]) if record else ""
    return [*unfinished, *(path for path in pixels if path.name != kept)]


def _sweep(place: _Place) -> None:
    """Delete the strays: to be called alone, for they may be another's work."""
    for path in _strays(place):
        with suppress(PellucidError):  # Windows keeps a file that is mapped; it goes the next time
            files.remove(path)


def _tidy(place: _Place) -> None:
    """Delete the strays if there are any and nobody else is at work; a cache that takes nothing stays."""
    with suppress(PellucidError, OSError):
        if _strays(place):
            with files.alone(place.folder / LOCK, seconds=0) as alone:
                if alone:
                    _sweep(place)


def _refuse_without_room(place: _Place, count: int) -> None:
    """Better said before an hour of decoding than after it."""
    need = count * _row_bytes(place.preprocess)
    try:
        free = shutil.disk_usage(place.folder).free
    except OSError:
        return
    if free < need:
        raise PellucidError(
            f"Cannot write '{place.folder}': the pictures take {need / 1e6:,.0f} MB and "
            f"{free / 1e6:,.0f} MB are free. Make room or choose another folder, then run the command again."
        )


def _packed(listing: Listing, looked: Headers, store: _Store) -> Packed:
    kept, facts, rows, unreadable = list[int](), list[Facts](), list[int](), list[Unreadable]()
    reasons = {bad.source: bad.reason for bad in looked.unreadable}
    for n, (picture, known) in enumerate(zip(listing.pictures, looked.facts, strict=True)):
        if known is None:
            unreadable.append(Unreadable(picture.source, reasons[picture.source]))
        elif known.digest in store.rows:
            kept.append(n)
            facts.append(known)
            rows.append(store.rows[known.digest])
        else:
            unreadable.append(Unreadable(picture.source, store.broken[known.digest]))
    images = MappedImages(store.source, np.array(rows, np.int64), store.contents)
    sketches = [sketch.tobytes() for sketch in store.sketches[images.rows]]
    return Packed(images, kept, facts, sketches, tuple(unreadable), store.notes)


def _refusal(listing: Listing, unreadable: Sequence[Unreadable]) -> str:
    named = "; ".join(f"'{bad.source}' {bad.reason.rstrip('.')}" for bad in unreadable[:NAMED])
    more = f"; and {len(unreadable) - NAMED:,} more" if len(unreadable) > NAMED else ""
    return (
        f"{len(unreadable):,} of the {len(listing.pictures):,} pictures of '{listing.name}' cannot be used: "
        f"{named}{more}. Mend or remove them, or go on without them: --on-unreadable skip."
    )


def _sixteens(hashes: bytes) -> NDArray[np.uint8]:
    """Hashes one behind another as (R, 16)."""
    return np.frombuffer(hashes, np.uint8).reshape(-1, 16)


def _shape(preprocess: Preprocess) -> tuple[int, int, int]:
    return preprocess.channels, preprocess.height, preprocess.width


def _row_bytes(preprocess: Preprocess) -> int:
    return math.prod(_shape(preprocess))


def _is_ours(path: Path) -> bool:
    return bool(OURS.fullmatch(path.name)) and path.is_file() and not path.is_symlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

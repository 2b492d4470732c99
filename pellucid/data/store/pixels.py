"""Pictures decoded once into one file, and found there the next time.

A data set's folder in the cache holds what its files are (`facts.json`) and, for every preprocessing, one
file of pixels with an index of which content is in which row:

    photos-1f3a9c2b7d5e8f60/
        facts.json                       source -> stamp, size, mode and hash of the bytes
        3x64x64-0a1b2c3d.json            hash of the bytes -> row; hash of its pixels, sketch; checksums;
                                         written last: without it, the pixels do not count
        3x64x64-0a1b2c3d-77aa88bb.pixels uint8 (R, 3, 64, 64)

Nothing is changed in place. A file whose stamp is unchanged is not opened; one with a new stamp is read and
hashed, and decoded only if its content is new. Whatever is read back is checked first: damaged blocks are
decoded again, a damaged index is ignored.
"""

import math
import os
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
from pellucid.data.dataset import Unreadable
from pellucid.data.mapped import InMemory, MappedFile, MappedImages
from pellucid.data.preprocess import Preprocess
from pellucid.data.sources.listing import Listing
from pellucid.data.store.headers import (
    HEADERS_FILE,
    FileInfo,
    HeaderEntry,
    Headers,
    content_digest,
    error_reason,
    header_entry,
    headers_from,
    read_headers,
    save_headers,
    store_folder,
    try_read,
)
from pellucid.data.store.index import CHANGED, TRANSIENT, Index, Row, hash_text, read_record, write_record
from pellucid.data.store.parallel import (
    READ_ERRORS,
    Content,
    Progress,
    map_in_threads,
    no_progress,
    process_in_batches,
    worker_count,
)
from pellucid.data.store.stores import LOCK, OWN_FILES, PIXELS
from pellucid.decode.images import DECODER, DecodedImage, is_passing
from pellucid.decode.workers import UNNAMED, WorkerResult, hash_bytes, worker_pool
from pellucid.errors import PellucidError, UsageError
from pellucid.language import Message, lazy_gettext, lazy_ngettext
from pellucid.reading import open_regular

CHECKSUM_BYTES = 4 << 20  # covered by one checksum, approximately
MAX_IN_MEMORY_BYTES = 1 << 30  # what may be held in memory when the cache cannot be written
MIN_FOR_DECODE_WORKERS = 500  # pictures for which workers are worth their start
MIN_FOR_SINGLE_PASS = 500  # pictures whose headers and pixels are read in one pass
SAMPLE_SIZE = 256  # pictures whose headers suggest the preprocessing of all
MAX_NAMED = 10  # unreadable pictures named in an error

OnUnreadable = Literal["skip", "stop"]


@dataclass(frozen=True, eq=False)
class PackedImages:
    """The pictures of a listing as the network receives them.

    images      uint8 (M, C, H, W), read only; they are in a file and read when they are used
    indices     M indices into the listing's pictures
    files       M
    sketches    M, each 16 bytes that depend on the picture at its original size: `images.sketch_of`
    unreadable  the other pictures
    notes       one sentence per irregularity: damage that was repaired, a cache that cannot be written
    """

    images: Tensor
    indices: list[int]
    files: list[FileInfo]
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
    headers: Headers | None = None,
) -> PackedImages:
    """All readable pictures of a listing as `preprocess` makes them, decoded now or in an earlier call.

    headers   what `read_headers` or `scan` just returned; by default they are read here
    cache     the folder of all stores; by default PELLUCID_CACHE, else pellucid's folder in the user's cache
    progress  called with the activity, the number of pictures so far, and the number of all

    Any number of processes may do this at once. If the cache cannot be written, up to 1 GB is held in memory
    and `notes` says so. Raises UsageError, naming them, when there are unreadable pictures and
    `on_unreadable` is "stop", or when no picture is left; PellucidError when there is no room anywhere.
    """
    headers = headers or read_headers(listing, cache=cache, progress=progress)
    wanted = {file.digest: index for index, file in enumerate(headers.files) if file}
    key = StoreKey.of(listing, preprocess, store_folder(listing, cache))
    store = _open(key)
    if not store.has(wanted):
        store = _build(key, store, DecodeJob(listing, preprocess, wanted, progress or no_progress))
    _clean_up(key)
    packed = _select(listing, headers, store)
    if packed.unreadable and on_unreadable == "stop":
        raise UsageError(_unreadable_message(listing, packed.unreadable))
    if not packed.indices:
        raise UsageError(f"No picture is left. {_unreadable_message(listing, packed.unreadable)}")
    return packed


def scan(
    listing: Listing,
    choose: Callable[[Headers], Preprocess],
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Headers:
    """What `read_headers` returns. Many pictures, all of them new, are decoded in the same pass.

    choose  the preprocessing, from the headers. It is asked first about a sample: if it says the same about
            all pictures, `pack` finds them decoded; if not, this work is discarded and `pack` does its own.
    """
    key, entries = None, None
    if worker_count(listing, range(len(listing.pictures)), MIN_FOR_SINGLE_PASS):
        with suppress(PellucidError):  # `pack` will meet the same obstacle and report it
            key = StoreKey.of(listing, choose(_sample_headers(listing)), store_folder(listing, cache))
            entries = _build_from_new(key, listing, progress or no_progress)
    if key is None or entries is None:
        return read_headers(listing, cache=cache, progress=progress)
    save_headers(listing, entries, cache)
    headers = headers_from(listing, entries)
    if choose(headers) != key.preprocess:
        with suppress(PellucidError):
            record = read_record(key.index_path)
            files.remove(key.index_path)
            if record:
                files.remove(key.folder / str(record[0]["pixels"]))
    return headers


# The store


class StoreKey(NamedTuple):
    """Where the store of one listing under one preprocessing is."""

    name: str
    folder: Path
    key: str
    preprocess: Preprocess

    @staticmethod
    def of(listing: Listing, preprocess: Preprocess, folder: Path) -> "StoreKey":
        """The key: whatever decides a picture's pixels, that is the preprocessing and the decoder."""
        made_by = (sorted(preprocess.to_json().items()), DECODER)
        shape = "x".join(map(str, _shape(preprocess)))
        return StoreKey(listing.name, folder, f"{shape}-{hash_text(repr(made_by), 4)}", preprocess)

    @property
    def index_path(self) -> Path:
        """The index, without which the pixels do not count."""
        return self.folder / f"{self.key}.json"


@dataclass(frozen=True, eq=False)
class Store:
    """Decoded pictures by the content of their files.

    rows      digest -> row, without damaged rows
    contents  (R, 16), the hash of each row's pixels
    sketches  (R, 16), of each row's picture at its original size
    broken    digest -> why it cannot be decoded
    damaged   how many rows differ from what was written
    """

    source: MappedFile | InMemory
    rows: dict[str, int]
    contents: NDArray[np.uint8]
    sketches: NDArray[np.uint8]
    broken: dict[str, str]
    damaged: int = 0
    notes: tuple[Message, ...] = ()

    def has(self, digests: Iterable[str]) -> bool:
        """Whether every content is in the store or known to be broken."""
        return all(digest in self.rows or digest in self.broken for digest in digests)


class DecodeJob(NamedTuple):
    """What there is to decode; `wanted` maps every content's digest to a picture that has it."""

    listing: Listing
    preprocess: Preprocess
    wanted: dict[str, int]
    progress: Progress


def _open(key: StoreKey) -> Store:
    """The store on the disk, checked; an empty one if there is none or it is incomplete."""
    shape = _shape(key.preprocess)
    empty = Store(
        InMemory(np.empty((0, *shape), np.uint8)), {}, _hashes_array(b""), _hashes_array(b""), broken={}
    )
    record = read_record(key.index_path)
    if record is None:
        return empty
    head, body = record
    name, count = str(head["pixels"]), len(body["digests"])
    if not OWN_FILES.fullmatch(name):  # a file elsewhere is never opened
        return empty
    try:
        with open_regular(key.folder / name) as file:
            if os.fstat(file.fileno()).st_size != count * math.prod(shape):
                return empty
            damaged = _damaged_rows(key.folder / name, body["checks"], (count, *shape))
            source = MappedFile(file, (count, *shape)) if count else empty.source
    except OSError:
        return empty
    rows = {digest: row for row, digest in enumerate(body["digests"]) if row not in damaged}
    contents, sketches = (_hashes_array(bytes.fromhex(body[name])) for name in ("contents", "sketches"))
    return Store(source, rows, contents, sketches, body["broken"], len(damaged))


def _damaged_rows(path: Path, checks: dict[str, Any], shape: tuple[int, ...]) -> set[int]:
    """The rows whose bytes differ from those written. Read as a file: mapped, it would stay in memory."""
    rows_per_check, checksums = int(checks["rows"]), checks["crc32"]
    block_bytes = rows_per_check * math.prod(shape[1:])

    def are_damaged(blocks: Sequence[int]) -> list[bool]:
        with open_regular(path) as file:
            file.seek(blocks[0] * block_bytes)
            return [zlib.crc32(file.read(block_bytes)) != int(checksums[block]) for block in blocks]

    results = map_in_threads(are_damaged, range(len(checksums)), lambda done: None)
    return {
        row
        for block, damaged in enumerate(results)
        if damaged
        for row in range(block * rows_per_check, min((block + 1) * rows_per_check, shape[0]))
    }


def _build(key: StoreKey, old: Store, job: DecodeJob) -> Store:
    """A store that has all that is wanted: by now another process's, else built here."""
    try:
        files.make_folder(key.folder)
        waiting = partial(job.progress, "waiting for another process", 0, len(job.wanted))
        with files.alone(key.folder / LOCK, waiting=waiting) as alone:
            current = _open(key)
            if current.has(job.wanted):
                return current
            if alone:
                _delete_leftovers(key)
            _check_room(key, len(job.wanted))
            index = _write(key, _decode_wanted(current, job))
            store = _open(key)
            store.broken.update(index.transient)
            if not store.has(job.wanted):
                raise PellucidError(
                    f"Cannot write '{key.index_path}': it does not read back as written. "
                    "Name a folder on another disk in PELLUCID_CACHE."
                )
            if alone:
                _delete_leftovers(key)
            return replace(store, notes=_damage_notes(current))
    except PellucidError as error:
        size = len(job.wanted) * _row_bytes(job.preprocess)
        if size > MAX_IN_MEMORY_BYTES:
            raise PellucidError(
                f"{error} The decoded pictures take {size / 1e9:.1f} GB: name a folder with that much room "
                "in PELLUCID_CACHE, or train on smaller ones with `size`."
            ) from error
        return _build_in_memory(old, job, str(error))


def _write(key: StoreKey, rows: Iterable[Row]) -> Index:
    """Write the pixels, then the index that makes them count."""
    index = Index(max(1, CHECKSUM_BYTES // _row_bytes(key.preprocess)))
    name = f"{key.key}-{os.urandom(4).hex()}{PIXELS}"
    with files.replacing(key.folder / name) as file:
        for row in rows:
            if index.add(row):
                file.write(row.pixels.data)
    head = {"name": key.name, "preprocess": asdict(key.preprocess), "pixels": name}
    write_record(key.index_path, head, index.to_json())
    return index


def _build_in_memory(old: Store, job: DecodeJob, why: str) -> Store:
    """The same for this process alone."""
    index = Index(1)
    pixels = np.empty((len(job.wanted), *_shape(job.preprocess)), np.uint8)
    for row in _decode_wanted(old, job):
        if index.add(row):
            pixels[len(index.digests) - 1] = row.pixels
    rows = {digest: row for row, digest in enumerate(index.digests)}
    contents, sketches = (_hashes_array(b"".join(hashes)) for hashes in (index.contents, index.sketches))
    note = lazy_gettext(
        "The pictures are held in memory and will be decoded again the next time. %(why)s", why=why
    )
    broken = index.broken | index.transient
    return Store(InMemory(pixels), rows, contents, sketches, broken, notes=(*_damage_notes(old), note))


def _damage_notes(old: Store) -> tuple[Message, ...]:
    if not old.damaged:
        return ()
    return (
        lazy_ngettext(
            "The store was damaged on the disk: %(count)s picture was decoded again.",
            "The store was damaged on the disk: %(count)s pictures were decoded again.",
            old.damaged,
        ),
    )


def _decode_wanted(old: Store, job: DecodeJob) -> Iterator[Row]:
    """A row for every content wanted, in order: copied from the old store, else decoded on all cores."""
    wanted = list(job.wanted.items())
    new = [index for digest, index in wanted if not old.has([digest])]

    def read(item: tuple[str, int]) -> Content | Exception | None:
        digest, index = item
        if old.has([digest]):
            return None
        try:
            return job.listing.read(index)
        except READ_ERRORS as error:
            return error

    def finish(
        item: tuple[str, int], content: Content | Exception | None, result: WorkerResult | None
    ) -> Row:
        digest, _ = item
        if content is None:
            if digest in old.broken:
                return Row(digest, old.broken[digest])
            row = old.rows[digest]
            pixels = old.source.read(np.array([row]))[0]
            return Row(digest, "", old.contents[row].tobytes(), old.sketches[row].tobytes(), pixels)
        if isinstance(content, Exception):
            return Row(digest, TRANSIENT + error_reason(content))
        if (result.digest if result else content_digest(content)) != digest:
            return Row(digest, CHANGED)
        return _decoded_row(digest, content, result, job.preprocess)

    with worker_pool(worker_count(job.listing, new, MIN_FOR_DECODE_WORKERS)) as workers:
        process = partial(workers.process, settings=job.preprocess.decode_settings)
        yield from map_in_threads(
            lambda chunk: process_in_batches(chunk, read, process, finish),
            wanted,
            lambda done: job.progress("decoded", done, len(wanted)),
            threads=workers.threads,
            result_bytes=_row_bytes(job.preprocess),
        )


def _decoded_row(digest: str, content: Content, result: WorkerResult | None, preprocess: Preprocess) -> Row:
    """A worker's result as a row; without one, the content is decoded here."""
    image: WorkerResult | DecodedImage = result or preprocess.decode(content, name=UNNAMED)
    if image.reason:
        passing = TRANSIENT if is_passing(image.reason) else ""
        return Row(digest, passing + error_reason(UsageError(image.reason)))
    pixels_hash = result.content if result else hash_bytes(image.pixels)
    pixels = np.frombuffer(image.pixels, np.uint8).reshape(_shape(preprocess))
    return Row(digest, "", pixels_hash, image.sketch, pixels)


# Headers and pixels in one pass


def _sample_headers(listing: Listing) -> Headers:
    """The headers of some pictures, spread over the listing."""
    indices = range(0, len(listing.pictures), max(1, len(listing.pictures) // SAMPLE_SIZE))
    return Headers([header_entry("", try_read(listing, index), None).file for index in indices], ())


def _build_from_new(key: StoreKey, listing: Listing, progress: Progress) -> list[HeaderEntry] | None:
    """Build the store of all pictures and return their header entries; None if anything is stored already."""
    count, entries = len(listing.pictures), list[HeaderEntry]()
    files.make_folder(key.folder)
    waiting = partial(progress, "waiting for another process", 0, count)
    with files.alone(key.folder / LOCK, waiting=waiting) as alone:
        if not alone or (key.folder / HEADERS_FILE).exists() or key.index_path.exists():
            return None
        _check_room(key, count)
        _write(key, _decode_all(key.preprocess, listing, progress, entries))
    return entries


def _decode_all(
    preprocess: Preprocess, listing: Listing, progress: Progress, entries: list[HeaderEntry]
) -> Iterator[Row]:
    """A row for every distinct content, in the listing's order; `entries` receives each picture's header."""
    indices = range(len(listing.pictures))
    stamps, digests = dict[int, str](), set[str]()

    def read(index: int) -> Content | HeaderEntry:
        stamps[index] = listing.stamp(index)  # before reading: a change afterwards will be noticed
        return try_read(listing, index)

    def finish(
        index: int, content: Content | HeaderEntry, result: WorkerResult | None
    ) -> tuple[HeaderEntry, Row | None]:
        entry = header_entry(stamps[index], content, result)
        if entry.file is None or isinstance(content, HeaderEntry):
            return entry, None
        return entry, _decoded_row(entry.file.digest, content, result, preprocess)

    with worker_pool(worker_count(listing, indices, MIN_FOR_SINGLE_PASS)) as workers:
        process = partial(workers.process, settings=preprocess.decode_settings)
        for entry, row in map_in_threads(
            lambda chunk: process_in_batches(chunk, read, process, finish),
            indices,
            lambda done: progress("decoded", done, len(indices)),
            threads=workers.threads,
            result_bytes=_row_bytes(preprocess),
        ):
            entries.append(entry)
            if row is not None and row.digest not in digests:
                digests.add(row.digest)
                yield row


# Room on the disk, and what killed builds leave there


def _leftovers(key: StoreKey) -> list[Path]:
    """Files of builds that were killed or replaced under this key, and unfinished files of any."""
    paths = list(key.folder.iterdir())
    unfinished = [path for path in paths if path.name.startswith(".") and path.suffix == ".part"]
    pixels = [path for path in paths if path.name.startswith(f"{key.key}-") and path.suffix == PIXELS]
    if len(pixels) < 2:
        return unfinished
    record = read_record(key.index_path)
    in_use = str(record[0]["pixels"]) if record else ""
    return [*unfinished, *(path for path in pixels if path.name != in_use)]


def _delete_leftovers(key: StoreKey) -> None:
    """To be called with the lock held: they may belong to another process at work."""
    for path in _leftovers(key):
        with suppress(PellucidError):  # Windows keeps a file that is mapped; it goes the next time
            files.remove(path)


def _clean_up(key: StoreKey) -> None:
    """Delete leftovers if there are any and nobody else is at work; a read-only cache stays as it is."""
    with suppress(PellucidError, OSError):
        if _leftovers(key):
            with files.alone(key.folder / LOCK, seconds=0) as alone:
                if alone:
                    _delete_leftovers(key)


def _check_room(key: StoreKey, count: int) -> None:
    """Fail before an hour of decoding rather than after it."""
    needed = count * _row_bytes(key.preprocess)
    try:
        free = shutil.disk_usage(key.folder).free
    except OSError:
        return
    if free < needed:
        raise PellucidError(
            f"Cannot write '{key.folder}': the pictures take {needed / 1e6:,.0f} MB and "
            f"{free / 1e6:,.0f} MB are free. Make room or choose another folder, then run the command again."
        )


# From store to pictures


def _select(listing: Listing, headers: Headers, store: Store) -> PackedImages:
    """The listing's pictures in a store that has all of them."""
    indices, infos, rows, unreadable = list[int](), list[FileInfo](), list[int](), list[Unreadable]()
    reasons = {picture.source: picture.reason for picture in headers.unreadable}
    for index, (picture, file) in enumerate(zip(listing.pictures, headers.files, strict=True)):
        if file is None:
            unreadable.append(Unreadable(picture.source, reasons[picture.source]))
        elif file.digest in store.rows:
            indices.append(index)
            infos.append(file)
            rows.append(store.rows[file.digest])
        else:
            unreadable.append(Unreadable(picture.source, store.broken[file.digest]))
    images = MappedImages(store.source, np.array(rows, np.int64), store.contents)
    sketches = [sketch.tobytes() for sketch in store.sketches[images.rows]]
    return PackedImages(images, indices, infos, sketches, tuple(unreadable), store.notes)


def _unreadable_message(listing: Listing, unreadable: Sequence[Unreadable]) -> str:
    named = "; ".join(f"'{each.source}' {each.reason.rstrip('.')}" for each in unreadable[:MAX_NAMED])
    more = f"; and {len(unreadable) - MAX_NAMED:,} more" if len(unreadable) > MAX_NAMED else ""
    return (
        f"{len(unreadable):,} of the {len(listing.pictures):,} pictures of '{listing.name}' cannot be used: "
        f"{named}{more}. Repair or remove them, or skip them with `on_unreadable=skip`."
    )


def _hashes_array(hashes: bytes) -> NDArray[np.uint8]:
    """Concatenated hashes as (R, 16)."""
    return np.frombuffer(hashes, np.uint8).reshape(-1, 16)


def _shape(preprocess: Preprocess) -> tuple[int, int, int]:
    return preprocess.channels, preprocess.height, preprocess.width


def _row_bytes(preprocess: Preprocess) -> int:
    return math.prod(_shape(preprocess))

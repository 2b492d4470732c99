"""Decoded once, found again, and never wrong: whatever happens to the pictures or to the store."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid import files, machine
from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset, content_hashes, split
from pellucid.data.mapped import InMemory, MappedFile, MappedImages
from pellucid.data.preprocess import Preprocess
from pellucid.data.sources.listing import Listing, Picture
from pellucid.data.store import headers, index, parallel, pixels
from pellucid.data.store.index import Index, Row
from pellucid.data.store.pixels import PackedImages, pack
from pellucid.data.store.stores import delete_cached, list_stores
from pellucid.decode.images import DecodedImage, DecodeSettings
from pellucid.decode.workers import WORKER_COMMAND, _Worker
from pellucid.errors import PellucidError, UsageError
from pellucid.models import build
from pellucid.training.loop import train
from tests.data.folders import png_header
from tests.data.listings import file_bytes, folder_of_pictures, listed
from tests.toys import QUICK, same_weights

SMALL = Preprocess(3, 8, 8, "stretch")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder_of_pictures(tmp_path / "photos")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """How often each content was decoded for a store."""
    counted: Counter[bytes] = Counter()
    decode = Preprocess.decode

    def counting(self: Preprocess, picture: bytes, **options: str) -> DecodedImage:
        counted[picture if isinstance(picture, bytes) else picture.tobytes()] += 1
        return decode(self, picture, **options)

    monkeypatch.setattr(Preprocess, "decode", counting)
    return counted


def is_right(packed: PackedImages, listing: Listing, preprocess: Preprocess = SMALL) -> bool:
    """Whether every picture kept is, to the pixel, what one reading of it gives now."""
    assert len(packed.indices) + len(packed.unreadable) == len(listing.pictures)
    expected = [preprocess.read(listing.read(n)) for n in packed.indices]
    return torch.equal(packed.images.clone(), torch.stack(expected))


def pixels_file(cache: Path) -> Path:
    (path,) = cache.rglob("*.pixels")
    return path


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_every_picture_is_there_to_the_pixel(photos: Path, cache: Path) -> None:
    listing = listed(photos)
    packed = pack(listing, SMALL, cache=cache)
    assert packed.images.shape == (24, 3, 8, 8)
    assert packed.indices == list(range(24))
    assert (packed.unreadable, packed.notes) == ((), ())
    assert is_right(packed, listing)
    assert isinstance(packed.images, MappedImages)
    assert isinstance(packed.images.source, MappedFile)
    info = packed.files[0]
    content = listing.read(0)
    assert (info.width, info.height, info.mode) == (20, 14, "RGB")
    assert (info.bytes, info.digest) == (len(content), pixels.content_digest(content))


def test_a_second_start_opens_no_picture(photos: Path, cache: Path, decodes: Counter[bytes]) -> None:
    first = pack(listed(photos), SMALL, cache=cache)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    decodes.clear()
    heard: list[str] = []
    second = pack(listed(photos, heard=heard.append), SMALL, cache=cache)
    assert (heard, decodes) == ([], Counter())
    assert torch.equal(first.images.clone(), second.images.clone())
    assert first.files == second.files
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


def test_only_what_was_added_is_read_and_decoded(photos: Path, cache: Path, decodes: Counter[bytes]) -> None:
    pack(listed(photos), SMALL, cache=cache)
    decodes.clear()
    added = file_bytes(1000)
    (photos / "cat" / "00000-new.png").write_bytes(added)
    heard: list[str] = []
    packed = pack(listed(photos, heard=heard.append), SMALL, cache=cache)
    assert set(heard) == {"cat/00000-new.png"}
    assert decodes == {added: 1}
    assert is_right(packed, listed(photos))
    assert len(packed.indices) == 25


def test_only_what_was_changed_is_decoded(photos: Path, cache: Path, decodes: Counter[bytes]) -> None:
    pack(listed(photos), SMALL, cache=cache)
    decodes.clear()
    changed = file_bytes(2000)
    (photos / "dog" / "00004.png").write_bytes(changed)
    packed = pack(listed(photos), SMALL, cache=cache)
    assert decodes == {changed: 1}
    assert is_right(packed, listed(photos))
    assert len(list(cache.rglob("*.pixels"))) == 1  # the one before is gone


def test_a_new_time_stamp_alone_decodes_nothing(photos: Path, cache: Path, decodes: Counter[bytes]) -> None:
    pack(listed(photos), SMALL, cache=cache)
    decodes.clear()
    for path in photos.rglob("*.png"):
        os.utime(path, (1, 1))
    heard: list[str] = []
    assert is_right(pack(listed(photos, heard=heard.append), SMALL, cache=cache), listed(photos))
    assert len(heard) == 24  # hash_text, for the bytes may have changed
    assert not decodes
    heard.clear()
    pack(listed(photos, heard=heard.append), SMALL, cache=cache)
    assert heard == []


def test_renaming_and_removing_decode_nothing(photos: Path, cache: Path, decodes: Counter[bytes]) -> None:
    pack(listed(photos), SMALL, cache=cache)
    (photos / "dog").rename(photos / "wolf")
    for n in (1, 3, 5):
        (photos / "cat" / f"{n:05d}.png").unlink()
    decodes.clear()
    packed = pack(listed(photos), SMALL, cache=cache)
    assert not decodes
    assert len(packed.indices) == 21
    assert is_right(packed, listed(photos))


def test_equal_files_are_decoded_once_and_both_there(
    photos: Path, cache: Path, decodes: Counter[bytes]
) -> None:
    (photos / "cat" / "twin.png").write_bytes((photos / "dog" / "00000.png").read_bytes())
    packed = pack(listed(photos), SMALL, cache=cache)
    assert set(decodes.values()) == {1}
    assert len(packed.indices) == 25
    assert is_right(packed, listed(photos))
    assert pixels_file(cache).stat().st_size == 24 * 3 * 8 * 8


def test_another_preprocessing_is_another_store(photos: Path, cache: Path) -> None:
    for preprocess in (
        SMALL,
        replace(SMALL, channels=1),
        replace(SMALL, height=4),
        replace(SMALL, background=9),
    ):
        assert is_right(pack(listed(photos), preprocess, cache=cache), listed(photos), preprocess)
    assert len(list(cache.rglob("*.pixels"))) == 4
    heard: list[str] = []
    pack(listed(photos, heard=heard.append), SMALL, cache=cache)
    assert heard == []


def test_another_decoder_is_another_store(
    photos: Path, cache: Path, decodes: Counter[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(listed(photos), SMALL, cache=cache)
    monkeypatch.setattr(pixels, "DECODER", "2, Pillow 99")
    pack(listed(photos), SMALL, cache=cache)
    assert set(decodes.values()) == {2}


def test_two_folders_of_one_name_do_not_share_a_store(tmp_path: Path, cache: Path) -> None:
    here, there = (folder_of_pictures(tmp_path / place / "photos", 6) for place in ("a", "b"))
    (there / "dog" / "00000.png").write_bytes(file_bytes(50))
    for _ in range(2):
        for folder in (here, there):
            assert is_right(pack(listed(folder), SMALL, cache=cache), listed(folder))
    assert len(list_stores(cache)) == 2


def test_what_cannot_be_read_is_named_one_by_one_and_not_tried_again(
    photos: Path, cache: Path, decodes: Counter[bytes]
) -> None:
    whole = file_bytes(77, size=(200, 200))
    (photos / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "cat" / "empty.png").write_bytes(b"")
    (photos / "dog" / "text.png").write_text("not a picture")
    for _ in range(2):
        packed = pack(listed(photos), SMALL, cache=cache)
        reasons = {bad.source: bad.reason for bad in packed.unreadable}
        assert reasons.keys() == {"cat/cut.png", "cat/empty.png", "dog/text.png"}
        assert reasons["cat/cut.png"].startswith("cannot be read: ")
        assert reasons["dog/text.png"].startswith("is not a picture of a known format")
        assert len(packed.indices) + len(packed.unreadable) == 27
    assert set(decodes.values()) == {1}
    assert is_right(packed, listed(photos))


def test_stop_names_the_unreadable_and_says_what_to_do(photos: Path, cache: Path) -> None:
    for n in range(12):
        (photos / "cat" / f"bad{n:02d}.png").write_text("x")
    with pytest.raises(
        UsageError,
        match=r"12 of the 36 pictures of '.*photos' cannot be used: 'cat/bad00.png' is not a picture .*"
        r"and 2 more\. Repair or remove them, or skip them with `on_unreadable=skip`\.$",
    ):
        pack(listed(photos), SMALL, cache=cache, on_unreadable="stop")


def test_nothing_readable_is_an_error(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "1.png").write_text("x")
    with pytest.raises(UsageError, match=r"^No picture is left\. 1 of the 1 pictures"):
        pack(listed(tmp_path / "photos"), SMALL, cache=cache)


def test_a_source_that_fails_once_is_tried_again(photos: Path, cache: Path) -> None:
    listing = listed(photos)

    def failing(n: int) -> bytes:
        if n == 3:
            raise OSError(5, "Input/output error")
        return listing.read(n)

    packed = pack(replace(listing, read=failing), SMALL, cache=cache)
    assert [bad.reason for bad in packed.unreadable] == ["cannot be read: [Errno 5] Input/output error."]
    again = pack(listing, SMALL, cache=cache)
    assert (again.unreadable, len(again.indices)) == ((), 24)


def test_a_picture_that_changes_meanwhile_is_passed_over_and_right_the_next_time(
    photos: Path, cache: Path
) -> None:
    listing = listed(photos)
    reads: Counter[int] = Counter()

    def changing(n: int) -> bytes:
        reads[n] += 1
        return file_bytes(999) if n == 5 and reads[n] == 2 else listing.read(n)

    packed = pack(replace(listing, read=changing), SMALL, cache=cache)
    assert [bad.reason for bad in packed.unreadable] == [
        "has changed while it was being read. Run the command again."
    ]
    assert is_right(packed, listing)
    again = pack(listing, SMALL, cache=cache)
    assert len(again.indices) == 24
    assert is_right(again, listing)


def test_arrays_are_packed_like_files(cache: Path) -> None:
    arrays = np.random.default_rng(0).integers(0, 256, (6, 10, 10), np.uint8)
    pictures = [Picture(f"train/{n}", "ab"[n % 2]) for n in range(6)]
    listing = Listing("arrays", pictures, ("a", "b"), (), lambda n: arrays[n], lambda n: "")
    packed = pack(listing, replace(SMALL, channels=1), cache=cache)
    assert is_right(packed, listing, replace(SMALL, channels=1))
    assert packed.files[0].mode == "L"
    arrays[2] += 1  # nothing tells of it but the values
    again = pack(listing, replace(SMALL, channels=1), cache=cache)
    assert is_right(again, listing, replace(SMALL, channels=1))


def test_the_hashes_kept_are_those_of_the_pixels(photos: Path, cache: Path) -> None:
    images = pack(listed(photos), SMALL, cache=cache).images
    here, there = (
        Dataset(kind, torch.zeros(24, dtype=torch.int64), ("a",), [""] * 24)
        for kind in (images.clone(), images)
    )
    assert content_hashes(here) == content_hashes(there)


def sketches(folder: Path) -> list[bytes]:
    """Of every file there the sketch, made here and now."""
    return [SMALL.decode(path.read_bytes(), name="").sketch for path in sorted(folder.rglob("*.png"))]


def test_what_a_picture_shows_is_known_from_the_store_however_it_came_there(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pack(listed(photos), SMALL, cache=cache).sketches == sketches(photos)
    assert pack(listed(photos), SMALL, cache=cache).sketches == sketches(photos)  # read back
    assert pack(listed(photos), replace(SMALL, channels=1), cache=cache).sketches == sketches(photos)
    (photos / "cat" / "00000-new.png").write_bytes(file_bytes(1000))
    (photos / "dog" / "00004.png").write_bytes(b"none")
    of_rest = pack(listed(photos), SMALL, cache=cache)  # copied, but for one
    assert len(of_rest.unreadable) == 1
    (photos / "dog" / "00004.png").unlink()
    assert of_rest.sketches == sketches(photos)
    monkeypatch.setattr(pixels.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100})())
    in_memory = pack(listed(photos), replace(SMALL, height=4), cache=cache)
    assert isinstance(in_memory.images, MappedImages)
    assert isinstance(in_memory.images.source, InMemory)
    assert in_memory.sketches == sketches(photos)


def test_a_store_of_an_earlier_pellucid_without_sketches_is_made_anew(
    photos: Path, cache: Path, decodes: Counter[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "FORMAT", 1)
    pack(listed(photos), SMALL, cache=cache)
    monkeypatch.undo()
    packed = pack(listed(photos), SMALL, cache=cache)
    assert is_right(packed, listed(photos))
    assert packed.sketches == sketches(photos)
    assert packed.notes == ()
    assert len(list(cache.rglob("*.pixels"))) == len(list(cache.rglob("3x8x8-*.json"))) == 1


@pytest.mark.parametrize("at", [0, 700, -1])
def test_a_flipped_byte_is_found_and_only_its_block_decoded_again(
    photos: Path, cache: Path, decodes: Counter[bytes], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(pixels, "CHECKSUM_BYTES", 4 * 3 * 8 * 8)
    pack(listed(photos), SMALL, cache=cache)
    flip(pixels_file(cache), at)
    decodes.clear()
    packed = pack(listed(photos), SMALL, cache=cache)
    assert sum(decodes.values()) == 4
    (note,) = packed.notes
    assert str(note) == "The store was damaged on the disk: 4 pictures were decoded again."
    assert is_right(packed, listed(photos))
    assert pack(listed(photos), SMALL, cache=cache).notes == ()


@pytest.mark.parametrize("name", ["facts.json", "3x8x8-*.json"])
def test_a_flipped_byte_of_an_index_is_found_wherever_it_is(photos: Path, cache: Path, name: str) -> None:
    pack(listed(photos), SMALL, cache=cache)
    (path,) = cache.rglob(name)
    whole = path.read_bytes()
    for at in np.linspace(0, len(whole) - 1, 12).astype(int):
        flip(path, int(at))
        assert index.read_record(path) is None
        assert is_right(pack(listed(photos), SMALL, cache=cache), listed(photos))
        assert index.read_record(path) is not None


@pytest.mark.parametrize("damage", [
    lambda path: os.truncate(path, path.stat().st_size - 1),
    lambda path: os.truncate(path, 0),
    lambda path: path.write_bytes(path.read_bytes() + b"x"),
    lambda path: path.unlink(),
], ids=["cut", "emptied", "longer", "gone"])  # fmt: skip
def test_a_pixel_file_of_another_length_is_not_used(
    photos: Path, cache: Path, decodes: Counter[bytes], damage: Callable[[Path], None]
) -> None:
    pack(listed(photos), SMALL, cache=cache)
    damage(pixels_file(cache))
    decodes.clear()
    packed = pack(listed(photos), SMALL, cache=cache)
    assert len(decodes) == 24
    assert is_right(packed, listed(photos))


def test_a_store_in_use_outlives_its_replacement(photos: Path, cache: Path) -> None:
    old_listing = listed(photos)
    expected = torch.stack([SMALL.read(old_listing.read(n)) for n in range(24)])
    old = pack(old_listing, SMALL, cache=cache)
    (photos / "dog" / "00000.png").write_bytes(file_bytes(3000))
    pack(listed(photos), SMALL, cache=cache)
    assert torch.equal(old.images.clone(), expected)


def test_without_room_the_pictures_are_kept_in_memory_and_a_note_says_so(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100})())
    packed = pack(listed(photos), SMALL, cache=cache)
    assert isinstance(packed.images, MappedImages)
    assert isinstance(packed.images.source, InMemory)
    assert is_right(packed, listed(photos))
    (note,) = packed.notes
    assert str(note).startswith(
        "The pictures are held in memory and will be decoded again the next time. Cannot write"
    )
    assert not list(cache.rglob("*.pixels"))


def test_a_disk_that_fills_up_on_the_way_leaves_nothing_half_used(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Index, row: Row) -> bool:
        if len(self.digests) == 10 and self.rows_per_check > 1:
            raise OSError(28, "No space left on device")
        return takes(self, row)

    takes = Index.add
    monkeypatch.setattr(Index, "add", full)
    packed = pack(listed(photos), SMALL, cache=cache)
    assert "No space left on device" in str(packed.notes[0])
    assert is_right(packed, listed(photos))
    assert not [path for path in cache.rglob("*") if path.suffix in (".part", ".pixels")]


def test_a_cache_that_takes_nothing_is_no_failure(photos: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    packed = pack(listed(photos), SMALL, cache=blocked / "below")
    assert "Cannot write" in str(packed.notes[0])
    assert is_right(packed, listed(photos))


def test_too_much_for_memory_and_no_cache_names_both_ways_out(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "MAX_IN_MEMORY_BYTES", 100)
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(
        PellucidError, match=r"Cannot write .*PELLUCID_CACHE, or train on smaller ones with `size`"
    ):
        pack(listed(photos), SMALL, cache=blocked / "below")


def test_the_cache_is_where_the_variable_says(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "elsewhere"))
    pack(listed(photos), SMALL)
    assert list((tmp_path / "elsewhere" / "stores").rglob("*.pixels"))


def test_the_pictures_are_only_read(photos: Path, cache: Path) -> None:
    def state() -> list[tuple[object, ...]]:
        return [
            (path, facts.st_ino, facts.st_mtime_ns, facts.st_size, facts.st_mode)
            for path in sorted(photos.rglob("*"))
            for facts in [path.stat()]
        ]

    before = state()
    pack(listed(photos), SMALL, cache=cache)
    pack(listed(photos), SMALL, cache=cache)
    assert state() == before


def test_a_survey_decodes_nothing_and_tells_sizes_and_modes(
    photos: Path, cache: Path, decodes: Counter[bytes]
) -> None:
    (photos / "cat" / "gray.png").write_bytes(file_bytes(60, size=(9, 7), mode="L"))
    (photos / "cat" / "bad.png").write_text("x")
    looked = pixels.read_headers(listed(photos), cache=cache)
    assert looked.sizes == {(20, 14): 24, (9, 7): 1}
    assert looked.modes == {"RGB": 24, "L": 1}
    assert looked.channels == 3
    assert [bad.source for bad in looked.unreadable] == ["cat/bad.png"]
    assert [n for n, info in enumerate(looked.files) if info is None] == [12]
    assert not decodes
    heard: list[str] = []
    pixels.read_headers(listed(photos, heard=heard.append), cache=cache)
    assert heard == []


def test_only_gray_modes_are_one_channel(tmp_path: Path, cache: Path) -> None:
    for n, mode in enumerate(("L", "1", "LA")):
        path = tmp_path / "photos" / "a" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_bytes(n, mode=mode))
    assert pixels.read_headers(listed(tmp_path / "photos"), cache=cache).channels == 1


def test_progress_ends_at_the_whole(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "BLOCK_ITEMS", 10)
    told: list[tuple[str, int, int]] = []
    pack(listed(photos), SMALL, cache=cache, progress=lambda *facts: told.append(facts))
    assert told == [(what, n, 24) for what in ("looked at", "decoded") for n in (10, 20, 24)]


def test_stored_lists_and_clear_deletes_only_what_is_ours(photos: Path, cache: Path) -> None:
    pack(listed(photos), SMALL, cache=cache)
    (entry,) = list_stores(cache)
    assert entry.name == str(photos)
    assert entry.bytes == sum(path.stat().st_size for path in entry.folder.iterdir())
    (entry.folder / "notes.txt").write_text("mine")
    (cache / "other").mkdir()
    (cache / "other" / "facts.json").write_text("mine, too")
    (entry,) = list_stores(cache)
    delete_cached(entry)
    assert sorted(path.name for path in cache.rglob("*") if path.is_file()) == ["facts.json", "notes.txt"]
    (entry.folder / "notes.txt").unlink()
    pack(listed(photos), SMALL, cache=cache)
    delete_cached(list_stores(cache)[0])
    assert not entry.folder.exists()


def test_a_store_that_is_being_built_is_not_cleared(photos: Path, cache: Path) -> None:
    pack(listed(photos), SMALL, cache=cache)
    (entry,) = list_stores(cache)
    being_built = pytest.raises(PellucidError, match="is being built by another process")
    with files.alone(entry.folder / "lock"), being_built:  # the lock is the open file's, not the process's
        delete_cached(entry)
    assert entry.bytes == list_stores(cache)[0].bytes


BUILDERS = """
import os, sys
from pathlib import Path
from tests.data.listings import listed
from pellucid.data.store import headers, parallel, pixels
from pellucid.data.preprocess import Preprocess
from pellucid.data.store.pixels import scan, pack
parallel.BLOCK_ITEMS = 8
pixels.MIN_FOR_DECODE_WORKERS = pixels.MIN_FOR_SINGLE_PASS = headers.MIN_FOR_HEADER_WORKERS = {fewest}
print(flush=True)  # everything is loaded
for line in sys.stdin:
    children = []
    for _ in range(int(line)):
        child = os.fork()
        if not child:
            listing, cache, form = listed(Path({photos!r})), Path({cache!r}), Preprocess(3, 8, 8, "stretch")
            looked = scan(listing, lambda seen: form, cache=cache)
            packed = pack(listing, form, cache=cache, headers=looked)
            os._exit(0 if len(packed.indices) == {count} and not packed.notes else 1)
        children.append(child)
    print(*children, flush=True)
    print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), flush=True)
"""


class Builders:
    """A process with everything loaded that packs the pictures in children of its own, as often as asked."""

    def __init__(self, photos: Path, cache: Path, count: int, fewest: int = 1) -> None:
        code = BUILDERS.format(photos=str(photos), cache=str(cache), count=count, fewest=fewest)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> "Builders":
        assert self.numbers() == []
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=60)

    def begin(self, builds: int = 1) -> list[int]:
        """So many builds at once; gives their processes."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{builds}\n")
        self.process.stdin.flush()
        return self.numbers()

    def numbers(self) -> list[int]:
        """The numbers on the next line: after `begin` the exit codes, once all have ended."""
        assert self.process.stdout is not None
        return [int(word) for word in self.process.stdout.readline().split()]


forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="builders are forked")


def killed_at_random(photos: Path, cache: Path, count: int, times: int, fewest: int) -> Iterator[int]:
    """Kill `times` builds at random snapshots of their work; afterwards nothing wrong is ever used.

    fewest  pictures for which they start workers, of which none is left either
    """
    generator = np.random.default_rng(7)
    with Builders(photos, cache, count, fewest) as builders:
        begun = time.perf_counter()
        builders.begin()
        assert builders.numbers() == [0]
        length = time.perf_counter() - begun
        for number in range(times):
            changed = photos / "dog" / f"{2 * generator.integers(0, count // 2):05d}.png"
            changed.write_bytes(file_bytes(10_000 + number))
            if number % 3 == 0:  # from nothing, too, and not only a change of what is there
                for record in cache.rglob("*.json" if number % 2 else "3x8x8-*.json"):
                    record.unlink()
            (child,) = builders.begin()
            # The first early: on a busy machine the others may all have ended by then.
            time.sleep(generator.uniform(0, length if number else length / 20))
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            (ended,) = builders.numbers()
            assert until(lambda child=child: not workers_of(child))
            listing = listed(photos)
            assert all(index.read_record(record) for record in cache.rglob("*.json"))  # whole, or not there
            assert is_right(pack(listing, SMALL, cache=cache), listing)
            assert not list(cache.rglob("*.part"))
            assert len(list(cache.rglob("*.pixels"))) == 1
            yield ended


in_workers = pytest.mark.parametrize("fewest", [1, 10_000], ids=["workers", "threads"])


@forking
@in_workers
def test_killed_at_five_random_snapshots_nothing_wrong_is_used(
    tmp_path: Path, cache: Path, fewest: int
) -> None:
    photos = folder_of_pictures(tmp_path / "photos", 120)
    outcomes = Counter(killed_at_random(photos, cache, 120, 5, fewest))
    assert outcomes[-signal.SIGKILL] >= 1
    assert outcomes.keys() <= {-signal.SIGKILL, 0}


@forking
@pytest.mark.slow
@pytest.mark.timeout(600)
@in_workers
def test_killed_at_fifty_random_snapshots_nothing_wrong_is_used(
    tmp_path: Path, cache: Path, fewest: int
) -> None:
    photos = folder_of_pictures(tmp_path / "photos", 400)
    outcomes = Counter(killed_at_random(photos, cache, 400, 50, fewest))
    assert outcomes[-signal.SIGKILL] >= 25
    assert outcomes.keys() <= {-signal.SIGKILL, 0}


@forking
def test_processes_at_once_do_not_harm_one_another(tmp_path: Path, cache: Path) -> None:
    photos = folder_of_pictures(tmp_path / "photos", 120)
    with Builders(photos, cache, 120) as builders:
        builders.begin(4)
        assert builders.numbers() == [0, 0, 0, 0]
    assert is_right(pack(listed(photos), SMALL, cache=cache), listed(photos))
    assert len(list(cache.rglob("*.pixels"))) == 1
    assert not list(cache.rglob("*.part"))


def test_training_on_the_store_gives_the_weights_of_training_in_memory(tmp_path: Path, cache: Path) -> None:
    images = pack(listed(folder_of_pictures(tmp_path / "photos", 60)), SMALL, cache=cache).images
    labels = torch.arange(60) % 2
    networks = []
    for kind in (images, images.clone()):
        parts = split(Dataset(kind, labels, ("cat", "dog"), [str(n) for n in range(60)]))
        network = build("tutorial", 3, 2, (8, 8), seed=0)
        recipe = replace(QUICK, epochs=2, batch_size=16)
        for _ in train(network, parts.rest, parts.held_out, recipe):
            pass
        networks.append(network)
    assert same_weights(*networks)


def test_training_and_judging_never_read_the_whole(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pack(listed(folder_of_pictures(tmp_path / "photos", 60)), SMALL, cache=cache).images
    parts = split(Dataset(images, torch.arange(60) % 2, ("cat", "dog"), [str(n) for n in range(60)]))

    def whole(self: MappedImages) -> None:
        raise AssertionError(f"all {len(self)} pictures were read at once")

    monkeypatch.setattr(MappedImages, "whole", whole)
    network = build("tutorial", 3, 2, (8, 8), seed=0)
    epochs = [*train(network, parts.rest, parts.held_out, replace(QUICK, epochs=1, batch_size=16))]
    assert len(epochs) == 4  # three steps and their judgement
    classifier = Classifier(network, ("cat", "dog"), SMALL, "tutorial")
    assert len(classifier.predict(parts.held_out.images)) == 12


def test_the_records_are_json_that_can_be_looked_into(photos: Path, cache: Path) -> None:
    pack(listed(photos), SMALL, cache=cache)
    (index,) = cache.rglob("3x8x8-*.json")
    _, head, body = index.read_text(encoding="utf-8").split("\n")
    assert json.loads(head)["preprocess"] == SMALL.to_json()
    assert len(json.loads(body)["digests"]) == 24


# In processes of their own


def workers_of(process: int) -> set[int]:
    """The worker processes that `process` has started, wherever they belong by now."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdecimal() else []
            if len(words) > 3 and words[2] == WORKER_COMMAND.encode() and words[3] == str(process).encode():
                found.add(int(entry.name))
    return found


def until(true: Callable[[], object], seconds: float = 60) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(true())


@pytest.fixture
def with_workers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """However few pictures there are, workers see to them; tells how many files each order to them held."""
    monkeypatch.setattr(headers, "MIN_FOR_HEADER_WORKERS", 1)
    monkeypatch.setattr(pixels, "MIN_FOR_DECODE_WORKERS", 1)
    orders: list[int] = []
    asked = _Worker.process

    def counting(self: _Worker, contents: list[bytes], form: DecodeSettings | None) -> object:
        answers = asked(self, contents, form)
        orders.append(sum(answer is not None for answer in answers))
        return answers

    monkeypatch.setattr(_Worker, "process", counting)
    return orders


def mixed(photos: Path) -> Path:
    """Pictures of every kind, and files that are none."""
    (photos / "dog" / "gray.png").write_bytes(file_bytes(60, size=(9, 7), mode="L"))
    (photos / "dog" / "jpeg.jpg").write_bytes(file_bytes(61, size=(90, 70), kind="JPEG"))
    (photos / "dog" / "cmyk.jpg").write_bytes(file_bytes(62, kind="JPEG", mode="CMYK"))
    (photos / "dog" / "glass.png").write_bytes(file_bytes(63, mode="RGBA"))
    Image.fromarray(np.arange(280, dtype=np.uint16).reshape(14, 20) * 200).save(photos / "dog" / "deep.png")
    (photos / "dog" / "twin.png").write_bytes((photos / "cat" / "00001.png").read_bytes())
    (photos / "cat" / "cut.png").write_bytes(file_bytes(65, size=(200, 200))[:5000])
    (photos / "cat" / "empty.png").write_bytes(b"")
    (photos / "cat" / "text.png").write_text("no picture")
    (photos / "cat" / "huge.png").write_bytes(png_header(6000, 6000))
    return photos


@pytest.mark.parametrize("form", [SMALL, replace(SMALL, channels=1, background=200), Preprocess(3, 14, 20)])
def test_workers_and_threads_make_the_same_of_every_file(
    photos: Path, tmp_path: Path, form: Preprocess, request: pytest.FixtureRequest
) -> None:
    listing = listed(mixed(photos))
    alone = pack(listing, form, cache=tmp_path / "alone")
    orders = request.getfixturevalue("with_workers")
    together = pack(listing, form, cache=tmp_path / "together")
    assert sum(orders) > len(listing.pictures)  # looked at, then decoded, and all of it answered
    assert torch.equal(alone.images.clone(), together.images.clone())
    assert (alone.indices, alone.files, alone.unreadable) == (
        together.indices,
        together.files,
        together.unreadable,
    )
    assert {bad.source for bad in alone.unreadable} >= {"cat/cut.png", "cat/empty.png", "cat/huge.png"}
    (here, there) = (next((tmp_path / name).rglob("*.pixels")) for name in ("alone", "together"))
    assert here.read_bytes() == there.read_bytes()
    for record in ("facts.json", f"{form.channels}x*.json"):
        here, there = (next((tmp_path / name).rglob(record)) for name in ("alone", "together"))
        assert here.read_text().split("\n")[2] == there.read_text().split("\n")[2]


def test_no_worker_is_left_after_success_or_failure(
    photos: Path, cache: Path, with_workers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(listed(photos), SMALL, cache=cache)
    assert not workers_of(os.getpid())
    seen = []

    def failing(self: Index, row: Row) -> bool:
        seen.append(workers_of(os.getpid()))
        raise KeyboardInterrupt

    monkeypatch.setattr(Index, "add", failing)
    with pytest.raises(KeyboardInterrupt):
        pack(listed(photos), replace(SMALL, height=4), cache=cache)
    assert len(seen[0]) == machine.cores()
    assert not workers_of(os.getpid())
    assert not [path for path in cache.rglob("*") if path.suffix == ".part"]


def test_what_a_lost_worker_leaves_is_done_all_the_same(
    photos: Path, cache: Path, with_workers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(100, 200):
        (photos / "cat" / f"{n:05d}.png").write_bytes(file_bytes(n))
    monkeypatch.setattr(parallel, "CHUNK_ITEMS", 8)
    decoded = _Worker.process

    def losing(self: _Worker, contents: list[bytes], form: DecodeSettings | None) -> object:
        if form and len(with_workers) > 10:
            self._process.kill()
        return decoded(self, contents, form)

    monkeypatch.setattr(_Worker, "process", losing)
    packed = pack(listed(photos), SMALL, cache=cache)
    assert 0 in with_workers  # nothing was answered
    assert (packed.unreadable, packed.notes) == ((), ())
    assert is_right(packed, listed(photos))


def test_without_new_processes_threads_do_the_work(
    photos: Path, cache: Path, with_workers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert is_right(pack(listed(photos), SMALL, cache=cache), listed(photos))
    assert with_workers == []


def test_arrays_and_few_pictures_start_no_worker() -> None:
    arrays = [np.zeros((4, 4), np.uint8)] * 9
    pictures = [Picture(f"{n}", "a") for n in range(9)]
    of_arrays = Listing("arrays", pictures, ("a",), (), arrays.__getitem__, lambda n: "")
    of_files = replace(of_arrays, read=lambda n: b"file")
    assert parallel.worker_count(of_arrays, range(9), 5) == 0
    assert parallel.worker_count(of_files, range(9), 5) == machine.cores()
    assert parallel.worker_count(of_files, range(9), 10) == 0


# The last picture waits for the test: however busy the machine is, the signal comes before the end.
HELD_WORK = """
import signal, sys, time
from pathlib import Path
from tests.data.listings import listed
from pellucid.data.store import headers, parallel, pixels
from pellucid.data.preprocess import Preprocess
photos, cache, go_on = map(Path, sys.argv[1:])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
pixels.MIN_FOR_DECODE_WORKERS = headers.MIN_FOR_HEADER_WORKERS = 1
def wait(source):
    while source == "b/9.jpg" and next(cache.rglob(".*.pixels.*.part"), None) and not go_on.exists():
        time.sleep(0.01)
print(flush=True)
pixels.pack(listed(photos, heard=wait), Preprocess(3, 200, 200, "stretch"), cache=cache)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_whoever_started_them_and_say_nothing(
    tmp_path: Path, cache: Path, number: signal.Signals
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    big = file_bytes(0, size=(1500, 1500), kind="JPEG")
    for n in range(64):
        path = photos / "ab"[n % 2] / f"{n}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(big + bytes([n]))  # other bytes, the same picture
    process = subprocess.Popen(
        [sys.executable, "-c", HELD_WORK, *map(str, (photos, cache, tmp_path / "go on"))],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert until(lambda: next(cache.rglob(".*.pixels.*.part"), None))  # decoding
    assert until(lambda: len(workers_of(process.pid)) == machine.cores())
    os.killpg(process.pid, number)  # as a terminal's Ctrl-C does
    (tmp_path / "go on").touch()
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert said.count("Traceback") == (number == signal.SIGINT)  # the builder's own
    assert until(lambda: not workers_of(process.pid))
    assert not list(cache.rglob("*.pixels"))


# Looked at and decoded at one reading


@pytest.fixture
def at_once(with_workers: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """However few pictures there are, they are read only once."""
    monkeypatch.setattr(pixels, "MIN_FOR_SINGLE_PASS", 1)


def test_one_reading_gives_what_looking_and_decoding_give(
    photos: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    listing = listed(mixed(photos))
    looked = pixels.read_headers(listing, cache=tmp_path / "two")
    two = pack(listing, SMALL, cache=tmp_path / "two")
    request.getfixturevalue("at_once")
    heard: list[str] = []
    hearing = listed(photos, heard=heard.append)
    seen = pixels.scan(hearing, lambda headers: SMALL, cache=tmp_path / "one")
    assert set(Counter(heard[len(heard) - len(listing.pictures) :]).values()) == {1}  # behind the sample
    heard.clear()
    one = pack(hearing, SMALL, cache=tmp_path / "one", headers=seen)
    assert heard == []
    assert (seen.files, seen.unreadable) == (looked.files, looked.unreadable)
    assert (one.indices, one.files, one.unreadable, one.notes) == (two.indices, two.files, two.unreadable, ())
    assert torch.equal(one.images.clone(), two.images.clone())
    for name in ("*.pixels", "facts.json", "3x*.json"):
        here, there = (next((tmp_path / number).rglob(name)).read_bytes() for number in ("one", "two"))
        assert here.split(b"\n")[-1] == there.split(b"\n")[-1]
    assert pack(hearing, SMALL, cache=tmp_path / "one").files == two.files
    assert heard == []


@pytest.mark.usefixtures("at_once")
def test_a_wrong_guess_costs_time_and_leaves_nothing(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "SAMPLE_SIZE", 1)  # the first, which is not like the others
    (photos / "cat" / "00000-first.png").write_bytes(file_bytes(70, size=(40, 40)))
    listing = listed(photos)

    def choose(seen: pixels.Headers) -> Preprocess:
        return replace(SMALL, height=40 if len(seen.sizes) == 1 else 8)

    looked = pixels.scan(listing, choose, cache=cache)
    assert not [*cache.rglob("*.pixels"), *cache.rglob("3x*.json"), *cache.rglob("*.part")]
    packed = pack(listing, choose(looked), cache=cache, headers=looked)
    assert is_right(packed, listing)


@pytest.mark.usefixtures("at_once")
def test_pictures_of_which_something_is_known_are_not_guessed_at(photos: Path, cache: Path) -> None:
    listing = listed(photos)
    pixels.read_headers(listing, cache=cache)
    looked = pixels.scan(listing, lambda headers: SMALL, cache=cache)
    assert len(looked.files) == 24
    assert not list(cache.rglob("*.pixels"))


@pytest.mark.usefixtures("at_once")
def test_a_cache_that_takes_nothing_is_told_by_the_ordinary_way(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    below = tmp_path / "file" / "below"
    looked = pixels.scan(listed(photos), lambda headers: SMALL, cache=below)
    packed = pack(listed(photos), SMALL, cache=below, headers=looked)
    assert "Cannot write" in str(packed.notes[0])
    assert is_right(packed, listed(photos))


@pytest.mark.usefixtures("at_once")
def test_interrupted_at_one_reading_nothing_is_there(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Index, row: Row) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Index, "add", failing)
        pixels.scan(listed(photos), lambda headers: SMALL, cache=cache)
    assert {path.name for path in cache.rglob("*") if path.is_file()} == {"lock"}
    assert not workers_of(os.getpid())

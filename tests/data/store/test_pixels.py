"""Decoded once, found again, and never wrong: whatever happens to the pictures or to the store."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ImageFile

from pellucid.classifier import Classifier
from pellucid.data.dataset import Choices, Dataset, content_hashes, split
from pellucid.data.mapped import InMemory, MappedFile, MappedImages
from pellucid.data.own import read_own
from pellucid.data.preprocess import Preprocess
from pellucid.data.sources.listing import Listing, Picture
from pellucid.data.store import index, pixels
from pellucid.data.store.index import Index, Row
from pellucid.data.store.pixels import pack
from pellucid.data.store.stores import list_stores
from pellucid.errors import PellucidError, UsageError
from pellucid.models import build
from pellucid.training.loop import train
from tests.data.folders import picture, shapes
from tests.data.listings import file_bytes, folder_of_pictures, listed
from tests.data.store.packing import SMALL, flip, is_right, mixed, sketches, until, workers_of
from tests.toys import QUICK, same_weights


def pixels_file(cache: Path) -> Path:
    (path,) = cache.rglob("*.pixels")
    return path


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


def test_a_shortage_of_memory_is_not_remembered_as_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = shapes(tmp_path / "pictures", count=6), tmp_path / "cache"
    (folder / "bright" / "large.png").write_bytes(picture(1, size=(40, 40)))
    load = ImageFile.ImageFile.load

    def short_of_memory(image: ImageFile.ImageFile) -> Any:
        if image.size == (40, 40):
            raise MemoryError
        return load(image)

    with monkeypatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load", short_of_memory)
        short = read_own(folder, Choices(size=16), cache=cache)
    assert [one.source for one in short.packed.unreadable] == ["bright/large.png"]
    assert "more memory to decode than there is" in short.packed.unreadable[0].reason
    again = read_own(folder, Choices(size=16), cache=cache)
    assert again.packed.unreadable == ()
    assert len(again.packed.indices) == 13

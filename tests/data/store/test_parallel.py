"""Workers and threads give the same pixels, and none is left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid import machine
from pellucid.data.preprocess import Preprocess
from pellucid.data.sources.listing import Listing, Picture
from pellucid.data.store import parallel
from pellucid.data.store.index import Index, Row
from pellucid.data.store.pixels import pack
from pellucid.decode.images import DecodeSettings
from pellucid.decode.workers import WorkerPool, WorkerResult
from tests.data.listings import file_bytes, listed
from tests.data.store.packing import SMALL, is_right, mixed, until, workers_of


def test_progress_ends_at_the_whole(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "BLOCK_ITEMS", 10)
    told: list[tuple[str, int, int]] = []
    pack(listed(photos), SMALL, cache=cache, progress=lambda *facts: told.append(facts))
    assert told == [(what, n, 24) for what in ("looked at", "decoded") for n in (10, 20, 24)]


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
    decoded = WorkerPool.process

    def losing(
        self: WorkerPool, contents: Sequence[object], settings: DecodeSettings | None = None
    ) -> list[WorkerResult | None]:
        if settings and len(with_workers) > 10:
            for worker in workers_of(os.getpid()):
                os.kill(worker, signal.SIGKILL)
        return decoded(self, contents, settings)

    monkeypatch.setattr(WorkerPool, "process", losing)
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


def test_arrays_wait_in_memory_no_more_than_files_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "REQUEST_BYTES", 1000)
    waiting: list[int] = []

    def process(contents: Sequence[object]) -> list[None]:
        waiting.append(len(contents))
        return [None] * len(contents)

    items = list(range(9))
    found = parallel.process_in_batches(
        items, lambda item: np.zeros((20, 20), np.uint8), process, lambda item, content, _: item
    )
    assert found == items
    assert waiting == [3, 3, 3]

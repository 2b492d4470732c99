"""Worker processes find in a file what this process finds, and are missed by nobody when they are lost."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pellucid.data.preprocess import Preprocess
from pellucid.decode.images import decode_bytes, read_header
from pellucid.decode.workers import UNNAMED, WORKER_COMMAND, WorkerPool, file_digest, hash_bytes, worker_pool
from pellucid.errors import UsageError
from tests.data.store.packing import until, workers_of
from tests.stored import RAINBOW, RAMP, stored

SETTINGS = Preprocess(3, 8, 8, "stretch", 90).decode_settings
FILES = [stored(RAMP), stored(RAINBOW, "JPEG"), b"text", stored(RAINBOW)[:60], stored(RAMP, "GIF"), b""]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers are started on POSIX systems")


@pytest.fixture(scope="module")
def pool():
    with worker_pool(1) as started:
        yield started


def test_a_hash_is_blake2_of_16_bytes() -> None:
    content = b"picture"
    assert hash_bytes(content) == hashlib.blake2b(content, digest_size=16).digest()
    assert hash_bytes(memoryview(content)) == hash_bytes(content)
    assert file_digest(content) == hash_bytes(content).hex()


def test_a_worker_finds_the_pixels_that_are_found_here(pool: WorkerPool) -> None:
    for content, found in zip(FILES, pool.process(FILES, SETTINGS), strict=True):
        expected = decode_bytes(content, SETTINGS, name=UNNAMED)
        assert found is not None
        assert (found.header, found.reason) == (expected.header, expected.reason)
        assert found.digest == file_digest(content)
        assert bytes(found.pixels) == expected.pixels
        if not expected.reason:
            assert (found.content, found.sketch) == (hash_bytes(expected.pixels), expected.sketch)


def test_without_settings_only_headers_are_read(pool: WorkerPool) -> None:
    for content, found in zip(FILES, pool.process(FILES), strict=True):
        assert found is not None
        assert (found.digest, bytes(found.pixels), found.content) == (file_digest(content), b"", b"")
        try:
            expected = (read_header(content, name=UNNAMED), "")
        except UsageError as error:
            expected = (None, str(error))
        assert (found.header, found.reason) == expected


def test_arrays_are_left_to_the_caller(pool: WorkerPool) -> None:
    mixed = [np.zeros((4, 4), np.uint8), FILES[0], "a path"]
    found = pool.process(mixed, SETTINGS)
    assert [one is None for one in found] == [True, False, True]
    assert found[1] is not None
    assert found[1].digest == file_digest(FILES[0])
    assert pool.process([], SETTINGS) == []


def test_many_threads_get_their_own_answers(pool: WorkerPool) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda content: pool.process([content], SETTINGS)[0], FILES * 10))
    assert [answer.digest for answer in answers if answer] == [file_digest(content) for content in FILES * 10]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_lost_worker_answers_nothing_and_none_is_left() -> None:
    others = workers_of(os.getpid())  # of other tests, which go on with them
    with worker_pool(2) as pool:
        assert pool.threads == 4
        assert pool.process(FILES[:1]) != [None]
        before = workers_of(os.getpid()) - others
        assert len(before) == 2
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        assert until(lambda: not workers_of(os.getpid()) - others)
        assert pool.process(FILES, SETTINGS) == [None] * len(FILES)
        assert pool.process(FILES) == [None] * len(FILES), "and so it stays"
    assert not workers_of(os.getpid()) & before


def test_where_python_cannot_be_started_again_the_pool_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with worker_pool(2) as pool:
        assert pool.threads == 0
        assert pool.process(FILES, SETTINGS) == [None] * len(FILES)
    monkeypatch.setattr(sys, "executable", "")
    with worker_pool(2) as pool:
        assert pool.threads == 0


def test_an_error_in_the_block_ends_the_workers_too() -> None:
    with pytest.raises(ZeroDivisionError), worker_pool(1) as pool:
        assert pool.threads == 2
        raise ZeroDivisionError
    if sys.platform == "linux":
        assert pool.process(FILES[:1]) == [None]


def test_a_worker_answers_until_its_input_ends() -> None:
    """The protocol as its docstring has it: a line of JSON and the files, a line of JSON and the payloads."""
    command = [sys.executable, "-c", WORKER_COMMAND, str(os.getpid()), *sys.path]
    asked = b"[null, [%d, 4]]\n" % len(FILES[0]) + FILES[0] + b"text"
    done = subprocess.run(command, input=asked, capture_output=True, timeout=60, check=True)
    (line,) = done.stdout.splitlines()
    good, bad = json.loads(line)
    assert good == [file_digest(FILES[0]), [6, 4, "L", False], "", 0]
    assert bad[:2] == [file_digest(b"text"), None]
    assert bad[2].startswith(f"{UNNAMED} is not a picture of a known format")
    assert done.stderr == b""

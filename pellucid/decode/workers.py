"""Decoding in worker processes, one per core: threads would wait for Python's global interpreter lock.

A worker is a Python process that loads Pillow and this module, but neither torch nor the caller's script. It
reads requests on its standard input and answers on its standard output, each a line of JSON and raw bytes:

    request   [settings or null, [size of file 1, size of file 2, ...]], then the files
    response  [[digest, header or null, reason, size of the payload of file 1], ...], then the payloads: with
              settings, for every decoded file, the hash of its pixels, its sketch and the pixels

A worker opens no file. If it fails, the caller decodes the unanswered files itself.
"""

import gc
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from threading import Lock
from typing import NamedTuple

from pellucid.decode.images import DecodeSettings, ImageHeader, decode_bytes, read_header
from pellucid.decode.process import WorkerProcess, command, started_by
from pellucid.errors import UsageError

UNNAMED = "The picture"  # how an error begins whose picture is named elsewhere
DIGEST_BYTES = 16
REQUESTS_AHEAD = 2  # requests sent before the first is answered: a worker never waits for the next
WORKER_COMMAND = command("pellucid.decode.workers")


class WorkerResult(NamedTuple):
    """What a worker found in one file.

    digest   as `file_digest` returns it
    header   size and mode; None if they could not be read
    reason   why there is no header or, if pixels were requested, why there are none; else ""
    content  BLAKE2 of the pixels, 16 bytes; like sketch and pixels only if pixels were requested
    sketch   as `images.sketch_of` returns it, 16 bytes
    pixels   (C, H, W), one byte each
    """

    digest: str
    header: ImageHeader | None
    reason: str
    content: bytes
    sketch: bytes
    pixels: memoryview


class WorkerPool:
    """Worker processes that any number of threads may use; an empty pool returns no results."""

    def __init__(self, workers: Sequence["_Worker"]) -> None:
        self.threads = len(workers) * REQUESTS_AHEAD  # enough to keep every worker busy
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in [*workers] * REQUESTS_AHEAD:
            self._idle.put(worker)

    def process(
        self, contents: Sequence[object], settings: DecodeSettings | None = None
    ) -> list[WorkerResult | None]:
        """The header of every item that is a file's bytes or, with settings, its pixels; else None."""
        encoded = [content for content in contents if isinstance(content, bytes)]
        if not encoded or not self.threads:
            return [None] * len(contents)
        worker = self._idle.get()
        try:
            results = iter(worker.process(encoded, settings))
        finally:
            self._idle.put(worker)
        return [next(results) if isinstance(content, bytes) else None for content in contents]


@contextmanager
def worker_pool(count: int) -> Iterator[WorkerPool]:
    """A pool of `count` workers that end with the block; empty if this Python cannot be started again.

    On Windows the pool is always empty: there the caller decodes in threads.
    """
    workers: list[_Worker] = []
    try:
        with suppress(OSError):  # the system's limit on processes: go on with fewer
            for _ in range(count):
                workers.append(_Worker())
        yield WorkerPool(workers)
    finally:
        for worker in workers:
            worker.close()


def file_digest(content: bytes) -> str:
    """BLAKE2 of a file's bytes, 16 bytes in hexadecimal."""
    return hash_bytes(content).hex()


def hash_bytes(content: bytes | memoryview) -> bytes:
    """BLAKE2 of a file's bytes or of a picture's pixels, 16 bytes."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


class _Worker:
    """One process. One thread may send a request while another reads the response to an earlier one."""

    def __init__(self) -> None:
        self._process = WorkerProcess(WORKER_COMMAND)
        self._requests, self._responses = self._process.requests, self._process.responses
        self.close = self._process.close
        self._sending, self._receiving = Lock(), Lock()
        self._lost = False

    def process(
        self, contents: Sequence[bytes], settings: DecodeSettings | None
    ) -> Sequence[WorkerResult | None]:
        """A result for each file; None for all once the process is lost."""
        try:
            with self._sending:
                self._send(contents, settings)
                self._receiving.acquire()  # before the next request is sent: responses keep the order
            try:
                return self._receive()
            finally:
                self._receiving.release()
        except (OSError, ValueError):  # a broken pipe, a response that is cut off
            self._lost = True
            return [None] * len(contents)

    def _send(self, contents: Sequence[bytes], settings: DecodeSettings | None) -> None:
        if self._lost:
            raise OSError("the worker is lost")
        self._requests.write(json.dumps([settings, [len(content) for content in contents]]).encode() + b"\n")
        self._requests.writelines(contents)
        self._requests.flush()

    def _receive(self) -> list[WorkerResult]:
        entries = json.loads(self._responses.readline())
        payloads = memoryview(self._responses.read(sum(size for *_, size in entries)))
        results, start = [], 0
        for digest, header, reason, size in entries:
            payload = payloads[start : start + size]
            start += size
            if start > len(payloads):
                raise ValueError("the response is cut off")
            content, sketch = bytes(payload[:DIGEST_BYTES]), bytes(payload[DIGEST_BYTES : 2 * DIGEST_BYTES])
            image_header = ImageHeader(*header) if header else None
            pixels = payload[2 * DIGEST_BYTES :]
            results.append(WorkerResult(digest, image_header, reason, content, sketch, pixels))
        return results


# What runs in the worker


def serve(parent: int) -> None:
    """Answer requests until the input ends or the process `parent` does."""
    requests, responses = started_by(parent)
    gc.freeze()  # modules stay, and a picture leaves little garbage: collect seldom
    gc.set_threshold(10_000)
    while line := requests.readline():
        values, sizes = json.loads(line)
        settings = DecodeSettings(*values) if values else None
        results = [_process(requests.read(size), settings) for size in sizes]
        entries = [(digest, header, reason, len(payload)) for digest, header, reason, payload in results]
        responses.write(json.dumps(entries).encode() + b"\n")
        responses.writelines(payload for *_, payload in results)
        responses.flush()


def _process(content: bytes, settings: DecodeSettings | None) -> tuple[str, ImageHeader | None, str, bytes]:
    digest = file_digest(content)
    if settings is None:
        try:
            return digest, read_header(content, name=UNNAMED), "", b""
        except UsageError as error:
            return digest, None, str(error), b""
    image = decode_bytes(content, settings, name=UNNAMED)
    payload = b"" if image.reason else hash_bytes(image.pixels) + image.sketch + image.pixels
    return digest, image.header, image.reason, payload

"""Decoding in processes of its own, a worker a core, where threads would wait for Python's one lock.

A worker is a Python that loads Pillow and this, and neither torch nor the caller's script. It takes orders on
its standard input and answers on its standard output, one line of JSON each with bytes behind it:

    order   [form or null, [bytes of file 1, bytes of file 2, ...]], then the files
    answer  [[digest, header or null, reason, bytes that follow of file 1], ...], then, where a form was
            given, of each file that has pixels a hash of them, its sketch, and they

It opens no file and never outlives the process that started it: Linux ends it at once, and elsewhere its
input has ended. A worker that fails is no failure: what is left unanswered is done by whoever asked.
"""

import ctypes
import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from threading import Lock
from typing import IO, NamedTuple

from pellucid.decode.images import Form, Header, Seen, header, read_through
from pellucid.errors import UsageError

NAMELESS = "The picture"  # how an error begins that is told behind the picture's name
DIGEST_BYTES = 16
AHEAD = 2  # orders a worker is given before the first is answered: it never waits for the next
PIPE_BYTES = 1 << 20  # of orders and answers that wait in a pipe, if the system allows it, and at its ends
ENDED_WITH_PARENT = 1  # PR_SET_PDEATHSIG

START = (
    "import sys; sys.path[:] = sys.argv[2:]; from pellucid.decode.workers import serve; "
    "serve(int(sys.argv[1]))"
)


class Answer(NamedTuple):
    """What a worker says of one file.

    digest   as `digest_of_file` gives it
    header   what the file declares; None where it cannot be told
    reason   why there is no header, or why there are no pixels where they were asked for; else ""
    content  BLAKE2 of the pixels, 16 bytes
    sketch   as `decoding.sketch_of` gives it, 16 bytes
    pixels   (C, H, W), one byte each, where they were asked for, as content and sketch are
    """

    digest: str
    header: Header | None
    reason: str
    content: bytes
    sketch: bytes
    pixels: memoryview


class WorkerPool:
    """Workers, asked from any number of threads; one without workers answers nothing."""

    def __init__(self, workers: Sequence["_Worker"]) -> None:
        self.threads = len(workers) * AHEAD  # that keep all of them at work
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in [*workers] * AHEAD:
            self._idle.put(worker)

    def ask(self, contents: Sequence[object], form: Form | None = None) -> list[Answer | None]:
        """Of each that is a file's bytes its header, or with a form its pixels; None where nobody answers."""
        of_files = [content for content in contents if isinstance(content, bytes)]
        if not of_files or not self.threads:
            return [None] * len(contents)
        worker = self._idle.get()
        try:
            answers = iter(worker.asked(of_files, form))
        finally:
            self._idle.put(worker)
        return [next(answers) if isinstance(content, bytes) else None for content in contents]


@contextmanager
def worker_pool(count: int) -> Iterator[WorkerPool]:
    """So many workers, gone after the block; none where this Python cannot be started once more.

    On Windows that is not tried: there the caller does the work, in threads.
    """
    workers: list[_Worker] = []
    can_start = os.name == "posix" and bool(sys.executable) and not getattr(sys, "frozen", False)
    try:
        with suppress(OSError):  # the system gives no more processes: then fewer do it
            for _ in range(count if can_start else 0):
                workers.append(_Worker())
        yield WorkerPool(workers)
    finally:
        for worker in workers:
            worker.end()


def digest_of_file(content: bytes) -> str:
    """BLAKE2 of a file's bytes, 16 bytes in hexadecimal."""
    return hash_of(content).hex()


def hash_of(content: bytes | memoryview) -> bytes:
    """BLAKE2 of a file's bytes, or of a picture's pixels, 16 bytes."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


class _Worker:
    """One process. A thread may give it an order while another's is being answered."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(os.getpid()), *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=PIPE_BYTES,
            process_group=0,  # Ctrl-C is for whoever asks
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.orders, self.answers = self.process.stdin, self.process.stdout
        for pipe in (self.orders, self.answers):
            _widen(pipe)
        self.giving, self.taking = Lock(), Lock()
        self.gone = False

    def asked(self, contents: Sequence[bytes], form: Form | None) -> Sequence[Answer | None]:
        """What it says of each; nothing from when it is gone."""
        try:
            with self.giving:
                self._give(contents, form)
                self.taking.acquire()  # before the next order is given: answers come in the same order
            try:
                return self._answers()
            finally:
                self.taking.release()
        except (OSError, ValueError):  # a pipe that is broken, an answer that is cut off
            self.gone = True
            return [None] * len(contents)

    def _give(self, contents: Sequence[bytes], form: Form | None) -> None:
        if self.gone:
            raise OSError("it is gone")
        self.orders.write(json.dumps([form, [len(content) for content in contents]]).encode() + b"\n")
        self.orders.writelines(contents)
        self.orders.flush()

    def _answers(self) -> list[Answer]:
        said = json.loads(self.answers.readline())
        rest = memoryview(self.answers.read(sum(size for *_, size in said)))
        found, at = [], 0
        for digest, declared, reason, size in said:
            content, sketch = (bytes(rest[start : start + DIGEST_BYTES]) for start in (at, at + DIGEST_BYTES))
            pixels = rest[at + 2 * DIGEST_BYTES : at + size]
            at += size
            if at > len(rest):
                raise ValueError("an answer that is cut off")
            head = Header(*declared) if declared else None
            found.append(Answer(digest, head, reason, content, sketch, pixels))
        return found

    def end(self) -> None:
        """It has nothing to lose, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.orders, self.answers):
            with suppress(OSError):
                pipe.close()


def _widen(pipe: IO[bytes]) -> None:
    if sys.platform == "linux":
        import fcntl  # only where it exists

        with suppress(OSError):  # more than this person may have
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


# What runs in the worker


def serve(parent: int) -> None:
    """Answer orders until there are no more."""
    _end_with(parent)
    warnings.simplefilter("ignore")
    gc.freeze()  # what has been loaded stays, and a picture leaves little behind: it is seldom looked for
    gc.set_threshold(10_000)
    orders, answers = os.fdopen(0, "rb", PIPE_BYTES), os.fdopen(1, "wb", PIPE_BYTES)
    while line := orders.readline():
        form, sizes = json.loads(line)
        contents = [orders.read(size) for size in sizes]
        said = [_said(content, Form(*form) if form else None) for content in contents]
        heads = [(digest, declared, reason, len(rest)) for digest, declared, reason, rest in said]
        answers.write(json.dumps(heads).encode() + b"\n")
        answers.writelines(rest for *_, rest in said)
        answers.flush()


def _said(content: bytes, form: Form | None) -> tuple[str, Header | None, str, bytes]:
    digest = digest_of_file(content)
    if form is None:
        try:
            return digest, header(content, name=NAMELESS), "", b""
        except UsageError as error:
            return digest, None, str(error), b""
    seen = read_through(content, form, name=NAMELESS)
    return digest, seen.header, seen.reason, b"" if seen.reason else _rest(seen)


def _rest(seen: Seen) -> bytes:
    return hash_of(seen.pixels) + seen.sketch + seen.pixels


def _end_with(parent: int) -> None:
    """Linux kills this process as soon as the one that started it has ended, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(ENDED_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:  # it had ended before
            os._exit(1)

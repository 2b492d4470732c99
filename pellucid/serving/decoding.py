"""Strangers' pictures are decoded in processes with limits: none can hang, crash or fill the server."""

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, Lock, Timer
from typing import TypeVar

from pellucid.decode.process import WorkerProcess, command
from pellucid.errors import UsageError
from pellucid.serving import limits
from pellucid.serving.guard import LOG, Refusal
from pellucid.serving.received import NAME, REASON_CHARACTERS, Form, request_line

LINE_BYTES = 12 * REASON_CHARACTERS + 3  # JSON writes a character as two escapes of six bytes, at most

Result = TypeVar("Result")


class DecodingPool:
    """Up to `workers` decoding processes, started when they are needed and used again; ended by `close`.

    A process that takes too long over a picture is killed; one that is lost is replaced for the next request.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decoding")
        self._requests = 0  # decoded or waiting
        self._idle: list[_Decoder] = []
        self._started: set[_Decoder] = set()
        self._lock = Lock()
        self._closed = False

    def __enter__(self) -> "DecodingPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def decode(self, content: bytes, forms: Sequence[Form]) -> bytes:
        """The pixels of each form of a picture file, as `received.received` returns them.

        Raises UsageError, naming the reason, for a picture that cannot be decoded within the limits; Refusal
        while too many others wait, or where no process can be started.
        """
        if self._requests >= self.workers * (1 + limits.MAX_WAITING_PICTURES):
            raise _busy("Too many pictures are waiting to be read. Try again in a moment.")
        self._requests += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._decode, content, forms
            )
        finally:
            self._requests -= 1

    def close(self) -> None:
        """End the processes, whatever they are doing; what waits is not decoded."""
        with self._lock:
            self._closed = True
            for worker in self._started:
                worker.process.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._idle:
            worker.process.close()

    def _decode(self, content: bytes, forms: Sequence[Form]) -> bytes:
        worker = self._worker()
        try:
            return worker.decode(content, forms)
        finally:
            with self._lock:
                if worker.lost:
                    self._started.discard(worker)
                    worker.process.close()
                else:
                    self._idle.append(worker)

    def _worker(self) -> "_Decoder":
        """One that waits, or a new one."""
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.process.runs:
                    return worker
                self._started.discard(worker)
                worker.process.close()
            if self._closed:
                raise _busy("The server is being ended.")
            try:
                worker = _Decoder()
            except OSError as error:
                LOG.error("No process could be started to decode a picture: %s", error)
                raise _busy("Pictures cannot be read at the moment. Try again later.") from None
            self._started.add(worker)
            return worker


class _Decoder:
    """A process that decodes one picture after the other.

    lost  it has failed, and must not be used again
    """

    def __init__(self) -> None:
        self.process = WorkerProcess(command("pellucid.serving.received", limits.DECODE_BYTES))
        self.lost = False
        self._loaded = False

    def decode(self, content: bytes, forms: Sequence[Form]) -> bytes:
        """As DecodingPool.decode. The time that the process takes to start does not count."""
        self.lost = True  # until it has answered
        try:
            if not self._loaded:
                self._limited(limits.START_SECONDS, self._line)
                self._loaded = True
            reason, pixels = self._limited(limits.DECODE_SECONDS, partial(self._answer, content, forms))
        except TimeoutError:
            raise UsageError(
                f"{NAME} cannot be read: it takes longer than {limits.DECODE_SECONDS:g} seconds. "
                "Make it smaller first."
            ) from None
        except (OSError, ValueError):
            raise UsageError(
                f"{NAME} cannot be read: the process that decoded it ended early. The file may be damaged."
            ) from None
        self.lost = False
        if reason:
            raise UsageError(reason)
        return pixels

    def _limited(self, seconds: float, work: Callable[[], Result]) -> Result:
        """The result of `work`. Raises TimeoutError when it takes longer: then the process is killed."""
        late = Event()

        def end() -> None:
            late.set()
            self.process.kill()

        timer = Timer(seconds, end)
        timer.start()
        try:
            return work()
        finally:
            timer.cancel()
            timer.join()
            if late.is_set():
                raise TimeoutError

    def _answer(self, content: bytes, forms: Sequence[Form]) -> tuple[str, bytes]:
        """The reason why there are no pixels, and the pixels.

        Raises OSError when the process is lost, ValueError when it answers anything else.
        """
        self.process.requests.writelines([request_line(forms, len(content)), content])
        self.process.requests.flush()
        reason = json.loads(self._line())
        if not isinstance(reason, str):
            raise ValueError("the response is not as expected")
        size = 0 if reason else sum(form.size for form in forms)
        pixels = self.process.responses.read(size)
        if len(pixels) != size:
            raise ValueError("the response is cut off")
        return reason, pixels

    def _line(self) -> bytes:
        line = self.process.responses.readline(LINE_BYTES)
        if not line.endswith(b"\n"):
            raise ValueError("the response is cut off")
        return line


def _busy(message: str) -> Refusal:
    return Refusal(503, "busy", message, ((b"retry-after", b"1"),))

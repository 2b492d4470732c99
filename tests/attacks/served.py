"""`live` in a process of its own, with runs that torch answers, and what each of its answers must be."""

import asyncio
import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.classifier import Classifier
from pellucid.live.answers import NOW, Answerer
from pellucid.runs.fit import fit
from tests.live.questions import question
from tests.runs.toy_runs import SHORT
from tests.toys import economical, surroundings, toy_dataset, toy_splits, write_picture

SERVER = """
import signal
import sys
from pathlib import Path
import torch
from pellucid.classifier import Classifier
from pellucid.live import serve, served
from pellucid.pad.section import Subject
torch.set_num_threads(1)
runs = [served("toys", Subject(Classifier.load(Path(name))), torch_only=True) for name in sys.argv[1:]]
serve(runs, port=0, open_browser=False, announce=lambda address: print(address, flush=True))
"""
RUNS = 3
TOLERANCE = 1e-4  # of scores, between two processes


class Response(NamedTuple):
    """An answer; status 0 where the server closed the connection without one."""

    status: int
    head: bytes
    body: bytes


class Drawing(NamedTuple):
    """A picture, its file, and the scores that each run gives it."""

    pixels: Tensor
    file: bytes
    scores: list[Tensor]


@dataclass
class Live:
    """A server, and where it is found."""

    process: "subprocess.Popen[str]"
    port: int
    errors: Path

    @property
    def memory(self) -> int:
        """Resident memory in MB. Needs Linux."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) // 1024


@contextmanager
def live(place: Path) -> Iterator[Live]:
    """A server of the runs in `place`, which must still be there at the end, and end in peace.

    `errors` is what it wrote about requests that failed in it.
    """
    folders = [str(place / f"run-{number}") for number in range(RUNS)]
    errors = place / "errors.txt"
    with errors.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, *folders],
            stdout=subprocess.PIPE, stderr=file, text=True, env=surroundings(),
        )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, errors.read_text()
        yield Live(process, int(address.rstrip("/").rpartition(":")[2]), errors)
        assert process.poll() is None, f"the server ended with {process.returncode}: {errors.read_text()}"
        process.terminate()
        assert process.wait(900) == 0  # on a busy machine
    finally:
        process.kill()
        process.communicate()


def make_runs(place: Path) -> None:
    """Runs that give different answers to the same picture."""
    splits = toy_splits(80)
    with economical():
        for seed in range(RUNS):
            fit(splits, replace(SHORT, seed=seed), folder=place / f"run-{seed}")


def drawings(place: Path, count: int) -> list[Drawing]:
    """Pictures of which no two are answered alike by any of the runs."""
    answerers = [Answerer(Classifier.load(place / f"run-{number}")) for number in range(RUNS)]
    found = []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for image in toy_dataset(count, seed=9).images:
            file = write_picture(Path(folder) / "x.png", image).read_bytes()
            scores = [answerer.scores(image[None], NOW)[0].clone() for answerer in answerers]
            found.append(Drawing(image, file, scores))
    for run in range(RUNS):
        of_run = torch.stack([drawing.scores[run] for drawing in found])
        distances = (of_run[:, None] - of_run[None]).abs().amax(2) + torch.eye(count)
        assert distances.min() > 10 * TOLERANCE, "two drawings are answered alike"
    return found


def asking(path: str, port: int, body: bytes = b"", kind: str = "", *more: str) -> bytes:
    """A request as our own page sends it."""
    lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    lines += [f"Origin: http://127.0.0.1:{port}", "Sec-Fetch-Site: same-origin"]
    lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, *more, "", ""]).encode() + body


def asking_scores(drawing: Drawing, run: int, port: int, *more: str) -> bytes:
    """What a run says of a drawing."""
    return asking("/answer", port, question(drawing.pixels, run=run), "application/octet-stream", *more)


def is_right(response: Response, drawing: Drawing, run: int) -> bool:
    """Whether an answer is the scores that the run gives to the drawing."""
    (length,) = struct.unpack_from("<I", response.body)
    count = json.loads(response.body[4 : 4 + length])["classes"]
    scores = torch.tensor(struct.unpack_from(f"<{count}f", response.body, 4 + length))
    return bool((scores - drawing.scores[run]).abs().max() < TOLERANCE)


async def response_of(reader: asyncio.StreamReader) -> Response:
    """The next answer on a connection, after any "100 Continue"."""
    status = 100
    while status == 100:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return Response(0, b"", b"")
        status = int(head.split(b" ", 2)[1])
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    try:
        return Response(status, head, await reader.readexactly(length))
    except asyncio.IncompleteReadError as end:  # an answer to HEAD has no body
        return Response(status, head, end.partial)
    except ConnectionError:
        return Response(status, head, b"")


async def exchange(port: int, sent: bytes, *, seconds: float = 120.0) -> Response | None:
    """The first answer to these bytes on a connection of their own; None where nothing comes in that time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        with suppress(ConnectionError):
            writer.write(sent)
            await writer.drain()
        return await asyncio.wait_for(response_of(reader), seconds)
    except TimeoutError:
        return None
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

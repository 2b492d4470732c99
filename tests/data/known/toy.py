"""A known data set of three shapes, archives of made-up pictures, and the server that plays their mirrors."""

import contextlib
import gzip
import hashlib
import http.client
import io
import tarfile
import threading
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.data import DATASETS
from pellucid.data.known.download import Transfer
from pellucid.data.known.find import KnownDataset, KnownFile

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def idx(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + b"".join(length.to_bytes(4) for length in array.shape)
    return header + array.astype(np.uint8).tobytes()


def made_arrays(seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [
        random.integers(0, 256, (30, 5, 4), np.uint8),
        np.arange(30, dtype=np.uint8) % 3,
        random.integers(0, 256, (9, 5, 4), np.uint8),
        np.arange(9, dtype=np.uint8) % 3,
    ]


TOYS = dict(zip(NAMES, map(idx, made_arrays()), strict=True))


PACKED = {name: gzip.compress(content, mtime=0) for name, content in TOYS.items()}


OTHERS = dict(zip(NAMES, map(idx, made_arrays(1)), strict=True))


toy = KnownDataset(
    name="toy",
    title="Three shapes",
    licence="CC0-1.0",
    homepage="https://toy.test/",
    citation="made here",
    pictures=39,
    shape=(1, 5, 4),
    classes=("circle", "square", "star"),
    parse=DATASETS["mnist"].parse,
    files=tuple(
        KnownFile(name, len(content), hashlib.sha256(content).hexdigest(), len(PACKED[name]))
        for name, content in TOYS.items()
    ),
    mirrors=("https://first.test/toy/", "https://second.test/toy/"),
    keras="toy.npz",
    torchvision="Toy/raw",
)


def put(folder: Path, contents: dict[str, bytes] = TOYS, *, packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / name).write_bytes(content)
    return folder


def is_toy(splits: Any) -> bool:
    images, labels, test_images, test_labels = made_arrays()
    return (
        np.array_equal(splits.train.images[:, 0].numpy(), images)
        and np.array_equal(splits.train.labels.numpy(), labels)
        and np.array_equal(splits.test.images[:, 0].numpy(), test_images)
        and np.array_equal(splits.test.labels.numpy(), test_labels)
    )


Fault = Callable[[BaseHTTPRequestHandler, bytes], None]


@dataclass
class Mirrors:
    """A server on this machine that plays both mirrors; the fault of one spoils its answers."""

    faults: dict[str, Fault] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=lambda: dict(PACKED))
    port: int = 0
    patience: float = 30.0  # seconds; only a test of a server that is too slow waits for its end

    def transfer(self, **options: Any) -> Transfer:
        return Transfer(transport=ToLoopback(self.port), timeout_seconds=self.patience, **options)


class ToLoopback(urllib.request.HTTPSHandler):
    """Carries https requests to a plain server on this machine: every rule stays, TLS alone is left out."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        def connection(host: str, **options: Any) -> http.client.HTTPConnection:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=options["timeout"])

        return self.do_open(connection, req)  # type: ignore[arg-type]


def answer(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    *,
    status: int = 200,
    length: int | None = None,
    **headers: str,
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def ranged(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """What a right server does."""
    asked = handler.headers.get("Range")
    if asked is None:
        return answer(handler, body)
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    where = f"bytes {start}-{len(body) - 1}/{len(body)}"
    return answer(handler, body[start:], status=206, Content_Range=where)


def whole(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    answer(handler, body)


def half(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    answer(handler, body[: len(body) // 2], length=len(body))


def half_silently(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])


def without_length(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(body)


def without_end(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(body)
    with contextlib.suppress(OSError):
        for _ in range(1000):
            handler.wfile.write(bytes(65536))


def stalled(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[:10])
    handler.wfile.flush()
    threading.Event().wait(1.5)


def npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # of 1980: made again, it has the same bytes
    return buffer.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def archived(entry: KnownDataset, content: bytes) -> KnownDataset:
    """The entry with a made-up archive in the place of the published one."""
    assert entry.archive is not None
    digest = hashlib.sha256(content).hexdigest()
    return replace(entry, archive=replace(entry.archive, size=len(content), sha256=digest))


UPRIGHT = np.zeros((6, 28, 28), np.uint8)
UPRIGHT[:, 4:24, 10] = 255  # an L: down, then to the right
UPRIGHT[:, 23, 10:20] = 255
UPRIGHT[:, 0, 0] = np.arange(6)  # tells one from another
LETTERS = np.array([1, 2, 26, 1, 9, 12], np.uint8)


def emnist_members(kind: str, labels: np.ndarray, mapping: str) -> dict[str, bytes]:
    """What EMNIST's archive holds of one set, the pictures on their side, beside files of the others."""
    sideways = UPRIGHT.transpose(0, 2, 1)
    start = f"gzip/emnist-{kind}"
    return {
        "gzip/": b"",
        f"{start}-mapping.txt": mapping.encode(),
        f"{start}-train-images-idx3-ubyte.gz": gzip.compress(idx(sideways[:4]), mtime=0),
        f"{start}-train-labels-idx1-ubyte.gz": gzip.compress(idx(labels[:4]), mtime=0),
        f"{start}-test-images-idx3-ubyte.gz": gzip.compress(idx(sideways[4:]), mtime=0),
        f"{start}-test-labels-idx1-ubyte.gz": gzip.compress(idx(labels[4:]), mtime=0),
        "gzip/emnist-byclass-mapping.txt": b"0 48\n",
        "__MACOSX/gzip/._emnist-letters-mapping.txt": b"rubbish",
    }


def letters_archive() -> bytes:
    mapping = "".join(f"{number} {64 + number} {96 + number}\n" for number in range(1, 27))
    return zipped(emnist_members("letters", LETTERS, mapping))


RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (12, 3, 32, 32), np.uint8)
TEN = "airplane automobile bird cat deer dog frog horse ship truck"


def rows(pixels: np.ndarray, *labels: np.ndarray) -> bytes:
    marks = np.stack(labels, axis=1).astype(np.uint8)
    return np.concatenate([marks, pixels.reshape(len(pixels), -1)], axis=1).tobytes()


def cifar_10_archive() -> bytes:
    labels = np.arange(12) % 10
    blocks = {
        f"cifar-10-batches-bin/data_batch_{n + 1}.bin": rows(
            PIXELS[2 * n : 2 * n + 2], labels[2 * n : 2 * n + 2]
        )
        for n in (1, 0, 2, 3, 4)  # in any order
    }
    return tarred(
        blocks
        | {
            "cifar-10-batches-bin/readme.html": b"<html>",
            "cifar-10-batches-bin/batches.meta.txt": TEN.replace(" ", "\n").encode() + b"\n\n",
            "cifar-10-batches-bin/test_batch.bin": rows(PIXELS[10:], labels[10:]),
        }
    )

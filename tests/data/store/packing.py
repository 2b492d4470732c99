"""What the tests of the store share: packed pictures compared, files damaged, workers looked for."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pellucid.data.preprocess import Preprocess
from pellucid.data.sources.listing import Listing
from pellucid.data.store.pixels import PackedImages
from pellucid.decode.workers import WORKER_COMMAND
from tests.data.folders import png_header
from tests.data.listings import file_bytes

SMALL = Preprocess(3, 8, 8, "stretch")


def is_right(packed: PackedImages, listing: Listing, preprocess: Preprocess = SMALL) -> bool:
    """Whether every picture kept is, to the pixel, what one reading of it gives now."""
    assert len(packed.indices) + len(packed.unreadable) == len(listing.pictures)
    expected = [preprocess.read(listing.read(n)) for n in packed.indices]
    return torch.equal(packed.images.clone(), torch.stack(expected))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def sketches(folder: Path) -> list[bytes]:
    """Of every file there the sketch, made here and now."""
    return [SMALL.decode(path.read_bytes(), name="").sketch for path in sorted(folder.rglob("*.png"))]


def workers_of(process: int, code: str = WORKER_COMMAND) -> set[int]:
    """The worker processes that `process` has started with this code, wherever they belong by now."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdecimal() else []
            if len(words) > 3 and words[2] == code.encode() and words[3] == str(process).encode():
                found.add(int(entry.name))
    return found


def until(true: Callable[[], object], seconds: float = 60) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(true())


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

"""Folders of small pictures for tests, listed without any of the formats' own code."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from pellucid.data.sources.listing import Listing, Picture


def file_bytes(seed: int, *, size: tuple[int, int] = (20, 14), kind: str = "PNG", mode: str = "RGB") -> bytes:
    """A picture file of random pixels: another seed, another content."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def folder_of_pictures(folder: Path, count: int = 24) -> Path:
    """`count` pictures of two classes, every one different."""
    for n in range(count):
        path = folder / ("cat" if n % 2 else "dog") / f"{n:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_bytes(n))
    return folder


def listed(folder: Path, *, heard: Callable[[str], None] = lambda source: None) -> Listing:
    """Every file of one folder a class; `heard` is told of each that is read."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    pictures = [Picture(path.relative_to(folder).as_posix(), path.parent.name) for path in paths]

    def read(n: int) -> bytes:
        heard(pictures[n].source)
        return paths[n].read_bytes()

    def stamp(n: int) -> str:
        facts = paths[n].stat()
        return f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ino}"

    classes = tuple(sorted({picture.label for picture in pictures}))
    return Listing(str(folder), pictures, classes, (), read, stamp)

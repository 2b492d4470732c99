"""Folders of small pictures, made for a test, and a proof that nobody touched them."""

import hashlib
import io
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, *, size: tuple[int, int] = (16, 16), mode: str = "RGB", kind: str = "PNG") -> bytes:
    """An image file of noise; the same seed gives the same bytes."""
    width, height = size
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def planted(folder: Path, files: Mapping[str, bytes] | Iterable[str]) -> Path:
    """The folder with these files; a name that ends with / is an empty folder. Without bytes: any."""
    contents = files if isinstance(files, Mapping) else {name: name.encode("utf-8") for name in files}
    for name, content in contents.items():
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return folder


def shapes(folder: Path, *, count: int = 30, parts: Iterable[str] = ("",), size: int = 16) -> Path:
    """Bright and dark pictures in one folder per class, in each part."""
    files = {}
    for number, part in enumerate(parts):
        for shown, level in (("bright", 200), ("dark", 20)):
            for index in range(count):
                random = np.random.default_rng(1000 * number + index + level)
                pixels = (level + random.integers(0, 40, (size, size, 3))).astype(np.uint8)
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "PNG")
                files["/".join(filter(None, (part, shown, f"{index:03}.png")))] = file.getvalue()
    return planted(folder, files)


def state(folder: Path) -> str:
    """A hash of every name, byte, time stamp and inode below a folder."""
    digest = hashlib.sha256()
    for path in [folder, *sorted(folder.rglob("*"))]:
        facts = path.lstat()
        stamps = (facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_size, facts.st_mode)
        digest.update(repr((str(path), *stamps)).encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def png_header(width: int, height: int, *, colour: bool = False) -> bytes:
    """A PNG that tells of a size and ends there."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if colour else 0, 0, 0, 0)
    chunk = b"IHDR" + header
    empty = b"IDAT" + zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (chunk, empty, b"IEND")
    )

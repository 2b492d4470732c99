"""The same pictures written as archives and as arrays, and what was read of them."""

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.data.sources.listing import Listing
from tests.data.folders import picture

FILES = {
    "train/cat/1.png": picture(1),
    "train/cat/a folder/2.png": picture(2),
    "train/dog/1.png": picture(3),
    "test/dog/10.png": picture(4),
    "test/cat/2.png": picture(5),
}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, mode, format=form) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def contents(listing: Listing) -> dict[str, Any]:
    return {one.source: listing.read(index) for index, one in enumerate(listing.pictures)}


def labels(listing: Listing) -> dict[str, tuple[str, str]]:
    return {one.source: (one.label, one.split) for one in listing.pictures}


def contents_of_others(listing: Listing, broken: int) -> list[Any]:
    return [listing.read(index) for index in range(len(listing.pictures)) if index != broken]


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "x_train": random.integers(0, 256, (24, 6, 5, 3), np.uint8),
        "y_train": np.arange(24).reshape(-1, 1) % 12,
        "x_test": random.integers(0, 256, (12, 6, 5, 3), np.uint8),
        "y_test": np.arange(12).reshape(-1, 1),
    }


def idx(array: np.ndarray) -> bytes:
    return (
        bytes((0, 0, 8, array.ndim))
        + b"".join(n.to_bytes(4) for n in array.shape)
        + array.astype(np.uint8).tobytes()
    )

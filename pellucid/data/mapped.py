"""Pictures that stay in a file and are read when they are used, with the interface of a tensor.

200,000 pictures of 3x64x64 take 2.5 GB: mapped, they stay on the disk, and only a batch is in memory.
"""

import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import PellucidError

RESIDENT_BYTES = 256 << 20  # of a mapped file's pages in memory before they are released
BLOCK_BYTES = 16 << 20  # of one block of `in_blocks`, at most
READ_AROUND_BYTES = 1 << 16  # what the system maps around a page that is touched, at most


class MappedFile:
    """A file of pixels mapped into memory, read only.

    Pages that were read count as the process's memory until they are released: reading at random would end up
    holding the whole file. So they are released now and then. They stay in the system's cache, and touching
    one again costs a microsecond.

    The file must have the size that `shape` says: see store/pixels.py. Others may shorten it: touching a page
    that is no longer there would end the process by SIGBUS, so the size is looked at first.
    """

    def __init__(self, file: BinaryIO, shape: tuple[int, int, int, int]) -> None:
        self.name = str(file.name)
        self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.pixels = np.frombuffer(self.map, np.uint8).reshape(shape)  # (R, C, H, W)
        self.touched = 0

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """A copy of these rows, in this order. Raises PellucidError when the file was shortened."""
        if (size := self.map.size()) < self.pixels.nbytes:  # of the file, now
            raise PellucidError(
                f"'{self.name}', which holds the decoded pictures, was shortened from "
                f"{self.pixels.nbytes:,} to {size:,} bytes while they were used. The next command decodes "
                "them again."
            )
        copied: NDArray[np.uint8] = self.pixels[rows]
        self.touched += copied.nbytes + READ_AROUND_BYTES * len(rows)
        if self.touched > RESIDENT_BYTES and hasattr(self.map, "madvise"):  # Windows releases them by itself
            self.map.madvise(mmap.MADV_DONTNEED)
            self.touched = 0
        return copied


class InMemory:
    """Pixels in memory with the interface of `MappedFile`, for a disk without room for the file."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """A copy of these rows, in this order."""
        copied: NDArray[np.uint8] = self.pixels[rows]
        return copied


class MappedImages(Tensor):
    """uint8 (N, C, H, W), read only, whose pictures are read from a file when they are used.

    Indexing the first dimension, or index_select along it, reads just those pictures and returns an ordinary
    tensor. `at` returns a view and reads nothing. Any other operation reads everything first and returns what
    it would return for an ordinary tensor.

    A subclass of Tensor, so that code for pictures in memory works unchanged with pictures in a file.
    """

    source: MappedFile | InMemory
    rows: NDArray[np.int64]
    contents: NDArray[np.uint8]

    @staticmethod
    def __new__(
        cls: type["MappedImages"],
        source: MappedFile | InMemory,
        rows: NDArray[np.int64],
        contents: NDArray[np.uint8],
    ) -> "MappedImages":
        """source    the pixels (R, C, H, W)
        rows      (N,), a row per picture; a row may occur twice
        contents  (R, 16), the hash of each row's pixels, as `dataset.content_hashes` returns it
        """
        shape = (len(rows), *source.pixels.shape[1:])
        self: MappedImages = Tensor._make_wrapper_subclass(cls, shape, dtype=torch.uint8)
        self.source, self.rows, self.contents = source, rows, contents
        return self

    def at(self, indices: Tensor) -> "MappedImages":
        """The pictures at `indices` (int64), in that order, as a view: nothing is read."""
        return MappedImages(self.source, self.rows[indices.numpy()], self.contents)

    def hashes(self) -> list[bytes]:
        """The hash of each picture's pixels, computed when the file was written."""
        return [row.tobytes() for row in self.contents[self.rows]]

    def whole(self) -> Tensor:
        """All pictures, as an ordinary tensor in memory."""
        return torch.from_numpy(self.source.read(self.rows))

    def __repr__(self) -> str:  # type: ignore[override]
        return f"MappedImages({tuple(self.shape)}, uint8, read when asked for)"

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Every operation on a tensor passes through here."""
        if func in METADATA:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args)
        name = getattr(func, "__name__", "")
        first = args[0] if args else None
        if name == "__getitem__" and isinstance(first, MappedImages):
            return _item(first, args[1])
        if (
            name == "index_select"
            and isinstance(first, MappedImages)
            and args[1:2] == (0,)
            and len(args) == 3
        ):
            return _item(first, args[2])
        if isinstance(first, MappedImages) and (
            name == "__setitem__" or (name[-1:] == "_" and name[-2:] != "__")
        ):
            raise TypeError(f"Pictures in a file are read only; '{name}' would change them. Copy them first.")
        whole = {key: _read(value) for key, value in (kwargs or {}).items()}
        return func(*(_read(value) for value in args), **whole)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """A fallback for operations that bypass `__torch_function__`: read everything."""
        return func(*(_read(a) for a in args), **{k: _read(v) for k, v in (kwargs or {}).items()})


# What can be asked without reading any values.
PROPERTIES = ("shape", "dtype", "device", "layout", "ndim", "requires_grad", "is_sparse")
METHODS = ("dim", "size", "numel", "nelement", "__len__", "is_floating_point", "is_complex", "element_size")
METADATA = frozenset(
    [getattr(Tensor, name).__get__ for name in PROPERTIES] + [getattr(Tensor, name) for name in METHODS]
)


def in_blocks(images: Tensor) -> Iterator[Tensor]:
    """The pictures (N, C, H, W) in order, as ordinary contiguous tensors of at most about 16 MB."""
    count = max(1, BLOCK_BYTES // max(1, images.shape[1:].numel()))
    for start in range(0, len(images), count):
        yield images[start : start + count].contiguous()


def _item(images: MappedImages, key: Any) -> Tensor:
    """`images[key]`, reading only the pictures concerned."""
    if isinstance(key, tuple) and key and all(isinstance(part, int | slice) for part in key[1:]):
        first, rest = key[0], key[1:]
        if isinstance(first, int):
            return _item(images, first)[rest]
        if _is_an_index(first):
            return _item(images, first)[(slice(None), *rest)]
    if isinstance(key, int):
        if not -len(images) <= key < len(images):
            raise IndexError(f"index {key} is out of bounds for {len(images)} pictures")
        return torch.from_numpy(images.source.read(images.rows[[key]]))[0]
    if _is_an_index(key):
        rows = images.rows[key if isinstance(key, slice) else np.asarray(key)]
        return torch.from_numpy(images.source.read(rows))
    item: Tensor = images.whole()[key]
    return item


def _is_an_index(key: Any) -> bool:
    """Whether `key` selects along the first dimension only, and keeps that dimension."""
    if isinstance(key, Tensor | np.ndarray):
        return key.ndim == 1
    return isinstance(key, slice) or (
        isinstance(key, list) and bool(key) and all(type(part) is int for part in key)
    )


def _read(value: Any) -> Any:
    if isinstance(value, MappedImages):
        return value.whole()
    if isinstance(value, list | tuple) and any(isinstance(part, MappedImages) for part in value):
        return type(value)(_read(part) for part in value)
    return value

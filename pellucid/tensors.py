"""The only module that reads and writes safetensors: whole files of finite numbers, within limits.

What a header declares is compared with the size of the file before memory is asked for, and a network with
one number that is none is neither saved nor loaded: all that it says would be wrong without a sign of it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.manifest import damage, refuse_altered
from pellucid.reading import TENSOR_BYTES, open_regular, parsed_json, read_regular, reason_of

MOST_HEADER, MOST_TENSORS, MOST_DIMENSIONS = 4 << 20, 16_384, 8
METADATA = "__metadata__"
BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4,
    "I64": 8, "F64": 8,
}  # fmt: skip
DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32,
    "I64": torch.int64, "U16": torch.uint16, "U32": torch.uint32, "F16": torch.float16,
    "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
}  # fmt: skip


Kind = tuple[torch.dtype, tuple[int, ...]]


@dataclass(frozen=True)
class Header:
    """What a file says that it holds: (dtype, shape) of each tensor by name, texts by key."""

    tensors: Mapping[str, Kind]
    metadata: Mapping[str, str]


def packed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file. Raises PellucidError, naming it, for a tensor that is not finite."""
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    if name := not_finite(whole):
        raise PellucidError(
            f"'{name}' has numbers that are not finite (NaN or infinity), so nothing was saved. Training has "
            "diverged: use a lower learning rate."
        )
    return save(whole, dict(metadata) if metadata else None)


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """The name of the first tensor with NaN or infinity in it; "" where there is none."""
    floats = ((name, tensor) for name, tensor in tensors.items() if tensor.is_floating_point())
    return next((name for name, tensor in floats if not bool(torch.isfinite(tensor).all())), "")


def read_header(path: Path) -> Header:
    """What a file says that it holds, without its numbers.

    Raises OSError when it cannot be read, ValueError when it is no safetensors file, beyond the limits, or of
    another size than its header says.
    """
    with open_regular(path, TENSOR_BYTES) as file:
        return _header(file, path.stat().st_size)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file by name, and its metadata.

    Raises FileNotFoundError when it is missing, PellucidError, saying what is lost, when it is not as it was
    written, no such file, beyond the limits, or has numbers that are not finite.
    """
    try:
        content = read_whole(path)
        refuse_altered(path, content)
        return unpacked(content, path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise damage(path, reason_of(error)) from error


def read_whole(path: Path) -> bytes:
    """The bytes of a file whose header agrees with its size. Raises what `read_header` raises."""
    read_header(path)  # before memory is asked for
    return read_regular(path, TENSOR_BYTES)


def unpacked(content: bytes, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a file's bytes. Raises ValueError when they are damaged, or have
    numbers that are not finite."""
    try:
        tensors = load(content)
    except (SafetensorError, KeyError) as error:  # KeyError: a type torch has not
        raise ValueError(f"it is not a safetensors file: {error}") from error
    if name := not_finite(tensors):
        raise ValueError(f"its tensor '{name}' has numbers that are not finite (NaN or infinity)")
    length = int.from_bytes(content[:8], "little")
    return tensors, dict(_entries(parsed_json(content[8 : 8 + length]))[1])


def _header(file: BufferedReader, size: int) -> Header:
    first = file.read(8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or not 0 < length <= MOST_HEADER or 8 + length > size:
        raise ValueError(
            f"it is not a safetensors file: its header has {length:,} bytes; expected up to {MOST_HEADER:,}, "
            "and within the file"
        )
    try:
        tensors, metadata = _entries(parsed_json(file.read(length)))
        found, end = _layout(tensors)
    except ValueError as error:
        raise ValueError(f"it is not a safetensors file: {error}") from error
    if 8 + length + end != size:
        raise ValueError(
            f"it is not a safetensors file of {size:,} bytes: its header says {8 + length + end:,}"
        )
    return Header(found, metadata)


def _layout(tensors: Mapping[str, Any]) -> tuple[dict[str, Kind], int]:
    """(dtype, shape) of every tensor, each of which begins where the last one ended, and where they end."""
    found: dict[str, Kind] = {}
    end = 0
    for name, entry in sorted(tensors.items(), key=_offsets):
        dtype, shape, (start, stop) = entry["dtype"], entry["shape"], _offsets((name, entry))
        if not isinstance(dtype, str) or dtype not in BYTES or not isinstance(shape, list):
            raise ValueError(f"'{name[:60]}' is of a type or shape that is not read")
        if len(shape) > MOST_DIMENSIONS or not all(type(side) is int and 0 <= side < 2**40 for side in shape):
            raise ValueError(f"'{name[:60]}' has sides {str(shape)[:60]}")
        if start != end or stop - start != math.prod(shape) * BYTES[dtype]:
            raise ValueError(f"'{name[:60]}' is said to lie where it does not")
        found[name], end = (DTYPES[dtype], tuple(shape)), stop
    return found, end


def _entries(header: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The entries of the tensors, and the metadata."""
    if not isinstance(header, dict) or len(header) - (METADATA in header) > MOST_TENSORS:
        raise ValueError(f"its header is no list of up to {MOST_TENSORS:,} tensors")
    metadata = header.get(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata are not texts")
    tensors = {name: entry for name, entry in header.items() if name != METADATA}
    for name, entry in tensors.items():
        if not isinstance(entry, dict) or sorted(entry) != ["data_offsets", "dtype", "shape"]:
            raise ValueError(f"'{name[:60]}' is not described as a tensor")
    return tensors, metadata


def _offsets(item: tuple[str, Any]) -> tuple[int, int]:
    name, entry = item
    match entry["data_offsets"]:
        case [int(start), int(stop)]:
            return start, stop
    raise ValueError(f"'{name[:60]}' does not say where it lies")

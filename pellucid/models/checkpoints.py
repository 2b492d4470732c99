"""The weights of a network that was trained elsewhere, from a file: safetensors, or a state dict of torch.

A file of `torch.save` is a pickle inside a zip archive. It is read by `torch.load(weights_only=True)`, which
makes tensors and plain values and runs nothing else; before that, the sizes that the archive claims are
compared with the network, so that a file cannot ask for more memory than that network could need.
"""

import io
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.formatting import listed
from pellucid.reading import read_regular, reason_of
from pellucid.tensors import MOST_TENSORS, not_finite, read_header, read_whole, unpacked

SAFETENSORS, TORCH = (".safetensors",), (".pt", ".pth", ".ckpt", ".bin")
ZIP = b"PK\x03\x04"
ROOM = 16 << 20  # bytes beside the weights: names, shapes, padding
TIMES = 4  # as large as the weights that a file may be: 64-bit numbers, optimizer states


def read_weights(path: str | Path, network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a file by the names of the network's `state_dict`, of its shapes and kinds of number.

    path  a .safetensors file, or a state dict saved by `torch.save`

    Raises UsageError, naming what does not fit, where it holds anything else: tensors that are missing, too
    many, of another shape or not finite, or more than tensors. Nothing is put into the network.
    """
    path = Path(path)
    expected = network.state_dict()
    if path.suffix not in (*SAFETENSORS, *TORCH):
        raise UsageError(
            f"'{path}' is no file of weights by its name. Expected .safetensors, or a state dict in one of "
            f"{', '.join(TORCH)}."
        )
    limit = TIMES * sum(tensor.numel() * tensor.element_size() for tensor in expected.values()) + ROOM
    try:
        if path.suffix in SAFETENSORS:
            refuse_unfit(read_header(path).tensors, expected, path)
            found = unpacked(read_whole(path), path)[0]
        else:
            found = _state_dict(read_regular(path, limit), limit, path)
            refuse_unfit({name: _kind(name, each, path) for name, each in found.items()}, expected, path)
    except FileNotFoundError:
        raise UsageError(f"'{path}' does not exist. Expected a file of weights.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"'{path}' cannot be read as weights: {reason_of(error)}.") from error
    if name := not_finite(found):
        raise UsageError(f"'{path}' has numbers in '{name}' that are not finite (NaN or infinity).")
    return {name: found[name].detach().clone() for name in expected}


Kinds = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]


def refuse_unfit(found: Kinds, expected: Mapping[str, Tensor], path: Path) -> None:
    """Raises UsageError unless the tensors are, name by name, of the network's shape and kind of number."""
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing or extra:
        said = [f"lacks {_named(missing)}"] if missing else []
        said += [f"has {_named(extra)}, which the network has not"] if extra else []
        hint = ""
        if found and all(name.startswith("module.") for name in found):
            hint = " Its names begin with 'module.', as nn.DataParallel saves them: save `model.module`."
        raise UsageError(
            f"'{path}' does not fit the network: it {' and '.join(said)}. Expected the weights of this very "
            f"network.{hint}"
        )
    for name, tensor in expected.items():
        dtype, shape = found[name]
        if shape != tuple(tensor.shape) or dtype.is_floating_point != tensor.dtype.is_floating_point:
            raise UsageError(
                f"'{path}' does not fit the network: '{name}' is {_described(dtype, shape)}; expected "
                f"{_described(tensor.dtype, tuple(tensor.shape))}."
            )


def _state_dict(content: bytes, limit: int, path: Path) -> dict[str, Tensor]:
    """The tensors by name of a file that `torch.save` wrote."""
    _refuse_bombs(content, limit)
    try:
        # Its size is bounded above, and nothing but tensors and plain values is unpickled.
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)  # noqa: TID251
    except Exception as error:  # a pickle can end in any
        raise UsageError(
            f"'{path}' holds more than tensors, or is damaged, and is not opened: {_first_line(error)} "
            "Expected a state dict: torch.save(network.state_dict(), ...). Save it again so, or as "
            "safetensors, where you trust it."
        ) from error
    return _tensors_of(saved, path)


def _tensors_of(saved: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(saved, Mapping):
        raise UsageError(
            f"'{path}' holds a {type(saved).__name__}; expected a state dict, tensors by name: "
            "torch.save(network.state_dict(), ...)."
        )
    other = [name for name, value in saved.items() if not isinstance(value, Tensor) or type(name) is not str]
    if other:
        inside = [name for name in other if _is_state_dict(saved[name])]
        where = (
            f" Its entry {inside[0]!r:.60} looks like one: save that alone, "
            f"torch.save(checkpoint[{inside[0]!r:.60}], ...)."
            if inside
            else ""
        )
        raise UsageError(
            f"'{path}' holds more than tensors: {_named(other)}. Expected a state dict alone.{where}"
        )
    if len(saved) > MOST_TENSORS:
        raise UsageError(f"'{path}' has {len(saved):,} tensors; expected up to {MOST_TENSORS:,}.")
    return dict(saved)


def _is_state_dict(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(each, Tensor) for each in value.values())
    )


def _refuse_bombs(content: bytes, limit: int) -> None:
    """Raises ValueError for what is no archive of torch, or would be larger unpacked than its own bytes."""
    members: list[zipfile.ZipInfo] | None = None
    if content.startswith(ZIP):  # by which torch tells an archive from its older format
        with suppress(zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError):
            members = zipfile.ZipFile(io.BytesIO(content)).infolist()
    if members is None:
        raise ValueError(
            "it is no zip archive, as torch.save writes them since 1.6; save it again, or as safetensors"
        )
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if packed or sum(member.file_size for member in members) > limit:
        raise ValueError("its parts are compressed, or claim more than the file holds")


def _kind(name: str, tensor: Tensor, path: Path) -> tuple[torch.dtype, tuple[int, ...]]:
    """Type and shape of a tensor that lies in memory as it says."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise UsageError(f"'{path}' has '{name[:60]}' as a sparse or quantised tensor; expected a plain one.")
    return tensor.dtype, tuple(tensor.shape)


def _described(dtype: torch.dtype, shape: tuple[int, ...]) -> str:
    return f"{str(dtype).removeprefix('torch.')} {shape}"


def _named(names: Iterable[object]) -> str:
    """Some names, as a sentence quotes them."""
    return str(listed(sorted(str(name)[:80] for name in names)))


def _first_line(error: Exception) -> str:
    """What torch says, in one sentence of up to 200 characters."""
    return str(error).strip().split("\n")[0].split(". ")[0][:200] + "."

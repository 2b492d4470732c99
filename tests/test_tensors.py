"""Tensors are saved and loaded whole and finite, by a header that agrees with its file."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from pellucid.errors import PellucidError
from pellucid.tensors import MOST_TENSORS, not_finite, packed, read_header, read_tensors

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([True, False]), "c": torch.zeros(0, 4)}
Change = Callable[[dict[str, Any]], object]


def file_of(header: object, content: bytes) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + content


def test_what_was_packed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(packed(TENSORS, {"key": "text"}))
    tensors, metadata = read_tensors(path)
    assert metadata == {"key": "text"}
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())
    header = read_header(path)
    assert header.tensors == {name: (each.dtype, tuple(each.shape)) for name, each in TENSORS.items()}


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_neither_saved_nor_loaded(
    tmp_path: Path, kind: torch.dtype, value: float
) -> None:
    tensors = {"sound": torch.ones(3), "running_var": torch.tensor([1.0, value], dtype=kind)}
    assert not_finite(tensors) == "running_var"
    with pytest.raises(
        PellucidError, match=r"'running_var' has numbers that are not finite .* nothing was saved"
    ):
        packed(tensors)
    path = tmp_path / "x.safetensors"
    path.write_bytes(save(tensors))
    with pytest.raises(PellucidError, match=r"tensor 'running_var' has numbers that are not finite"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h["a"].update(shape=[1 << 39, 1 << 39]), "'a' is said to lie where it does not"),
        (lambda h: h["a"].update(shape=[1 << 50]), "'a' has sides"),
        (lambda h: h["a"].update(shape=[-2, -3]), "'a' has sides"),
        (lambda h: h["a"].update(shape=[1] * 9 + [6]), "'a' has sides"),
        (lambda h: h["a"].update(shape=6), "'a' is of a type or shape"),
        (lambda h: h["a"].update(dtype="F8_E5M2"), "'a' is of a type or shape"),
        (lambda h: h["a"].update(dtype=["F32"]), "'a' is of a type or shape"),
        (lambda h: h["a"].update(data_offsets=[0, 23]), "'a' is said to lie"),
        (lambda h: h["a"].update(data_offsets=[24, 0]), "is said to lie"),
        (lambda h: h["a"].update(data_offsets="all"), "'a' does not say where it lies"),
        (lambda h: h["a"].update(file="/etc/passwd"), "'a' is not described as a tensor"),
        (lambda h: h.update(b=dict(h["a"])), "is said to lie where it does not"),
        (lambda h: h.update(__metadata__={"a": 1}), "its metadata are not texts"),
        (lambda h: h.pop("a"), "says"),
    ],
)
def test_a_header_that_does_not_agree_with_its_file_is_refused(
    tmp_path: Path, change: Change, message: str
) -> None:
    header = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    path = tmp_path / "x.safetensors"
    path.write_bytes(file_of(header, bytes(24)))
    read_header(path)
    change(header)
    path.write_bytes(file_of(header, bytes(24)))
    for reading in (read_header, read_tensors):
        with pytest.raises((ValueError, PellucidError), match=message):
            reading(path)


def test_a_tensor_that_comes_twice_is_refused(tmp_path: Path) -> None:
    entry = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    path = tmp_path / "x.safetensors"
    path.write_bytes(file_of(b"{" + entry + b"," + entry + b"}", bytes(4)))
    with pytest.raises(PellucidError, match="the key 'a' comes twice"):
        read_tensors(path)


def test_more_tensors_than_a_network_has_are_refused(tmp_path: Path) -> None:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    path = tmp_path / "x.safetensors"
    path.write_bytes(file_of({f"{number}": empty for number in range(MOST_TENSORS + 1)}, b""))
    with pytest.raises(PellucidError, match=r"no list of up to 16,384 tensors"):
        read_tensors(path)
    path.write_bytes(file_of(b" " * 5_000_000, b""))
    with pytest.raises(PellucidError, match=r"its header has 5,000,000 bytes; expected up to"):
        read_tensors(path)


def test_the_size_that_a_header_declares_is_compared_before_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:  # four terabytes are declared, of which the disk holds nothing
        file.write(file_of({"a": {"dtype": "F32", "shape": [1 << 39], "data_offsets": [0, 1 << 41]}}, b""))
        file.truncate(file.tell() + (1 << 41))
    with pytest.raises(PellucidError, match=r"it has 2,199,\d{3},\d{3},\d{3} bytes; expected up to"):
        read_tensors(path)
    os.truncate(path, 300)
    with pytest.raises(PellucidError, match=r"of 300 bytes: its header says 2,199"):
        read_tensors(path)

"""Weights from a file: right, or refused in words and nothing put into the network."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pellucid.errors import UsageError
from pellucid.models.checkpoints import read_weights


def small(classes: int = 3) -> nn.Module:
    torch.manual_seed(classes)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, classes))


def saved(path: Path, value: Any, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.safetensors"])
def test_weights_come_back_bit_for_bit(tmp_path: Path, name: str) -> None:
    network = small()
    if name.endswith("safetensors"):
        save_file(network.state_dict(), tmp_path / name)
    else:
        saved(tmp_path / name, network.state_dict())
    found = read_weights(tmp_path / name, small(3))
    assert found.keys() == network.state_dict().keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in network.state_dict().items())


class Evil:
    """What runs a command where a pickle is opened without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


REFUSED: dict[str, tuple[Any, str]] = {
    "more": (lambda w: {"model": w, "epoch": 3}, "holds more than tensors: 'epoch', 'model'.*'model' looks"),
    "list": (lambda w: list(w.values()), "holds a list"),
    "missing": (lambda w: {k: v for k, v in w.items() if k != "0.bias"}, "lacks '0.bias'"),
    "extra": (lambda w: {**w, "x": torch.zeros(1)}, "has 'x', which the network has not"),
    "shape": (
        lambda w: {**w, "2.bias": torch.zeros(4)},
        r"'2.bias' is float32 \(4,\); expected float32 \(3,\)",
    ),
    "whole": (lambda w: {**w, "2.bias": torch.zeros(3).long()}, r"'2.bias' is int64 \(3,\)"),
    "nan": (lambda w: {**w, "2.bias": torch.full((3,), torch.nan)}, "'2.bias' that are not finite"),
    "parallel": (lambda w: {f"module.{k}": v for k, v in w.items()}, "nn.DataParallel"),
    "sparse": (lambda w: {**w, "2.weight": w["2.weight"].to_sparse()}, "sparse or quantised"),
    "module": (lambda w: small(), "holds more than tensors, or is damaged"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_words(tmp_path: Path, case: str) -> None:
    change, message = REFUSED[case]
    path = saved(tmp_path / "w.pt", change(dict(small().state_dict())))
    with pytest.raises(UsageError, match=message):
        read_weights(path, small())


def test_a_pickle_that_runs_something_runs_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", {"0.weight": Evil(tmp_path / "owned")})
    with pytest.raises(UsageError, match="more than tensors"):
        read_weights(path, small())
    assert not (tmp_path / "owned").exists()


def test_the_older_format_and_compressed_archives_are_not_opened(tmp_path: Path) -> None:
    older = saved(tmp_path / "older.pt", small().state_dict(), _use_new_zipfile_serialization=False)
    with pytest.raises(UsageError, match="no zip archive"):
        read_weights(older, small())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(1 << 20))
    (tmp_path / "bomb.pt").write_bytes(buffer.getvalue())
    with pytest.raises(UsageError, match="compressed"):
        read_weights(tmp_path / "bomb.pt", small())


def test_a_file_far_larger_than_the_network_is_not_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", {"x": torch.zeros(6 << 20)})
    with pytest.raises(UsageError, match=r"bytes; expected up to"):
        read_weights(path, small())


def test_names_that_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_weights(tmp_path / "w.pt", small())
    with pytest.raises(UsageError, match=r"Expected \.safetensors"):
        read_weights(tmp_path / "w.npz", small())

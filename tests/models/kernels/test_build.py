"""Kernels are compiled where they can be; where not, torch's operations stay."""

import ctypes
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pellucid.models.kernels import build as kernels_build
from pellucid.models.kernels.build import KERNELS, compile_kernels, prepare
from tests.toys import without_kernels


def test_torchs_operations_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with without_kernels():
        monkeypatch.setenv("PELLUCID_KERNELS", "off")
        assert prepare() == "torch's: PELLUCID_KERNELS is off"
        assert not KERNELS


def test_an_older_processor_keeps_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels_build, "instructions", lambda: "flags : fpu avx avx2 fma")
    with without_kernels():
        assert "AVX-512" in compile_kernels()[0]
        assert not KERNELS


@pytest.mark.parametrize(
    ("compiler", "message"),
    [("", "torch's: no C compiler found"), ("exit 1", "could not be compiled (CalledProcessError)")],
)
def test_without_a_compiler_that_works_convolution_is_torchs(
    compiler: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiler:
        (tmp_path / "cc").write_text(f"#!/bin/sh\n{compiler}\n")
        (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with without_kernels():
        phrase, failure = compile_kernels()
        assert message in phrase
        assert (failure is not None) == bool(compiler)
        assert not KERNELS


def test_a_cache_that_cannot_be_written_changes_nothing_but_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PELLUCID_HOME", str(tmp_path / "file" / "cache"))
    with without_kernels():
        assert compile_kernels() == ("kernels compiled here", None)
        assert KERNELS.keys() == {torch.float32, torch.bfloat16}
        KERNELS.clear()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "one bit flipped": lambda content: content[:-99] + bytes([content[-99] ^ 4]) + content[-98:],
    "another program's": lambda content: Path("/bin/true").read_bytes(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_library_that_is_not_as_it_was_written_is_never_loaded_but_compiled_again(
    compiled_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setenv("PELLUCID_HOME", str(shutil.copytree(compiled_cache, tmp_path / "cache")))
    paths = sorted((tmp_path / "cache").iterdir())
    before = {path.name: path.read_bytes() for path in paths}
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() in path.name for path in paths)
    damaged = paths[0]
    damaged.write_bytes(DAMAGES[damage](before[damaged.name]))
    loaded: list[bytes] = []

    class Loaded:
        def __init__(self, path: str, mode: int = 0) -> None:
            loaded.append(Path(path).read_bytes())

    monkeypatch.setattr(ctypes, "CDLL", Loaded)
    with without_kernels():
        with pytest.warns(UserWarning, match=f"'{damaged}', a compiled convolution kernel, is not as it was"):
            assert compile_kernels() == ("kernels compiled here", None)
        assert compile_kernels() == ("kernels compiled here", None), "it is said once"
        KERNELS.clear()
    after = {path.name: path.read_bytes() for path in (tmp_path / "cache").iterdir()}
    assert len(after) == 2
    assert all(hashlib.sha256(content).hexdigest() in name for name, content in after.items())
    assert {content for content in loaded if content[:4] == b"\x7fELF"} >= set(after.values())
    assert DAMAGES[damage](before[damaged.name]) not in loaded


def test_what_is_in_the_cache_is_not_compiled_again(
    compiled_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PELLUCID_HOME", str(compiled_cache))

    def compiling(*_: object, **__: object) -> None:
        raise AssertionError("it compiles")

    monkeypatch.setattr(kernels_build.subprocess, "run", compiling)
    with without_kernels():
        assert compile_kernels() == ("kernels compiled here", None)
        KERNELS.clear()

"""Kernels are compiled where they can be; where not, torch's operations stay."""

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

"""The kernels, compiled once for all tests of this room."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.cache import cache_folder
from pellucid.machine import instructions
from pellucid.models.kernels.build import KERNELS, compile_kernels


@pytest.fixture(scope="session")
def compiled_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache folder in which the kernels are compiled."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def compiled(compiled_cache: Path) -> dict[torch.dtype, Any]:
    """The kernels, made in a cache of their own."""
    if sys.platform != "linux" or not shutil.which("cc") or " avx512f " not in instructions():
        pytest.skip("no C compiler, no Linux or no AVX-512 here: convolution is torch's")
    before = dict(KERNELS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PELLUCID_HOME", str(compiled_cache))
        assert compile_kernels() == ("kernels compiled here", None)
        assert sorted(path.name.split("-")[2] for path in cache_folder().iterdir()) == ["16", "32"]
    made = dict(KERNELS)
    KERNELS.clear()
    KERNELS.update(before)
    return made


@pytest.fixture(scope="module", autouse=True)
def kernels(compiled: dict[torch.dtype, Any]) -> Iterator[None]:
    """The kernels at work; none is left when the tests of a file are over."""
    before = dict(KERNELS)
    KERNELS.update(compiled)
    yield
    KERNELS.clear()
    KERNELS.update(before)

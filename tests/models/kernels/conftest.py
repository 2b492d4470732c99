"""The kernels, compiled once for all tests of this room."""

import shutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from pellucid.cache import cache_folder
from pellucid.machine import instructions
from pellucid.models.kernels.build import KERNELS, compile_kernels


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[torch.dtype, Any]:
    """The kernels, made in a cache of their own."""
    if sys.platform != "linux" or not shutil.which("cc") or " avx512f " not in instructions():
        pytest.skip("no C compiler, no Linux or no AVX-512 here: convolution is torch's")
    before = dict(KERNELS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PELLUCID_HOME", str(tmp_path_factory.mktemp("cache")))
        assert compile_kernels() == ("kernels compiled here", None)
        assert sorted(path.name[-6:] for path in cache_folder().iterdir()) == ["-16.so", "-32.so"]
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

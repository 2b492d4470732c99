"""ReLU and 2x2 max pooling in one pass: by torch's own operations, or by a kernel compiled on the spot.

Both give the same numbers and the same gradients to the last bit, so which of them ran can be seen only on
the clock: torch's pooling writes eight bytes of index beside every value, and takes a quarter of a training.
"""

import ctypes
import hashlib
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.data.known import cache_folder
from pellucid.errors import PellucidError
from pellucid.files import make_folder, workshop, write_bytes
from pellucid.machine import instructions

SOURCE = Path(__file__).with_name("pooling.c")
PAYS = 40_000  # pictures to go through a network before compiling pays
LANES = 16  # channels the kernel takes at a time
BITS = {torch.float32: 32, torch.bfloat16: 16}
KERNELS: dict[torch.dtype, ctypes.CDLL] = {}  # empty until `prepare` found a compiler


class PoolOfPositives(nn.MaxPool2d):
    """2x2 max pooling of maps that have no negative value, because a ReLU comes before."""

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H // 2, W // 2)"""
        if torch.is_grad_enabled() or not _is_plain(maps):
            pooled: Tensor = super().forward(maps)
            return pooled
        return pooled_relu(maps) if _suits(maps) else largest_of_blocks(maps)


def largest_of_blocks(maps: Tensor) -> Tensor:
    """The largest of every 2x2 block, (B, C, H, W) -> (B, C, H // 2, W // 2).

    What `max_pool2d(maps, 2)` gives, to the last bit, in a tenth of its time where one channel lies after
    another: no place is kept for a gradient. Its own would be shared out where two are largest.
    """
    height, width = maps.shape[2] // 2 * 2, maps.shape[3] // 2 * 2
    rows = torch.maximum(maps[:, :, :height:2, :width], maps[:, :, 1:height:2, :width])
    return torch.maximum(rows[:, :, :, ::2], rows[:, :, :, 1::2])


def pooled_relu(maps: Tensor) -> Tensor:
    """ReLU of the largest of every 2x2 block, (B, C, H, W) -> (B, C, H // 2, W // 2).

    The same values and gradients as pooling after the ReLU, from a quarter of the comparisons with 0.
    """
    if _suits(maps):
        pooled: Tensor = _Pool.apply(maps)  # type: ignore[no-untyped-call]
        return pooled
    return functional.relu_(functional.max_pool2d(maps, 2))


def prepare(pictures: int) -> str:
    """From now on pooling uses the kernel where it suits, if so many pictures are worth compiling it: about a
    second, once a machine.

    Gives in a phrase what pooling will use, and why: "torch's: no C compiler found".
    """
    if pictures < PAYS and not KERNELS:
        return "torch's: few pictures"
    return _prepared()


@cache
def _prepared() -> str:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    openmp = next(iter(sorted((Path(torch.__file__).parent / "lib").glob("libgomp*"))), None)
    if sys.platform != "linux" or openmp is None:
        return "torch's: the kernel is for Linux and torch's own OpenMP"
    if compiler is None:
        return "torch's: no C compiler found"
    try:
        ctypes.CDLL(str(openmp), ctypes.RTLD_GLOBAL)  # the threads torch already has, not a second set
        KERNELS.update({dtype: ctypes.CDLL(str(_compiled(compiler, bits))) for dtype, bits in BITS.items()})
    except (OSError, PellucidError, subprocess.SubprocessError) as error:
        return f"torch's: the kernel could not be made ({type(error).__name__})"
    return "a kernel compiled here"


def _compiled(compiler: str, bits: int) -> Path:
    """The library for this source, compiler and processor; it is made unless it is there."""
    made_of = [SOURCE.read_bytes(), compiler.encode(), instructions().encode()]
    key = hashlib.sha256(b"\n".join(made_of)).hexdigest()
    library = cache_folder() / f"pooling-{key[:16]}-{bits}.so"
    if not library.is_file():
        make_folder(library.parent)
        with workshop() as folder:
            parts = [str(folder / "pooling.o"), str(folder / "pooling.so")]
            flags = ["-O3", "-march=native", "-fopenmp", "-fPIC", f"-DBITS={bits}"]
            for words in ([*flags, "-c", str(SOURCE), "-o", parts[0]], ["-shared", parts[0], "-o", parts[1]]):
                subprocess.run([compiler, *words], check=True, capture_output=True, timeout=60)
            write_bytes(library, Path(parts[1]).read_bytes())
    return library


def _suits(maps: Tensor) -> bool:
    """Whether the kernel can take these: plain numbers, channels last, whole blocks, no graph being drawn."""
    return (
        maps.dtype in KERNELS
        and _is_plain(maps)
        and maps.is_contiguous(memory_format=torch.channels_last)  # the other layout rounds otherwise behind
        and maps.shape[1] % LANES == 0
        and maps.shape[2] % 2 == maps.shape[3] % 2 == 0
    )


def _is_plain(maps: Tensor) -> bool:
    """Whether these are numbers on the processor, and nobody is writing down which operations run."""
    return (
        type(maps) is Tensor
        and maps.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    )


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, maps: Tensor) -> Tensor:
        batch, channels, height, width = maps.shape
        halved = (batch, channels, height // 2, width // 2)
        pooled = torch.empty(halved, dtype=maps.dtype, memory_format=torch.channels_last)
        places = torch.empty_like(pooled, dtype=torch.uint8)
        _run(KERNELS[maps.dtype].forward, maps, pooled, places, like=pooled)
        context.save_for_backward(places)
        return pooled

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (places,) = context.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        batch, channels, height, width = gradient.shape
        doubled = (batch, channels, 2 * height, 2 * width)
        maps = torch.empty(doubled, dtype=gradient.dtype, memory_format=torch.channels_last)
        _run(KERNELS[gradient.dtype].backward, gradient, places, maps, like=gradient)
        return maps


def _run(kernel: Any, *tensors: Tensor, like: Tensor) -> None:
    batch, channels, height, width = like.shape
    places = [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
    kernel(*places, *(ctypes.c_long(size) for size in (batch * height, width, channels)))

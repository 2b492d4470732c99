"""Convolution, ReLU and 2x2 max pooling in one pass: by torch's operations, or by a kernel (build.py).

The kernel keeps no map between the three, and goes back only through the places that won: of the maps of a
trained network on MNIST that is a tenth of a convolution's work.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import PellucidError
from pellucid.models.kernels.build import KERNELS

LANES = 16  # filters, or channels, the kernel takes at a time
FEW = 4  # channels of maps that are pictures, which need no gradient

_UNSEEN: ContextVar[bool] = ContextVar("unseen", default=False)


@contextmanager
def unseen_layers() -> Iterator[None]:
    """Inside the block only the answer counts, not what layers put out: networks may take the short way."""
    token = _UNSEEN.set(True)
    try:
        yield
    finally:
        _UNSEEN.reset(token)


def layers_unseen(network: nn.Module) -> bool:
    """Whether only the answer counts here and now, and no hook listens to one of the network's layers."""
    return _UNSEEN.get() and not any(
        layer._forward_hooks or layer._forward_pre_hooks for layer in network.children()
    )


class Halving(nn.MaxPool2d):
    """2x2 max pooling, quicker where no gradient is asked for."""

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H // 2, W // 2)"""
        if torch.is_grad_enabled() or not _is_plain(maps):
            pooled: Tensor = super().forward(maps)
            return pooled
        return largest_of_blocks(maps)


def largest_of_blocks(maps: Tensor) -> Tensor:
    """The largest of every 2x2 block, (B, C, H, W) -> (B, C, H // 2, W // 2).

    What `max_pool2d(maps, 2)` gives, to the last bit, in a fraction of its time: no place is kept for a
    gradient. Its own would be shared out where two are largest.
    """
    height, width = maps.shape[2] // 2 * 2, maps.shape[3] // 2 * 2
    rows = torch.maximum(maps[:, :, :height:2, :width], maps[:, :, 1:height:2, :width])
    return torch.maximum(rows[:, :, :, ::2], rows[:, :, :, 1::2])


def convolved_and_pooled(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """ReLU of the largest of every 2x2 block of a 3x3 convolution that keeps the size, its gradient included.

    maps (B, C, H, W), weight (F, C, 3, 3), bias (F,) -> (B, F, H // 2, W // 2); in bfloat16 under autocast.
    The same function as convolution, ReLU and pooling one after the other, summed in another order.
    """
    low = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if low else maps.dtype
    if _suits(maps, weight, dtype):
        pooled: Tensor = _Fused.apply(maps.to(dtype), weight, bias)  # type: ignore[no-untyped-call]
        return pooled
    return functional.relu_(functional.max_pool2d(functional.conv2d(maps, weight, bias, padding=1), 2))


def _suits(maps: Tensor, weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether the kernel can take these: plain numbers, channels last, whole blocks, no graph being drawn."""
    channels, height, width = maps.shape[1:]
    pictures = channels <= FEW and not maps.requires_grad
    return (
        dtype in KERNELS
        and _is_plain(maps)
        and maps.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.is_contiguous()
        and maps.is_contiguous(memory_format=torch.channels_last)
        and (pictures or channels % LANES == 0)
        and len(weight) % LANES == 0
        and height % 2 == width % 2 == 0
    )


def _is_plain(maps: Tensor) -> bool:
    """Whether these are numbers, and no graph is being drawn of what is done with them."""
    drawn = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return type(maps) is Tensor and not drawn


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        batch, channels, height, width = maps.shape
        halved = (batch, len(weight), height // 2, width // 2)
        pooled = torch.empty(halved, dtype=maps.dtype, memory_format=torch.channels_last)
        learning = any(context.needs_input_grad)
        places = torch.empty_like(pooled, dtype=torch.uint8) if learning else None
        context.sizes = (ctypes.c_long * 5)(batch, height, width, channels, len(weight))
        _run(KERNELS[maps.dtype].forward, context.sizes, maps, weight, bias, pooled, places)
        context.save_for_backward(maps, weight, places)
        return pooled

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        maps, weight, places = context.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        back = torch.empty_like(maps) if context.needs_input_grad[0] else None
        slopes, bias_slopes = torch.empty_like(weight), weight.new_empty(len(weight))
        kernel = KERNELS[maps.dtype].backward
        _run(kernel, context.sizes, maps, weight, gradient, places, back, slopes, bias_slopes)
        return back, slopes, bias_slopes


def _run(kernel: Any, sizes: Any, *tensors: Tensor | None) -> None:
    if not kernel(*(ctypes.c_void_p(t.data_ptr()) if t is not None else None for t in tensors), sizes):
        raise PellucidError("Not enough memory for a step of training. Try a smaller --batch-size.")

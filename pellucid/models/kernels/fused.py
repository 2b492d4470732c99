"""Convolution, ReLU and 2x2 max pooling fused: by a compiled kernel (build.py), or by torch's operations.

The kernel stores no map between the three, and its backward pass visits only the maxima above zero: for a
trained network on MNIST a tenth of a convolution's work.
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

LANES = 16  # filters, or channels, that the kernel handles at a time
MAX_PICTURE_CHANNELS = 4  # of an input that is a picture, which needs no gradient

_FAST_PATH: ContextVar[bool] = ContextVar("fast_path", default=False)


@contextmanager
def fast_path() -> Iterator[None]:
    """Inside the block only the scores count, not the layers' outputs: networks may fuse their layers."""
    token = _FAST_PATH.set(True)
    try:
        yield
    finally:
        _FAST_PATH.reset(token)


def takes_fast_path(network: nn.Module) -> bool:
    """Whether the network may fuse its layers: inside `fast_path`, and none of them has a forward hook."""
    return _FAST_PATH.get() and not any(
        layer._forward_hooks or layer._forward_pre_hooks for layer in network.children()
    )


class HalvingMaxPool(nn.MaxPool2d):
    """2x2 max pooling, faster where no gradient is needed."""

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H // 2, W // 2)"""
        if torch.is_grad_enabled() or not _is_plain(maps):
            pooled: Tensor = super().forward(maps)
            return pooled
        return max_pool_2x2(maps)


def max_pool_2x2(maps: Tensor) -> Tensor:
    """The maximum of every 2x2 block, (B, C, H, W) -> (B, C, H // 2, W // 2).

    The bits of `max_pool2d(maps, 2)` in a fraction of its time, because no indices are stored. Its gradient
    would differ: it is shared out among equal maxima.
    """
    height, width = maps.shape[2] // 2 * 2, maps.shape[3] // 2 * 2
    rows = torch.maximum(maps[:, :, :height:2, :width], maps[:, :, 1:height:2, :width])
    return torch.maximum(rows[:, :, :, ::2], rows[:, :, :, 1::2])


def conv_relu_pool(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3x3 convolution that keeps the size, ReLU and 2x2 max pooling, differentiable.

    maps (B, C, H, W), weight (F, C, 3, 3), bias (F,) -> (B, F, H // 2, W // 2); in bfloat16 under autocast.
    The same function as the three one after the other, summed in another order.
    """
    low = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if low else maps.dtype
    if _kernel_fits(maps, weight, dtype):
        pooled: Tensor = _Fused.apply(maps.to(dtype), weight, bias)  # type: ignore[no-untyped-call]
        return pooled
    return functional.relu_(functional.max_pool2d(functional.conv2d(maps, weight, bias, padding=1), 2))


def _kernel_fits(maps: Tensor, weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether the kernel can run: a plain tensor, channels last, even sides, no graph being traced."""
    channels, height, width = maps.shape[1:]
    picture = channels <= MAX_PICTURE_CHANNELS and not maps.requires_grad
    return (
        dtype in KERNELS
        and _is_plain(maps)
        and maps.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.is_contiguous()
        and maps.is_contiguous(memory_format=torch.channels_last)
        and (picture or channels % LANES == 0)
        and len(weight) % LANES == 0
        and height % 2 == width % 2 == 0
    )


def _is_plain(maps: Tensor) -> bool:
    """Whether this is an ordinary tensor, and no graph is being traced."""
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return type(maps) is Tensor and not traced


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        batch, channels, height, width = maps.shape
        shape = (batch, len(weight), height // 2, width // 2)
        pooled = torch.empty(shape, dtype=maps.dtype, memory_format=torch.channels_last)
        differentiable = any(context.needs_input_grad)
        maxima = torch.empty_like(pooled, dtype=torch.uint8) if differentiable else None
        context.sizes = (ctypes.c_long * 5)(batch, height, width, channels, len(weight))
        _run(KERNELS[maps.dtype].forward, context.sizes, maps, weight, bias, pooled, maxima)
        context.save_for_backward(maps, weight, maxima)
        return pooled

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        maps, weight, maxima = context.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        maps_gradient = torch.empty_like(maps) if context.needs_input_grad[0] else None
        weight_gradient, bias_gradient = torch.empty_like(weight), weight.new_empty(len(weight))
        kernel = KERNELS[maps.dtype].backward
        _run(
            kernel,
            context.sizes,
            maps,
            weight,
            gradient,
            maxima,
            maps_gradient,
            weight_gradient,
            bias_gradient,
        )
        return maps_gradient, weight_gradient, bias_gradient


def _run(kernel: Any, sizes: Any, *tensors: Tensor | None) -> None:
    if not kernel(*(ctypes.c_void_p(t.data_ptr()) if t is not None else None for t in tensors), sizes):
        raise PellucidError("Not enough memory for a step of training. Try a smaller `batch_size`.")

"""Max pooling that trains several times faster than torch's own on a processor, with the same numbers."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class HalfPool(nn.Module):
    """The largest of every 2x2 block: (B, C, H, W) -> (B, C, H // 2, W // 2), as `nn.MaxPool2d(2)`.

    While gradients are recorded it compares whole rows, then columns, of the channels-last layout, where
    neighbours in memory are neighbours in the comparison; torch's own kernel walks windows one by one and
    keeps an index a window. Where two values of a block are equal, the gradient goes to one of them.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H // 2, W // 2)"""
        if torch.is_grad_enabled() and maps.requires_grad:
            halved: Tensor = _HalfPool.apply(maps)  # type: ignore[no-untyped-call]
            return halved
        return functional.max_pool2d(maps, 2)


class _HalfPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H // 2, W // 2)"""
        upper, lower = _rows(maps)
        tallest = torch.maximum(
            upper, lower
        )  # (B, H/2, W/2, 2C): the left column's channels, then the right's
        left, right = tallest.chunk(2, dim=-1)
        ctx.save_for_backward(maps, tallest)
        return torch.maximum(left, right).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The gradient of each pooled value, at the place it came from."""
        maps, tallest = ctx.saved_tensors
        gradient = gradients[0].permute(0, 2, 3, 1)  # (B, H/2, W/2, C)
        columns = torch.empty_like(tallest)
        _share(gradient, *tallest.chunk(2, dim=-1), *columns.chunk(2, dim=-1))
        whole = maps.shape[2] % 2 == 0 and maps.shape[3] % 2 == 0
        back = (torch.empty_like if whole else torch.zeros_like)(maps, memory_format=torch.channels_last)
        _share(columns, *_rows(maps), *_rows(back))
        return back


def _rows(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and the lower row of every 2x2 block, (B, H/2, W/2, 2C) each: views if channels are last."""
    batch, channels, height, width = maps.shape
    maps = maps.contiguous(memory_format=torch.channels_last)
    even = maps[:, :, : height // 2 * 2, : width // 2 * 2].permute(0, 2, 3, 1)  # (B, H, W, C)
    upper, lower = even[:, 0::2], even[:, 1::2]
    shape = (batch, height // 2, width // 2, 2 * channels)
    return upper.reshape(shape), lower.reshape(shape)


def _share(gradient: Tensor, one: Tensor, other: Tensor, to_one: Tensor, to_other: Tensor) -> None:
    """Writes `gradient` to the side whose value was larger and zero to the other."""
    torch.ops.aten.threshold_backward.grad_input(gradient, one - other, 0, grad_input=to_one)
    torch.sub(gradient, to_one, out=to_other)

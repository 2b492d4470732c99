"""A residual network of 18 layers for pictures of 32 to 224 pixels (He et al., arXiv:1512.03385).

The output of a layer includes its normalisation and, where it has one, its ReLU, so that it is what the next
layer receives. For small pictures the first layer keeps the size, and the network is a quarter as wide, so
that it trains on a few hundred pictures of 32x32 in about a minute on two cores.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import UsageError

SMALL = 64  # pixels a side up to which the first layer keeps the size
WIDTH_SMALL, WIDTH_LARGE = 16, 64  # channels of the first stage
MIN_HALVED_SIDE = 7  # smaller maps keep their size


def build(channels: int, num_classes: int, size: tuple[int, int]) -> nn.Module:
    """A first layer, four stages of two residual blocks, the mean of each map, and a dense layer.

    Float 0..1 (B, channels, H, W) -> logits (B, num_classes). 0.7 million weights for pictures whose shorter
    side has up to 64 pixels, 11.2 million for larger ones, drawn from torch's default generator after He et
    al. (arXiv:1502.01852). Raises UsageError for pictures under 4x4.
    """
    if min(size) < 4:
        raise UsageError(f"The resnet needs pictures of 4x4 or more; got {size}.")
    return ResNet(channels, num_classes, size)


class ResNet(nn.Module):
    """Stages of 1, 2, 4 and 8 times the first width; each but the first halves its maps."""

    def __init__(self, channels: int, num_classes: int, size: tuple[int, int]) -> None:
        super().__init__()
        small = min(size) <= SMALL
        width, side = (WIDTH_SMALL, min(size)) if small else (WIDTH_LARGE, -(-min(size) // 4))
        self.conv1 = Convolution(channels, width, 3) if small else Convolution(channels, width, 7, stride=2)
        self.pool1 = None if small else nn.MaxPool2d(3, 2, padding=1)
        strides = [1]
        for _ in range(3):
            strides.append(2 if side >= MIN_HALVED_SIDE else 1)
            side = -(-side // strides[-1])
        self.stage1 = _stage(width, width, strides[0])
        self.stage2 = _stage(width, 2 * width, strides[1])
        self.stage3 = _stage(2 * width, 4 * width, strides[2])
        self.stage4 = _stage(4 * width, 8 * width, strides[3])
        self.pool2 = nn.AdaptiveAvgPool2d(1)
        self.dense = nn.Linear(8 * width, num_classes)
        nn.init.normal_(self.dense.weight, std=0.01)
        nn.init.zeros_(self.dense.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K)"""
        # About the mean and standard deviation of photographs; the first batch norm removes the rest.
        maps = self.conv1((images - 0.45) / 0.25)
        if self.pool1 is not None:
            maps = self.pool1(maps)  # (B, width, H, W), of large pictures a quarter of each side
        maps = self.stage4(self.stage3(self.stage2(self.stage1(maps))))  # (B, 8 width, h, w)
        logits: Tensor = self.dense(self.pool2(maps).flatten(1))
        return logits


class Block(nn.Module):
    """Two convolutions, added to what came in; a third one fits that where the shape changes."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Convolution(channels, filters, 3, stride=stride)
        self.conv2 = Convolution(filters, filters, 3, rectified=False)
        fits = stride == 1 and channels == filters
        self.shortcut = None if fits else Convolution(channels, filters, 1, stride=stride, rectified=False)
        self.sum = Sum()

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, filters, H/stride, W/stride)"""
        shortcut = maps if self.shortcut is None else self.shortcut(maps)
        output: Tensor = self.sum(self.conv2(self.conv1(maps)), shortcut)
        return output


class Convolution(nn.Module):
    """A convolution, batch normalisation (Ioffe and Szegedy, arXiv:1502.03167) and perhaps a ReLU.

    In evaluation mode the running `mean` and `variance` replace those of the batch.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self, channels: int, filters: int, kernel: int, *, stride: int = 1, rectified: bool = True
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.rectified = stride, kernel // 2, rectified
        weight = torch.empty(filters, channels, kernel, kernel)
        self.weight = nn.Parameter(nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu"))
        self.scale = nn.Parameter(torch.ones(filters))
        self.shift = nn.Parameter(torch.zeros(filters))
        self.register_buffer("mean", torch.zeros(filters))
        self.register_buffer("variance", torch.ones(filters))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, filters, H/stride, W/stride)"""
        maps = functional.conv2d(maps, self.weight, stride=self.stride, padding=self.padding)
        maps = functional.batch_norm(
            maps, self.mean, self.variance, self.scale, self.shift, training=self.training
        )
        return functional.relu(maps) if self.rectified else maps


class Sum(nn.Module):
    """The sum of a block's two paths, rectified."""

    def forward(self, residual: Tensor, shortcut: Tensor) -> Tensor:
        """(B, F, H, W) twice -> (B, F, H, W)"""
        return functional.relu(residual + shortcut)


def _stage(channels: int, filters: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Block(channels, filters, stride), Block(filters, filters, 1))

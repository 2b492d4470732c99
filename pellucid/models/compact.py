"""The compact network for small gray pictures: four normalised convolutions and global average pooling."""

import math

from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import UsageError

WIDTHS = (32, 48, 96, 96)
UNPADDED = 20  # pixels a side from which convolutions at the edges need no padding
LARGEST = 64  # pixels a side that the convolutions look at; larger pictures are averaged down first


def build(channels: int, num_classes: int, size: tuple[int, int]) -> nn.Module:
    """A 5x5 convolution that halves the picture, three of 3x3, each normalised, and a dense layer.

    Pictures of more than 64 pixels a side are first averaged over squares of 2x2, 3x3 ... pixels.

    Float 0..1 (B, channels, H, W) -> logits (B, num_classes). For 1x28x28 and ten classes it has 140,554
    weights, drawn from torch's default generator after He et al. (arXiv:1502.01852). Raises UsageError
    for pictures under 4x4.
    """
    if min(size) < 4:
        raise UsageError(f"The compact network halves a picture twice: expected 4x4 or more; got {size}.")
    return Compact(channels, num_classes, size)


def averaged(size: tuple[int, int]) -> int:
    """The side in pixels of the squares over which pictures of (H, W) are averaged; 1: they are not."""
    return max(1, min(math.ceil(max(size) / LARGEST), min(size) // 4))


class Compact(nn.Module):
    """The output of each convolution includes its normalisation and its ReLU."""

    def __init__(self, channels: int, num_classes: int, size: tuple[int, int]) -> None:
        super().__init__()
        factor = averaged(size)
        self.downsample = nn.AvgPool2d(factor) if factor > 1 else None
        small = min(size) // factor < UNPADDED
        first, second, third, last = WIDTHS
        self.conv1 = Convolution(channels, first, 5, stride=2, padding=2 if small else 0)
        self.conv2 = Convolution(first, second, 3, padding=1)
        self.pool1 = nn.MaxPool2d(
            2 if min(size) // factor >= 8 else 1
        )  # batch norm needs more than one value
        self.conv3 = Convolution(second, third, 3, padding=1)
        self.conv4 = Convolution(third, last, 3, padding=1 if small else 0)
        self.pool2 = nn.AdaptiveAvgPool2d(1)
        self.dense = nn.Linear(last, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K)"""
        images = images if self.downsample is None else self.downsample(images)
        maps = self.pool1(self.conv2(self.conv1(images)))  # (B, 48, H/4, W/4)
        features = self.pool2(self.conv4(self.conv3(maps))).flatten(1)  # (B, 96)
        logits: Tensor = self.dense(features)
        return logits


class Convolution(nn.Module):
    """A convolution without a bias, batch normalisation (Ioffe and Szegedy, arXiv:1502.03167), ReLU."""

    def __init__(self, channels: int, filters: int, size: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, size, stride, padding, bias=False)
        nn.init.kaiming_normal_(self.conv.weight)
        self.norm = nn.BatchNorm2d(filters)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, filters, H', W')"""
        return functional.relu_(self.norm(self.conv(maps)))

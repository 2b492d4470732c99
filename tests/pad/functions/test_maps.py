"""Functions on maps become operations that give torch's numbers, or are refused in words."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import UsageError
from pellucid.pad.program import lower


class Through(nn.Module):
    """A function of maps, then whatever they are summed up to."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function if isinstance(function, nn.Module) else None
        self.plain = function

    def forward(self, images: Tensor) -> Tensor:
        found = self.plain(images) if self.function is None else self.function(images)  # type: ignore[operator]
        return found.flatten(1)[:, :7]


def seeded(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for weight in module.parameters():
        weight.data = torch.randn(weight.shape, generator=generator)
    return module


class Padded(nn.Module):
    """Pads as TensorFlow does, the larger half at the end."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, kernel, stride)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(functional.pad(images, (0, 1, 1, 2))).mean(dim=(2, 3))


@pytest.mark.parametrize("kernel", [2, 4])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("side", [7, 8])
def test_padding_on_one_side_becomes_the_convolutions_own(kernel: int, stride: int, side: int) -> None:
    program = lower(Padded(kernel, stride).eval(), (2, side, side))
    assert [op.kind for op in program.operations] == ["conv2d", "adaptive_avg_pool2d"]


@pytest.mark.parametrize(
    "function",
    [
        seeded(nn.Conv1d(6, 3, 3, stride=2, padding=1)),
        seeded(nn.Conv2d(2, 4, 4, padding="same", dilation=2)),
        seeded(nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2)),
        seeded(nn.ConvTranspose2d(2, 3, (2, 4), stride=(1, 3), dilation=2)),
        nn.Sequential(nn.Unflatten(1, (2, 1)), seeded(nn.Conv3d(2, 3, 3, padding=1))),
        nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
        nn.AvgPool2d(2, 1, count_include_pad=False, divisor_override=3),
        nn.LocalResponseNorm(2),
        nn.Upsample(size=(9, 4)),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Upsample(size=(9, 4), mode="bilinear", align_corners=True),
        nn.ReflectionPad2d((1, 2, 3, 0)),
        nn.ReplicationPad2d((1, 2, -1, 0)),
        nn.CircularPad2d(2),
        nn.ConstantPad2d((1, 0, 2, 1), 0.5),
        nn.PixelShuffle(1),
        nn.Unfold(3, padding=1),
    ],
    ids=lambda module: type(module).__name__,
)
def test_what_is_lowered_gives_torchs_numbers(function: nn.Module) -> None:
    rows = isinstance(function, nn.Conv1d)
    network = Through(nn.Sequential(nn.Flatten(0, 1) if rows else nn.Identity(), function)).eval()
    program = lower(network, (1, 6, 7) if rows else (2, 6, 7))
    images = torch.rand(1, *program.shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        found = program.run(images, program.weights(network.state_dict()))[-1]
        assert torch.allclose(found, network(images), atol=1e-5)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda maps: functional.conv2d(maps, maps.mean(0, keepdim=True)), "needs fixed weights"),
        (lambda maps: functional.interpolate(maps, scale_factor=1.3, mode="bilinear"), "not by 1.3"),
        (lambda maps: functional.avg_pool3d(maps[:, None], 2), "not over volumes"),
        (lambda maps: functional.conv3d(maps[:, None], torch.ones(1, 1, 2, 2, 2)), "volumes of depth 1 only"),
    ],
)
def test_what_is_not_is_refused_in_words(function: object, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        lower(Through(function).eval(), (2, 6, 7))

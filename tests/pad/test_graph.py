"""A network's graph on its way to operations: names, shapes, places, and what depends on weights alone."""

from typing import Any

import pytest
import torch
import torch.nn.utils.prune
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.pad.graph import one_picture
from pellucid.pad.program import lower


@pytest.mark.parametrize(
    ("shape", "found"), [((1, 3, 4), (3, 4)), ((4, 1, 2), (4, 1, 2)), ((1,), (1,)), ((), ()), ((1, 1), (1,))]
)
def test_the_batch_of_one_is_no_part_of_a_pictures_value(shape: tuple, found: tuple) -> None:
    assert one_picture(shape) == found


def pruned() -> nn.Module:
    layer = nn.Linear(12, 3)
    torch.nn.utils.prune.l1_unstructured(layer, "weight", 0.5)
    return layer


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(12, 3)),
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(12, 3)),
        lambda: nn.utils.parametrizations.orthogonal(nn.Linear(12, 3)),
        lambda: nn.utils.spectral_norm(nn.Linear(12, 3)),
        pruned,
    ],
)
def test_what_depends_on_weights_alone_is_computed_with_them(make: Any) -> None:
    network = nn.Sequential(nn.Flatten(), make()).eval()
    program = lower(network, (1, 3, 4))
    assert [each.kind for each in program.operations] == ["view", "linear"]


def test_other_weights_are_computed_from_as_the_first_were() -> None:
    def made(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        layer = nn.utils.parametrizations.weight_norm(nn.Linear(12, 3))
        layer.parametrizations.weight.original0.data *= 2
        return nn.Sequential(nn.Flatten(), layer).eval()

    with torch.random.fork_rng(devices=[]):
        first, other = made(1), made(2)
    image = torch.rand(1, 1, 3, 4, generator=torch.Generator().manual_seed(1))
    found = lower(first, (1, 3, 4))
    scores = found.run(image, found.weights(other.state_dict()))[-1]
    assert torch.allclose(scores, other(image), atol=1e-6)


class Behind(nn.Module):
    """Maps with their channels behind for a while, as in ConvNeXt, then tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.mix = nn.Conv2d(1, 3, 1), nn.LayerNorm(3), nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        maps = maps + self.mix(self.norm(maps.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return (maps.flatten(2).mT @ torch.ones(3, 2)).mean(1)


def test_values_that_lie_over_the_picture_are_told_from_others() -> None:
    operations = lower(Behind().eval(), (1, 4, 5)).operations
    found = [(each.kind, each.spatial) for each in operations]
    assert found == [
        ("conv2d", True), ("permute", False), ("layer_norm", False), ("linear", False), ("permute", True),
        ("add", True), ("view", False), ("permute", False), ("linear", False), ("mean", False),
    ]  # fmt: skip


class TwoParts(nn.Module):
    """Its scores are one of two outputs; a buffer counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(12, 3)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        return {"maps": images.sort(dim=3).values, "logits": self.fc(images.flatten(1))}


def test_of_several_outputs_the_scores_are_lowered_and_nothing_else() -> None:
    network = TwoParts().eval()
    program = lower(network, (1, 3, 4))
    assert [(each.kind, each.layer) for each in program.operations] == [("view", "flatten"), ("linear", "fc")]
    assert int(network.calls) == 0


def test_an_argument_that_is_not_known_is_named_with_its_place() -> None:
    class Floors(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.div(images, 0.25, rounding_mode="floor").flatten(1)

    with pytest.raises(UsageError, match=r"does not know 'rounding_mode=floor' of 'div' in .*test_graph\.py"):
        lower(Floors(), (1, 3, 4))

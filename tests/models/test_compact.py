"""The compact network is the function its description says, layer by layer."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pellucid.errors import UsageError
from pellucid.models import build, compact
from pellucid.models.compact import Convolution
from tests.networks import seeded


def by_hand(state: dict[str, Tensor], images: Tensor, *, first: int, last: int, pool: int) -> Tensor:
    """The same sums from torch's functions alone: paddings of conv1 and conv4, side of the first pooling."""

    def layer(name: str, maps: Tensor, **options: int) -> Tensor:
        maps = functional.conv2d(maps, state[f"{name}.conv.weight"], **options)
        mean, variance = state[f"{name}.norm.running_mean"], state[f"{name}.norm.running_var"]
        scale = state[f"{name}.norm.weight"] / (variance + 1e-5).sqrt()
        shifted = (maps - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1)
        return (shifted + state[f"{name}.norm.bias"].view(-1, 1, 1)).clamp_min(0)

    maps = layer("conv2", layer("conv1", images, stride=2, padding=first), padding=1)
    maps = functional.max_pool2d(maps, pool)
    maps = layer("conv4", layer("conv3", maps, padding=1), padding=last)
    return maps.mean(dim=(2, 3)) @ state["dense.weight"].T + state["dense.bias"]


@pytest.mark.parametrize(
    ("side", "first", "last", "pool"),
    [(28, 0, 0, 2), (20, 0, 0, 2), (19, 2, 1, 2), (8, 2, 1, 2), (7, 2, 1, 1)],
)
def test_its_scores_are_those_of_its_layers_one_after_the_other(
    side: int, first: int, last: int, pool: int
) -> None:
    network = build("compact", 1, 5, (side, side), seed=2)
    images = torch.rand(6, 1, side, side, generator=torch.Generator().manual_seed(1))
    network.train()(images)  # the normalisations gather what they subtract and divide by
    with torch.no_grad():
        scores = network.eval()(images)
        expected = by_hand(network.state_dict(), images, first=first, last=last, pool=pool)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-4)


def test_for_mnist_it_has_as_many_weights_as_is_said() -> None:
    network = build("compact", 1, 10, (28, 28), seed=0)
    assert sum(weight.numel() for weight in network.parameters()) == 140_554


def test_what_a_layer_puts_out_includes_its_normalisation_and_its_relu() -> None:
    network = build("compact", 1, 4, (28, 28), seed=1).eval()
    given: dict[str, Tensor] = {}
    for name, layer in network.named_children():
        layer.register_forward_hook(lambda module, inputs, output, name=name: given.update({name: output}))
    with torch.no_grad():
        network(torch.rand(2, 1, 28, 28))
    assert {name: tuple(maps.shape[1:]) for name, maps in given.items()} == {
        "conv1": (32, 12, 12),
        "conv2": (48, 12, 12),
        "pool1": (48, 6, 6),
        "conv3": (96, 6, 6),
        "conv4": (96, 4, 4),
        "pool2": (96, 1, 1),
        "dense": (4,),
    }
    assert all(float(given[f"conv{n}"].min()) == 0 for n in range(1, 5))


def test_weights_are_drawn_after_he() -> None:
    """Normal, of the standard deviation that keeps the spread of what a ReLU lets through."""
    made: Any = seeded(lambda: Convolution(48, 96, 3))
    weight = made.conv.weight.detach()
    assert made.conv.bias is None
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / (48 * 9)), rel=0.02)
    assert float(weight.mean()) == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("size", [(3, 28), (28, 3), (1, 1)])
def test_a_picture_too_small_to_be_halved_twice_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=r"halves a picture twice: expected 4x4 or more; got \(\d+, \d+\)"):
        build("compact", 1, 3, size)
    assert build("compact", 1, 3, (4, 4)) is not None


@pytest.mark.parametrize(
    ("size", "side"),
    [((28, 28), 1), ((64, 64), 1), ((65, 40), 2), ((224, 224), 4), ((10, 300), 2), ((4, 99), 1)],
)
def test_large_pictures_are_averaged_over_squares_that_leave_four_pixels(
    size: tuple[int, int], side: int
) -> None:
    assert compact.averaged(size) == side
    assert build("compact", 1, 3, size, seed=1)(torch.zeros(2, 1, *size)).shape == (2, 3)

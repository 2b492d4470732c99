"""The feature maps are Keras' to 1e-5, and those of a forward pass written without the package."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.explanation.activations import record
from pellucid.models import build
from tests.golden.weights import channels_first, fingerprint, keras_weights, torch_weights

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "keras_maps.npz")
LAYERS = ("conv1", "pool1", "conv2", "pool2", "dense1", "dense2")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """The tutorial network with the fixed weights of the golden maps."""
    network = build("tutorial", 1, 10, (28, 28))
    weights = {name: torch.from_numpy(value) for name, value in torch_weights(keras_weights()).items()}
    network.load_state_dict(weights)
    return network


@pytest.fixture(scope="module")
def maps(network: nn.Module) -> dict[str, Tensor]:
    return record(network, torch.from_numpy(GOLDEN["images"]) / 255)


def test_the_weights_are_those_the_golden_maps_were_made_from() -> None:
    assert fingerprint(keras_weights()) == str(GOLDEN["weights_sha256"]), (
        "run tests/golden/make_keras_maps.py"
    )


@pytest.mark.parametrize("layer", LAYERS)
def test_feature_maps_equal_those_of_keras(maps: dict[str, Tensor], layer: str) -> None:
    found = maps[layer].softmax(dim=1) if layer == "dense2" else maps[layer]
    expected = torch.from_numpy(channels_first(GOLDEN[layer]))
    assert found.shape == expected.shape
    assert float(expected.abs().max()) > 0.1  # a comparison of nothings would always hold
    assert float((found - expected).abs().max()) <= 1e-5


@pytest.mark.parametrize("layer", LAYERS)
def test_feature_maps_equal_those_of_an_independent_forward_pass(maps: dict[str, Tensor], layer: str) -> None:
    weights = {
        name: torch.from_numpy(value).double() for name, value in torch_weights(keras_weights()).items()
    }
    expected = independent(torch.from_numpy(GOLDEN["images"]).double() / 255, weights)[layer]
    assert float((maps[layer] - expected).abs().max()) <= 1e-5


@pytest.mark.parametrize("channel", [0, 7, 15])
def test_a_map_is_its_kernel_moved_over_the_picture(
    network: nn.Module, maps: dict[str, Tensor], channel: int
) -> None:
    """The first convolution once more as sums of products, pixel by pixel."""
    image = np.pad(GOLDEN["images"][0, 0] / 255, 1)
    kernel = network.get_parameter("conv1.weight").detach()[channel, 0].numpy()
    bias = float(network.get_parameter("conv1.bias").detach()[channel])
    for row, column in [(0, 0), (5, 16), (14, 10), (20, 17), (27, 27)]:
        value = float((image[row : row + 3, column : column + 3] * kernel).sum()) + bias
        assert float(maps["conv1"][0, channel, row, column]) == pytest.approx(max(0, value), abs=1e-5)


def test_layers_come_in_order_of_execution_with_every_channel(maps: dict[str, Tensor]) -> None:
    assert list(maps) == ["conv1", "pool1", "conv2", "pool2", "dense1", "dropout", "dense2"]
    shapes = {name: tuple(values.shape[1:]) for name, values in maps.items()}
    assert (shapes["conv1"], shapes["conv2"]) == ((16, 28, 28), (32, 14, 14))


def independent(images: Tensor, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """What each layer puts out, by torch.nn.functional alone and in double precision."""
    conv1 = functional.conv2d(images, weights["conv1.weight"], weights["conv1.bias"], padding="same").relu()
    pool1 = functional.max_pool2d(conv1, 2)
    conv2 = functional.conv2d(pool1, weights["conv2.weight"], weights["conv2.bias"], padding="same").relu()
    pool2 = functional.max_pool2d(conv2, 2)
    flat = pool2.reshape(len(images), -1)
    dense1 = (flat @ weights["dense1.weight"].T + weights["dense1.bias"]).relu()
    dense2 = dense1 @ weights["dense2.weight"].T + weights["dense2.bias"]
    return dict(zip(LAYERS, (conv1, pool1, conv2, pool2, dense1, dense2), strict=True))

"""What the layers put out is drawn whole, on one scale per layer, and silence is named."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pellucid.explanation.activations import record
from pellucid.explanation.layer_stats import LayerStats, NetworkStats
from pellucid.formatting import figure
from pellucid.inference import scaled
from pellucid.models import build
from pellucid.plots.images import Atlas, coloured
from pellucid.report.layers import SilentLayer, distinct, first_kernels, pictured_layers, silent_channels
from tests.pages import Elements

PLENTY = 10**8


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (3, 1, 16, 16), dtype=torch.uint8)


@pytest.fixture
def network() -> nn.Module:
    return build("tutorial", 1, 4, (16, 16), seed=1).eval()


def pixels(atlas: Atlas) -> np.ndarray:
    file = io.BytesIO(base64.b64decode(atlas.address.partition(",")[2]))
    return np.array(Image.open(file).convert("RGB"))


def test_every_channel_of_every_layer_is_drawn_on_the_layer_s_own_scale(
    network: nn.Module, images: Tensor
) -> None:
    recorded = record(network, scaled(images))
    layers, atlases = pictured_layers(network, distinct(recorded), budget=PLENTY)
    assert [layer.name for layer in layers] == ["conv1", "pool1", "conv2", "pool2", "dense1", "dense2"]
    for layer in layers[:4]:
        maps = recorded[layer.name]  # (3, C, H, W)
        atlas, (height, width) = atlases[str(layer.atlas)], maps.shape[2:]
        assert [len(grid.tiles) for grid in layer.grids] == [maps.shape[1]] * 3
        assert (layer.low, layer.high) == ("0", figure(float(maps.max())))
        sheet = pixels(atlas)
        for example, channel in ((0, 0), (2, maps.shape[1] - 1)):
            cell = sheet[example * height : (example + 1) * height, channel * width : (channel + 1) * width]
            expected = coloured(maps[example, channel], 0, float(maps.max()))
            assert np.abs(cell.astype(int) - expected).max() <= 3  # the scale has 256 steps in a palette


def test_dropout_at_rest_is_left_out_and_equal_numbers_of_another_shape_are_not() -> None:
    maps = torch.ones(2, 3, 1, 1)
    kept = distinct({"conv": maps, "dropout": maps.clone(), "flatten": maps.flatten(1)})
    assert [name for name, _ in kept] == ["conv", "flatten"]


def test_signed_values_keep_their_sign_around_gray(network: nn.Module) -> None:
    outputs = torch.tensor([[[[-2.0, 0.0, 1.0]]]])  # (1, 1, 1, 3)
    (layer,), atlases = pictured_layers(network, [("conv1", outputs)], budget=PLENTY)
    assert (layer.low, layer.high, layer.scale) == ("−2", "2", "signed")
    blue, gray, orange = pixels(atlases["layer0"])[0].astype(int)
    assert blue[2] > blue[0]
    assert np.ptp(gray) <= 2
    assert orange[0] > orange[2]


def test_a_silent_channel_and_a_silent_layer_are_named_so(network: nn.Module) -> None:
    outputs = torch.zeros(1, 2, 2, 2)
    outputs[0, 1] = 3.0
    (layer,), _ = pictured_layers(network, [("conv1", outputs)], budget=PLENTY)
    assert [tile.silent for tile in layer.grids[0].tiles] == [True, False]
    assert layer.grids[0].tiles[0].description == "0: silent"
    (layer,), _ = pictured_layers(network, [("conv1", outputs * 0)], budget=PLENTY)
    assert layer.empty


def test_what_has_no_room_or_no_shape_to_draw_is_told_by_name(network: nn.Module) -> None:
    maps, tokens = torch.rand(1, 4, 8, 8), torch.rand(1, 5, 7)
    layers, atlases = pictured_layers(network, [("conv1", maps), ("pool1", tokens)], budget=10)
    assert [(layer.name, layer.atlas) for layer in layers] == [("conv1", None), ("pool1", None)]
    assert atlases == {}


def test_many_channels_and_large_maps_are_cut_down_and_said_so(network: nn.Module) -> None:
    (layer,), atlases = pictured_layers(network, [("conv1", torch.rand(1, 100, 112, 112))], budget=PLENTY)
    assert (layer.left_out, layer.shrunk) == (36, True)
    assert (atlases["layer0"].width, atlases["layer0"].height) == (56, 56)


def test_channels_that_no_picture_excites_are_counted_layer_by_layer() -> None:
    layers = [
        LayerStats("conv1", (16, 8, 8), 16, 160, 1, 0.0, dead=(2, 5)),
        LayerStats("pool1", (16, 4, 4), 16, 0, 0, 0.0, dead=(2, 5), judged=False),
        LayerStats("dense1", (80,), 80, 9000, 1, 0.0),
    ]
    found = silent_channels(NetworkStats(tuple(layers), 500))
    assert (found.checked, found.channels) == (500, 96)  # a pooling is as silent as what it pools
    assert found.layers == [SilentLayer("conv1", "conv1", 2, 16)]
    assert found.limit == "0.6 %"  # three of 500


def test_kernels_are_drawn_only_when_they_are_pictures_of_the_input(network: nn.Module) -> None:
    kernels = first_kernels(network)
    assert kernels is not None
    assert (kernels.number, kernels.atlas.count) == (16, 16)
    coloured_kernels = first_kernels(nn.Sequential(nn.Conv2d(3, 5, 4)))
    assert coloured_kernels is not None
    assert coloured_kernels.atlas.count == 15  # red, green and blue of each
    assert first_kernels(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))) is None
    assert first_kernels(nn.Flatten()) is None


def test_a_network_that_is_one_module_can_be_looked_into() -> None:
    network = nn.Conv2d(1, 2, 3)
    images = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    layers, _ = pictured_layers(network, distinct(record(network, scaled(images))), budget=PLENTY)
    assert [layer.description for layer in layers] == ["2 channels of 6 × 6"]


def test_every_channel_of_every_convolution_is_shown(page: str) -> None:
    grids = [a["aria-label"] or "" for a in Elements(page).of_class("grid") if "aria-label" in a]
    examples = [label for label in grids if label.startswith("conv1")]
    assert len(examples) in (2, 3)
    channels = re.findall(r'<div class="grid maps[^>]*aria-label="(conv\d)[^>]*>(.*?)</div>', page)
    shown = {name: {cells.count("<i ") for label, cells in channels if label == name} for name, _ in channels}
    assert shown == {"conv1": {16}, "conv2": {32}}

"""Layer statistics are what arithmetic says: costs, receptive fields, dead and duplicate channels, probes."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from pellucid.classifier import Classifier
from pellucid.data.dataset import Splits
from pellucid.errors import UsageError
from pellucid.explanation.activations import layers_of, record
from pellucid.explanation.layer_stats import (
    effective_receptive_fields,
    gradient_norms,
    layer_seconds,
    layer_statistics,
    multiply_adds,
    receptive_fields,
    weight_changes,
)
from pellucid.models import build
from tests.constructions import GRAY, made
from tests.networks import Seeing, SmallResidual, Wasteful, seeded, unchanged


def test_costs_are_those_of_the_tutorial_network() -> None:
    network, images = build("tutorial", 1, 10, (28, 28), seed=1), torch.rand(1, 1, 28, 28)
    costs = multiply_adds(network, images)
    assert costs["conv1"] == 16 * 9 * 28 * 28
    assert costs["conv2"] == 32 * 16 * 9 * 14 * 14
    assert costs["dense1"] == 32 * 7 * 7 * 80
    assert costs["dense2"] == 800
    assert costs["pool1"] == costs["dropout"] == 0
    times = layer_seconds(network, images)
    assert list(times) == ["conv1", "pool1", "conv2", "pool2", "dense1", "dropout", "dense2"]
    assert all(0 < seconds < 5 for seconds in times.values())


@pytest.mark.parametrize("name", ["attention_by_itself", "a_matrix_product", "a_class_token_in_front"])
def test_every_product_is_counted_once(name: str) -> None:
    network, images = made(name), torch.rand(1, *GRAY)
    with FlopCounterMode(display=False) as counter:
        network(images)
    assert sum(multiply_adds(network, images).values()) == counter.get_total_flops() // 2


def test_fields_of_view_are_those_of_arithmetic() -> None:
    network, images = build("tutorial", 1, 10, (28, 28), seed=1), torch.rand(1, 1, 28, 28)
    assert receptive_fields(network, images) == {
        "conv1": (3, 3),
        "pool1": (4, 4),
        "conv2": (8, 8),
        "pool2": (10, 10),
        "dense1": "whole",
        "dropout": "whole",
        "dense2": "whole",
    }
    strided = nn.Sequential(
        nn.Conv2d(1, 2, (3, 5), padding=(1, 2)), nn.Conv2d(2, 2, 3, stride=2), nn.Conv2d(2, 2, 3)
    )
    assert receptive_fields(strided, torch.rand(1, 1, 32, 32)) == {"0": (3, 5), "1": (5, 7), "2": (9, 11)}
    dilated = nn.Sequential(nn.Conv2d(1, 2, 3, dilation=3, padding=3), nn.AvgPool2d(2))
    assert receptive_fields(dilated, torch.rand(1, 1, 20, 20))["0"] == (
        7,
        7,
    )  # from the first row to the last


def test_a_transformer_sees_the_whole_picture_after_its_first_attention() -> None:
    found = receptive_fields(seeded(Seeing), torch.rand(1, 1, 8, 8))
    assert found["patches"] == (2, 2)
    assert found["block1.dropout2"] == found["block2.norm1"] == (8, 8)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("tutorial", (33, 70)),
        ("compact", (28, 28)),
        ("compact", (90, 131)),
        ("resnet", (32, 32)),
        ("resnet", (72, 80)),
    ],
)
def test_fields_of_view_are_exact_for_every_network_at_every_size(name: str, size: tuple[int, int]) -> None:
    """The oracle sets one row, then one column to NaN, and looks which cells in the middle become NaN."""
    images = torch.rand(1, 1, *size)
    network = build(name, 1, 10, size, seed=1).eval()
    found = receptive_fields(network, images)
    assert set(found) == set(layers_of(network))
    tried = {key: list[int]() for key in found}
    for axis, side in enumerate(size):
        probes = torch.full((side, 1, *size), 0.5, dtype=torch.float64)
        for index, probe in enumerate(probes):
            probe.select(1 + axis, index).fill_(float("nan"))
        for key, output in record(deepcopy(network).double(), probes).items():
            if output.dim() == 4:
                middle = output[:, :, output.shape[2] // 2, output.shape[3] // 2]
                seen = torch.nonzero(middle.isnan().any(dim=1))[:, 0]
                tried[key].append(int(seen[-1] - seen[0]) + 1)
    for key, sides in tried.items():
        assert found[key] == "whole" or list(found[key]) == sides, key
        if found[key] == "whole" and sides:
            assert sides == list(size), key


def test_the_first_convolution_of_large_pictures_sees_three_by_three() -> None:
    network = build("tutorial", 3, 10, (224, 224), seed=1)
    fields = receptive_fields(network, torch.rand(1, 3, 224, 224))
    assert fields["conv1"] == (3, 3)
    assert fields["pool2"] == (10, 10)


def test_a_field_that_cannot_be_derived_is_tried_where_pictures_are_small_and_else_left_out() -> None:
    class Rolled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3, padding=1)
            self.after = nn.Conv2d(2, 2, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.after(torch.roll(self.conv(images), 1, dims=2)).flatten(1)

    network = seeded(Rolled)
    assert receptive_fields(network, torch.rand(1, 1, 16, 16)) == {"conv": (3, 3), "after": (3, 3)}
    assert receptive_fields(network, torch.rand(1, 1, 80, 80)) == {"conv": (3, 3)}


def test_the_effective_field_is_within_the_theoretical_one() -> None:
    network, images = seeded(SmallResidual), torch.rand(4, 1, 16, 16)
    limits, seen = receptive_fields(network, images), effective_receptive_fields(network, images)
    assert seen["stem"] == pytest.approx(3, abs=1)
    for name, side in seen.items():
        limit = limits.get(name, "whole")
        assert 0 <= side <= (16 if limit == "whole" else max(limit)), name


def test_dead_always_on_and_twin_channels_are_found(reader: Classifier, digits: Splits) -> None:
    wasteful = replace(reader, network=Wasteful(8, 10), model="another")
    stats = layer_statistics(wasteful, digits.test, pictures=100)
    layers = {layer.name: layer for layer in stats.layers}
    assert layers["relu"].dead == (2,)
    assert layers["relu"].always_on == (3,)
    pair = layers["relu"].duplicates[0]
    assert (pair.first, pair.second, pair.correlation) == (0, 1, pytest.approx(1))
    assert not any(2 in (pair.first, pair.second) for pair in layers["relu"].duplicates)
    assert layers["conv"].dead == layers["conv"].always_on == ()
    assert not layers["pool"].judged
    assert "dead channels: 1 of 5 in relu" in stats.sentence


def test_a_healthy_network_is_described_layer_by_layer(reader: Classifier, digits: Splits) -> None:
    with unchanged(reader.network, digits.test.images[:1]):
        stats = layer_statistics(reader, digits.test, untrained=build("tutorial", 1, 10, (8, 8), seed=3))
    layers = {layer.name: layer for layer in stats.layers}
    assert stats.parameters == sum(weight.numel() for weight in reader.network.parameters())
    assert stats.multiply_adds == sum(layer.multiply_adds for layer in stats.layers)
    assert layers["conv2"].shape == (32, 4, 4)
    assert layers["conv1"].field == (3, 3)
    assert layers["dense1"].field == "whole"
    assert {layer.name for layer in stats.layers if layer.judged} >= set(stats.leading)
    assert layers["dense1"].probe is not None
    assert layers["dense1"].untrained_probe is not None
    assert layers["dense1"].probe > 0.9
    assert layers["dense1"].probe > layers["dense1"].untrained_probe
    assert layer_statistics(reader, digits.test).layers[0].untrained_probe is None
    with pytest.raises(UsageError, match="at least 3 pictures for layer statistics"):
        layer_statistics(reader, digits.test.subset(torch.arange(2)))


def test_changes_of_weights_and_gradients_are_measured(reader: Classifier, digits: Splits) -> None:
    before = {"weight": torch.tensor([3.0, 4.0]), "count": torch.tensor(1)}
    after = {"weight": torch.tensor([3.0, 4.5]), "count": torch.tensor(2)}
    assert weight_changes([before, after]) == [{"weight": pytest.approx(0.1)}]
    assert weight_changes([before]) == []
    with unchanged(reader.network, digits.test.images[:1]):
        lengths = gradient_norms(reader, digits.test, pictures=32)
    logits = reader.network(digits.test.images[:32].float() / 255)
    functional.cross_entropy(logits, digits.test.labels[:32]).backward()
    for name, weight in reader.network.named_parameters():
        assert weight.grad is not None
        assert lengths[name] == pytest.approx(float(weight.grad.norm()), rel=1e-3)
        weight.grad = None

"""Layer statistics are what arithmetic says: costs, receptive fields, dead and duplicate channels, probes."""

from dataclasses import replace

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.dataset import Splits
from pellucid.errors import UsageError
from pellucid.explanation.layer_stats import (
    RIDGE,
    effective_receptive_fields,
    gradient_norms,
    layer_seconds,
    layer_statistics,
    multiply_adds,
    probe_accuracy,
    receptive_fields,
    weight_changes,
)
from pellucid.models import build
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


def test_fields_of_view_are_those_of_arithmetic() -> None:
    network, images = build("tutorial", 1, 10, (28, 28), seed=1), torch.rand(1, 1, 28, 28)
    assert receptive_fields(network, images) == {
        "conv1": (3, 3),
        "pool1": (4, 4),
        "conv2": (8, 8),
        "pool2": (10, 10),
    }
    strided = nn.Sequential(
        nn.Conv2d(1, 2, (3, 5), padding=(1, 2)), nn.Conv2d(2, 2, 3, stride=2), nn.Conv2d(2, 2, 3)
    )
    assert receptive_fields(strided, torch.rand(1, 1, 32, 32)) == {"0": (3, 5), "1": (5, 7), "2": (9, 11)}
    dilated = nn.Sequential(nn.Conv2d(1, 2, 3, dilation=3, padding=3), nn.AvgPool2d(2))
    assert receptive_fields(dilated, torch.rand(1, 1, 20, 20))["0"] == (
        3,
        3,
    )  # three rows are seen, not seven


def test_a_transformer_sees_the_whole_picture_after_its_first_attention() -> None:
    found = receptive_fields(seeded(Seeing), torch.rand(1, 1, 8, 8))
    assert found["patches"] == (2, 2)
    assert found["block1.self_attn"] == found["block2.norm1"] == (8, 8)


def test_large_pictures_are_tried_in_steps() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 9, padding=4))
    height, width = receptive_fields(network, torch.rand(1, 1, 100, 70))["0"]
    assert 9 <= height <= 9 + 2 * 4
    assert 9 <= width <= 9 + 2 * 3


def test_the_effective_field_is_within_the_theoretical_one() -> None:
    network, images = seeded(SmallResidual), torch.rand(4, 1, 16, 16)
    limits, seen = receptive_fields(network, images), effective_receptive_fields(network, images)
    assert seen["stem"] == pytest.approx(3, abs=1)
    for name, side in seen.items():
        if name in limits:
            assert 0 <= side <= max(limits[name]), name


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
        stats = layer_statistics(reader, digits.test)
    layers = {layer.name: layer for layer in stats.layers}
    assert stats.parameters == sum(weight.numel() for weight in reader.network.parameters())
    assert stats.multiply_adds == sum(layer.multiply_adds for layer in stats.layers)
    assert layers["conv2"].shape == (32, 4, 4)
    assert layers["conv1"].field == (3, 3)
    assert layers["dense1"].field is None
    assert layers["dense1"].probe is not None
    assert layers["dense1"].untrained_probe is not None
    assert layers["dense1"].probe > 0.9
    assert layers["dense1"].probe > layers["dense1"].untrained_probe
    with pytest.raises(UsageError, match="at least 3 pictures for layer statistics"):
        layer_statistics(reader, digits.test.subset(torch.arange(2)))


def test_probes_are_scikit_learns_ridge_regression() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (90,), generator=generator)
    features = torch.randn(90, 6, generator=generator) + functional.one_hot(labels, 6)
    mean, spread = features[:60].mean(dim=0), features[:60].std(dim=0, correction=0)
    scaled = ((features - mean) / spread).double()
    wanted = functional.one_hot(labels[:60], 3)
    model = Ridge(RIDGE, fit_intercept=False)
    known, asked = (functional.pad(part, (0, 1), value=1.0) for part in (scaled[:60], scaled[60:]))
    guesses = torch.from_numpy(model.fit(known, wanted).predict(asked)).argmax(dim=1)
    assert probe_accuracy(features, labels, 3) == pytest.approx(
        float((guesses == labels[60:]).double().mean())
    )


def test_a_probe_with_more_features_than_pictures_is_the_same_regression() -> None:
    generator = torch.Generator().manual_seed(6)
    labels = torch.arange(30) % 3
    features = torch.randn(30, 80, generator=generator)
    features[:, 0] += labels
    training = features[:20].double()
    known = (training - training.mean(dim=0)) / training.std(dim=0, correction=0)
    asked = (features[20:].double() - training.mean(dim=0)) / training.std(dim=0, correction=0)
    known, asked = (functional.pad(part, (0, 1), value=1.0) for part in (known, asked))
    system = known.T @ known + 10 * torch.eye(81, dtype=torch.float64)
    weights = torch.linalg.solve(system, known.T @ functional.one_hot(labels[:20], 3).double())
    right = ((asked @ weights).argmax(dim=1) == labels[20:]).double().mean()
    assert probe_accuracy(features, labels, 3) == pytest.approx(float(right))


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

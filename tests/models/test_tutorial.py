"""The tutorial's network has the lesson's layers and sizes, and starts as Keras starts."""

import math

import pytest
import torch

from pellucid.errors import UsageError
from pellucid.models import build
from pellucid.models.tutorial import Tutorial


@pytest.mark.parametrize("size", [(3, 28), (28, 3), (1, 1)])
def test_a_picture_too_small_to_be_halved_twice_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="expected 4x4 or more; got"):
        build("tutorial", 1, 10, size)


def test_the_tutorial_has_the_pages_layers_and_numbers_of_weights() -> None:
    network = build("tutorial", 1, 10, (28, 28), seed=0)
    names = [name for name, _ in network.named_children()]
    assert names == ["conv1", "pool1", "conv2", "pool2", "dense1", "dropout", "dense2"]
    # Keras' summary of the page's network counts them so.
    counts = {n: sum(p.numel() for p in m.parameters()) for n, m in network.named_children()}
    assert counts == {
        "conv1": 160, "pool1": 0, "conv2": 4640, "pool2": 0, "dense1": 125_520, "dropout": 0, "dense2": 810,
    }  # fmt: skip
    assert isinstance(network, Tutorial)
    assert network.dropout.p == 0.4


def test_first_weights_are_drawn_as_keras_draws_them() -> None:
    network = build("tutorial", 1, 10, (28, 28), seed=0)
    fans = {"conv1": (9, 9 * 16), "conv2": (9 * 16, 9 * 32), "dense1": (1568, 80), "dense2": (80, 10)}
    for name, (inputs, outputs) in fans.items():
        weight = network.get_parameter(f"{name}.weight")
        limit = math.sqrt(6 / (inputs + outputs))
        assert 0.9 * limit < float(weight.detach().abs().max()) <= limit
        deviation = limit / math.sqrt(3)
        assert float(weight.detach().std()) == pytest.approx(deviation, rel=0.12)
        assert not network.get_parameter(f"{name}.bias").any()


def test_dropout_acts_in_training_and_never_in_evaluation() -> None:
    network = build("tutorial", 1, 10, (16, 16), seed=0)
    images = torch.rand(4, 1, 16, 16)
    assert not torch.equal(network.train()(images), network(images))
    assert torch.equal(network.eval()(images), network(images))

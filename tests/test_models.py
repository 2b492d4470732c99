"""Every network of the table keeps the same contract; the tutorial's is the course page's."""

import math

import pytest
import torch
from torch import nn

from pellucid.errors import UsageError
from pellucid.models import MODELS, build
from pellucid.models.tutorial import Tutorial
from tests.toys import same_weights

SHAPES = [(1, 10, (28, 28)), (1, 2, (8, 8)), (3, 5, (32, 20)), (3, 3, (33, 17))]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("channels", "classes", "size"), SHAPES)
def test_every_model_turns_pictures_of_any_size_into_logits(
    name: str, channels: int, classes: int, size: tuple[int, int]
) -> None:
    network = build(name, channels, classes, size, seed=1).eval()
    with torch.no_grad():
        logits = network(torch.rand(3, channels, *size))
    assert logits.shape == (3, classes)
    assert logits.dtype == torch.float32
    assert bool(logits.isfinite().all())
    assert float(logits.sum(dim=1)[0]) != pytest.approx(1, abs=1e-6)  # scores, no probabilities


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_alone_decides_the_weights_and_torchs_generator_stays_as_it_was(name: str) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = build(name, 1, 4, (16, 16), seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(100)
    assert same_weights(first, build(name, 1, 4, (16, 16), seed=1))
    assert not same_weights(first, build(name, 1, 4, (16, 16), seed=2))


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_learns(name: str) -> None:
    network = build(name, 1, 4, (16, 16), seed=1)
    network(torch.rand(8, 1, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_every_model_says_what_it_is_in_a_phrase(name: str) -> None:
    assert 10 < len(MODELS[name].phrase) < 90


def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Unknown model 'tutorail'\. Did you mean 'tutorial'\?"):
        build("tutorail", 1, 10, (28, 28))


@pytest.mark.parametrize("size", [(3, 28), (28, 3), (1, 1)])
def test_a_picture_too_small_to_be_halved_twice_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="expected 4x4 or more; got"):
        build("tutorial", 1, 10, size)


def test_a_refused_picture_leaves_torchs_generator_as_it_was() -> None:
    before = torch.random.get_rng_state()
    with pytest.raises(UsageError):
        build("tutorial", 1, 10, (3, 3), seed=9)
    assert torch.equal(torch.random.get_rng_state(), before)


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


def test_no_network_hides_a_softmax() -> None:
    for name in MODELS:
        assert not any(
            isinstance(m, nn.Softmax | nn.LogSoftmax) for m in build(name, 1, 3, (16, 16)).modules()
        )

"""Every network of the table keeps the same contract; the tutorial's has the lesson's layers and sizes."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.explanation.activations import last_spatial_layer, record
from pellucid.models import MODELS, build, resnet
from pellucid.models.tutorial import Tutorial
from pellucid.pad.program import lower
from tests.toys import same_weights

SHAPES = [
    (1, 10, (28, 28)), (1, 2, (8, 8)), (3, 5, (32, 20)), (3, 3, (33, 17)), (4, 2, (32, 32)), (2, 3, (96, 65)),
    (3, 2, (224, 224)),
]  # fmt: skip


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


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_of_one_picture_can_be_learned_from(name: str) -> None:
    for size in ((4, 4), (8, 8), (28, 28)):
        network = build(name, 1, 3, size, seed=0).train()
        assert bool(network(torch.rand(1, 1, *size)).isfinite().all())


@pytest.mark.parametrize("name", MODELS)
def test_every_model_comes_back_from_its_file_with_all_it_gathered(name: str, tmp_path: Path) -> None:
    network = build(name, 3, 3, (16, 16), seed=0).train()
    network(torch.rand(8, 3, 16, 16))  # whatever a network gathers while training is in its buffers now
    saved = Classifier(network.eval(), ("a", "b", "c"), Preprocess(3, 16, 16), name)
    saved.save(tmp_path)
    loaded = Classifier.load(tmp_path)
    assert same_weights(network, loaded.network)
    images = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(saved.predict(images), loaded.predict(images))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_run_by_a_page(name: str) -> None:
    network = build(name, 3, 4, (32, 32), seed=0).train()
    network(torch.rand(8, 3, 32, 32))
    program = lower(network.eval(), (3, 32, 32))
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        found = program.run(images, program.weights(network.state_dict()))[-1]
        assert torch.allclose(found, network(images), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_explained_on_a_layer_with_places(name: str) -> None:
    network = build(name, 3, 4, (32, 32), seed=0).eval()
    images = torch.rand(1, 3, 32, 32)
    layer = last_spatial_layer(network, images)
    assert record(network, images, [layer])[layer].dim() == 4


def test_the_resnet_has_18_layers_and_two_widths() -> None:
    small, large = build("resnet", 3, 10, (32, 32), seed=0), build("resnet", 3, 1000, (224, 224), seed=0)
    for network in (small, large):
        weighted = [m for m in network.modules() if isinstance(m, resnet.Convolution | nn.Linear)]
        beside = [m for m in network.modules() if isinstance(m, resnet.Block) and m.shortcut is not None]
        assert len(weighted) - len(beside) == 18
    # torchvision's resnet18 for 1000 classes, in its documentation.
    assert sum(p.numel() for p in large.parameters()) == 11_689_512


def test_the_resnet_learns_its_normalisation_from_what_it_sees() -> None:
    layer = resnet.Convolution(3, 8, 3, rectified=False).train()
    for _ in range(80):
        layer(torch.rand(16, 3, 16, 16) + 3)
    images = torch.rand(64, 3, 16, 16) + 3
    with torch.no_grad():
        learned, fresh = layer.eval()(images), layer.train()(images)
    assert float((learned - fresh).abs().max()) < 0.2
    assert float(fresh.mean().abs()) < 1e-4
    assert float(fresh.std()) == pytest.approx(1, abs=0.01)


def test_layers_of_the_resnet_are_named_by_their_place() -> None:
    network = build("resnet", 3, 2, (32, 32), seed=0).eval()
    names = list(record(network, torch.rand(1, 3, 32, 32)))
    assert names[:5] == ["conv1", "stage1.0.conv1", "stage1.0.conv2", "stage1.0.sum", "stage1.1.conv1"]
    assert names[-3:] == ["stage4.1.sum", "pool2", "dense"]
    assert len(names) == 1 + 8 * 3 + 3 + 2


@pytest.mark.parametrize("size", [(3, 28), (28, 3)])
def test_a_picture_too_small_for_the_resnet_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="needs pictures of 4x4 or more; got"):
        build("resnet", 1, 10, size)


def test_no_network_hides_a_softmax() -> None:
    for name in MODELS:
        assert not any(
            isinstance(m, nn.Softmax | nn.LogSoftmax) for m in build(name, 1, 3, (16, 16)).modules()
        )

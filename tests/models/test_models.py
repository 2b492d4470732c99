"""Every network of the table keeps the same contract."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.explanation.activations import record
from pellucid.explanation.attribution import gradient_times_activation
from pellucid.explanation.places import evidence_place
from pellucid.models import MODELS, build
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


def test_a_refused_picture_leaves_torchs_generator_as_it_was() -> None:
    before = torch.random.get_rng_state()
    with pytest.raises(UsageError):
        build("tutorial", 1, 10, (3, 3), seed=9)
    assert torch.equal(torch.random.get_rng_state(), before)


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


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_run_by_a_page(name: str, size: tuple[int, int]) -> None:
    network = build(name, 3, 4, size, seed=0).train()
    network(torch.rand(8, 3, *size))
    program = lower(network.eval(), (3, *size))
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        found = program.run(images, program.weights(network.state_dict()))[-1]
        assert torch.allclose(found, network(images), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_explained_on_a_layer_with_places(name: str) -> None:
    network = build(name, 3, 4, (32, 56), seed=0).eval()
    images = torch.rand(1, 3, 32, 56)
    layer = evidence_place(network, images).name
    maps = record(network, images, [layer])[layer]
    assert maps.dim() == 4
    assert gradient_times_activation(network, images, 1).shape[1:] == maps.shape[2:]
    assert maps.shape[3] > maps.shape[2]  # as wide as the picture is


def test_no_network_hides_a_softmax() -> None:
    for name in MODELS:
        assert not any(
            isinstance(m, nn.Softmax | nn.LogSoftmax) for m in build(name, 1, 3, (16, 16)).modules()
        )

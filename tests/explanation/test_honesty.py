"""Maps are tested before they are believed: the tests tell good ones from bad ones."""

import pytest
import torch
from torch import Tensor, nn

from pellucid.classifier import Classifier
from pellucid.data.picture import Preprocess
from pellucid.explanation import EXPLAINERS
from pellucid.explanation.honesty import edges, judge_maps
from pellucid.models import build
from pellucid.recipe import Recipe
from pellucid.training import train
from tests.toys import toy_splits

SPLITS = toy_splits(600)


def untrained() -> Classifier:
    size, classes = SPLITS.train.size, SPLITS.train.classes
    network = build("tutorial", 1, len(classes), size, seed=1)
    return Classifier(network, classes, Preprocess(1, *size), "tutorial")


@pytest.fixture(scope="module")
def trained() -> Classifier:
    classifier = untrained()
    for _ in train(classifier.network, SPLITS.train, SPLITS.validation, Recipe(epochs=8, batch_size=32)):
        pass
    return classifier


def edges_of_the_picture(network: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """A broken method: it never asks the network."""
    return edges(images)


def test_of_a_network_that_guesses_nothing_is_believed() -> None:
    honesty = judge_maps(untrained(), SPLITS.test, EXPLAINERS, pictures=8)
    assert honesty.verdict.startswith("Not to be believed")
    assert not any(test.supported for test in honesty.tests)


def test_a_method_that_does_not_ask_the_network_is_stamped(trained: Classifier) -> None:
    honesty = judge_maps(trained, SPLITS.test, {"edges": edges_of_the_picture}, pictures=16)
    assert not honesty.guesses
    assert [test.supported for test in honesty.tests] == [False]
    assert honesty.tests[0].alike == pytest.approx(1)
    assert "not to be believed" in honesty.tests[0].sentence


def test_the_same_seed_gives_the_same_verdict_and_leaves_everything_as_it_was(trained: Classifier) -> None:
    before = [weight.clone() for weight in trained.network.parameters()]
    state = torch.get_rng_state()
    methods = {"gradient x activation": EXPLAINERS["gradient x activation"]}
    first = judge_maps(trained, SPLITS.test, methods, pictures=8, seed=3)
    assert judge_maps(trained, SPLITS.test, methods, pictures=8, seed=3) == first
    assert all(torch.equal(a, b) for a, b in zip(before, trained.network.parameters(), strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_integrated_gradients_add_up_to_the_difference_of_scores(trained: Classifier) -> None:
    images = SPLITS.test.images[:8].float() / 255
    with torch.no_grad():
        difference = trained.network.eval()(images)[:, 1] - trained.network(torch.zeros_like(images))[:, 1]
    heat = EXPLAINERS["integrated gradients"](trained.network, images, 1)
    largest = difference.abs().max()
    assert (heat.sum(dim=(1, 2)) - difference).abs().max() < 0.01 * largest


def test_against_explains_the_difference_of_two_scores(trained: Classifier) -> None:
    images = SPLITS.test.images[:4].float() / 255
    method = EXPLAINERS["gradient x activation"]
    both = method(trained.network, images, 0, against=1)
    torch.testing.assert_close(both, method(trained.network, images, 0) - method(trained.network, images, 1))


def test_grad_cam_equals_that_of_captum(trained: Classifier) -> None:
    captum = pytest.importorskip("captum.attr")
    images = SPLITS.test.images[:3].float() / 255
    network = trained.network.eval()
    theirs = captum.LayerGradCam(network, network.get_submodule("pool2")).attribute(images, target=1)
    ours = EXPLAINERS["grad-cam"](network, images, 1, layer="pool2")
    torch.testing.assert_close(ours, theirs[:, 0].detach(), atol=1e-5, rtol=0)

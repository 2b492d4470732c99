"""Muon's step is orthogonal and Nesterov's, every weight has one optimizer, and none forgets anything."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pellucid.models import MODELS, build
from pellucid.recipe import CHOICES, Recipe
from pellucid.training.optimizers import MUON_RATE_FACTOR, Muon, Optimizers, hidden_matrices, orthogonalized
from tests.toys import ROOT

MUON = Recipe(optimizer="muon", learning_rate=2e-3)


def network() -> nn.Module:
    return build("tutorial", 1, 4, (16, 16), seed=3)


def with_gradients(model: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)
    return model


def directly(matrix: Tensor, steps: int) -> Tensor:
    """The iteration as it is published, on the whole matrix."""
    turned = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    turned = turned / turned.norm()
    for _ in range(steps):
        gram = turned @ turned.T
        turned = 3.4445 * turned + (-4.7750 * gram + 2.0315 * gram @ gram) @ turned
    return turned.T if matrix.shape[0] > matrix.shape[1] else turned


@pytest.mark.parametrize("shape", [(32, 144), (144, 32), (20, 20), (1, 7), (7, 1)])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_the_gram_matrix_gives_what_the_published_iteration_gives(shape: tuple[int, int], steps: int) -> None:
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(orthogonalized(matrix, steps=steps), directly(matrix, steps), atol=1e-9)


def test_an_orthogonal_direction_keeps_the_singular_vectors_and_evens_out_the_values() -> None:
    matrix = torch.randn(30, 90, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonalized(matrix) @ right.T
    assert torch.allclose(found, torch.diag(found.diagonal()), atol=1e-9)
    assert float(values.max() / values.min()) > 3
    assert 0.6 < float(found.diagonal().min()) <= float(found.diagonal().max()) < 1.25


def test_a_gradient_of_nothing_moves_nothing() -> None:
    assert not orthogonalized(torch.zeros(4, 9)).any()


def test_two_steps_of_muon_are_those_written_out_by_hand() -> None:
    weight = nn.Parameter(torch.randn(6, 2, 3, 3, generator=torch.Generator().manual_seed(1)))
    expected, average = weight.detach().clone(), torch.zeros_like(weight)
    muon = Muon([weight], momentum=0.9, weight_decay=0.1)
    for seed in (1, 2):
        weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
        average = 0.9 * average + 0.1 * weight.grad
        ahead = 0.1 * weight.grad + 0.9 * average
        expected *= 1 - MUON_RATE_FACTOR * 1e-3 * 0.1
        expected -= MUON_RATE_FACTOR * 1e-3 * directly(ahead.flatten(1), 3).view_as(weight)
        with torch.no_grad():
            muon.step(1e-3)
        assert torch.allclose(weight, expected, atol=1e-6)


def test_a_tall_matrix_goes_further_and_a_weight_without_a_gradient_stays() -> None:
    tall, still = nn.Parameter(torch.zeros(40, 10)), nn.Parameter(torch.ones(3, 3))
    tall.grad = torch.randn(40, 10, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        Muon([tall, still]).step(1e-2)
    assert torch.equal(still, torch.ones(3, 3))
    values = torch.linalg.svdvals(tall.detach()) / (MUON_RATE_FACTOR * 1e-2)
    assert 2 * 0.6 < float(values.min()) <= float(values.max()) < 2 * 1.25


def test_muon_moves_the_inner_matrices_of_the_tutorial_network() -> None:
    model = network()
    names = [
        name for name, weight in model.named_parameters() if any(weight is w for w in hidden_matrices(model))
    ]
    assert names == ["conv2.weight", "dense1.weight"]


@pytest.mark.parametrize("optimizer", CHOICES["optimizer"])
@pytest.mark.parametrize("name", MODELS)
def test_every_weight_is_moved_by_one_optimizer(optimizer: str, name: str) -> None:
    model = with_gradients(build(name, 1, 4, (16, 16), seed=1), 1)
    before = [weight.detach().clone() for weight in model.parameters()]
    optimizers = Optimizers(model, Recipe(optimizer=optimizer))  # type: ignore[arg-type]
    optimizers.step(1e-3)
    assert not any(torch.equal(was, weight) for was, weight in zip(before, model.parameters(), strict=True))
    moved = [id(weight) for part in optimizers.optimizers for weight in part.weights]
    assert sorted(moved) == sorted(map(id, model.parameters()))


@pytest.mark.parametrize("optimizer", CHOICES["optimizer"])
def test_what_they_remember_can_be_taken_along(optimizer: str) -> None:
    recipe = replace(MUON, optimizer=optimizer)
    whole = network()
    optimizers = Optimizers(whole, recipe)
    for seed in (1, 2):
        with_gradients(whole, seed)
        optimizers.step(1e-3)
        if seed == 1:
            kept = {name: tensor.clone() for name, tensor in optimizers.state_dict().items()}
            weights = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    other = network()
    other.load_state_dict(weights)
    others = Optimizers(other, recipe)
    others.load_state_dict(kept)
    with_gradients(other, 2)
    others.step(1e-3)
    assert all(torch.equal(t, whole.state_dict()[name]) for name, t in other.state_dict().items())
    assert others.state_dict().keys() == kept.keys()


@pytest.mark.parametrize(("optimizer", "decay"), [("adam", 0.0), ("adamw", 0.1)])
def test_adam_is_torchs_own(optimizer: str, decay: float) -> None:
    ours, theirs = network(), network()
    recipe = Recipe(optimizer=optimizer, weight_decay=0.1)  # type: ignore[arg-type]
    optimizers = Optimizers(ours, recipe)
    reference = torch.optim.AdamW(theirs.parameters(), lr=3e-3, eps=1e-7, weight_decay=decay)
    for seed in range(5):
        with_gradients(ours, seed)
        with_gradients(theirs, seed)
        optimizers.step(3e-3)
        reference.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_training_does_not_load_torchs_compiler() -> None:
    program = """
import sys
from tests.toys import QUICK, toy_splits
from pellucid.models import build
from pellucid.training.loop import train
splits = toy_splits(60)
list(train(build("tutorial", 1, 4, (16, 16), seed=0), splits.train, splits.validation, QUICK))
print("torch._dynamo" in sys.modules)
"""
    settings = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, env=settings, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

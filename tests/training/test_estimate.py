"""How long a training will take is estimated on a copy, near what it then takes."""

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.models import build
from pellucid.recipe import Recipe
from pellucid.training.estimate import seconds_to_train
from pellucid.training.loop import train
from tests.toys import economical, toy_splits

SPLITS = toy_splits(300)
RECIPE = Recipe(model="tutorial", epochs=3, batch_size=16, threads=1, precision="float32", augment="none")


@pytest.fixture(autouse=True)
def cheaply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PELLUCID_HOME", str(tmp_path / "cache"))
    with economical():
        yield


def test_the_network_and_the_random_numbers_are_left_as_they_were() -> None:
    network = build("tutorial", 1, 4, (16, 16), seed=1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    assert seconds_to_train(network, SPLITS.train, SPLITS.validation, RECIPE) > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_steps_and_judging_are_counted_by_a_clock_that_ticks_with_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every reading of the clock takes a second: an epoch costs one a step at least, and more for judging."""
    seconds = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(seconds)))
    network = build("tutorial", 1, 4, (16, 16), seed=1)
    estimated = seconds_to_train(network, SPLITS.train, SPLITS.validation, RECIPE)
    begun = time.perf_counter()
    for _ in train(network, SPLITS.train, SPLITS.validation, RECIPE):
        pass
    steps = RECIPE.epochs * len(SPLITS.train) / RECIPE.batch_size
    assert estimated >= steps
    assert 1 / 3 < estimated / (time.perf_counter() - begun) < 3


@pytest.mark.parametrize("epochs", [1, 3, 30])
def test_it_grows_with_the_epochs(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(seconds)))
    network = build("compact", 1, 4, (16, 16), seed=1)
    recipe = Recipe(model="compact", epochs=epochs, batch_size=64, threads=1, precision="float32")
    once = Recipe(model="compact", epochs=1, batch_size=64, threads=1, precision="float32")
    many = seconds_to_train(network, SPLITS.train, SPLITS.validation, recipe)
    assert many == pytest.approx(epochs * seconds_to_train(network, SPLITS.train, SPLITS.validation, once))


def test_fewer_pictures_than_a_batch_are_measured_too() -> None:
    few = SPLITS.train.subset(list(range(9)))
    network = build("tutorial", 1, 4, (16, 16), seed=1)
    assert seconds_to_train(network, few, SPLITS.validation, RECIPE) > 0

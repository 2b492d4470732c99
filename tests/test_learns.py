"""A small job really learns, what cannot be learned is not, and the embedded digits are read at 97 %."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.data import load
from pellucid.data.dataset import Dataset, Origin, Splits
from pellucid.models import MODELS, build, resnet
from pellucid.recipe import Recipe
from pellucid.runs.fit import fit
from pellucid.training.loop import loss_and_accuracy, train
from tests.toys import CLASSES, QUICK, economical, toy_dataset, toy_splits


@pytest.fixture(autouse=True)
def cheaply(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(
        resnet, "WIDTH_SMALL", 8
    )  # a quarter of it is enough for toys, and sixteen times as fast
    with economical():
        yield


@pytest.mark.parametrize("model", MODELS)
def test_a_small_job_is_learned(model: str, tmp_path: Path) -> None:
    splits = toy_splits(600)
    recipe = Recipe(model=model, epochs=12, batch_size=32, learning_rate=4e-3, threads=1)
    run = fit(splits.train, splits.validation, recipe, folder=tmp_path / "run")
    assert run.history[0].val_loss > 4 * run.history[-1].val_loss
    assert run.evaluate(splits.test).accuracy >= 0.95


@pytest.mark.parametrize("model", MODELS)
def test_one_batch_can_be_learned_by_heart(model: str) -> None:
    batch = toy_dataset(32)
    network = build(model, 1, len(CLASSES), (16, 16), seed=0)
    recipe = replace(QUICK, model=model, epochs=60, batch_size=32, learning_rate=4e-3)
    list(train(network, batch, batch, recipe))
    loss, accuracy = loss_and_accuracy(network, batch)
    assert accuracy == 1
    assert loss < 0.02


def test_shuffled_labels_stay_at_chance(tmp_path: Path) -> None:
    """No way leads from a picture to its label but the picture itself."""
    splits = Splits(*(shuffled(part, seed) for seed, (_, part) in enumerate(toy_splits(1000).items())))
    run = fit(splits.train, splits.validation, replace(QUICK, epochs=6), folder=tmp_path / "run")
    found = run.evaluate(splits.test)
    chance = 1 / len(CLASSES)
    assert abs(found.accuracy - chance) < 3 * math.sqrt(chance * (1 - chance) / found.count)


def test_the_digits_are_read_at_97_percent_with_the_default_recipe(tmp_path: Path) -> None:
    splits = load("digits")
    recipe = replace(Recipe.named("fast").resolve(len(splits.train)), threads=1)
    run = fit(splits.train, splits.validation, recipe, folder=tmp_path / "run", origin=Origin("digits"))
    found = run.evaluate(splits.test)
    assert found.count == 360
    assert found.accuracy >= 0.97
    assert found.interval[0] > 0.94


def shuffled(dataset: Dataset, seed: int) -> Dataset:
    """The same pictures, each with the label of another."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    return Dataset(dataset.images, dataset.labels[order], dataset.classes, dataset.sources)

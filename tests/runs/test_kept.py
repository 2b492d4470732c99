"""A training that was kept is given back as it was, or not at all."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.recipe import Recipe
from pellucid.runs.kept import KeptTraining
from pellucid.training.loop import Epoch, Progress
from tests.toys import toy_splits

SPLITS = toy_splits(60)
RECIPE = Recipe(threads=1, precision="float32")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kept_of(recipe: Recipe = RECIPE, count: int = 30) -> KeptTraining:
    return KeptTraining.of(recipe, SPLITS.train.subset(list(range(count))), SPLITS.validation)


def finished() -> Progress:
    progress = Progress(epoch=2, weights={"w": torch.ones(1)}, best_weights={"w": torch.tensor([0.25])})
    progress.history.append(Epoch(1, 2.0, 1e-3, 0.5, 0.75, 0.6, 0.7, best=True))
    return progress


def test_it_is_given_back_with_its_best_weights_and_in_the_folder_that_was_named(cache: Path) -> None:
    assert kept_of().training() is None
    kept_of().keep_training(finished())
    kept_of().keep_result({"model": "tutorial"})
    found = kept_of().training()
    assert found is not None
    assert found.history == finished().history
    assert torch.equal(found.best_weights["w"], torch.tensor([0.25]))
    assert kept_of().result() == {"model": "tutorial"}
    assert {path.parent for path in cache.rglob("*") if path.is_file()} == {cache / "candidates"}


def test_other_pictures_or_settings_are_another_training() -> None:
    kept_of().keep_training(finished())
    assert kept_of(replace(RECIPE, seed=7)).training() is None
    assert kept_of(count=29).training() is None
    assert kept_of(replace(RECIPE, use_all=True)).training() is not None, "the first of two is the same"


def test_a_damaged_one_or_one_whose_snapshots_changed_is_none() -> None:
    kept = kept_of()
    kept.snapshots.parent.mkdir(parents=True)
    kept.snapshots.write_bytes(b"snapshots")
    kept.keep_training(finished())
    assert kept.training() is not None
    kept.snapshots.write_bytes(b"others")
    assert kept.training() is None
    kept.keep_training(finished())
    (path,) = kept.snapshots.parent.glob("*.training.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    assert kept.training() is None
    kept.forget_training()
    assert not list(kept.snapshots.parent.iterdir())


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "file"))
    kept_of().keep_training(finished())
    kept_of().keep_result({})
    assert kept_of().training() is None
    assert kept_of().result() is None

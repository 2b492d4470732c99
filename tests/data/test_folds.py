"""Folds hold every picture out once, keep together what belongs together, and spread the classes."""

from pathlib import Path

import pytest
import torch

from pellucid.data import load
from pellucid.data.dataset import Dataset, Splits
from pellucid.data.folds import assign_folds, everything
from pellucid.errors import UsageError
from tests.toys import toy_dataset, toy_splits, write_picture


def test_classes_are_spread_as_evenly_as_they_can_be() -> None:
    dataset = toy_dataset(103).subset(range(90))
    folds = assign_folds(dataset, 5, seed=1, groups={})
    table = torch.stack([torch.bincount(dataset.labels[folds == fold], minlength=4) for fold in range(5)])
    assert int((table.max(dim=0).values - table.min(dim=0).values).max()) <= 1
    assert int(table.sum(dim=1).max() - table.sum(dim=1).min()) <= 1


def test_groups_and_identical_pictures_stay_together() -> None:
    dataset = toy_dataset(60)
    twins = Dataset(
        torch.cat([dataset.images, dataset.images[:10]]),
        torch.cat([dataset.labels, dataset.labels[:10]]),
        dataset.classes,
        [*dataset.sources, *(f"copy/{index}" for index in range(10))],
    )
    groups = {source: f"person {index // 7}" for index, source in enumerate(dataset.sources)}
    folds = assign_folds(twins, 4, seed=0, groups=groups).tolist()
    assert set(folds) == {0, 1, 2, 3}
    for first in range(0, 56, 7):
        assert len(set(folds[first : first + 7])) == 1
    assert folds[:10] == folds[60:]


def test_they_depend_on_pictures_and_seed_alone() -> None:
    dataset = toy_dataset(80)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(5))
    folds = assign_folds(dataset, 5, seed=3, groups={})
    assert torch.equal(assign_folds(dataset.subset(order), 5, seed=3, groups={}), folds[order])
    assert not torch.equal(assign_folds(dataset, 5, seed=4, groups={}), folds)


def test_fewer_groups_than_folds_are_refused() -> None:
    dataset = toy_dataset(12)
    groups = {source: f"{index % 3}" for index, source in enumerate(dataset.sources)}
    with pytest.raises(UsageError, match=r"at least 4 different pictures or groups for `folds=4`; got 3"):
        assign_folds(dataset, 4, seed=0, groups=groups)


def test_everything_is_in_one_order_however_it_was_split() -> None:
    splits = toy_splits(60)
    whole = everything(splits)
    assert whole.train is whole.test
    assert not len(whole.validation)
    assert sorted(whole.train.sources) == list(whole.train.sources)
    assert len(whole.train) == 60
    again = everything(Splits(splits.test, splits.train, splits.validation))
    assert again.train.fingerprint == whole.train.fingerprint
    assert everything(whole) is whole


def test_pictures_of_your_own_bring_their_groups(tmp_path: Path) -> None:
    dataset = toy_dataset(24)
    for index, (image, label, _) in enumerate(dataset):
        folder = tmp_path / "photos" / dataset.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        write_picture(folder / f"p{index // 4}_{index}.png", image)
    splits = load(tmp_path / "photos", group_by="(p[0-9]+)_")
    assert len(splits.origin.groups) == 24
    whole = everything(splits).train
    folds = assign_folds(whole, 3, seed=0, groups=splits.origin.groups).tolist()
    folds_of: dict[str, set[int]] = {}
    for source, fold in zip(whole.sources, folds, strict=True):
        folds_of.setdefault(source.rpartition("/")[2].partition("_")[0], set()).add(fold)
    assert all(len(held_out) == 1 for held_out in folds_of.values())
    assert len(folds_of) == 6

"""Intervals hold the truth about as often as they promise, of pictures drawn one by one and in groups."""

import numpy as np
import pytest
import torch
from scipy import stats  # type: ignore[import-untyped]
from torch import Tensor

from pellucid.data.dataset import Dataset
from pellucid.evaluation.intervals import Sampling, groups_of, numbered, quantile
from pellucid.evaluation.metrics import wilson
from tests.toys import toy_dataset


def whole(hits: Tensor, groups: Tensor | None = None) -> tuple[float, float] | None:
    """The interval of the share of hits among all pictures."""
    return Sampling(len(hits), groups).shares(torch.zeros(len(hits), dtype=torch.int64), hits)[0].interval


def test_without_groups_a_share_has_wilsons_interval() -> None:
    hits = torch.arange(90) % 3 > 0
    assert whole(hits) == wilson(60 / 90, 90)
    (first, second) = Sampling(90).shares(torch.arange(90) % 2, hits, number=2)
    assert first.interval == wilson(first.value, 45)
    assert second.value == float(hits[1::2].double().mean())


def test_copies_of_a_picture_count_once() -> None:
    """Three copies of each: as wide as without the copies, but for what is not known of groups that agree."""
    once = torch.rand(200, generator=torch.Generator().manual_seed(0)) < 0.8
    groups = torch.arange(200).repeat_interleave(3)
    copied, alone = whole(once.repeat_interleave(3), groups), whole(once)
    assert copied is not None
    assert alone is not None
    assert copied == pytest.approx(alone, abs=0.003)
    assert copied[1] - copied[0] >= alone[1] - alone[0]


def test_the_variance_over_groups_is_that_of_the_textbook() -> None:
    """Of a ratio of two sums over groups, written out with NumPy."""
    draws = np.random.default_rng(3)
    sizes = draws.integers(1, 12, 30)
    groups = np.repeat(np.arange(30), sizes)
    hits = draws.random(len(groups)) < np.repeat(draws.random(30), sizes)
    right = np.array([hits[groups == group].sum() for group in range(30)])
    share = right.sum() / sizes.sum()
    variance = 30 / 29 * ((right - share * sizes) ** 2).sum() / sizes.sum() ** 2
    worth = min(len(groups), share * (1 - share) / variance)
    expected = wilson(share, worth, stats.t.ppf(0.975, 29))
    assert whole(torch.tensor(hits), torch.tensor(groups)) == pytest.approx(expected)


@pytest.mark.parametrize("number", [2, 9, 10])
def test_below_ten_groups_there_is_no_interval_and_the_reason_is_said(number: int) -> None:
    sampling = Sampling(60, torch.arange(60) % number)
    found = sampling.shares(torch.zeros(60, dtype=torch.int64), torch.arange(60) % 5 > 0)[0]
    assert (found.interval is None) == (number < 10)
    assert str(found.too_few or "") == ("" if number == 10 else f"too few groups: {number}")
    assert sampling.loss(torch.rand(60), 30).interval is None or number == 10


def test_groups_that_all_agree_are_worth_one_picture_each() -> None:
    hits, groups = torch.ones(200, dtype=torch.bool), torch.arange(200) % 20
    assert whole(hits, groups) == wilson(1.0, 20, quantile(19))


def test_where_folds_differ_by_more_than_chance_every_interval_is_wider() -> None:
    hits = torch.arange(100) % 4 > 0
    parts = torch.zeros(100, dtype=torch.int64)
    assert Sampling(100, spread=4.0).shares(parts, hits)[0].interval == wilson(0.75, 25)
    losses = torch.rand(100, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    narrow, wide = (Sampling(100, spread=spread).loss(losses, 25).interval for spread in (1.0, 4.0))
    assert narrow is not None
    assert wide is not None
    assert np.log(wide[1] / wide[0]) == pytest.approx(2 * np.log(narrow[1] / narrow[0]))


def test_a_loss_that_rests_on_few_mistakes_has_no_interval() -> None:
    losses = torch.rand(500, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = Sampling(500).loss(losses, 9)
    assert found.interval is None
    assert str(found.too_few) == "too few mistakes: 9"
    interval = Sampling(500).loss(losses, 10).interval
    assert interval is not None
    low, high = interval
    assert low < float(losses.mean()) < high
    assert low * high == pytest.approx(float(losses.mean()) ** 2), "even on the scale of logarithms"


def test_identical_pictures_and_those_of_a_group_belong_together() -> None:
    data = toy_dataset(8)
    assert groups_of(data) is None
    names = ["", "a", "b", "", "a", "", "", "b"]
    grouped = Dataset(data.images, data.labels, data.classes, data.sources, names)
    assert groups_of(grouped) == pytest.approx(torch.tensor([0, 1, 2, 3, 1, 4, 5, 2]))
    twins = grouped.subset([0, 1, 2, 3, 0])
    found = groups_of(twins)
    assert found is not None
    assert found.tolist() == [0, 1, 2, 3, 0], "one picture twice"
    assert numbered([7, 7, 3]).tolist() == [0, 0, 1]  # type: ignore[union-attr]
    assert numbered([7, 5, 3]) is None


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_identity_decides_all_and_the_interval_still_holds_the_truth(share: float) -> None:
    """Short form of benchmarks/coverage.py: each group is right or wrong as a whole, 12 groups of 5 to 20."""
    draws = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        sizes = draws.integers(5, 21, 12)
        groups = torch.tensor(np.repeat(np.arange(12), sizes))
        interval = whole(torch.tensor(np.repeat(draws.random(12) < share, sizes)), groups)
        assert interval is not None
        held += interval[0] <= share <= interval[1]
    assert held >= 180

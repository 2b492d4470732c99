"""What activates a channel most, and what is lost without it, is what can be counted by hand."""

import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import recall_score

from pellucid.explanation import channels
from pellucid.explanation.channels import (
    accuracies,
    accuracy_changes,
    at_random,
    beyond_chance,
    beyond_chance_of_one,
    change_p_values,
    channel_maxima,
    rank_pictures,
)


@pytest.fixture
def two_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pictures are shown of each channel, at both ends."""
    monkeypatch.setattr(channels, "EXAMPLES", 2)


def test_the_maximum_of_a_map_is_that_of_its_largest_cell() -> None:
    maps = torch.tensor([[[[1.0, 5.0], [2.0, 0.0]], [[-3.0, -1.0], [-2.0, -9.0]]]])  # (1, 2, 2, 2)
    assert channel_maxima(maps).tolist() == [[5.0, -1.0]]
    numbers = torch.tensor([[4.0, -2.0]])
    assert channel_maxima(numbers) is numbers
    assert channel_maxima(torch.zeros(3, 2, 7)).shape == (3, 2)  # tokens


@pytest.mark.usefixtures("two_examples")
def test_pictures_are_ranked_by_how_much_they_activate_each_channel() -> None:
    maxima = torch.tensor([[0.1, 9.0], [0.9, 0.0], [0.5, 3.0], [0.0, 3.0], [0.7, -1.0]])
    ranked = rank_pictures(maxima, 5)
    assert ranked["top"] == [[1, 4], [0, 2]]  # equal ones in their order
    assert ranked["low"] == [[0, 3], [1, 4]]
    assert ranked["excited"] == [0.8, 0.6]


@pytest.mark.usefixtures("two_examples")
def test_only_the_first_are_shown_but_all_are_counted() -> None:
    maxima = torch.tensor([[1.0], [2.0], [0.0], [8.0]])
    ranked = rank_pictures(maxima, 3)
    assert (ranked["top"], ranked["low"]) == ([[1, 0]], [[0, 2]])
    assert ranked["excited"] == [0.75]


def test_of_fewer_pictures_than_are_shown_each_is_there_once() -> None:
    ranked = rank_pictures(torch.tensor([[1.0], [3.0], [2.0]]), 3)
    assert ranked["top"] == ranked["low"] == [[1, 2, 0]]


def test_random_pictures_differ_from_channel_to_channel_and_stay_in_range() -> None:
    drawn = [at_random(channel, 500) for channel in range(6)]
    assert all(len(set(pictures)) == 9 for pictures in drawn)
    assert all(0 <= picture < 500 for pictures in drawn for picture in pictures)
    assert len({tuple(pictures) for pictures in drawn}) == 6
    assert at_random(3, 500) == drawn[3]
    assert at_random(0, 500)[:2] == [7, 68]  # the offset, and a step further
    assert set(at_random(1, 4)) <= set(range(4))


def test_accuracy_is_that_of_all_then_of_each_class() -> None:
    scores = torch.tensor([[2.0, 1, 0], [2, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    labels = torch.tensor([0, 0, 1, 1, 1])
    found = accuracies(scores, labels)
    assert found.tolist() == pytest.approx([3 / 5, 1.0, 1 / 3, 0.0])  # no picture of the third class
    generator = torch.Generator().manual_seed(2)
    scores, labels = torch.randn(60, 4, generator=generator), torch.arange(60) % 4
    expected = recall_score(labels.numpy(), scores.argmax(dim=1).numpy(), average=None)
    assert accuracies(scores, labels)[1:].tolist() == pytest.approx(expected.tolist())


def test_changes_are_tested_as_scipy_tests_them() -> None:
    generator = torch.Generator().manual_seed(4)
    before, after = (torch.randn(200, 3, generator=generator) for _ in range(2))
    labels = torch.arange(200) % 3
    found = change_p_values(before, after, labels)
    for row, chosen in enumerate([labels >= 0, *(labels == k for k in range(3))]):
        right, still = ((scores.argmax(dim=1) == labels)[chosen] for scores in (before, after))
        lost, gained = int((right & ~still).sum()), int((still & ~right).sum())
        assert found[row] == pytest.approx(binomtest(lost, lost + gained).pvalue)


def test_of_channels_that_change_answers_by_chance_almost_none_is_called_beyond() -> None:
    """128 channels without which one answer in fifty flips at random, ten networks; then one that matters."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(1000) % 10
    scores = torch.nn.functional.one_hot(labels, 10).float()
    before = torch.where(
        (torch.rand(1000, generator=generator) < 0.9)[:, None], scores, scores.roll(1, dims=1)
    )

    def without(share: float) -> torch.Tensor:
        flipped = (torch.rand(1000, generator=generator) < share)[:, None]
        right = (before.argmax(dim=1) == labels)[:, None]
        return torch.where(flipped & right, scores.roll(1, dims=1), before)

    def swapped() -> torch.Tensor:
        right = before.argmax(dim=1) == labels
        after = before.clone()
        for kind, roll in ((right, 1), (~right, -1)):  # as many lost as gained
            chosen = torch.nonzero(kind)[:, 0]
            chosen = chosen[torch.randperm(len(chosen), generator=generator)[:10]]
            after[chosen] = before[chosen].roll(roll, dims=1)
        return after

    found = 0
    for _ in range(10):
        p_values = torch.stack([change_p_values(before, swapped(), labels) for _ in range(128)])
        found += sum(map(len, beyond_chance(p_values)))
    assert found == 0
    rows = [change_p_values(before, swapped(), labels) for _ in range(127)]
    rows.append(change_p_values(before, without(0.2), labels))
    assert beyond_chance(torch.stack(rows))[-1][0] == 0
    assert sum(map(len, beyond_chance(torch.stack(rows))[:-1])) == 0
    assert 0 in beyond_chance_of_one(rows[-1], 128)
    assert beyond_chance_of_one(rows[0], 128) == []


def test_a_change_is_told_in_tenths_of_a_point() -> None:
    before, after = torch.tensor([0.9, 1.0, 0.5]), torch.tensor([0.8764, 1.0, 0.75])
    assert accuracy_changes(before.double(), after.double()) == [-24, 0, 250]

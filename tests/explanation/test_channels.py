"""What activates a channel most, and what is lost without it, is what can be counted by hand."""

import pytest
import torch
from sklearn.metrics import recall_score

from pellucid.explanation import channels
from pellucid.explanation.channels import (
    accuracies,
    accuracy_changes,
    at_random,
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


def test_a_change_is_told_in_tenths_of_a_point() -> None:
    before, after = torch.tensor([0.9, 1.0, 0.5]), torch.tensor([0.8764, 1.0, 0.75])
    assert accuracy_changes(before.double(), after.double()) == [-24, 0, 250]

"""Pictures of a network that was trained elsewhere, and what is known of them."""

import pytest
import torch

from pellucid.data.dataset import Dataset, Splits
from pellucid.errors import UsageError
from pellucid.runs.elsewhere import Elsewhere, elsewhere_in, in_classes, known_parts


def pictures(labels: list[int], classes: tuple[str, ...]) -> Dataset:
    images = torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)
    return Dataset(images, torch.tensor(labels), classes, [f"p/{number}" for number in range(len(labels))])


def test_labels_follow_the_names_of_the_classes() -> None:
    found = in_classes(pictures([0, 1, 1], ("dog", "cat")), ("bird", "cat", "dog"))
    assert found.classes == ("bird", "cat", "dog")
    assert found.labels.tolist() == [2, 1, 1]
    assert list(found.label_names) == ["dog", "cat", "cat"]


def test_several_labels_follow_them_too() -> None:
    rows = torch.tensor([[True, False], [True, True]])
    given = Dataset(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), rows, ("dog", "cat"), ["a", "b"])
    found = in_classes(given, ("bird", "cat", "dog"))
    assert list(found.label_names) == ["dog", "cat|dog"]


def test_a_class_without_an_output_is_refused() -> None:
    with pytest.raises(UsageError, match="show 'dog'"):
        in_classes(pictures([0, 1], ("dog", "cat")), ("bird", "cat"))


def test_only_the_parts_that_were_given_are_known() -> None:
    classes = ("cat", "dog")
    splits = Splits(pictures([0, 1, 0], classes), pictures([0, 1], classes), pictures([1], classes))
    assert known_parts(splits, {}, classes) is splits
    environment = {"opened": {"weights": "", "train": False, "validation": True}}
    assert elsewhere_in(environment) == Elsewhere("", False, True)
    assert [len(part) for _, part in known_parts(splits, environment, classes).items()] == [0, 2, 1]

"""Two runs are compared by answers, layers and channels."""

from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.comparison import compare
from pellucid.data.dataset import Splits
from pellucid.errors import UsageError
from pellucid.report.compare_page import page
from tests.asking import classifiers


def test_two_runs_are_compared_by_answers_layers_and_channels(place: Path, digits: Splits) -> None:
    first, second = classifiers(place)
    found = compare(first, second, digits.test, names=("a", "b"))
    answers = [one.predict(digits.test.images).argmax(dim=1) for one in (first, second)]
    assert len(found.disagreements) == int((answers[0] != answers[1]).sum()) > 0
    right = [int((answer == digits.test.labels).sum()) for answer in answers]
    assert [found.right.first, found.right.second] == right
    assert right[0] - right[1] == found.right.only_first - found.right.only_second
    assert found.similarity.rows == found.similarity.columns
    assert sorted(pair.second for pair in found.pairs["conv1"]) == list(range(16))
    assert 0 < found.mean_correlation("conv1") <= 1
    made = page(found, first, second)
    assert made.count('class="tile"') == min(60, len(found.disagreements))
    assert "arXiv:2210.16156" in made
    assert "<script" not in made


def test_a_run_compared_with_itself_is_alike_in_all(place: Path, digits: Splits) -> None:
    first = classifiers(place)[0]
    found = compare(first, first, digits.test)
    assert found.disagreements == []
    assert all(found.mean_correlation(name) == pytest.approx(1) for name in found.pairs)
    assert "They predict the same for every picture." in page(found, first, first)


def test_runs_of_other_pictures_or_classes_are_not_compared(place: Path, digits: Splits) -> None:
    first = classifiers(place)[0]
    other = replace(first, classes=tuple(f"class {n}" for n in range(10)))
    with pytest.raises(UsageError, match="same classes and pictures"):
        compare(first, other, digits.test)

"""Two runs are compared by answers, layers and channels, as a plain count finds them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pellucid import comparison
from pellucid.classifier import Classifier
from pellucid.comparison import Comparison, Right, compare
from pellucid.data.dataset import Splits
from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.explanation.similarity import Disagreement, LayerSimilarity, Pair
from pellucid.report.compare_page import page
from tests.asking import classifiers
from tests.toys import CLASSES, toy_dataset


@pytest.fixture(scope="module")
def found(place: Path, digits: Splits) -> Comparison:
    first, second = classifiers(place)
    return compare(first, second, digits.test, names=("a", "b"))


def test_two_runs_are_compared_by_answers_layers_and_channels(
    place: Path, digits: Splits, found: Comparison
) -> None:
    first, second = classifiers(place)
    answers = [one.predict(digits.test.images).argmax(dim=1) for one in (first, second)]
    assert len(found.disagreements) == int((answers[0] != answers[1]).sum()) > 0
    right = [int((answer == digits.test.labels).sum()) for answer in answers]
    assert [found.right.first, found.right.second] == right
    assert right[0] - right[1] == found.right.only_first - found.right.only_second
    assert found.similarity.rows == found.similarity.columns
    assert sorted(pair.second for pair in found.pairs["conv1"]) == list(range(16))
    assert 0 < found.mean_correlation("conv1") <= 1
    made = page(found, first, second)
    for right in ("first", "second", "neither"):
        number = sum(found.right_on(each) == right for each in found.disagreements)
        part = made.partition(f'id="right-{right}"')[2].partition("<h4")[0]
        assert part.count('class="tile"') == min(24, number)
    assert "arXiv:2210.16156" in made
    assert "<script" not in made


def test_what_each_alone_predicts_correctly_is_what_is_left_of_both(found: Comparison) -> None:
    right = found.right
    assert right.both + right.only_first == right.first
    assert right.both + right.only_second == right.second
    assert right.first <= len(found.dataset)


def test_the_verdict_rests_on_the_pictures_that_one_alone_predicts_correctly(found: Comparison) -> None:
    of = [found.right_on(each) for each in found.disagreements]
    assert (of.count("first"), of.count("second")) == (found.right.only_first, found.right.only_second)
    assert found.difference.difference == pytest.approx(
        (found.right.second - found.right.first) / len(found.dataset)
    )
    assert found.verdict == found.difference.verdict(("a", "b"))
    assert "these two networks" in found.scope


def test_pictures_in_groups_are_said_not_to_be_independent(place: Path, digits: Splits) -> None:
    first, second = classifiers(place)
    groups = {source: f"hand {n % 7}" for n, source in enumerate(digits.test.sources)}
    found = compare(first, second, digits.test, groups=groups)
    assert found.groups == found.to_json()["groups"] == 7
    assert "These come in 7 groups" in found.scope
    assert found.scope in page(found, first, second)


def test_every_disagreement_has_both_answers(place: Path, digits: Splits, found: Comparison) -> None:
    first, second = (one.predict(digits.test.images) for one in classifiers(place))
    for each in found.disagreements:
        one, other = first[each.index], second[each.index]
        assert each.first != each.second
        assert each.first == digits.test.classes[int(one.argmax())]
        assert each.second == digits.test.classes[int(other.argmax())]
        assert (each.first_confidence, each.second_confidence) == (float(one.max()), float(other.max()))
        assert found.label(each) == digits.test.classes[int(digits.test.labels[each.index])]


def test_a_run_compared_with_itself_is_alike_in_all(place: Path, digits: Splits) -> None:
    first = classifiers(place)[0]
    found = compare(first, first, digits.test)
    assert found.disagreements == []
    assert all(found.mean_correlation(name) == pytest.approx(1) for name in found.pairs)
    assert found.similarity.matrix.diagonal().tolist() == pytest.approx([1.0] * len(found.similarity.rows))
    assert found.names == ("first", "second")
    assert "They predict the same for every picture." in page(found, first, first)


def test_runs_of_other_pictures_or_classes_are_not_compared(place: Path, digits: Splits) -> None:
    first = classifiers(place)[0]
    other = replace(first, classes=tuple(f"class {n}" for n in range(10)))
    with pytest.raises(UsageError, match="same classes and pictures"):
        compare(first, other, digits.test)
    larger = replace(first, preprocess=Preprocess(1, 28, 28))
    with pytest.raises(UsageError, match=r"of \(1, 8, 8, 'stretch'\) and 10 .* of \(1, 28, 28, "):
        compare(first, larger, digits.test)
    cropped = replace(first, preprocess=replace(first.preprocess, fit="crop"))
    with pytest.raises(UsageError, match=r"of \(1, 8, 8, 'stretch'\) and 10 .* of \(1, 8, 8, 'crop'\)"):
        compare(first, cropped, digits.test)


def made_up(*, disagreements: list[Disagreement], pairs: dict[str, list[Pair]]) -> Comparison:
    similarity = LayerSimilarity(("conv",), ("conv",), torch.tensor([[0.5]]), {"conv": (0.4, 0.6)})
    return Comparison(
        ("old", "new"), toy_dataset(40), 40, Right(30, 31, 28, 2, 3), similarity, pairs, disagreements
    )


def test_the_sentence_counts_who_is_right() -> None:
    different = [Disagreement(3, "bar", "box", 0.9, 0.8), Disagreement(5, "box", "bar", 0.6, 0.7)]
    assert made_up(disagreements=different, pairs={}).sentence == (
        "They disagree on 2 of 40 pictures (5.0 %). 2 are predicted correctly by old alone, 3 by new alone."
    )


def test_channels_that_never_change_do_not_count_for_the_mean() -> None:
    pairs = {"conv": [Pair(0, 1, 0.9), Pair(1, 0, 0.0), Pair(2, 2, 0.5)], "silent": [Pair(0, 0, 0.0)]}
    found = made_up(disagreements=[], pairs=pairs)
    assert found.mean_correlation("conv") == pytest.approx(0.7)
    assert found.mean_correlation("silent") == 0


def test_every_figure_is_a_plain_value() -> None:
    found = made_up(
        disagreements=[Disagreement(3, "bar", "box", 0.9, 0.8)], pairs={"conv": [Pair(0, 1, 0.9)]}
    )
    facts = json.loads(json.dumps(found.to_json()))
    assert facts["runs"] == ["old", "new"]
    assert facts["pictures"] == 40
    assert facts["difference"]["accuracy"] == pytest.approx(1 / 40)
    assert facts["difference"]["p_value"] == 1
    assert facts["difference"]["shown"] is False
    assert facts["right"] == {"first": 30, "second": 31, "both": 28, "only_first": 2, "only_second": 3}
    assert facts["disagreements"] == [
        {"index": 3, "first": "bar", "second": "box", "first_confidence": 0.9, "second_confidence": 0.8,
         "source": "toys/3", "label": "post"}
    ]  # fmt: skip
    assert facts["cka"] == {
        "pictures": 40, "rows": ["conv"], "columns": ["conv"], "matrix": [[0.5]],
        "intervals": {"conv": [0.4, 0.6]},
    }  # fmt: skip
    assert facts["channels"] == {"conv": [{"first": 0, "second": 1, "correlation": 0.9}]}


class Headed(nn.Module):
    """One layer with a name that the other network gives to layers of another shape."""

    def __init__(self, shared: nn.Module, features: int) -> None:
        super().__init__()
        self.shared, self.head = shared, nn.Linear(features, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.shared(images).flatten(1))


def test_layers_of_one_name_and_another_shape_are_compared_but_not_paired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flat = Headed(nn.Sequential(nn.Flatten(), nn.Linear(256, 6)), 6)
    maps = Headed(nn.Conv2d(1, 3, 3), 3 * 14 * 14)
    first, second = (
        Classifier(network.eval(), CLASSES, Preprocess(1, 16, 16), "another") for network in (flat, maps)
    )
    found = compare(first, second, toy_dataset(20))
    assert "shared" not in found.pairs
    assert len(found.pairs["head"]) == 4
    assert found.similarity.matrix.shape == (len(found.similarity.rows), len(found.similarity.columns))
    monkeypatch.setattr(comparison, "VALUES_ALIGNED", 10)
    assert compare(second, second, toy_dataset(20)).pairs == {}


def test_of_many_pictures_layers_are_compared_on_a_few_and_predictions_on_all(
    place: Path, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "COMPARED", 40)
    first, second = classifiers(place)
    found = compare(first, second, digits.test)
    assert (found.compared, len(found.dataset)) == (40, len(digits.test))
    again = compare(first, second, digits.test)
    assert torch.equal(found.similarity.matrix, again.similarity.matrix)

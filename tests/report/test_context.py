"""The pictures of a report are chosen by its evaluation, and each is shown as it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pellucid.data.dataset import Dataset, Splits
from pellucid.errors import PellucidError
from pellucid.evaluation.evaluation import Evaluation
from pellucid.report import context as report_context
from pellucid.report.context import ReportContext, judged_picture
from tests.report.sections import answers, judged, tile

# Right with 0.9, 0.6, 0.7 and 0.8; wrong with 0.1, 0.3, 0.2 and 0.4 left for the label.
SHARES = [0.9, 0.1, 0.6, 0.3, 0.7, 0.2, 0.8, 0.4]


@pytest.fixture
def some(context: ReportContext) -> ReportContext:
    return judged(context, answers(context, SHARES))


def chosen(examples: list[report_context.Example]) -> list[tuple[str, int]]:
    return [(example.kind, example.index) for example in examples]


def test_the_examples_are_a_typical_picture_the_hardest_and_the_worst_mistake(some: ReportContext) -> None:
    assert some.hardest_correct == [2, 4, 6, 0]
    expected = [("typical", 6), ("hardest got right", 2), ("worst mistake", 1)]
    assert chosen(some.examples) == expected
    assert chosen(some.further_examples) == [*expected, ("mistake", 5), ("mistake", 3), ("mistake", 7)]


def test_where_all_or_none_is_right_there_are_fewer_examples(context: ReportContext) -> None:
    right, wrong = (judged(context, answers(context, [share] * 5)) for share in (0.9, 0.1))
    assert chosen(right.further_examples) == [("typical", 2), ("hardest got right", 0)]
    assert chosen(wrong.examples) == [("worst mistake", 0)]
    assert chosen(wrong.further_examples) == [("worst mistake", 0), *(("mistake", n) for n in range(1, 5))]


def test_further_mistakes_are_six_at_most(context: ReportContext) -> None:
    wrong = judged(context, answers(context, [0.3 - 0.01 * n for n in range(20)]))
    assert [example.index for example in wrong.further_examples] == [19, 18, 17, 16, 15, 14]


def test_of_each_class_the_ten_hardest_are_kept(context: ReportContext) -> None:
    count = len(context.splits.test)
    everything_right = judged(context, answers(context, [0.9 - 0.002 * n for n in range(count)]))
    labels = context.splits.test.labels.tolist()
    for label, indices in everything_right.correct_by_class.items():
        known = [n for n in reversed(range(count)) if labels[n] == label]  # confidence falls with n
        assert indices == known[:10]
    assert len(everything_right.correct_by_class) == 4


def test_of_more_classes_than_a_matrix_shows_none_are_kept(some: ReportContext) -> None:
    names = tuple(f"class {n}" for n in range(31))
    rows = torch.eye(31)[:8]
    many = Evaluation(rows, torch.arange(8), names, some.evaluation.sources)
    assert replace(some, full_evaluation=many).correct_by_class == {}


def test_every_picture_of_the_page_is_in_its_cell_as_it_was(some: ReportContext) -> None:
    test = some.splits.test
    assert sorted(some.pictures.positions) == list(range(8))
    for index in range(8):
        cell = some.pictures.cell(index)
        assert cell is not None
        shown = tile(some.pictures.atlas, cell)
        assert np.array_equal(shown[..., 0], test.images[index, 0].numpy())


def test_a_picture_that_does_not_fit_has_no_cell(
    some: ReportContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_context, "MAX_ATLAS_CHARACTERS", 500)
    cells = [some.pictures.cell(index) for index in range(8)]
    assert cells[0] is not None
    assert cells[-1] is None
    assert judged_picture(some, 7).cell is None


def test_an_evaluation_of_other_pictures_is_refused(some: ReportContext) -> None:
    evaluation = some.evaluation
    others = [f"other/{n}" for n in range(8)]
    wrong = Evaluation(evaluation.probabilities, evaluation.labels, evaluation.classes, others)
    with pytest.raises(PellucidError, match="of other pictures than the test set holds"):
        _ = replace(some, full_evaluation=wrong).pictures


def test_a_picture_is_described_by_its_label_its_prediction_and_what_was_left(some: ReportContext) -> None:
    evaluation = some.evaluation
    right, wrong = judged_picture(some, 0), judged_picture(some, 1)
    label = evaluation.classes[int(evaluation.labels[0])]
    assert (right.correct, right.label, right.prediction) == (True, label, label)
    assert right.confidence == right.label_probability == pytest.approx(0.9)
    assert right.description == f"{evaluation.sources[0]}: labelled {label}, predicted {label} (90.0 %)"
    label = evaluation.classes[int(evaluation.labels[1])]
    taken = evaluation.classes[(int(evaluation.labels[1]) + 1) % 4]
    assert (wrong.correct, wrong.label, wrong.prediction) == (False, label, taken)
    assert wrong.label_probability == pytest.approx(0.1)
    assert wrong.description == (
        f"{evaluation.sources[1]}: labelled {label}, predicted {taken} (90.0 %), {label} had 10.0 %"
    )
    assert [name for name, _ in wrong.top[:2]] == [taken, label]


def test_pictures_with_the_same_source_are_told_apart(some: ReportContext) -> None:
    """By their position: names may repeat."""
    test = some.splits.test
    named = Dataset(test.images, test.labels, test.classes, ["x"] * 8)
    splits = Splits(some.splits.train, some.splits.validation, named)
    evaluation = replace(some.evaluation, sources=["x"] * 8)
    twins = ReportContext(some.run, splits, evaluation)
    assert len({twins.pictures.cell(index) for index in range(8)}) == 8

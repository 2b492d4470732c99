"""Where pictures have several labels, each label's scores and mistakes are shown beside their pictures."""

from dataclasses import replace

import pytest
import torch

from pellucid.data.dataset import Splits
from pellucid.errors import PellucidError
from pellucid.evaluation.multi_label import MultiLabelEvaluation
from pellucid.report import labels, mistakes, report
from pellucid.report.context import ReportContext, judged_picture
from pellucid.task import SeveralLabels
from tests.report.sections import drawn
from tests.toys import LABELS, toys_of_several_labels


@pytest.fixture
def several(context: ReportContext) -> ReportContext:
    """Twelve pictures with several labels, of which the first was not given its first label but another."""
    test = toys_of_several_labels(12)
    chances = torch.where(test.labels, 0.9, 0.2)
    (first, *_), (wrong, *_) = (
        torch.nonzero(row)[:, 0].tolist() for row in (test.labels[0], ~test.labels[0])
    )
    chances[0, first], chances[0, wrong] = 0.1, 0.8
    evaluation = MultiLabelEvaluation(
        chances, test.labels, LABELS, list(test.sources), SeveralLabels((0.5,) * 4)
    )
    splits = Splits(test, test, test, context.splits.origin)
    return replace(context, all_splits=splits, full_evaluation=evaluation)


def test_each_mistake_is_counted_with_its_label_and_opens_its_picture(several: ReportContext) -> None:
    section = labels.gather(several)
    evaluation = several.several_labels
    assert section.mistakes == 1
    assert section.rows[0].score.average_precision == min(
        each.average_precision for each in evaluation.per_label if each.average_precision is not None
    )
    missed, mistaken = section.opened
    assert (missed.missed, mistaken.missed) == (True, False)
    assert [picture.index for picture in (*missed.pictures, *mistaken.pictures)] == [0, 0]
    by_name = {row.score.name: row for row in section.rows}
    assert by_name[missed.label].missed_id == missed.id
    assert by_name[mistaken.label].mistaken_id == mistaken.id
    answer, body = drawn("labels", section)
    assert "1 of 12 test pictures has a label too many or too few." in answer
    assert f'id="{missed.id}"' in body
    assert f'href="#{mistaken.id}"' in body


def test_counts_of_labels_pairs_and_confusions_lead_to_such_pictures(several: ReportContext) -> None:
    section, evaluation = labels.gather(several), several.several_labels
    body = drawn("labels", section)[1]
    blocks = {block.id: block for block in section.counted.blocks}
    for k, row in enumerate(evaluation.together.tolist()):
        for m, count in enumerate(row):
            block = blocks.get(f"together-{min(k, m)}-{max(k, m)}")
            assert (block.count if block else 0) == count
            for picture, _ in block.pictures if block else ():
                assert evaluation.labels[picture.index, [k, m]].all()
            assert (f'href="#together-{k}-{m}"' in body) == (count > 0 and k <= m)
    (confused,) = section.confusions
    assert [picture.index for picture, _ in blocks[section.id_of(confused)].pictures] == [0]


def test_the_table_counts_which_labels_go_together(several: ReportContext) -> None:
    section = labels.gather(several)
    assert section.together is not None
    present = several.several_labels.labels
    assert [[cell.present for cell in row] for row in section.together] == [
        [int((present[:, k] & present[:, m]).sum()) for m in range(4)] for k in range(4)
    ]


def test_a_picture_shows_what_it_has_and_what_it_was_given(several: ReportContext) -> None:
    picture = judged_picture(several, 0)
    assert not picture.correct
    has = {decision.name for decision in picture.decisions if decision.present}
    given = {decision.name for decision in picture.decisions if decision.given}
    assert picture.label == ", ".join(sorted(has))
    assert picture.prediction == ", ".join(sorted(given))
    chances = [decision.probability for decision in picture.decisions]
    assert chances == sorted(chances, reverse=True)


def test_sections_of_one_class_are_replaced_or_left_out(
    several: ReportContext, context: ReportContext
) -> None:
    names = [name for name, _, _ in report.sections_for(several.evaluation)]
    assert "labels" in names
    assert "mistakes" not in names
    assert "labels" not in [name for name, _, _ in report.sections_for(context.evaluation)]
    with pytest.raises(PellucidError, match="these have several labels"):
        mistakes.gather(several)
    with pytest.raises(PellucidError, match="these show one class each"):
        labels.gather(context)

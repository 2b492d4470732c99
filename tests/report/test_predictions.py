"""The first pictures are shown in the order of the test set, whatever was predicted."""

import pytest

from pellucid.report import context as report_context
from pellucid.report import predictions
from pellucid.report.context import ReportContext
from tests.report.sections import answers, judged, rendered, words


def test_the_first_twenty_are_shown_in_order(context: ReportContext) -> None:
    section = predictions.gather(context)
    assert [picture.index for picture in section.pictures] == list(range(20))
    hits = context.evaluation.predictions[:20] == context.evaluation.labels[:20]
    assert section.correct == int(hits.sum())
    assert [picture.correct for picture in section.pictures] == hits.tolist()
    assert section.atlases == {"test": context.pictures.atlas}
    assert section.zoom == 84 // 16


def test_of_fewer_all_are_shown(context: ReportContext) -> None:
    few = judged(context, answers(context, [0.9, 0.2, 0.8]))
    section = predictions.gather(few)
    assert ([picture.index for picture in section.pictures], section.correct) == ([0, 1, 2], 2)
    shown = rendered(few, "predictions")
    assert "The first 3 test pictures:" in words(shown.answer)
    assert "2 of them are right." in words(shown.answer)
    assert str(shown.body).count('class="card right"') == 2
    assert str(shown.body).count('class="card wrong"') == 1


def test_a_single_picture_is_counted_as_one(context: ReportContext) -> None:
    one = rendered(judged(context, answers(context, [0.9])), "predictions")
    assert "The first 1 test picture:" in words(one.answer)
    assert "1 is right." in words(one.answer)


def test_a_picture_without_room_is_left_out(context: ReportContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_context, "MAX_ATLAS_CHARACTERS", 500)
    few = judged(context, answers(context, [0.9] * 8))
    section = predictions.gather(few)
    assert 0 < len(section.pictures) < 8
    assert section.correct == 8, "the score is still that of all"

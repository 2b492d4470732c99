"""What thresholds and sets promise stands beside what they do on the test pictures."""

from dataclasses import replace

import pytest

from pellucid.evaluation.calibration import NOT_FITTED
from pellucid.evaluation.conformal import prediction_sets
from pellucid.report import refusing
from pellucid.report.context import ReportContext
from tests.pages import Elements
from tests.report.sections import rendered, words


def test_every_row_is_what_the_runs_own_thresholds_do(context: ReportContext) -> None:
    section = refusing.gather(context)
    evaluation = context.evaluation
    assert [row.coverage for row in section.refusals[:4]] == [0.99, 0.95, 0.9, 0.8]
    for row in section.refusals[:4]:
        assert row.threshold == context.run.threshold(coverage=row.coverage)
        reached = evaluation.confidence >= row.threshold.confidence
        assert row.answered == int(reached.sum())
        assert row.wrong == int((~evaluation.right[reached]).sum())
        assert row.interval is not None
        assert row.interval[0] <= row.error <= row.interval[1]
    for row in section.refusals[4:]:
        assert row.max_error is not None
        assert row.threshold == context.run.threshold(max_error=row.max_error)
    sets = {row.coverage: row.scores for row in section.sets}
    for coverage, scores in sets.items():
        found = prediction_sets(context.run.held_out(), coverage).of(evaluation.probabilities)
        assert scores.size == pytest.approx(float(found.sum(dim=1).double().mean()))
    assert sets[0.999].size == len(evaluation.classes)  # 48 pictures cannot promise that


def test_the_page_says_what_is_answered_and_how_to_ask_for_it(context: ReportContext) -> None:
    section, shown = refusing.gather(context), rendered(context, "refusing")
    assert section.named is not None
    assert words(shown.answer).startswith("With the threshold for 95 % coverage it answers ")
    body = words(str(shown.body))
    assert "Thresholds chosen on 48 validation pictures" in body
    assert "<code>--coverage 0.95</code>" in body
    assert "<code>--sets 0.99</code>" in body


def test_a_run_that_was_stopped_shows_the_curve_alone(context: ReportContext) -> None:
    stopped = replace(context, run=replace(context.run, calibration=NOT_FITTED))
    section, shown = refusing.gather(stopped), rendered(stopped, "refusing")
    assert (section.refusals, section.sets, section.named) == ([], [], None)
    assert words(shown.answer) == "Training was stopped before a threshold could be chosen."
    assert "<svg" in shown.body
    assert "--coverage" not in shown.body


def test_every_count_leads_to_such_pictures(context: ReportContext) -> None:
    section, body = refusing.gather(context), str(rendered(context, "refusing").body)
    evaluation = context.evaluation
    blocks = {block.id: block for block in section.opened.blocks}
    links = {a["href"] for tag, a in Elements(body).found if tag == "a" and "href" in a}
    assert links >= {f"#{name}" for name in blocks}
    assert {a["id"] for a in Elements(body).of_class("opened")} == set(blocks)
    for row in section.refusals:
        for name, count in (("answered", row.answered), ("refused", section.count - row.answered)):
            block = blocks.get(f"{name}-{row.id}")
            assert (block.count if block else 0) == count
            for picture, _ in block.pictures if block else ():
                reached = evaluation.confidence[picture.index] >= row.threshold.confidence
                assert bool(reached) == (name == "answered")
    for sets in section.sets:
        scores = sets.scores
        counts = {"missed": scores.count - scores.covered, "one": scores.one, "two": scores.two}
        for name, count in {**counts, "more": scores.more}.items():
            block = blocks.get(f"{name}-set-{sets.id}")
            assert (block.count if block else 0) == count
    (certain,) = (row for row in section.sets if row.coverage == 0.999)  # all four classes in every set
    first, note = blocks[f"more-set-{certain.id}"].pictures[0]
    assert sorted(note.strip("{}").split(", ")) == sorted(evaluation.classes)
    assert note.startswith(f"{{{first.prediction}")

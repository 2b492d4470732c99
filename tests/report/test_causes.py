"""The section counts the causes, states each rule, and shows pictures of each."""

from pellucid.explanation.causes import CAUSES
from pellucid.report import causes
from pellucid.report.context import ReportContext
from tests.report.sections import answers, drawn, judged, rendered


def test_every_rule_is_stated_and_every_mistake_counted_once(context: ReportContext) -> None:
    wrong = judged(context, answers(context, [0.05, 0.45, 0.3, *[0.9] * 7]))
    record = causes.gather(wrong)
    assert record.mistakes == record.examined == 3
    assert sum(row.count for row in record.rows) == 3
    assert [row.title for row in record.rows] == [cause.title for cause in CAUSES.values()]
    answer, body = drawn("causes", record)
    assert answer.startswith("3 mistakes by their likely causes:")
    for cause in CAUSES.values():
        assert cause.rule in body
        assert cause.remedy in body
    for row in record.rows:
        assert (f'<h3 id="{row.id}">' in body) == bool(row.count)


def test_labels_are_not_doubted_by_a_network_that_is_seldom_right(context: ReportContext) -> None:
    weak = judged(context, answers(context, [0.05, 0.45, 0.9, 0.3]))
    record = causes.gather(weak)
    assert record.too_weak
    assert [row.title for row in record.rows] == [c.title for name, c in CAUSES.items() if name != "label"]
    assert sum(row.count for row in record.rows) == record.mistakes == 3
    assert "Labels are not suspected: fewer than 70 % of the pictures" in drawn("causes", record)[1]


def test_without_a_mistake_it_says_so(context: ReportContext) -> None:
    section = rendered(judged(context, answers(context, [0.9, 0.8])), "causes")
    assert section.answer.strip() == "There was no mistake."
    assert not section.body.strip()

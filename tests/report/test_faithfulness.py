"""Every method's tests and maps are shown, and a method that failed is stamped."""

from dataclasses import replace

from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.explanation import explain
from pellucid.formatting import figure
from pellucid.report import faithfulness
from pellucid.report.context import ReportContext
from tests.report.sections import drawn, with_evidence


def stamped(context: ReportContext, *, supported: set[str]) -> str:
    """The body of the section where only these methods passed their tests."""
    methods = tuple(
        replace(one, outcome="passed" if one.name in supported else "failed")
        for one in context.evidence.methods
    )
    section = faithfulness.gather(with_evidence(context, replace(context.evidence, methods=methods)))
    return drawn("faithfulness", section)[1]


def test_every_method_has_its_tests_and_a_map_of_each_example(context: ReportContext) -> None:
    section = faithfulness.gather(context)
    assert [method.name for method in section.methods] == list(EXPLAINERS)
    assert section.examples == [example.kind for example in context.examples]
    assert {len(method.maps) for method in section.methods} == {len(section.examples)}
    assert {method.pictures for method in section.methods} == {len(context.splits.test)}
    assert section.left_out == []
    assert all(len(method.margins) == 4 for method in section.methods)


def test_the_maps_are_those_of_the_pictures_shown(context: ReportContext) -> None:
    section = faithfulness.gather(context)
    for place, example in enumerate(context.examples):
        image = context.splits.test.images[example.index]
        explained = explain(context.run.classifier, image, methods=["gradient x activation", "occlusion"])
        for method in section.methods:
            if (heat := explained.heatmaps.get(method.name)) is not None:
                shown = method.maps[place]
                assert (shown.height, shown.width) == tuple(heat.shape)
                assert shown.scale_limit == figure(float(heat.abs().max()))
                assert shown.sum == figure(float(heat.sum()))


def test_the_verdict_is_the_answer_of_the_section(context: ReportContext) -> None:
    section = faithfulness.gather(context)
    answer, body = drawn("faithfulness", section)
    assert answer == section.verdict == context.evidence.faithfulness.verdict
    assert section.caveat in body


def test_methods_that_failed_stand_apart_and_under_a_warning(context: ReportContext) -> None:
    body = stamped(context, supported={"occlusion"})
    table, _, maps = body.partition("</table>")
    assert table.count("✓ passed") == 1
    assert table.count("✗ failed") == len(EXPLAINERS) - 1
    passed, warning, failed = maps.partition("Methods that failed: do not use their maps")
    assert warning
    assert (passed.count('class="method"'), failed.count('class="method"')) == (1, len(EXPLAINERS) - 1)
    assert "failed its tests:" not in passed
    assert failed.count("failed its tests:") == len(EXPLAINERS) - 1


def test_where_all_passed_there_is_no_warning(context: ReportContext) -> None:
    body = stamped(context, supported=set(EXPLAINERS))
    assert "do not use their maps" not in body
    assert "✗" not in body

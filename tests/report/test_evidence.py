"""Maps that failed their tests are stamped, and the run keeps how they fared."""

import json
from dataclasses import replace

import pytest

from pellucid.data.dataset import Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.explanation.outcomes import Outcome
from pellucid.inference import passes_affordable
from pellucid.report import evidence as evidence_module
from pellucid.report import report
from pellucid.report.evidence import count_affordable_pictures
from pellucid.runs.run import Run


@pytest.mark.parametrize("outcome", ["passed", "failed", "undecided"])
def test_a_map_that_did_not_pass_its_tests_is_only_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, made: tuple[Run, Splits, Evaluation], outcome: Outcome
) -> None:
    evidence = report.ReportContext(*made).evidence
    methods = tuple(replace(method, outcome=outcome) for method in evidence.methods)
    monkeypatch.setattr(report.ReportContext, "evidence", replace(evidence, methods=methods))
    page = report.render(report.ReportContext(*made))
    assert "could not be made" not in page
    assert ("Methods that failed" in page) is (outcome == "failed")
    assert ("Methods that are undecided" in page) is (outcome == "undecided")
    shown = page.count(
        methods[0].maps[0].address
    )  # in its folded place, and where it passed beside the layers
    assert shown >= 2 if outcome == "passed" else shown == 1


def test_where_the_usual_method_failed_the_best_that_passed_is_shown_and_said(
    monkeypatch: pytest.MonkeyPatch, made: tuple[Run, Splits, Evaluation]
) -> None:
    evidence = report.ReportContext(*made).evidence
    methods = tuple(
        replace(each, outcome="passed" if each.name == "occlusion" else "failed") for each in evidence.methods
    )
    monkeypatch.setattr(report.ReportContext, "evidence", replace(evidence, methods=methods))
    context = report.ReportContext(*made)
    page = report.render(context)
    said = "It passed its tests on this network; gradient x activation, the usual kind, failed."
    assert f"The evidence maps are made by occlusion. {said}" in page
    assert f"The maps are made by occlusion. {said}" in page
    shown = context.evidence.preferred.maps[0].address
    assert page.count(shown) > sum(each.maps[0].address == shown for each in methods)
    assert json.loads(section_data(page))["pad"]["evidence"] == {"outcome": "failed", "passed": ["occlusion"]}


def test_where_no_method_passed_the_report_says_so_in_place_of_maps(
    monkeypatch: pytest.MonkeyPatch, made: tuple[Run, Splits, Evaluation]
) -> None:
    evidence = report.ReportContext(*made).evidence
    methods = tuple(replace(each, outcome="failed") for each in evidence.methods)
    monkeypatch.setattr(report.ReportContext, "evidence", replace(evidence, methods=methods))
    page = report.render(report.ReportContext(*made))
    shown = page.split('id="live-data">', 1)[0]
    assert shown.count("No map is shown: no kind of map passed its tests on this network.") == 2


def section_data(page: str) -> str:
    """What the pad's scripts read, out of a report."""
    return page.split('id="live-data">', 1)[1].split("</script>", 1)[0]


def test_a_large_network_has_fewer_pictures_and_methods_and_the_page_says_which(
    monkeypatch: pytest.MonkeyPatch, made: tuple[Run, Splits, Evaluation]
) -> None:
    run, splits, _ = made
    assert set(count_affordable_pictures(run.classifier, splits.test).values()) == {len(splits.test)}
    work = evidence_module.MAX_MULTIPLY_ADDS // passes_affordable(
        run.classifier.network, splits.test.images, evidence_module.MAX_MULTIPLY_ADDS
    )
    monkeypatch.setattr(evidence_module, "MAX_MULTIPLY_ADDS", 400 * work)
    counts = count_affordable_pictures(run.classifier, splits.test)
    left_out = ("integrated gradients", "smoothgrad", "occlusion")
    assert counts == {"gradient x activation": 8, "grad-cam": 8, **dict.fromkeys(left_out, 0)}
    page = report.render(report.ReportContext(*made))
    assert "could not be made" not in page
    assert f"takes too long on a network of this size: {', '.join(left_out)}" in page
    monkeypatch.setattr(evidence_module, "MAX_MULTIPLY_ADDS", work)
    assert count_affordable_pictures(run.classifier, splits.test)["gradient x activation"] == 8

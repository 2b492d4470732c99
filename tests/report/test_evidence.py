"""Maps that failed their tests are stamped, and the run keeps how they fared."""

import json
from dataclasses import replace

import pytest

from pellucid.data.dataset import Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.inference import passes_affordable
from pellucid.report import evidence as evidence_module
from pellucid.report import report
from pellucid.report.evidence import count_affordable_pictures
from pellucid.runs.run import Run


@pytest.mark.parametrize("supported", [True, False])
def test_a_map_that_failed_its_tests_is_stamped_where_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, made: tuple[Run, Splits, Evaluation], supported: bool
) -> None:
    evidence = report.ReportContext(*made).evidence
    methods = tuple(replace(method, supported=supported) for method in evidence.methods)
    monkeypatch.setattr(report.ReportContext, "evidence", replace(evidence, methods=methods))
    page = report.render(report.ReportContext(*made))
    assert "could not be made" not in page
    assert ("✗ failed its tests" in page) is not supported
    assert ("Methods that failed" in page) is not supported


def test_where_the_usual_method_failed_the_best_that_passed_is_shown_and_said(
    monkeypatch: pytest.MonkeyPatch, made: tuple[Run, Splits, Evaluation]
) -> None:
    evidence = report.ReportContext(*made).evidence
    methods = tuple(replace(each, supported=each.name == "occlusion") for each in evidence.methods)
    monkeypatch.setattr(report.ReportContext, "evidence", replace(evidence, methods=methods))
    context = report.ReportContext(*made)
    page = report.render(context)
    said = "It passed its tests on this network; gradient x activation, the usual kind, failed."
    assert f"The evidence maps are made by occlusion. {said}" in page
    assert f"The maps are made by occlusion. {said}" in page
    shown = context.evidence.preferred.maps[0].address
    assert page.count(shown) > sum(each.maps[0].address == shown for each in methods)
    assert json.loads(section_data(page))["pad"]["evidence"] == {"supported": False, "passed": ["occlusion"]}


def test_where_no_method_passed_the_report_says_so_beside_its_maps(
    monkeypatch: pytest.MonkeyPatch, made: tuple[Run, Splits, Evaluation]
) -> None:
    evidence = report.ReportContext(*made).evidence
    methods = tuple(replace(each, supported=False) for each in evidence.methods)
    monkeypatch.setattr(report.ReportContext, "evidence", replace(evidence, methods=methods))
    page = report.render(report.ReportContext(*made))
    shown = page.split('id="live-data">', 1)[0]
    assert shown.count("Not to be believed: no kind of map passed its tests on this network.") == 2


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
    assert counts == {"gradient x activation": 15, "grad-cam": 15, **dict.fromkeys(left_out, 0)}
    page = report.render(report.ReportContext(*made))
    assert "could not be made" not in page
    assert f"takes too long on a network of this size: {', '.join(left_out)}" in page
    monkeypatch.setattr(evidence_module, "MAX_MULTIPLY_ADDS", work)
    assert count_affordable_pictures(run.classifier, splits.test)["gradient x activation"] == 8

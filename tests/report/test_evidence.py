"""Maps that failed their tests are stamped, and the run keeps how they fared."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.data.dataset import Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.explanation.attribution import EXPLAINERS
from pellucid.report import evidence as evidence_module
from pellucid.report import report
from pellucid.report.evidence import count_affordable_pictures, read_verdicts
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


def test_the_run_keeps_how_its_evidence_maps_fared_until_its_weights_change(
    made: tuple[Run, Splits, Evaluation], tmp_path: Path
) -> None:
    run = replace(made[0], folder=Path(shutil.copytree(made[0].folder, tmp_path / "run")))
    (run.folder / "faithfulness.json").unlink(missing_ok=True)
    assert read_verdicts(run.folder) == {}
    report.write_report(run, *made[1:])
    verdicts = read_verdicts(run.folder)
    assert set(verdicts) == set(EXPLAINERS)
    assert {type(supported) for supported in verdicts.values()} == {bool}
    facts = json.loads((run.folder / "faithfulness.json").read_text())
    (run.folder / "faithfulness.json").write_text(json.dumps({**facts, "weights": "others"}))
    assert read_verdicts(run.folder) == {}
    (run.folder / "faithfulness.json").write_text("[1]")
    assert read_verdicts(run.folder) == {}


def test_a_large_network_has_fewer_pictures_and_methods_and_the_page_says_which(
    monkeypatch: pytest.MonkeyPatch, made: tuple[Run, Splits, Evaluation]
) -> None:
    run, splits, _ = made
    assert set(count_affordable_pictures(run.classifier, splits.test).values()) == {len(splits.test)}
    work = evidence_module.MAX_MULTIPLY_ADDS // evidence_module.passes_affordable(
        run.classifier, splits.test, evidence_module.MAX_MULTIPLY_ADDS
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

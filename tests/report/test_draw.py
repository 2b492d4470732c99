"""The report draws with the run's own network, or says why it cannot."""

import json
import re
from pathlib import Path

import pytest

from pellucid.data.dataset import Splits
from pellucid.errors import UsageError
from pellucid.evaluation.evaluation import Evaluation
from pellucid.report import report
from pellucid.runs.run import Run
from tests.pages import Elements


def test_it_draws_with_the_runs_own_network_and_past(page: str, made: tuple[Run, Splits, Evaluation]) -> None:
    found = re.search(r'<script type="application/json" id="live-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert data["pad"]["classes"] == list(made[1].train.classes)
    assert data["pad"]["snapshots"]["steps"] == [step for _, step, _ in made[0].snapshots()]
    assert Elements(page).of_class("part")[0]["id"] == "draw"


def test_a_network_the_page_cannot_run_still_gets_a_full_report(
    monkeypatch: pytest.MonkeyPatch, made: tuple[Run, Splits, Evaluation]
) -> None:
    def refusing(*_: object) -> None:
        raise UsageError("The page's engine cannot run 'sort': in forward, line 7.")

    monkeypatch.setattr("pellucid.pad.section.lower", refusing)
    page = report.render(report.ReportContext(*made))
    assert "The page&#39;s engine cannot run &#39;sort&#39;: in forward, line 7." in page
    assert f"pellucid live {made[0].folder.name}" in page
    assert 'id="live-data"' not in page
    assert "could not be made" not in page
    assert 'class="matrix' in page


def test_damaged_snapshots_are_reported_in_their_place(
    monkeypatch: pytest.MonkeyPatch, made: tuple[Run, Splits, Evaluation], tmp_path: Path
) -> None:
    (tmp_path / "snapshots.safetensors").write_bytes(b"no tensors")
    monkeypatch.setattr("pellucid.runs.run.SNAPSHOTS", str(tmp_path / "snapshots.safetensors"))
    page = report.render(report.ReportContext(*made))
    assert page.count("could not be made") == 1
    assert "snapshots.safetensors&#39; is damaged" in page

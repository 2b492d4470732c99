"""The exported page carries what the training recorded."""

import json
from pathlib import Path
from typing import Any

from pellucid.runs.run import Run
from tests.toys import Call


def test_an_exported_page_carries_the_snapshots_of_the_training(
    trained: tuple[Path, Any], tmp_path: Path, call: Call
) -> None:
    run = trained[0] / "runs" / "latest"
    assert call("export", run, "--out", tmp_path / "page.html")[0] == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    data = json.loads(page.partition('id="live-data">')[2].partition("</script>")[0])
    assert data["pad"]["snapshots"]["steps"] == [step for _, step, _ in Run.open(run).snapshots()]
    assert len(page) < 3_000_000

"""Options that several commands share mean the same in each."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pellucid.cli.options import PAGES, TABLES, refuse_overwriting
from pellucid.errors import UsageError
from tests.toys import Call


@pytest.mark.parametrize("command", ["report", "export"])
def test_pages_speak_the_language_of_the_locale_unless_told_otherwise(
    trained: tuple[Path, Any], tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    run = Path(shutil.copytree(trained[0] / "runs" / "digits-tutorial-1", tmp_path / "run"))
    page = run / {"report": "report.html", "export": "page.html"}[command]
    monkeypatch.setenv("LC_MESSAGES", "ko_KR.UTF-8")
    assert call(command, run)[0] == 0
    assert '<html lang="ko">' in page.read_text(encoding="utf-8")
    assert call(command, run, "--lang", "en")[0] == 0
    assert '<html lang="en">' in page.read_text(encoding="utf-8")


def test_what_is_written_takes_the_place_of_nothing_else(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("manifest.json", "model.json", "metrics.csv", "report.html"):
        (run / name).write_text("kept")
    for name in ("1.png", "old.csv", "notes.md"):
        (tmp_path / name).write_text("kept")
    for name, kinds, message in (
        ("1.png", TABLES, "is one of the files to read"),
        (
            "notes.md",
            TABLES,
            r"exists, and what is written would replace it\. Name a file that ends in \.csv or",
        ),
        ("run", TABLES, "is a folder"),
        ("run/model.json", PAGES, "is a file of the run"),
        ("run/metrics.csv", TABLES, "is a file of the run"),
    ):
        with pytest.raises(UsageError, match=message):
            refuse_overwriting(tmp_path / name, kinds, [tmp_path / "1.png"])
    refuse_overwriting(tmp_path / "old.csv", TABLES)
    refuse_overwriting(run / "report.html", PAGES)
    refuse_overwriting(tmp_path / "new.csv", TABLES)
    refuse_overwriting(None, TABLES)

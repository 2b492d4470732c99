"""Options that several commands share mean the same in each."""

import shutil
from pathlib import Path
from typing import Any

import pytest

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

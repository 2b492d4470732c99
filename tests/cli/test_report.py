"""The command that writes a report names each section on a terminal, and nothing of that in a pipe."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from pellucid.cli.output import Output
from pellucid.cli.report import write_and_name
from pellucid.evaluation import facts


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing a report takes two steps and no time."""

    def write(*given, language, progress) -> Path:
        progress("layers", 5, 14)
        progress("layer_stats", 13, 14)
        return Path("run/report.html")

    monkeypatch.setattr("pellucid.report.report.write_report", write)


def written(output: Output) -> None:
    write_and_name(SimpleNamespace(folder=Path("run")), None, None, output, "en")


@pytest.mark.usefixtures("steps")
def test_a_terminal_shows_the_section_being_written() -> None:
    output, screen = Output(), io.StringIO()
    output.console = Console(file=screen, force_terminal=True, width=80)
    written(output)
    assert "report: 13 of 14, layer stats" in screen.getvalue()
    assert "Report: run/report.html" in screen.getvalue()


@pytest.mark.usefixtures("steps")
def test_a_pipe_gets_the_path_alone(capsys: pytest.CaptureFixture[str]) -> None:
    written(Output())
    assert capsys.readouterr() == ("Report: run/report.html\n", "")


@pytest.mark.usefixtures("steps")
def test_what_was_found_is_printed_a_line_each_and_nothing_where_nothing_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    worse, nothing = SimpleNamespace(remark="Night is worse."), SimpleNamespace(remark="")
    found = SimpleNamespace(slices=worse, shortcuts=None, stress=nothing)
    monkeypatch.setattr(facts, "read_facts_if_sound", lambda folder: found)
    write_and_name(SimpleNamespace(folder=tmp_path), None, None, Output(), "en")
    assert capsys.readouterr().out == "Night is worse.\nReport: run/report.html\n"
    write_and_name(SimpleNamespace(folder=tmp_path), None, None, Output(as_json=True), "en")
    assert "Night" not in capsys.readouterr().out

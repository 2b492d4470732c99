"""The pages' scripts live by the rules of the house: small files, small functions, one name for one thing."""

import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from pellucid.live.app import PAGE_SCRIPTS
from pellucid.pad import data
from pellucid.pad.operations import Operation
from pellucid.pad.section import SCRIPTS
from pellucid.pad.strokes import Rule
from pellucid.report import report

ASSETS = Path(__file__).parents[1] / "pellucid" / "assets"
CHECK = Path(__file__).parent / "javascript"
ROOMS = [path for room in ("pad", "live", "report") for path in sorted((ASSETS / room).glob("*.js"))]
LINES, BODY = 600, 60
OPENS = re.compile(
    r"^ *(?!(?:if|for|while|switch|catch)\b)"
    r"(?:.*\bfunction\b.*\)|.*=>|(?:async |get )?\w+\(.*\)) \{$"
)
WRAPPER = re.compile(r"^(?:const \w+ = )?\((?:async )?\(\) => \{$")  # a file's own scope


def bodies(path: Path) -> list[tuple[str, int]]:
    """The first line of each function that is written over several lines, and how many it takes."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found = []
    for start, line in enumerate(lines):
        if not OPENS.match(line) or WRAPPER.match(line):
            continue
        close = line[: len(line) - len(line.lstrip())] + "}"
        end = next(at for at in range(start + 1, len(lines)) if lines[at].startswith(close))
        found.append((line.strip(), end - start + 1))
    return found


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: path.name)
def test_scripts_are_small_and_so_are_their_functions(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES
    assert [name for name, count in bodies(path) if count > BODY] == []


def test_a_long_function_would_be_noticed(tmp_path: Path) -> None:
    script = tmp_path / "long.js"
    script.write_text(
        "const X = (() => {\n  function long() {\n" + "    x();\n" * 60 + "  }\n})();\n", "utf-8"
    )
    assert bodies(script) == [("function long() {", 62)]


def test_no_two_scripts_of_a_page_declare_the_same_name() -> None:
    declared = re.compile(r"^(?:const|let|var|class|function|async function) (\w+)", re.MULTILINE)
    scripts = report.SCRIPTS
    for names in ((*(f"pad/{name}" for name in (*SCRIPTS, "section.js")), *scripts), PAGE_SCRIPTS):
        found = [one for name in names for one in declared.findall((ASSETS / name).read_text("utf-8"))]
        assert len(found) == len(set(found))


def test_every_script_is_on_a_page_and_after_what_it_needs() -> None:
    on_pages = {*PAGE_SCRIPTS, "pad/section.js", "pad/types.js"}
    on_pages |= set(report.SCRIPTS)
    assert {f"{path.parent.name}/{path.name}" for path in ROOMS} == on_pages
    seen: set[str] = set()
    for name in PAGE_SCRIPTS:
        text = (ASSETS / name).read_text(encoding="utf-8")
        at_once = set(re.findall(r"^  (?:const|let) .*= (Pellucid\w+)", text, re.MULTILINE))
        at_once |= set(re.findall(r"^  \} = (Pellucid\w+)", text, re.MULTILINE))
        assert at_once <= {*seen, "PellucidConstants"}, name
        seen |= set(re.findall(r"^const (Pellucid\w+)", text, re.MULTILINE))


def test_names_are_in_camel_case() -> None:
    named = re.compile(r"\b(?:const|let|function|class)\s+([a-zA-Z]\w*_\w*)")
    for path in ROOMS:
        found = [name for name in named.findall(path.read_text(encoding="utf-8")) if not name.isupper()]
        assert found == [], path.name


def typedefs() -> dict[str, list[str]]:
    """The properties of each record that types.js describes, by its name."""
    text = (ASSETS / "pad" / "types.js").read_text(encoding="utf-8")
    found = {}
    for block in re.findall(r"/\*\*(.*?)\*/", text, re.DOTALL):
        if record := re.search(r"@typedef \{object\} (\w+)", block):
            found[record[1]] = re.findall(r"@property \{.*\} \[?(\w+)\]?", block)
        elif inline := re.search(r"@typedef \{\{(.*)\}\} (\w+)", block):
            found[inline[2]] = re.findall(r"(\w+)\??:", inline[1])
    return found


RECORDS = [getattr(data, name) for name in dir(data) if name.endswith("Data")]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_a_record_has_the_same_fields_in_both_languages(record: type) -> None:
    assert sorted(typedefs()[record.__name__]) == sorted(field.name for field in fields(record))  # type: ignore[arg-type]


def test_what_records_hold_has_the_same_fields_too() -> None:
    assert typedefs()["RuleData"] == [field.name for field in fields(Rule)]
    named = {field.name for field in fields(Operation)} - {"attributes"}
    assert set(typedefs()["OperationFields"]) == named
    described = {name for name in typedefs() if name.endswith("Data")}
    assert described - {"RuleData"} == {record.__name__ for record in RECORDS}


@pytest.mark.slow
def test_types_hold() -> None:
    """`make check` runs it, too."""
    compiler = CHECK / "node_modules" / ".bin" / "tsc"
    if shutil.which("node") is None or not compiler.is_file():
        pytest.skip("No node, or no compiler: run make check")
    done = subprocess.run([compiler, "--project", CHECK], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")

"""The documents are true: commands and flags exist, links lead somewhere, promises name tests."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pellucid
from pellucid.cli import parser
from tests.rows import ROWS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/**/*.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
SHELLS = ("bash", "sh", "shell", "console")


def script(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    specification = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


make_cli, make_api = script("make_cli"), script("make_api")


def read(name: str) -> str:
    """A document's text."""
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_command_line_page_is_up_to_date() -> None:
    assert read("docs/cli.md") == make_cli.page(), "run `make docs`"


def test_every_command_and_option_is_on_the_page() -> None:
    page = read("docs/cli.md")
    root = make_cli.root_command()
    for name, command in [("", root), *parser.visible_commands(root)]:
        section = page.partition(f"\n## pellucid {name}".rstrip() + "\n")[2].partition("\n## ")[0]
        assert section, f"docs/cli.md has no section for '{name}'"
        for option in parser.options_of(command):
            assert all(f"`{word}`" in section for word in [*option.opts, *option.secondary_opts])


def test_every_command_and_option_has_a_help_text_and_every_command_examples() -> None:
    root = make_cli.root_command()
    for name, command in parser.visible_commands(root):
        assert command.help, f"{name} has no help"
        parts = [*parser.arguments_of(command), *parser.options_of(command)]
        bare = [part.name for part in parts if not part.help]
        assert bare == [], f"{name}: no help for {bare}"
        examples = re.findall(r"^  (pellucid .*?)(?:  .*)?$", command.epilog or "", flags=re.MULTILINE)
        assert examples, f"{name} has no example"
        assert [why_not(example) for example in examples] == [None] * len(examples)


def test_every_command_takes_json_and_quiet() -> None:
    for name, command in parser.visible_commands(make_cli.root_command()):
        options = {word for option in parser.options_of(command) for word in option.opts}
        assert name == "help" or {"--json", "--quiet"} <= options, name


def test_the_python_reference_is_up_to_date_and_complete() -> None:
    page = read("docs/api.md")
    assert page == make_api.page(), "run `make docs`"
    assert re.findall(r"^## (\w+)$", page, flags=re.MULTILINE) == list(pellucid.__all__)


def test_the_tree_of_rooms_is_the_one_of_the_code() -> None:
    tree = read("CONTRIBUTING.md").partition("```text\npellucid/\n")[2].partition("```")[0]
    shown, outer = [], ""
    for line in tree.splitlines():
        indent, name = re.match(r"( +)(\S+)", line).groups()  # type: ignore[union-attr]
        if len(indent) == 2:
            outer = name
        shown.append(name if len(indent) == 2 else outer + name)
    rooms: dict[str, None] = {}
    for row in ROWS:
        *folders, file = row.split("/")
        for depth in range(1, len(folders) + 1):
            rooms["/".join(folders[:depth]) + "/"] = None
        if not folders and not file.startswith("__"):
            rooms[file] = None
    assert sorted(shown) == sorted(rooms)
    top = [name for name in rooms if name.count("/") == 0 or (name.endswith("/") and name.count("/") == 1)]
    assert [name for name in shown if name in top] == top, "the order of the rows"


def test_the_description_for_an_index_has_nothing_that_breaks_there() -> None:
    text = read("docs/package.md")
    assert "](" not in text
    assert "src=" not in text


def test_the_citation_names_this_version() -> None:
    assert f"version: {pellucid.__version__}\n" in read("CITATION.cff")


def test_the_documents_are_there() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in DOCUMENTS}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"} <= names
    assert {"docs/guide.md", "docs/cli.md", "docs/decisions.md"} <= names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_shown_can_be_given(document: Path) -> None:
    answers = {line: why_not(line) for line in shell_lines(document.read_text(encoding="utf-8"))}
    assert {line: reason for line, reason in answers.items() if reason} == {}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    assert dead_links(document) == []


def test_the_readme_installs_before_it_calls() -> None:
    lines = list(shell_lines(read("README.md")))
    commands = [line.split()[0] for line in lines]
    assert commands[:3] == ["python3", "source", "pip"]
    assert any("pellucid train" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/guide.md"])
def test_the_commands_shown_run_one_after_the_other(name: str, tmp_path: Path) -> None:
    """As a reader would type them, in an empty folder; without those that need a download or a server."""
    lines = [
        line
        for line in shell_lines(read(name))
        if line.startswith("pellucid ") and not re.search(r"mnist|pellucid live|pellucid cache", line)
    ]
    assert len(lines) >= 12
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "pellucid"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m pellucid \"$@\"\n")
    program.chmod(0o755)
    folder = tmp_path / "here"
    folder.mkdir()
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    settings = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path, "COLUMNS": "80"}
    for line in lines:
        done = subprocess.run(["sh", "-c", line], cwd=folder, env=settings, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), line


@pytest.mark.parametrize("name", ["README.md", "docs/guide.md"])
def test_the_python_shown_runs(name: str, tmp_path: Path) -> None:
    """One block after another, as a reader would type them."""
    blocks = re.findall(r"^```python\n(.*?)^```", read(name), flags=re.MULTILINE | re.DOTALL)
    assert blocks
    # A process of its own, in which threads that wait leave the processor to others.
    settings = os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-W", "error", "-c", "\n".join(blocks)]
    done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr


def test_the_changelog_has_an_unreleased_section() -> None:
    headings = re.findall(r"^## .*$", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert headings[0] == "## [Unreleased]"


@pytest.mark.parametrize(
    ("document", "start"), [("SECURITY.md", "## What is promised"), ("docs/reliability.md", "")]
)
def test_every_promise_names_a_test_that_exists(document: str, start: str) -> None:
    promises = read(document).partition(f"\n{start}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!promise |---)(.*) \|$", promises, flags=re.MULTILINE)
    assert rows
    for row in rows:
        names = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert names, f"no test is named for: {row}"
        for path, name in names:
            assert re.search(rf"^def {name}\(", read(path), flags=re.MULTILINE), f"{path} has no {name}"


@pytest.mark.parametrize(
    "line",
    [
        "pellucid fly digits",
        "pellucid train digits --no-such-flag 3",
        "pellucid train digits --epochs",
        "pellucid datasets one two three four",
        "PELLUCID_DATA=x pellucid fly",
        "make nothing-of-this-name",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    assert why_not(line) is not None


@pytest.mark.parametrize(
    "line",
    [
        "pellucid train digits --epochs 5",
        "pellucid train digits -h",
        "pellucid --help",
        "A=1 pellucid train digits",
        "make check test",
        "ls -l",
    ],
)
def test_a_right_command_passes(line: str) -> None:
    assert why_not(line) is None


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("# A title\n[a](nowhere.md) [b](#a-title) [c](#no-title) [d](page.md) `[e](f)`\n")
    assert dead_links(document) == ["nowhere.md", "#no-title"]


def shell_lines(text: str) -> Iterator[str]:
    """The commands in fenced shell blocks, one a line; a line ended by a backslash goes on."""
    for block in re.findall(rf"^```(?:{'|'.join(SHELLS)})\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            yield line.strip().removeprefix("$ ").partition(" #")[0].strip()


def why_not(line: str) -> str | None:
    """Why a command that starts with `pellucid` or `make` cannot be given; None when it can."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    if not words:
        return None
    program = words[0].rpartition("/")[2]
    if program == "make":
        return _why_no_target(words[1:])
    if program == "pellucid" and words[1:] and not words[1].startswith("-"):
        return _why_no_command(words[1], words[2:])
    return None


def dead_links(document: Path) -> list[str]:
    """The relative links of a document whose file or heading is not there."""
    text = re.sub(r"`[^`\n]*`", "", _without_blocks(document.read_text(encoding="utf-8")))
    targets = re.findall(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)", text)
    targets += re.findall(r"\b(?:src|srcset|href)=\"([^\"]+)\"", text)
    return [target for target in targets if not re.match(r"[a-z]+:", target) and not _leads(document, target)]


def _leads(document: Path, target: str) -> bool:
    name, _, heading = target.partition("#")
    path = (document.parent / name).resolve() if name else document
    if not heading:
        return path.exists()
    return path.is_file() and heading in _anchors(path.read_text(encoding="utf-8"))


def _anchors(text: str) -> set[str]:
    """The names of headings as GitHub makes them: lower case, hyphens for spaces, no punctuation."""
    headings = re.findall(r"^#+ (.*)$", _without_blocks(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def _why_no_target(words: list[str]) -> str | None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), flags=re.MULTILINE))
    unknown = [word for word in words if "=" not in word and not word.startswith("-") and word not in targets]
    return f"no target {', '.join(unknown)}" if unknown else None


def _why_no_command(name: str, words: list[str]) -> str | None:
    known = dict(parser.visible_commands(make_cli.root_command()))
    if name not in known:
        return f"no command {name}"
    options: dict[str, Any] = {
        word: part for part in parser.options_of(known[name]) for word in (*part.opts, *part.secondary_opts)
    }
    loose = 0
    words = [piece for word in words for piece in (word.split("=", 1) if word.startswith("--") else [word])]
    while words:
        word, words = words[0], words[1:]
        if not word.startswith("-") or word == "-":
            loose += 1
        elif word in ("--help", "-h"):
            continue
        elif word not in options:
            return f"no flag {word}"
        elif not options[word].is_flag:
            if not words:
                return f"{word} needs a value"
            words = words[1:]
    most = sum(float("inf") if part.nargs == -1 else part.nargs for part in parser.arguments_of(known[name]))
    return f"takes {most} words, got {loose}" if loose > most else None

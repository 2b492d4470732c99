"""What `import pellucid` offers is sorted, documented, and quick to import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pellucid

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "numpy", "matplotlib", "sklearn", "PIL", "safetensors")


def test_all_is_sorted_and_without_duplicates() -> None:
    assert list(pellucid.__all__) == sorted(set(pellucid.__all__))


@pytest.mark.parametrize("name", pellucid.__all__)
def test_every_public_name_is_there_and_tells_what_it_is(name: str) -> None:
    thing = getattr(pellucid, name)
    assert name in dir(pellucid)
    assert (thing.__doc__ or "").strip(), f"pellucid.{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        pellucid.no_such_name  # noqa: B018


def test_everything_public_in_the_package_has_a_docstring() -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in sorted((ROOT / "pellucid").rglob("*.py"))
        for line, name in undocumented(path)
    ]
    assert bare == []


def test_undocumented_names_are_found(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("def open(): ...\ndef _closed(): ...\nclass Door:\n    def knock(self): ...\n")
    assert [name for _, name in undocumented(module)] == ["module", "open", "Door", "Door.knock"]


@pytest.mark.parametrize(
    "statement",
    [
        "import pellucid",
        "import pellucid; dir(pellucid)",
        "import pellucid.cli",
        "import sys; sys.argv = ['pellucid', '--help']; from pellucid.cli import main; main()",
        "import sys; sys.argv = ['pellucid', 'train', '--help']; from pellucid.cli import main; main()",
    ],
)
def test_help_and_import_stay_quick(statement: str) -> None:
    """They load none of the heavy libraries: torch alone takes seconds."""
    script = f"""
import sys
try:
    exec({statement!r})
except SystemExit as leaving:
    assert not leaving.code, leaving.code
heavy = [name for name in {HEAVY!r} if name in sys.modules]
sys.exit(f"loaded {{heavy}}" if heavy else 0)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def undocumented(path: Path) -> Iterator[tuple[int, str]]:
    """(line, name) of the module, its public functions, classes and methods that have no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if ast.get_docstring(tree) is None and tree.body:
        yield 1, path.stem
    yield from _undocumented(tree, "")


def _undocumented(owner: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[int, str]]:
    for node in owner.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield node.lineno, prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(node, f"{prefix}{node.name}.")

"""Imports flow one way: a module imports only from rows above its own. And rooms stay small.

The rows stand in the order of the house, ground floor first. A module without a row is a failure: adding one
means deciding where it stands.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from tests.rows import ROWS

PACKAGE = Path(__file__).parents[1] / "pellucid"

# One door each: who needs one of these asks the module, or the folder, that owns it.
DOORS = {
    "matplotlib": {"plots/figures.py"},
    "typer": {"cli/"},
    "rich": {"cli/"},
    "starlette": {"live/", "serving/"},
    "uvicorn": {"serving/"},
    "PIL.Image.open": {"decode/images.py"},
    "safetensors": {"tensors.py"},
    "transformers": {"models/pretrained.py"},
    "huggingface_hub": {"models/pretrained.py"},
}

LINES_A_FILE = 600
LINES_A_FUNCTION = 60
MEDIAN_LINES_A_FUNCTION = 12
MOST_POSITIONAL = 5
OVERRIDES = {"redirect_request"}  # another library decides what these are given


def modules(package: Path) -> dict[str, Path]:
    """Every module of a package by its row: "data/dataset.py"."""
    return {path.relative_to(package).as_posix(): path for path in sorted(package.rglob("*.py"))}


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(tree: ast.AST, package_of_module: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything a module imports, at its top or late, names after `from` included.

    `package_of_module` is what a relative import starts from: "pellucid.data" for data/dataset.py.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package_of_module.split(".")[: -(node.level - 1) or None] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{source}.{name.name}") for name in node.names)
        elif isinstance(node, ast.Call) and _named(node.func) in ("import_module", "__import__"):
            yield from ((node.lineno, word.value) for word in node.args[:1] if _is_text(word))


def row_of(name: str, package: Path) -> str | None:
    """The row a dotted name lives in: pellucid.data.dataset.Dataset -> data/dataset.py; None: elsewhere.

    The version is a word every floor may read: importing it loads nothing that is not loaded already.
    """
    first, *parts = name.split(".")
    if first != package.name or parts == ["__version__"]:
        return None
    place, row = package, "__init__.py"
    for part in parts:
        if (place / f"{part}.py").is_file():
            return (place / f"{part}.py").relative_to(package).as_posix()
        if not (place / part / "__init__.py").is_file():
            break
        place = place / part
        row = (place / "__init__.py").relative_to(package).as_posix()
    return row


def faults(package: Path, rows: list[str]) -> list[str]:
    """What stands against "a module imports only from rows above its own", in words."""
    found = [f"{row} is a row without a module: take it out" for row in rows if not (package / row).is_file()]
    for row, path in modules(package).items():
        if row not in rows:
            found.append(f"{row} has no row: decide where it stands and add it to ROWS")
            continue
        above = rows[: rows.index(row)]
        package_of_module = ".".join((package.name, *Path(row).parts[:-1]))
        for line, name in imported(parsed(path), package_of_module):
            target = row_of(name, package)
            if target is not None and target not in above:
                found.append(f"{row}:{line} imports {name}, which is {target}: not above it")
    return found


def trespasses(package: Path) -> list[str]:
    """Imports or uses of what only one module may touch."""
    found = []
    for row, path in modules(package).items():
        tree = parsed(path)
        names = [*imported(tree, ""), *_used(tree)]
        for door in (door for door, owners in DOORS.items() if not row.startswith(tuple(owners))):
            uses = [line for line, name in names if f"{name}.".startswith(f"{door}.")]
            found += [f"{row}:{line} uses {door}" for line in uses]
    return found


def test_every_module_imports_only_from_rows_above() -> None:
    assert faults(PACKAGE, ROWS) == []


def test_each_outside_library_has_one_door() -> None:
    assert trespasses(PACKAGE) == []


def test_no_file_is_long() -> None:
    long = {row: lines for row, path in modules(PACKAGE).items() if (lines := _lines(path)) > LINES_A_FILE}
    assert long == {}


def test_no_function_is_long_and_most_are_short() -> None:
    lengths = dict(_function_lengths(PACKAGE))
    assert {name: length for name, length in lengths.items() if length > LINES_A_FUNCTION} == {}
    assert median(lengths.values()) <= MEDIAN_LINES_A_FUNCTION


def test_no_function_takes_more_than_five_values_by_position() -> None:
    many = {
        f"{row}:{node.name}": len(positional)
        for row, path in modules(PACKAGE).items()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in OVERRIDES
        and len(positional := [one for one in (*node.args.posonlyargs, *node.args.args)
                               if one.arg not in ("self", "cls")]) > MOST_POSITIONAL
    }  # fmt: skip
    assert many == {}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A made-up package of three rows, in order: cellar.py, rooms/hall.py, rooms/__init__.py, roof.py."""
    package = tmp_path / "house"
    (package / "rooms").mkdir(parents=True)
    (package / "cellar.py").write_text("import os\n")
    (package / "rooms" / "hall.py").write_text("from house.cellar import wine\n")
    (package / "rooms" / "__init__.py").write_text("from house.rooms import hall\n")
    (package / "roof.py").write_text("import house.cellar\nfrom house.rooms import hall, GARDEN\n")
    return package


HOUSE_ROWS = ["cellar.py", "rooms/hall.py", "rooms/__init__.py", "roof.py"]


def test_the_checker_accepts_a_sound_tree(house: Path) -> None:
    assert faults(house, HOUSE_ROWS) == []


@pytest.mark.parametrize(
    "line",
    [
        "import house.roof",
        "from house import roof",
        "from house.roof import tiles",
        "from ..roof import tiles",
        "from .. import roof",
        "def late():\n    from house.roof import tiles",
        "if False:\n    import house.roof as above",
        "import importlib\nimportlib.import_module('house.roof')",
        "from house.rooms import GARDEN",
        "from . import GARDEN",
        "from house.rooms.hall import itself",
    ],
)
def test_the_checker_finds_an_import_from_below(house: Path, line: str) -> None:
    (house / "rooms" / "hall.py").write_text(line + "\n")
    assert len(faults(house, HOUSE_ROWS)) == 1


def test_the_checker_finds_a_module_without_a_row(house: Path) -> None:
    (house / "attic.py").write_text("")
    assert faults(house, HOUSE_ROWS) == ["attic.py has no row: decide where it stands and add it to ROWS"]


def test_the_checker_finds_a_row_without_a_module(house: Path) -> None:
    assert faults(house, ["lift.py", *HOUSE_ROWS]) == ["lift.py is a row without a module: take it out"]


@pytest.mark.parametrize(
    "line",
    [
        "import matplotlib.pyplot as plt",
        "from matplotlib import pyplot",
        "from PIL.Image import open",
        "from PIL import Image\nImage.open('x')",
    ],
)
def test_the_checker_finds_a_second_door(house: Path, line: str) -> None:
    (house / "cellar.py").write_text(line + "\n")
    assert len(trespasses(house)) == 1


def _used(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of attributes reached through an imported name: Image.open -> PIL.Image.open."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            known |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known:
            yield node.lineno, f"{known[node.value.id]}.{node.attr}"


def _named(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _function_lengths(package: Path) -> Iterator[tuple[str, int]]:
    """(name, lines of its body without the docstring) of every function."""
    for row, path in modules(package).items():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                yield f"{row}:{node.name}", length

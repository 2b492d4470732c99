"""Rules of the suite itself: every module has a test file that mirrors its path, tests touch nothing private,
what they share lies in no test module, and pages are waited for, not slept on."""

import ast
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.data.known.toy import cifar_10_archive, letters_archive

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "pellucid"
MODULES = [path for path in sorted(TESTS.rglob("*.py")) if path != Path(__file__)]


def mirror(module: Path) -> Path:
    """The test file of a module, from its path in the package: tests/data/test_own.py of data/own.py.

    That of a room itself, data/__init__.py, is tests/data/test_data.py; that of the package, whose names are
    listed in public.py, is tests/test_public.py.
    """
    if module.name != "__init__.py":
        return module.with_name(f"test_{module.name}")
    return module.with_name(f"test_{module.parent.name or 'public'}.py")


def has_code(tree: ast.Module) -> bool:
    """Whether a module defines a function or a class; one of numbers alone, or of a call, has no mirror."""
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in tree.body)


def without_mirror(package: Path, tests: Path) -> list[str]:
    """The modules with code that have no test file of their own."""
    modules = [path for path in sorted(package.rglob("*.py")) if has_code(ast.parse(path.read_text("utf-8")))]
    return [
        path.relative_to(package).as_posix()
        for path in modules
        if not (tests / mirror(path.relative_to(package))).is_file()
    ]


def is_private(name: str) -> bool:
    """Whether a name is meant for its own module: _pack, but not __init__ or _repr_html_."""
    return name.startswith("_") and not name.endswith("_")


def defined(tree: ast.Module) -> Iterator[str]:
    """The private names that a module gives to functions, classes, variables and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        else:
            continue
        if is_private(name):
            yield name


def touched(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) of every private name that a module imports, reaches through a dot, or names in a text, as
    for monkeypatch: "_pack" or "pellucid.files._pack"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = node.value.split(".") if re.fullmatch(r"_\w+|pellucid(\.\w+)+", node.value) else []
        else:
            continue
        yield from ((node.lineno, name) for name in names if is_private(name))


def private_names(package: Path) -> set[str]:
    """Every private name of a package."""
    return {name for path in package.rglob("*.py") for name in defined(ast.parse(path.read_text("utf-8")))}


def spied_on(path: Path, private: set[str]) -> list[str]:
    """Where a test module touches one of these names that it did not define itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    foreign = private - set(defined(tree))
    return [f"line {line}: {name}" for line, name in touched(tree) if name in foreign]


def test_every_module_has_a_test_file_that_mirrors_its_path() -> None:
    assert without_mirror(PACKAGE, TESTS) == []


def test_tests_touch_no_private_name() -> None:
    private = private_names(PACKAGE)
    found = {path.relative_to(TESTS).as_posix(): spied_on(path, private) for path in MODULES}
    assert {name: spies for name, spies in found.items() if spies} == {}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A made-up package with a room, and a tests folder that mirrors all of it."""
    for name, text in {
        "house/__init__.py": "def __getattr__(name): ...\n",
        "house/limits.py": "MOST = 3\n",
        "house/roof.py": "def _tiles(): ...\n",
        "house/rooms/__init__.py": "class Hall: ...\n",
        "house/rooms/attic.py": "class Box:\n    def open(self):\n        self._lid = 0\n",
        "tests/test_public.py": "",
        "tests/test_roof.py": "",
        "tests/rooms/test_rooms.py": "",
        "tests/rooms/test_attic.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_module_without_its_test_file_is_noticed(house: Path) -> None:
    assert without_mirror(house / "house", house / "tests") == []
    (house / "house" / "rooms" / "cellar.py").write_text("def dig(): ...\n", encoding="utf-8")
    (house / "tests" / "test_roof.py").unlink()
    (house / "tests" / "rooms" / "test_rooms.py").rename(house / "tests" / "test_rooms.py")
    assert without_mirror(house / "house", house / "tests") == [
        "roof.py", "rooms/__init__.py", "rooms/cellar.py",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from house.roof import _tiles", ["line 1: _tiles"]),
        ("from house import roof\nroof._tiles()", ["line 2: _tiles"]),
        ("box._lid = 1\nprint(box._lid)", []),  # its own, too
        ("print(box._lid)", ["line 1: _lid"]),
        ("monkeypatch.setattr(roof, '_tiles', None)", ["line 1: _tiles"]),
        ("monkeypatch.setattr('pellucid.roof._tiles', None)", ["line 1: _tiles"]),
        ("def _tiles(): ...\n_tiles()\nself._tiles()", []),
        ("module._forward_hooks, 'gzip/._tiles', roof.tiles", []),
    ],
)
def test_a_spy_is_noticed(house: Path, line: str, found: list[str]) -> None:
    path = house / "tests" / "test_roof.py"
    path.write_text(line + "\n", encoding="utf-8")
    assert private_names(house / "house") == {"_tiles", "_lid"}
    assert spied_on(path, {"_tiles", "_lid"}) == found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(TESTS).as_posix())
def test_what_tests_share_is_imported_from_no_test_module(path: Path) -> None:
    shared = re.findall(
        r"^\s*(from tests\S*\.(?:test_\w+|conftest) import .*)", path.read_text("utf-8"), re.MULTILINE
    )
    assert shared == []


def test_a_page_is_waited_for_in_one_place() -> None:
    """In the loop that looks at a condition again and again."""
    sleeping = [
        path.name for path in MODULES for _ in re.findall("wait_for_timeout", path.read_text("utf-8"))
    ]
    assert sleeping == ["hand.py"]


@pytest.mark.parametrize("archive", [letters_archive, cifar_10_archive])
def test_archives_made_at_another_time_have_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, archive: Callable[[], bytes]
) -> None:
    first = archive()
    a_year_on = time.time() + 365 * 86_400
    monkeypatch.setattr(time, "time", lambda: a_year_on)
    assert archive() == first

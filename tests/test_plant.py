"""The table of planted bugs fits the package, and what plants them tells caught from survived."""

import re
from pathlib import Path

import pytest

from tests.plant import ROOT, copied, survivors
from tests.planted import PLANTED, Planted


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.what)
def test_a_planted_bug_has_its_place_and_its_tests(bug: Planted) -> None:
    assert (ROOT / "pellucid" / bug.file).read_text("utf-8").count(bug.old) == 1
    assert bug.new != bug.old
    for test in bug.tests:
        path, _, name = test.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / "tests" / path).read_text("utf-8"), re.MULTILINE), test


def test_there_are_many_and_no_two_of_a_name() -> None:
    assert len({bug.what for bug in PLANTED}) == len(PLANTED) >= 25


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project of one function and its test."""
    for name, text in {
        "pellucid/sums.py": "def doubled(number):\n    return 2 * number\n",
        "pellucid/__init__.py": "",
        "tests/test_sums.py": "from pellucid.sums import doubled\n\n"
        "def test_two():\n    assert doubled(2) == 4\n\ndef test_none():\n    assert doubled(0) == 0\n",
        "runs/mine/model.json": "{}",
        "pellucid/runs/__init__.py": "",
    }.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text(text, "utf-8")
    return tmp_path / "mine"


def test_a_bug_is_caught_by_a_test_that_sees_it_and_survives_one_that_does_not(
    tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = Planted("three times", "sums.py", "2 *", "3 *", ("test_sums.py::test_two",))
    unseen = Planted("four times", "sums.py", "2 *", "4 *", ("test_sums.py::test_none",))
    copy = copied(tree, tmp_path / "copy")
    assert not (copy / "runs").exists()
    assert (copy / "pellucid" / "runs").exists()
    assert survivors(copy, [seen, unseen]) == [unseen]
    assert re.findall(r"^(\w+) ", capfd.readouterr().out, re.MULTILINE) == ["caught", "SURVIVED"]
    for place in (tree, copy):
        assert (place / "pellucid" / "sums.py").read_text() == "def doubled(number):\n    return 2 * number\n"


def test_what_proves_nothing_is_an_error(tree: Path) -> None:
    gone = Planted("moved away", "sums.py", "5 *", "3 *", ("test_sums.py::test_two",))
    with pytest.raises(RuntimeError, match="occurs 0 times"):
        survivors(tree, [gone])
    broken = Planted("no such test", "sums.py", "2 *", "3 *", ("test_sums.py::test_three",))
    with pytest.raises(RuntimeError, match="could not be run"):
        survivors(tree, [broken])
    (tree / "pellucid" / "sums.py").write_text("def doubled(number):\n    return 3 * number\n")
    with pytest.raises(RuntimeError, match="fail without any bug"):
        survivors(tree, [Planted("three", "sums.py", "3 *", "2 *", ("test_sums.py::test_two",))])

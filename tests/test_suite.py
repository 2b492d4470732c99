"""Rules of the suite itself: what tests share lies in no test module; pages are waited for, not slept on."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MODULES = [path for path in sorted(TESTS.rglob("*.py")) if path != Path(__file__)]


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

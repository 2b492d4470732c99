"""Plants the bugs of planted.py, one changed line each, and runs the tests that must fail for it.

`python -m tests.plant` copies the tree into a temporary folder, sees that the named tests pass there, plants
one bug after the other and runs its tests, and exits with 1 when one survives. With words, as in
`python -m tests.plant serving split`, it plants those whose file, test or description contains one of them.
The working tree is never touched.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.planted import PLANTED, Planted

ROOT = Path(__file__).parents[1]
LEFT_OUT = ("node_modules", ".*", "__pycache__", "*.egg-info")
LEFT_OUT_AT_THE_TOP = ("runs", "build", "dist")


def copied(tree: Path, folder: Path) -> Path:
    """A copy of the tree in `folder`, without what tools and people leave there."""
    anywhere, at_the_top = (shutil.ignore_patterns(*names) for names in (LEFT_OUT, LEFT_OUT_AT_THE_TOP))

    def ignored(path: str, names: list[str]) -> set[str]:
        return anywhere(path, names) | (at_the_top(path, names) if Path(path) == tree else set())

    return Path(shutil.copytree(tree, folder / "tree", ignore=ignored))


def passes(tree: Path, tests: Iterable[str]) -> bool:
    """Whether these tests pass in a tree. Raises RuntimeError when they cannot be run."""
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*words, *(f"tests/{test}" for test in dict.fromkeys(tests))],
        cwd=tree, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tree)},
    )  # fmt: skip
    if done.returncode > 2:  # 2: interrupted, as a bug may do
        raise RuntimeError(f"These tests could not be run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def survivors(tree: Path, bugs: Sequence[Planted]) -> list[Planted]:
    """The bugs that their tests do not notice when planted in `tree`, a copy; it is as before afterwards."""
    if not passes(tree, [test for bug in bugs for test in bug.tests]):
        raise RuntimeError("The tests fail without any bug: planted ones would prove nothing.")
    found = []
    for bug in bugs:
        path, begun = tree / "pellucid" / bug.file, time.monotonic()
        source = path.read_text(encoding="utf-8")
        if source.count(bug.old) != 1:
            raise RuntimeError(f"{bug.what}: the text to replace occurs {source.count(bug.old)} times")
        path.write_text(source.replace(bug.old, bug.new), encoding="utf-8")
        try:
            survived = passes(tree, bug.tests)
        finally:
            path.write_text(source, encoding="utf-8")
        if survived:
            found.append(bug)
        word = "SURVIVED" if survived else "caught"
        print(f"{word:<8}  {time.monotonic() - begun:5.1f} s  {bug.file}: {bug.what}", flush=True)
    return found


def main(words: Sequence[str]) -> int:
    """Plants all bugs, or those that the words name; the exit code."""
    bugs = [bug for bug in PLANTED if not words or any(word in repr(bug) for word in words)]
    with tempfile.TemporaryDirectory() as folder:
        found = survivors(copied(ROOT, Path(folder)), bugs)
    print(f"{len(bugs) - len(found)} of {len(bugs)} planted bugs caught")
    return 1 if found or not bugs else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The folder that the project lies in, listed: tests leave it as it was."""

import stat
from collections.abc import Iterator
from pathlib import Path

# What tools keep for themselves, and what git writes.
LEFT_OUT = set(
    ".git .hypothesis .ipynb_checkpoints .mypy_cache .pytest_cache .ruff_cache __pycache__".split()
)


def listing(folder: Path) -> dict[str, tuple[object, ...]]:
    """Every file, link and folder below a folder by its name: its kind; of files and links their size, inode,
    times and target, too.

    The change time is among them: the system alone sets it, so a file written and put back is found as well.
    Caches and virtual environments are left out.
    """
    return {path.relative_to(folder).as_posix(): _facts(path) for path in _below(folder)}


def differences(before: dict[str, tuple[object, ...]], after: dict[str, tuple[object, ...]]) -> list[str]:
    """What was added, removed or changed between two listings, sorted by name."""
    return [
        f"{'added' if name not in before else 'removed' if name not in after else 'changed'}: {name}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in LEFT_OUT or (path / "pyvenv.cfg").exists():
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)


def _facts(path: Path) -> tuple[object, ...]:
    facts = path.lstat()
    if stat.S_ISDIR(facts.st_mode):
        return (facts.st_mode,)
    target = str(path.readlink()) if path.is_symlink() else ""
    return facts.st_mode, facts.st_size, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns, target

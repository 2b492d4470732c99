"""Files by name, wherever they lie: a folder that is read where it is, or an archive read in place.

A reader of a layout asks a Tree and does not know which of the two it is. Nothing is written, copied or
unpacked, and no name can lead out of what was given.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pellucid.data.sources.listing import natural
from pellucid.errors import PellucidError, UsageError
from pellucid.language import Message, lazy_ngettext

SUFFIXES = tuple(
    ".png .jpg .jpeg .jpe .jfif .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm".split()
)  # of the formats decode/images.py opens
CLUTTER = ("thumbs.db", "desktop.ini")
MACOS = "__MACOSX"  # what its archives carry beside the files


@dataclass(frozen=True, eq=False)
class Tree:
    """Files by name.

    name     what the person gave
    sizes    bytes of every file by its name, "train/cat/001.jpg", in natural order; hidden ones left out
    folders  names of all folders, empty ones included, hidden ones left out
    read     the bytes of a file by its name; from any thread
    stamp    changes whenever the bytes of a file may have changed
    notes    what was passed over
    """

    name: str
    sizes: Mapping[str, int]
    folders: tuple[str, ...]
    read: Callable[[str], bytes]
    stamp: Callable[[str], str]
    notes: tuple[Message, ...] = ()

    def top(self) -> list[str]:
        """Names of the folders that stand at the top, in natural order."""
        return sorted({name.split("/", 1)[0] for name in self.folders}, key=natural)

    def loose(self) -> list[str]:
        """Names of the files that stand at the top."""
        return [name for name in self.sizes if "/" not in name]

    def pictures(self) -> list[str]:
        """Names of the files whose suffix is a picture's."""
        return [name for name in self.sizes if is_picture(name)]

    def under(self, folder: str) -> "Tree":
        """What is in one folder, named from there."""
        start = f"{folder}/"
        sizes = {
            name.removeprefix(start): size for name, size in self.sizes.items() if name.startswith(start)
        }
        folders = tuple(name.removeprefix(start) for name in self.folders if name.startswith(start))
        read, stamp = self.read, self.stamp
        return Tree(
            f"{self.name}/{folder}",
            sizes,
            folders,
            lambda name: read(start + name),
            lambda name: stamp(start + name),
            self.notes,
        )


def is_picture(name: str) -> bool:
    """Whether a file's suffix is that of a picture."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def hidden(name: str) -> bool:
    """Whether a path leads through something hidden, or what a file manager leaves behind."""
    parts = name.split("/")
    return any(part.startswith(".") or part == MACOS for part in parts) or parts[-1].lower() in CLUTTER


def tree_of(
    name: str,
    sizes: Mapping[str, int],
    folders: Iterator[str],
    read: Callable[[str], bytes],
    stamp: Callable[[str], str],
    notes: tuple[Message, ...] = (),
) -> Tree:
    """A Tree without its hidden files; a note tells how many pictures are among those."""
    seen = {file: size for file, size in sizes.items() if not hidden(file)}
    unseen = sum(1 for file in sizes if hidden(file) and is_picture(file) and not _is_shadow(file))
    if unseen:
        passed = lazy_ngettext(
            "%(count)s hidden picture is passed over", "%(count)s hidden pictures are passed over", unseen
        )
        notes = (*notes, passed)
    above = {parent.as_posix() for file in seen for parent in PurePosixPath(file).parents}
    known = {folder for folder in (*folders, *above) if folder not in ("", ".") and not hidden(folder)}
    ordered = {file: seen[file] for file in sorted(seen, key=natural)}
    return Tree(name, ordered, tuple(sorted(known, key=natural)), read, stamp, notes)


def folder_tree(path: Path) -> Tree:
    """The files of a folder, links followed, but no folder entered that it lies in itself.

    Raises UsageError when a folder may not be looked into: its pictures would be missing without a word.
    """
    sizes: dict[str, int] = {}
    folders: list[str] = []
    passed: Counter[str] = Counter()
    _walk(path, "", (), sizes, folders, passed)
    notes = tuple(PASSED[kind](count) for kind, count in passed.items())
    return tree_of(
        str(path),
        sizes,
        iter(folders),
        lambda name: read_file(path / name),
        lambda name: stamp_of(path / name),
        notes,
    )


# What a folder may hold that no picture is read from.
PASSED: Mapping[str, Callable[[int], Message]] = {
    "loop": lambda count: lazy_ngettext(
        "%(count)s link to a folder it lies in is passed over",
        "%(count)s links to a folder they lie in are passed over",
        count,
    ),
    "hidden": lambda count: lazy_ngettext(
        "%(count)s hidden folder is passed over", "%(count)s hidden folders are passed over", count
    ),
    "dangling": lambda count: lazy_ngettext(
        "%(count)s link that leads nowhere is passed over",
        "%(count)s links that lead nowhere are passed over",
        count,
    ),
    "device": lambda count: lazy_ngettext(
        "%(count)s pipe, socket or device is passed over",
        "%(count)s pipes, sockets or devices are passed over",
        count,
    ),
}


def read_file(path: Path) -> bytes:
    """The bytes of a regular file. Raises UsageError, naming it, when it cannot be read."""
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"'{path.name}' is no regular file.")
            return file.read()
    except OSError as error:
        raise UsageError(f"'{path.name}' cannot be read: {error.strerror or error}.") from error


def stamp_of(path: Path) -> str:
    """Size, time and inode of a file; "" when it is not there."""
    try:
        facts = path.stat()
    except OSError:
        return ""
    return f"{facts.st_size}-{facts.st_mtime_ns}-{facts.st_ino}"


def _walk(
    path: Path,
    prefix: str,
    above: tuple[tuple[int, int], ...],
    sizes: dict[str, int],
    folders: list[str],
    passed: Counter[str],
) -> None:
    try:
        facts = path.stat()
        here = (facts.st_dev, facts.st_ino)
        if here in above:
            passed["loop"] += 1
            return
        with os.scandir(path) as entries:
            found = list(entries)
    except OSError as error:
        raise UsageError(
            f"'{path}' cannot be looked into: {error.strerror or error}. Its pictures would be missing."
        ) from error
    if prefix:
        folders.append(prefix.rstrip("/"))
    for entry in found:
        name = prefix + entry.name
        if entry.is_dir():
            if hidden(name):
                passed["hidden"] += 1
            else:
                _walk(Path(entry.path), f"{name}/", (*above, here), sizes, folders, passed)
        elif entry.is_file():
            sizes[name] = entry.stat().st_size
        elif entry.is_symlink():
            passed["dangling"] += 1
        else:
            passed["device"] += 1


def unwrapped(tree: Tree, has_meaning: Callable[[Tree], bool]) -> Tree:
    """The tree, or what is inside its one folder when that is only a wrapping, as in most archives."""
    while not has_meaning(tree) and len(top := [name for name in tree.top() if tree.under(name).sizes]) == 1:
        inside = tree.under(top[0])
        if any("/" not in name for name in inside.pictures()):
            break
        tree = inside
    return tree


def unreadable_tree(path: Path, error: Exception) -> PellucidError:
    """The error for an archive that is damaged."""
    return PellucidError(
        f"'{path}' cannot be read: {error or type(error).__name__}. It may be cut off or damaged."
    )


def _is_shadow(name: str) -> bool:
    """Whether it is what macOS puts beside a file in an archive: it holds no picture."""
    return PurePosixPath(name).name.startswith("._") or MACOS in name.split("/")

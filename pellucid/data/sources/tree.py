"""Files by name, in a folder or in an archive, which is read in place.

The readers of layouts use a Tree and need not know which of the two it is. Nothing is written, copied or
unpacked, and no name can lead outside.
"""

import errno
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pellucid.data.sources.listing import natural_key
from pellucid.errors import PellucidError, UsageError, plain_error
from pellucid.language import Message, lazy_ngettext
from pellucid.reading import UnreadableFile, open_regular

SUFFIXES = tuple(
    ".png .jpg .jpeg .jpe .jfif .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm "
    ".heic .heif .hif .avif".split()
)  # of the formats decode/images.py opens, or names when it cannot
# Files that nobody means as pictures: their bytes are not looked at.
OTHER_SUFFIXES = frozenset(
    ".txt .csv .tsv .json .jsonl .ndjson .xml .yaml .yml .md .rst .html .htm .js .css .py .pyc .ipynb .c .h "
    ".sh .bat .toml .ini .cfg .log .npy .npz .mat .h5 .pkl .pt .pth .onnx .safetensors .parquet .feather "
    ".zip .tar .gz .tgz .bz2 .xz .7z .rar .pdf .doc .docx .xls .xlsx .ppt .pptx .mp4 .avi .mov .mkv .mp3 "
    ".wav .db .sqlite .lock .bin .svg".split()
)
# Pictures, films and arrays that are not read: where a class's folder holds nothing else, the class is lost.
UNREAD_SUFFIXES = frozenset(
    ".psd .xcf .svg .eps .pdf .jp2 .j2k .jxl .tga .exr .hdr .ico .fits .dcm .nii .cr3 .raf .orf .rw2 "
    ".npy .mat .mp4 .avi .mov .mkv .webm".split()
)
SIGNATURES = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|BM....\0\0\0\0|II\*\0|MM\0\*|P[1-6]\s+[\d#]"
    rb"|....ftyp(?:heic|heix|hevc|heim|heis|mif1|msf1|avif|avis)",
    re.DOTALL,
)
SIGNATURE_BYTES = 32
MAX_FILE_BYTES = 256 << 20  # of a picture's or a table's file: 40 million pixels of 16 bits, not compressed
MOST_NESTED = 64  # folders within each other
MOST_FOLDER_NAMES = 1 << 27  # characters of the names of all folders
CLUTTER = ("thumbs.db", "desktop.ini")
MACOS = "__MACOSX"  # a folder of metadata in archives made by macOS


@dataclass(frozen=True, eq=False)
class Tree:
    """Files by name.

    name     as it was given
    sizes    bytes of every file by its name, "train/cat/001.jpg", in natural order, without hidden files
    folders  names of all folders, including empty ones, without hidden folders
    read     the bytes of a file by its name; from any thread
    stamp    changes whenever the bytes of a file may have changed
    is_image whether a file is a picture: by its suffix, else by its first bytes
    notes    what was skipped
    """

    name: str
    sizes: Mapping[str, int]
    folders: tuple[str, ...]
    read: Callable[[str], bytes]
    stamp: Callable[[str], str]
    is_image: Callable[[str], bool]
    notes: tuple[Message, ...] = ()

    def top(self) -> list[str]:
        """Names of the folders at the top, in natural order."""
        return sorted({name.split("/", 1)[0] for name in self.folders}, key=natural_key)

    def loose(self) -> list[str]:
        """Names of the files at the top."""
        return [name for name in self.sizes if "/" not in name]

    def pictures(self) -> list[str]:
        """Names of the picture files, in natural order."""
        return self._pictures

    @cached_property
    def _pictures(self) -> list[str]:
        return [name for name in self.sizes if self.is_image(name)]

    def under(self, folder: str) -> "Tree":
        """The tree of one folder; names are relative to it."""
        start = f"{folder}/"
        sizes = {
            name.removeprefix(start): size for name, size in self.sizes.items() if name.startswith(start)
        }
        folders = tuple(name.removeprefix(start) for name in self.folders if name.startswith(start))
        read, stamp, is_image = self.read, self.stamp, self.is_image
        return Tree(
            f"{self.name}/{folder}",
            sizes,
            folders,
            lambda name: read(start + name),
            lambda name: stamp(start + name),
            lambda name: is_image(start + name),
            self.notes,
        )


def is_picture(name: str) -> bool:
    """Whether a file has a picture's suffix."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a path has a hidden part, or is a file that a file manager leaves behind."""
    parts = name.split("/")
    return any(part.startswith(".") or part == MACOS for part in parts) or parts[-1].lower() in CLUTTER


def tree_of(
    name: str,
    sizes: Mapping[str, int],
    folders: Iterable[str],
    read: Callable[[str], bytes],
    stamp: Callable[[str], str],
    *,
    begin: Callable[[str], bytes] | None = None,
    notes: tuple[Message, ...] = (),
) -> Tree:
    """A Tree of these files without the hidden ones; a note says how many hidden pictures there are.

    begin  the first bytes of a file, where that is quicker than `read`

    A file of more than MAX_FILE_BYTES is not read: UsageError.
    """

    def read_bounded(file: str) -> bytes:
        if (size := sizes.get(file, 0)) > MAX_FILE_BYTES:
            raise UsageError(f"'{file}' has {size:,} bytes; the limit of a file is {MAX_FILE_BYTES:,}.")
        return read(file)

    begin = begin or read_bounded

    @cache
    def is_image(file: str) -> bool:
        if is_picture(file):
            return True
        if not sizes.get(file) or PurePosixPath(file).suffix.lower() in OTHER_SUFFIXES:
            return False
        try:
            return SIGNATURES.match(begin(file)[:SIGNATURE_BYTES]) is not None
        except PellucidError:
            return False

    visible = {file: size for file, size in sizes.items() if not is_hidden(file)}
    hidden_pictures = sum(
        1 for file in sizes if is_hidden(file) and is_picture(file) and not _is_shadow(file)
    )
    if hidden_pictures:
        note = lazy_ngettext(
            "skipped %(count)s hidden picture", "skipped %(count)s hidden pictures", hidden_pictures
        )
        notes = (*notes, note)
    all_folders = folders_of([*visible, *(f"{folder}/" for folder in folders)])
    all_folders = {folder for folder in all_folders if not is_hidden(folder)}
    ordered = {file: visible[file] for file in sorted(visible, key=natural_key)}
    in_order = tuple(sorted(all_folders, key=natural_key))
    return Tree(name, ordered, in_order, read_bounded, stamp, is_image, notes)


def folders_of(names: Iterable[str]) -> set[str]:
    """All folders that files with these names lie in: "a" and "a/b" for "a/b/1.jpg".

    Raises UsageError for more than MOST_NESTED folders within each other, or MOST_FOLDER_NAMES characters.
    """
    found, characters = set[str](), 0
    for name in names:
        if name.count("/") > MOST_NESTED:
            raise UsageError(
                f"'{name[:60]}...' lies in {name.count('/'):,} folders within each other; the limit is "
                f"{MOST_NESTED}. Move the pictures further up."
            )
        end = name.rfind("/")
        while end > 0 and (folder := name[:end]) not in found:
            found.add(folder)
            characters += end
            end = name.rfind("/", 0, end)
        if characters > MOST_FOLDER_NAMES:
            raise UsageError(
                f"The names of the folders have more than {MOST_FOLDER_NAMES:,} characters. Shorten them, or "
                "name a smaller folder."
            )
    return found


def folder_tree(path: Path) -> Tree:
    """The files of a folder. Links to folders are followed, but each folder is read once, and where it lies
    rather than where a link leads to it.

    Raises UsageError when a folder cannot be opened: its pictures would silently be missing.
    """
    sizes: dict[str, int] = {}
    folders: list[str] = []
    skipped: Counter[str] = Counter()
    seen: set[tuple[int, int]] = set()
    waiting, linked = deque([("", path)]), deque[tuple[str, Path]]()

    _refuse_system(path)
    while waiting or linked:
        name, folder = waiting.popleft() if waiting else linked.popleft()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                skipped["again"] += 1
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as iterator:
                entries = sorted(iterator, key=lambda entry: natural_key(entry.name))
        except OSError as error:
            raise UsageError(f"{plain_error(error)} Its pictures would be missing.") from error
        if name:
            folders_of([f"{name}/"])  # refused before it is walked to its end
            folders.append(name)
        for entry in entries:
            inside = f"{name}/{entry.name}" if name else entry.name
            kind = _skipped(entry, inside)
            if kind:
                skipped[kind] += 1
            elif entry.is_dir():
                (linked if entry.is_symlink() else waiting).append((inside, Path(entry.path)))
            else:
                try:
                    sizes[inside] = entry.stat().st_size
                except FileNotFoundError:  # removed since the folder was listed
                    skipped["gone"] += 1
    notes = tuple(SKIPPED[kind](count) for kind, count in skipped.items())
    return tree_of(
        str(path),
        sizes,
        folders,
        lambda name: read_file(path / name),
        lambda name: stamp_of(path / name),
        begin=lambda name: _beginning(path / name),
        notes=notes,
    )


def _skipped(entry: os.DirEntry[str], name: str) -> str:
    """Why what a folder holds is neither read nor walked, a key of SKIPPED; "" where it is.

    Raises UsageError when that cannot be told.
    """
    try:
        is_folder = entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "dangling"
        raise UsageError(f"{plain_error(error)} Its pictures would be missing.") from error
    if is_folder:
        return "hidden" if is_hidden(name) else ""
    if entry.is_file():
        return ""
    return "dangling" if entry.is_symlink() else "device"


def _refuse_system(path: Path) -> None:
    """Raise UsageError for the root of a disk and for what the system only shows as files."""
    whole = path.resolve()
    inside = any(whole.is_relative_to(name) for name in ("/proc", "/sys"))
    if inside or whole in (Path(whole.anchor), Path("/dev")):
        raise UsageError(f"'{path}' is a folder of the system. Name the folder that holds your pictures.")


# What a folder may contain that is not read.
SKIPPED: Mapping[str, Callable[[int], Message]] = {
    "again": lambda count: lazy_ngettext(
        "skipped %(count)s link to a folder that is read already",
        "skipped %(count)s links to folders that are read already",
        count,
    ),
    "hidden": lambda count: lazy_ngettext(
        "skipped %(count)s hidden folder", "skipped %(count)s hidden folders", count
    ),
    "gone": lambda count: lazy_ngettext(
        "%(count)s file was removed while the folder was being read",
        "%(count)s files were removed while the folder was being read",
        count,
    ),
    "dangling": lambda count: lazy_ngettext(
        "skipped %(count)s broken link",
        "skipped %(count)s broken links",
        count,
    ),
    "device": lambda count: lazy_ngettext(
        "skipped %(count)s pipe, socket or device",
        "skipped %(count)s pipes, sockets or devices",
        count,
    ),
}


def read_file(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a regular file of at most `limit`. Raises UsageError when it cannot be read."""
    with _opened(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > limit:
            raise UsageError(f"'{path.name}' has {size:,} bytes; the limit of a file is {limit:,}.")
        return file.read(size)


def _beginning(path: Path) -> bytes:
    with _opened(path) as file:
        return file.read(SIGNATURE_BYTES)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file. What goes wrong inside the block becomes a UsageError that names it."""
    try:
        with open_regular(path) as file:
            yield file
    except UnreadableFile:
        raise UsageError(f"'{path.name}' is not a regular file.") from None
    except OSError as error:
        raise UsageError(f"'{path.name}' cannot be read: {error.strerror or error}.") from error


def stamp_of(path: Path) -> str:
    """Size, times and inode of a file; "" if it does not exist.

    One time is that of the last change to the inode, which nobody can put back: a file that was changed in
    place and given its old modification time is noticed, too.
    """
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


def wrapped_folder(tree: Tree) -> Tree | None:
    """The only folder with files, or else with pictures, if it is just a wrapping, as in most archives."""
    folders = {name.split("/", 1)[0] for name in tree.sizes if "/" in name}
    if len(folders) > 1:
        folders = {name.split("/", 1)[0] for name in tree.pictures() if "/" in name}
    if len(folders) != 1:
        return None
    (folder,) = folders
    if any(name.count("/") == 1 for name in tree.pictures() if name.startswith(f"{folder}/")):
        return None
    return tree.under(folder)


def damaged_archive(path: Path, error: Exception) -> PellucidError:
    """The error for a damaged archive."""
    return PellucidError(
        f"'{path}' cannot be read: {error or type(error).__name__}. It may be cut off or damaged."
    )


def _is_shadow(name: str) -> bool:
    """Whether it is metadata that macOS adds to an archive, not a picture."""
    return PurePosixPath(name).name.startswith("._") or MACOS in name.split("/")

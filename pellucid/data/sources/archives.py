"""Zip and tar files read in place, by the names of their members: never unpacked over anything.

An archive comes from somewhere else, so it is judged first: a name that leads out of it, that is given twice,
or that is no plain file's is refused with the archive, before a byte of a picture is read.
"""

import bz2
import gzip
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pellucid.data.sources.tree import Tree, hidden, stamp_of, tree_of, unreadable_tree
from pellucid.errors import UsageError
from pellucid.language import Message, lazy_ngettext

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
BLOCK = 512  # bytes: everything in a tar file begins at a multiple of it
LONGEST_NAME = 4096
LARGEST_MEMBER = 4 << 30  # bytes
HELD_BYTES = 4 << 30  # of a compressed tar, which can only be read from its beginning
DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError)


class Member(NamedTuple):
    """One entry of a tar file: `size` bytes at `offset`; kind "0" is a file, "5" a folder."""

    name: str
    kind: str
    offset: int
    size: int


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive that is read."""
    return path.name.lower().endswith(SUFFIXES)


def archive_tree(path: Path) -> Tree:
    """The files of a zip or tar file, plain or compressed.

    Raises UsageError when a member's name is hostile, given twice or encrypted, PellucidError when the
    archive is damaged.
    """
    try:
        if path.name.lower().endswith(".zip"):
            return _zip_tree(path)
        if path.name.lower().endswith(".tar"):
            return _tar_tree(path)
        return _compressed_tree(path)
    except UsageError:
        raise
    except DAMAGE as error:
        raise unreadable_tree(path, error) from error


def refuse_hostile(path: Path, names: list[str]) -> None:
    """Refuses an archive with a member that would lie outside of it, or two of one name."""
    seen: set[str] = set()
    for name in names:
        parts = name.split("/")
        if (
            ".." in parts
            or name.startswith("/")
            or "\\" in name
            or "\0" in name
            or re.match(r"[A-Za-z]:", name)
            or len(name) > LONGEST_NAME
        ):
            raise UsageError(
                f"'{path}' has a member named {name[:200]!r}, which would lie outside "
                "of it. The archive is not read."
            )
        if (tidy := _tidy(name)) in seen and not name.endswith("/"):
            raise UsageError(
                f"'{path}' has two members named {name[:200]!r}. Which is meant? It is not read."
            )
        seen.add(tidy)


def _zip_tree(path: Path) -> Tree:
    archive = zipfile.ZipFile(path)
    entries = archive.infolist()
    refuse_hostile(path, [entry.orig_filename for entry in entries])
    files, folders, links = {}, [], 0
    for entry in entries:
        if entry.is_dir():
            folders.append(entry.filename.rstrip("/"))
        elif (entry.external_attr >> 16) & 0o170000 not in (0, 0o100000):
            links += 1
        else:
            files[_tidy(entry.filename)] = entry
    if locked := next((entry.filename for entry in entries if entry.flag_bits & 1), None):
        raise UsageError(f"'{path}' is encrypted ('{locked}'). Unlock it first.")

    def read(name: str) -> bytes:
        entry = files[name]
        if entry.file_size > LARGEST_MEMBER:
            raise UsageError(
                f"'{name}' of '{path}' holds {entry.file_size:,} bytes; the limit is {LARGEST_MEMBER:,}."
            )
        try:
            with archive.open(entry) as file:
                content = file.read(
                    entry.file_size + 1
                )  # never more than was declared, and its CRC is checked
        except DAMAGE as error:
            raise UsageError(f"'{name}' of '{path}' cannot be read: {error}.") from error
        if len(content) != entry.file_size:
            raise UsageError(f"'{name}' of '{path}' holds other than the {entry.file_size:,} bytes declared.")
        return content

    return tree_of(
        str(path),
        {name: entry.file_size for name, entry in files.items()},
        iter(folders),
        read,
        lambda name: f"{files[name].CRC:08x}-{files[name].file_size}",
        _note_links(links),
    )


def _tar_tree(path: Path) -> Tree:
    whole = stamp_of(path)
    with path.open("rb") as stream:
        members = list(_members(stream, path))

    def read(name: str) -> bytes:
        try:
            with path.open("rb") as file:  # opened for each: any thread reads at its own place
                file.seek(files[name].offset)
                content = file.read(files[name].size)
        except OSError as error:
            raise UsageError(f"'{name}' of '{path}' cannot be read: {error.strerror or error}.") from error
        if len(content) != files[name].size:
            raise UsageError(f"'{name}' of '{path}' is cut off.")
        return content

    files, folders, links = _sorted_out(path, members)
    return tree_of(
        str(path),
        {name: member.size for name, member in files.items()},
        iter(folders),
        read,
        lambda name: f"{whole}-{files[name].offset}-{files[name].size}",
        _note_links(links),
    )


def _compressed_tree(path: Path) -> Tree:
    """A compressed tar can only be read from its beginning: its files are held in memory, packed no more."""
    whole = stamp_of(path)
    contents: dict[int, bytes] = {}
    with _unpacked(path) as stream:
        members = []
        for member in _members(stream, path, contents):
            members.append(member)
            if sum(map(len, contents.values())) > HELD_BYTES:
                raise UsageError(
                    f"'{path}' holds more than {HELD_BYTES >> 30} GB of pictures. A compressed tar has to be "
                    "read from its beginning; make it a .zip or a plain .tar, which are read in place."
                )
    files, folders, links = _sorted_out(path, members)
    return tree_of(
        str(path),
        {name: member.size for name, member in files.items()},
        iter(folders),
        lambda name: contents[files[name].offset],
        lambda name: f"{whole}-{files[name].offset}-{files[name].size}",
        _note_links(links),
    )


def _sorted_out(path: Path, members: list[Member]) -> tuple[dict[str, Member], list[str], int]:
    """Files by name, the names of folders, and how many links and devices there are."""
    refuse_hostile(path, [member.name for member in members])
    files = {_tidy(member.name): member for member in members if member.kind == "0"}
    folders = [_tidy(member.name) for member in members if member.kind == "5"]
    return files, folders, sum(member.kind not in "05" for member in members)


def _unpacked(path: Path) -> BinaryIO:
    name = path.name.lower()
    if name.endswith(("gz",)):
        return gzip.GzipFile(path)  # type: ignore[return-value]  # it has what is used of BinaryIO
    if name.endswith("bz2"):
        return bz2.BZ2File(path)  # type: ignore[return-value]
    return lzma.LZMAFile(path)  # type: ignore[return-value]


def _members(stream: BinaryIO, path: Path, contents: dict[int, bytes] | None = None) -> Iterator[Member]:
    """The entries of a tar file (ustar, GNU and pax names); into `contents` go the files' bytes by offset.

    Of the standard library's reader only what reads is wanted here: this one has no way to write.
    """
    offset, extra = 0, dict[str, str]()
    length = path.stat().st_size if contents is None else LARGEST_MEMBER
    while len(header := stream.read(BLOCK)) == BLOCK and header.strip(b"\0"):
        offset += BLOCK
        _check_header(header)
        size = int(extra.get("size") or _number(header[124:136]))
        kind = chr(header[156]) if header[156] else "0"
        if not 0 <= size <= length:
            raise ValueError(f"a member of {size:,} bytes")
        padded = -(-size // BLOCK) * BLOCK
        if kind in "xL":
            if size > 1 << 20:
                raise ValueError(f"a name of {size:,} bytes")
            content = stream.read(padded)[:size]
            extra |= _pax(content) if kind == "x" else {"path": _text(content)}
        else:
            name = extra.get("path") or _name(header)
            if "GNU.sparse.major" in extra or kind == "S":
                raise ValueError(f"'{name}' is sparse")
            if kind != "g":
                yield Member(name, "0" if kind in "07" else kind, offset, size)
            _pass_by(stream, offset, size, padded, contents, keep=kind in "07" and not hidden(name))
            extra = {}
        offset += padded


def _pass_by(
    stream: BinaryIO, offset: int, size: int, padded: int, contents: dict[int, bytes] | None, *, keep: bool
) -> None:
    """Moves behind a member's bytes, keeping them where they are wanted."""
    if contents is None:
        stream.seek(padded, os.SEEK_CUR)
        return
    content = stream.read(padded)
    if len(content) < size:
        raise EOFError("it ends in the middle of a file")
    if keep:
        contents[offset] = content[:size]


def _check_header(header: bytes) -> None:
    total = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    if _number(header[148:156]) != total:
        raise ValueError("a header's checksum is wrong")


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field[1:])
    digits = field.split(b"\0", 1)[0].strip()
    return int(digits, 8) if digits else 0


def _text(field: bytes) -> str:
    return os.fsdecode(field.split(b"\0", 1)[0])


def _name(header: bytes) -> str:
    name, prefix = _text(header[:100]), _text(header[345:500])
    return f"{prefix}/{name}" if prefix and header[257:263] == b"ustar\0" else name


def _pax(content: bytes) -> dict[str, str]:
    """The records "LENGTH KEY=VALUE" of a pax header."""
    records = {}
    while content:
        length = int(content.split(b" ", 1)[0])
        if not 0 < length <= len(content):
            raise ValueError("a pax header is damaged")
        key, _, value = content[:length].split(b" ", 1)[1].rstrip(b"\n").partition(b"=")
        records[key.decode()] = value.decode(errors="surrogateescape")
        content = content[length:]
    return records


def _tidy(name: str) -> str:
    """ "./cat//1.jpg" as "cat/1.jpg"."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _note_links(links: int) -> tuple[Message, ...]:
    if not links:
        return ()
    return (
        lazy_ngettext(
            "%(count)s link or device is passed over", "%(count)s links and devices are passed over", links
        ),
    )

"""Zip and tar files, read in place by the names of their members and never unpacked to the disk.

An archive may come from anywhere, so its names are checked before a picture is read: with a name that leads
outside, or the same name twice, the whole archive is refused.
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

from pellucid.data.sources.tree import (
    MAX_FILE_BYTES,
    SIGNATURE_BYTES,
    Tree,
    damaged_archive,
    is_hidden,
    stamp_of,
    tree_of,
)
from pellucid.errors import UsageError
from pellucid.language import Message, lazy_gettext, lazy_ngettext
from pellucid.reading import open_regular

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
BLOCK = 512  # bytes: everything in a tar file starts at a multiple of it
MAX_NAME_LENGTH = 4096
# What tells a long name: one header of GNU's, one or two of pax's.
MAX_HEADERS, MAX_HEADER_BYTES, LENGTH_DIGITS = 4, 64 << 10, 8
MAX_UNPACKED_BYTES, MAX_MEMBERS = 1 << 30, 1_000_000  # kept of a compressed tar, which is unpacked to memory
# No picture, and no tar of pictures, is so much larger than it is packed: what is was made to fill memory.
MAX_RATIO, RATIO_FROM_BYTES = 100, 32 << 20
SKIPPED_AT_ONCE = 1 << 20  # bytes of a stream
DAMAGE_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    NotImplementedError,
)


class Member(NamedTuple):
    """One entry of a tar file: `size` bytes at `offset`; kind "0" is a file, "5" a folder."""

    name: str
    kind: str
    offset: int
    size: int


def is_archive(path: Path) -> bool:
    """Whether a file has the name of an archive that can be read."""
    return path.name.lower().endswith(SUFFIXES)


def archive_tree(path: Path) -> Tree:
    """The files of a zip or tar file, plain or compressed.

    Raises UsageError when a member has an unsafe name, the name of another one, or is encrypted;
    PellucidError when the archive is damaged.
    """
    try:
        if path.name.lower().endswith(".zip"):
            return _zip_tree(path)
        if path.name.lower().endswith(".tar"):
            return _tar_tree(path)
        return _compressed_tree(path)
    except UsageError:
        raise
    except DAMAGE_ERRORS as error:
        raise damaged_archive(path, error) from error


def is_bomb(size: int, packed: int) -> bool:
    """Whether `size` bytes that were packed into `packed` are more than pictures can be."""
    return size > RATIO_FROM_BYTES and size > MAX_RATIO * packed


def check_member_names(path: Path, names: list[str]) -> None:
    """Raise UsageError if a member would be outside of the archive or two have the same name."""
    seen: set[str] = set()
    for name in names:
        parts = name.split("/")
        if (
            ".." in parts
            or name.startswith("/")
            or "\\" in name
            or "\0" in name
            or re.match(r"[A-Za-z]:", name)
            or len(name) > MAX_NAME_LENGTH
        ):
            raise UsageError(
                f"'{path}' has a member named {name[:200]!r}, which would be outside "
                "of it. The archive is not read."
            )
        if (normalized := _normalized(name)) in seen and not name.endswith("/"):
            raise UsageError(f"'{path}' has two members named {name[:200]!r}. The archive is not read.")
        seen.add(normalized)


def _zip_tree(path: Path) -> Tree:
    open_regular(path).close()  # a pipe would be waited for
    archive, whole = zipfile.ZipFile(path), path.stat().st_size
    entries = archive.infolist()
    check_member_names(path, [entry.orig_filename for entry in entries])
    encoding = _korean_names(entries)
    check_member_names(path, [entry.filename for entry in entries])  # as they are read, decoded
    files, folders, links = {}, [], 0
    for entry in entries:
        if entry.is_dir():
            folders.append(entry.filename.rstrip("/"))
        elif (entry.external_attr >> 16) & 0o170000 not in (0, 0o100000):
            links += 1
        else:
            files[_normalized(entry.filename)] = entry
    if encrypted := next((entry.filename for entry in entries if entry.flag_bits & 1), None):
        raise UsageError(f"'{path}' is encrypted ('{encrypted}'). Decrypt it first.")

    def begin(name: str) -> bytes:
        entry = files[name]
        try:
            with archive.open(entry) as file:
                return file.read(SIGNATURE_BYTES)
        except DAMAGE_ERRORS:
            return b""

    def read(name: str) -> bytes:
        entry = files[name]
        packed = min(entry.compress_size, whole)  # which may be a lie
        if is_bomb(entry.file_size, packed):
            times = entry.file_size // max(1, packed)
            raise UsageError(
                f"'{name}' of '{path}' would be {times:,} times as large as it is packed. No picture is."
            )
        try:
            with archive.open(entry) as file:
                content = file.read(entry.file_size + 1)  # no more than declared; its CRC is checked
        except DAMAGE_ERRORS as error:
            raise UsageError(f"'{name}' of '{path}' cannot be read: {error}.") from error
        if len(content) != entry.file_size:
            raise UsageError(f"'{name}' of '{path}' does not have the {entry.file_size:,} bytes declared.")
        return content

    return tree_of(
        str(path),
        {name: entry.file_size for name, entry in files.items()},
        folders,
        read,
        lambda name: f"{files[name].CRC:08x}-{files[name].file_size}",
        begin=begin,
        notes=(*_note_links(links), *_note_encoding(encoding)),
    )


def _korean_names(entries: list[zipfile.ZipInfo]) -> str:
    """Restore names that were written in another encoding without saying so; returns that encoding.

    A zip that does not declare UTF-8 is read in code page 437. Where all its other letters make sense in
    UTF-8, or as Hangul in EUC-KR or its extension, they were written so.
    """
    undeclared = [entry for entry in entries if not entry.flag_bits & 0x800 and not entry.filename.isascii()]
    for encoding in ("utf-8", "euc_kr", "cp949"):
        try:
            names = [entry.filename.encode("cp437").decode(encoding) for entry in undeclared]
        except UnicodeError:
            continue
        letters = {letter for name in names for letter in name if not letter.isascii()}
        if encoding == "utf-8" or all("가" <= letter <= "힣" for letter in letters):
            for entry, name in zip(undeclared, names, strict=True):
                entry.filename = name
            return encoding if undeclared else ""
    return ""


def _note_encoding(encoding: str) -> tuple[Message, ...]:
    if not encoding:
        return ()
    return (lazy_gettext("names in the archive are read as %(encoding)s", encoding=encoding),)


def _tar_tree(path: Path) -> Tree:
    whole = stamp_of(path)
    with open_regular(path) as stream:
        members = list(_members(stream, path))

    def begin(name: str, most: int = SIGNATURE_BYTES) -> bytes:
        try:
            with open_regular(path) as file:  # opened per member: threads read at different offsets
                file.seek(files[name].offset)
                return file.read(min(most, files[name].size))
        except OSError as error:
            raise UsageError(f"'{name}' of '{path}' cannot be read: {error.strerror or error}.") from error

    def read(name: str) -> bytes:
        content = begin(name, files[name].size)
        if len(content) != files[name].size:
            raise UsageError(f"'{name}' of '{path}' is cut off.")
        return content

    files, folders, links = _files_folders_links(path, members)
    return tree_of(
        str(path),
        {name: member.size for name, member in files.items()},
        folders,
        read,
        lambda name: f"{whole}-{files[name].offset}-{files[name].size}",
        begin=begin,
        notes=_note_links(links),
    )


def _compressed_tree(path: Path) -> Tree:
    """A compressed tar can only be read from its start, so its files are unpacked to memory."""
    whole = stamp_of(path)
    contents: dict[int, bytes] = {}
    with _open_unpacked(path) as stream:
        members, kept = list[Member](), 0
        for member in _members(stream, path, contents):
            members.append(member)
            if len(members) > MAX_MEMBERS:
                raise UsageError(
                    f"'{path}' has more than {MAX_MEMBERS:,} members. A compressed tar is unpacked to "
                    "memory; make it a .zip or a plain .tar, which are read in place."
                )
            kept += len(contents.get(member.offset, b""))
            if kept > MAX_UNPACKED_BYTES:
                raise UsageError(
                    f"'{path}' holds more than {MAX_UNPACKED_BYTES >> 30} GB of pictures. A compressed tar "
                    "is unpacked to memory; make it a .zip or a plain .tar, which are read in place."
                )
    files, folders, links = _files_folders_links(path, members)
    return tree_of(
        str(path),
        {name: member.size for name, member in files.items()},
        folders,
        lambda name: contents[files[name].offset],
        lambda name: f"{whole}-{files[name].offset}-{files[name].size}",
        notes=_note_links(links),
    )


def _files_folders_links(path: Path, members: list[Member]) -> tuple[dict[str, Member], list[str], int]:
    """The files by name, the names of the folders, and the number of links and devices."""
    check_member_names(path, [member.name for member in members])
    files = {_normalized(member.name): member for member in members if member.kind == "0"}
    folders = [_normalized(member.name) for member in members if member.kind == "5"]
    return files, folders, sum(member.kind not in "05" for member in members)


def _open_unpacked(path: Path) -> BinaryIO:
    name = path.name.lower()
    if name.endswith(("gz",)):
        return gzip.GzipFile(path)  # type: ignore[return-value]  # has the methods that are used
    if name.endswith("bz2"):
        return bz2.BZ2File(path)  # type: ignore[return-value]
    return lzma.LZMAFile(path)  # type: ignore[return-value]


def _members(stream: BinaryIO, path: Path, contents: dict[int, bytes] | None = None) -> Iterator[Member]:
    """The entries of a tar file with ustar, GNU or pax names; `contents` receives the files' bytes by offset.

    Not `tarfile`: this reader has no way to write to the disk.
    """
    offset, extended, names = 0, dict[str, str](), 0
    packed = path.stat().st_size
    while len(header := stream.read(BLOCK)) == BLOCK and header.strip(b"\0"):
        offset += BLOCK
        checksum = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
        if _number(header[148:156]) != checksum:
            raise ValueError("a header's checksum is wrong")
        size = int(extended.get("size") or _number(header[124:136]))
        kind = chr(header[156]) if header[156] else "0"
        if size < 0 or (size > packed if contents is None else is_bomb(offset + size, packed)):
            raise ValueError(f"a member of {size:,} bytes in an archive of {packed:,}")
        padded = -(-size // BLOCK) * BLOCK
        if kind in "xL":
            names += 1
            if size > MAX_HEADER_BYTES or names > MAX_HEADERS:
                raise ValueError(f"{names} headers with a name, the last of {size:,} bytes, for one member")
            content = stream.read(padded)[:size]
            extended |= _pax(content) if kind == "x" else {"path": _text(content)}
        else:
            name = extended.get("path") or _name(header)
            if "GNU.sparse.major" in extended or kind == "S":
                raise ValueError(f"'{name}' is sparse")
            if contents is None:
                stream.seek(padded, os.SEEK_CUR)
            elif kind in "07" and size <= MAX_FILE_BYTES and not is_hidden(name):
                contents[offset] = _exactly(stream, padded)[:size]
            else:
                for start in range(0, padded, SKIPPED_AT_ONCE):
                    _exactly(stream, min(SKIPPED_AT_ONCE, padded - start))
            if kind != "g":  # not before its bytes are counted
                yield Member(name, "0" if kind in "07" else kind, offset, size)
            extended, names = {}, 0
        offset += padded


def _exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError("it ends in the middle of a file")
    return content


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
    records, start = {}, 0
    while start < len(content):
        length = content[start : start + LENGTH_DIGITS].partition(b" ")[0]
        end = start + int(length)
        if not start < end <= len(content):
            raise ValueError("a pax header is damaged")
        key, _, value = content[start + len(length) + 1 : end].rstrip(b"\n").partition(b"=")
        records[key.decode()] = value.decode(errors="surrogateescape")
        start = end
    return records


def _normalized(name: str) -> str:
    """The name without empty parts and dots: "cat/1.jpg" for "./cat//1.jpg"."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _note_links(links: int) -> tuple[Message, ...]:
    if not links:
        return ()
    return (lazy_ngettext("skipped %(count)s link or device", "skipped %(count)s links and devices", links),)

"""The only module that opens files to read: ordinary files, of a size that their kind can have.

A pipe in place of a file is waited for without end, a link to a device has no end, and a number in a damaged
file asks for any amount of memory. So what is opened is looked at first, and read whole or not at all.
"""

import errno
import json
import os
import re
import stat
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError

# The most that a file of that kind can have.
JSON_BYTES, TABLE_BYTES, TENSOR_BYTES = 64 << 20, 2 << 30, 8 << 30
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # an escape of half a character; of two a whole one may come
DIGITS = 18  # of a whole number in JSON, which then fits 64 bits
NOT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip


class UnreadableFile(OSError):
    """A file is there but is not read: it is no ordinary file, or larger than its kind can be."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(errno.EINVAL, reason, str(path))


def open_regular(path: Path, limit: int | None = None) -> BufferedReader:
    """An ordinary file, open to be read, of at most `limit` bytes.

    Raises OSError when it cannot be opened, UnreadableFile when it is a pipe, a device, a socket or a folder,
    none of which is waited for, or larger than the limit.
    """
    descriptor = os.open(path, os.O_RDONLY | NOT_WAITING)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = next((name for test, name in KINDS if test(status.st_mode)), "no ordinary file")
            raise UnreadableFile(path, f"it is {kind}, not a file")
        if limit is not None and status.st_size > limit:
            raise UnreadableFile(path, f"it has {status.st_size:,} bytes; expected up to {limit:,}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, limit: int) -> bytes:
    """All bytes of an ordinary file of at most `limit`.

    Raises what `open_regular` raises, and UnreadableFile when the file changes while it is read.
    """
    with open_regular(path, limit) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size)
        if len(content) != size or file.read(1):
            raise UnreadableFile(path, "it changed while it was read")
    return content


def parsed_json(content: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises ValueError for what is not JSON, and for what is but means different things to different readers: a
    key that comes twice, numbers that are not finite or do not fit 64 bits, halves of characters, nesting
    without end.
    """
    text = content.decode("utf-8")
    try:
        values = json.loads(
            text,
            object_pairs_hook=_distinct,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if SURROGATE.search(text):
        _refuse_half_characters(values)
    return values


def reason_of(error: Exception) -> str:
    """What the system or a parser has to say, without numbers of errors and paths."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def refuse_other_keys(
    value: Any, required: Sequence[str], optional: Sequence[str] = (), *, path: Path, within: str = ""
) -> None:
    """Raises PellucidError, naming them, unless `value` is an object with all of the required keys and none
    but the optional ones besides.

    within  where in the file it is, such as "preprocess"
    """
    place = f"'{path}' is damaged: {within or 'it'}"
    if not isinstance(value, dict):
        raise PellucidError(f"{place} is not an object. Restore it or train again.")
    missing = [name for name in required if name not in value]
    extra = [name for name in value if name not in required and name not in optional]
    if missing or extra:
        said = [f"lacks {', '.join(missing)}"] if missing else []
        said += [f"has {', '.join(map(repr, extra))[:100]}, which is not known"] if extra else []
        raise PellucidError(f"{place} {' and '.join(said)}. Restore it or train again.")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} comes twice")
    return found


def _refuse_half_characters(values: Any) -> None:
    left = [values]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, list):
            left += value
        elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError(f"{value[:30]!r} has half a character in it")


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"{text[:30]} is too large")
    return number


def _bounded(text: str) -> int:
    if len(text.lstrip("-")) > DIGITS:
        number = int(text[:40]) if len(text) <= 40 else 0
        if len(text) > 40 or not -(2**63) <= number < 2**63:
            raise ValueError(f"{text[:30]} is too large")
    return int(text)

"""The errors a person meets, and the nearest word to a misspelt one.

PellucidError            something went wrong; the command line exits with 1
├── UsageError           what was asked cannot be done as asked; another command or value can, exit 2
├── CheckFailed          a check found what it was asked to fail on, exit 3
└── Interrupted          Ctrl-C, or the reader of the output has gone, exit 130
"""

import difflib
import errno
import functools
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, TypeVar

Record = TypeVar("Record")


class PellucidError(Exception):
    """Something went wrong that is no mistake in the call. The message says what, and what to do."""

    exit_code = 1


class UsageError(PellucidError):
    """What was asked cannot be done as asked. The message says what was received and what is expected."""

    exit_code = 2


class CheckFailed(PellucidError):
    """A check did its work and found what it was asked to fail on. The message says what it found."""

    exit_code = 3


class Interrupted(PellucidError):
    """Somebody pressed Ctrl-C. The message says what was saved and which command goes on."""

    def __init__(self, message: str, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


# What a person can do about an error of the system; others are quoted as the system words them.
ADVICE = {
    errno.EACCES: "You may not read or write it. Change its permissions, or name another.",
    errno.EPERM: "You may not read or write it. Change its permissions, or name another.",
    errno.ENOENT: "It is not there, or has been removed meanwhile. Look whether the path is right.",
    errno.ENOTDIR: "A part of that path is a file, not a folder.",
    errno.EISDIR: "It is a folder; expected a file.",
    errno.ENAMETOOLONG: "The name is longer than the system allows. Check what was given.",
    errno.ENOSPC: "The disk is full. Make room.",
    errno.EROFS: "Nothing can be written there. Name another folder.",
    errno.EIO: "The disk could not be read or written. Copy the files to another disk.",
    errno.ELOOP: "Its links lead back to themselves. Name the folder itself.",
}
SHOWN_NAME = 120  # characters of a path in an error


def plain_error(error: OSError) -> str:
    """An error of the system in plain words: which file, what is the matter, what to do."""
    name = str(error.filename or "")
    shown = f"'{name if len(name) <= SHOWN_NAME else name[:SHOWN_NAME] + '...'}': " if name else ""
    other = f"The system reports: {error.strerror or error}. Check the path, or name another."
    return f"{shown}{ADVICE.get(error.errno or 0, other)}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence naming the known word nearest to `word`, then all of them: for the end of an error.

    `did_you_mean("minst", ["digits", "mnist"])` is `"Did you mean 'mnist'? Known: digits, mnist."`.
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    suggestion = f"Did you mean '{nearest[0]}'? " if nearest else ""
    return f"{suggestion}Known: {', '.join(names)}."


def suggest_names(record: type[Record]) -> type[Record]:
    """A dataclass whose constructor answers a misspelt field with UsageError and the nearest name."""
    construct: Callable[..., None] = record.__init__
    names = [field.name for field in fields(record)]  # type: ignore[arg-type]

    @functools.wraps(construct)
    def checked(self: Any, *args: Any, **values: Any) -> None:
        for name in values:
            if name not in names:
                raise UsageError(f"{record.__name__} has no setting '{name}'. {did_you_mean(name, names)}")
        construct(self, *args, **values)

    record.__init__ = checked  # type: ignore[method-assign]
    return record

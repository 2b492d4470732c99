"""The errors a person meets, and the nearest word to a misspelt one.

PellucidError            something went wrong; the command line exits with 1
├── UsageError           what was asked cannot be done as asked; another command or value can, exit 2
├── CheckFailed          a check found what it was asked to fail on, exit 3
└── Interrupted          Ctrl-C, or the reader of the output has gone, exit 130
"""

import difflib
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

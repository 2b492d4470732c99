"""The errors a person meets, and the nearest word to a misspelt one.

PellucidError            something went wrong; the command line exits with 1
├── UsageError           what was asked cannot be done as asked; the person can mend it, exit 2
└── CheckFailed          what was to be checked was found wanting, exit 3
"""

import difflib
import functools
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, TypeVar

Record = TypeVar("Record")


class PellucidError(Exception):
    """Something went wrong that no change of words would mend. The message says what and what to do."""

    exit_code = 1


class UsageError(PellucidError):
    """What was asked cannot be done as asked. The message says what was received and what is expected."""

    exit_code = 2


class CheckFailed(PellucidError):
    """A check did its work and found what it was told to fail on. The message says what it found."""

    exit_code = 3


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

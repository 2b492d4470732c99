"""Records from plain values: every key there and no other, every value of the kind that is written down.

A field's type may say more than its kind: `Annotated[float, Within(0, 1)]` is a number from 0 to 1,
`Annotated[Pair | None, ABSENT]` a key that a file may lack.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from re import Pattern
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")
MOST_TEXT = 1 << 20  # characters
MOST_KEYS = 100_000  # of a mapping
ABSENT = "may be absent"  # then the field is None


@dataclass(frozen=True)
class Within:
    """Between which a number lies, both ends included."""

    low: float
    high: float = math.inf

    def fits(self, value: Any) -> bool:
        """Whether it does."""
        return bool(self.low <= value <= self.high)


@dataclass(frozen=True)
class Matching:
    """The pattern that all of a text has."""

    pattern: Pattern[str]

    def fits(self, value: Any) -> bool:
        """Whether it has."""
        return self.pattern.fullmatch(value) is not None


class Ascending:
    """No number is below the one before."""

    @staticmethod
    def fits(value: Any) -> bool:
        """Whether none is."""
        return all(one <= other for one, other in pairwise(value))


ROUNDED = 1e-6  # by which sums of shares miss 0 and 1
Share = Annotated[float, Within(-ROUNDED, 1 + ROUNDED)]
Difference = Annotated[float, Within(-1 - ROUNDED, 1 + ROUNDED)]
Interval = Annotated[tuple[Share, Share], Ascending()]
Count = Annotated[int, Within(0)]
Digest = Annotated[str, Matching(re.compile(r"[0-9a-f]{64}"))]  # a SHA-256


def record_from(kind: type[Record], values: Any, *, within: str = "") -> Record:
    """A dataclass or a NamedTuple from the object of a JSON file.

    within  where in the file it is, such as "scores.accuracy."; errors name it

    Raises ValueError, naming the key, when one is missing or not known, or a value is of another kind than
    the field: a number that is text or out of bounds, a whole number with a fraction, a list of another
    length.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{f'{within[:-1]!r}: ' if within else ''}expected an object; got {_shown(values)}")
    hints: dict[str, Any] = _hints(kind)  # type: ignore[arg-type]
    for name in values:
        if name not in hints:
            raise ValueError(f"{f'{within}{name}'[:60]!r} is not known")
    found = {}
    for name, hint in hints.items():
        if name in values:
            found[name] = _checked(hint, values[name], f"{within}{name}")
        elif ABSENT in getattr(hint, "__metadata__", ()):
            found[name] = None
        else:
            raise ValueError(f"{f'{within}{name}'!r} is missing")
    return kind(**found)


@cache
def _hints(kind: type) -> dict[str, Any]:
    known = get_type_hints(kind, include_extras=True)
    names = kind._fields if issubclass(kind, tuple) else [field.name for field in fields(kind)]  # type: ignore[attr-defined,arg-type]
    return {name: known[name] for name in names}


def _checked(hint: Any, value: Any, name: str) -> Any:
    """The value as a field of that type holds it. Raises ValueError when it is of another kind."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        found = _checked(inner[0], value, name)
        marks = [mark for mark in inner[1:] if mark != ABSENT]
        if all(mark.fits(found) for mark in marks):
            return found
    elif origin in (Union, UnionType):
        return _chosen(inner, value, name)
    elif origin is Literal:
        if any(type(value) is type(each) and value == each for each in inner):
            return value
    elif origin is tuple and isinstance(value, list | tuple):
        return _items(inner, value, name)
    elif origin is Mapping and isinstance(value, Mapping) and len(value) <= MOST_KEYS:
        return {key: _checked(inner[1], item, f"{name}.{key}") for key, item in value.items()}
    elif is_dataclass(hint) or hasattr(hint, "_fields"):
        return record_from(hint, value, within=f"{name}.")
    elif hint is Any or (hint is type(None) and value is None):
        return value
    elif hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    elif (hint is str and isinstance(value, str) and len(value) <= MOST_TEXT) or (
        hint in (int, bool) and type(value) is hint
    ):
        return value
    raise _wrong(name, value)


def _chosen(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    """The value as one of several kinds holds it; what is wrong with it is said of the last that could be."""
    possible = [kind for kind in kinds if (kind is type(None)) == (value is None)] or kinds
    for kind in possible[:-1]:
        try:
            return _checked(kind, value, name)
        except ValueError:
            continue
    return _checked(possible[-1], value, name)


def _items(kinds: tuple[Any, ...], values: Any, name: str) -> tuple[Any, ...]:
    if kinds[-1] is not ...:
        if len(kinds) != len(values):
            raise _wrong(name, values)
        return tuple(_checked(kind, item, name) for kind, item in zip(kinds, values, strict=True))
    if kinds[0] is int and all(type(item) is int for item in values):
        return tuple(values)  # a table may have millions
    return tuple(_checked(kinds[0], item, name) for item in values)


def _wrong(name: str, value: Any) -> ValueError:
    return ValueError(f"{name!r} is {_shown(value)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

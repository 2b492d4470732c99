"""Records from plain values: every key there and no other, every value of the kind that is written down."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")
MOST_TEXT = 1 << 20  # characters


def record_from(kind: type[Record], values: Any) -> Record:
    """A dataclass or a NamedTuple from the object of a JSON file.

    Raises ValueError, naming the key, when one is missing or not known, or a value is of another kind than
    the field: a number that is text, a whole number with a fraction, a list of another length.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"expected an object; got {_shown(values)}")
    hints: dict[str, Any] = _hints(kind)  # type: ignore[arg-type]
    for name in values:
        if name not in hints:
            raise ValueError(f"{str(name)[:60]!r} is not known")
    for name in hints:
        if name not in values:
            raise ValueError(f"{name!r} is missing")
    return kind(**{name: _checked(hint, values[name], name) for name, hint in hints.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    known = get_type_hints(kind)
    names = kind._fields if issubclass(kind, tuple) else [field.name for field in fields(kind)]  # type: ignore[attr-defined,arg-type]
    return {name: known[name] for name in names}


def _checked(hint: Any, value: Any, name: str) -> Any:
    """The value as a field of that type holds it. Raises ValueError when it is of another kind."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        for choice in inner:
            try:
                return _checked(choice, value, name)
            except ValueError:
                continue
    elif origin is Literal:
        if any(type(value) is type(each) and value == each for each in inner):
            return value
    elif origin is tuple and isinstance(value, list | tuple):
        kinds = inner[:1] * len(value) if inner[-1] is ... else inner
        if len(kinds) == len(value):
            return tuple(_checked(each, item, name) for each, item in zip(kinds, value, strict=True))
    elif is_dataclass(hint) or hasattr(hint, "_fields"):
        return record_from(hint, value)
    elif hint is type(None) and value is None:
        return None
    elif hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    elif (hint is str and isinstance(value, str) and len(value) <= MOST_TEXT) or (
        hint in (int, bool) and type(value) is hint
    ):
        return value
    raise ValueError(f"{name!r} is {_shown(value)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""Which pictures there are: names alone, nothing is decoded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from numpy import uint8
from numpy.typing import NDArray


@dataclass(frozen=True)
class Picture:
    """One picture: what it is called in the data, what it shows, which part and group it belongs to."""

    source: str
    label: str
    split: str = ""
    group: str = ""


@dataclass(frozen=True, eq=False)
class Listing:
    """Every picture of a person's data, in an order that does not depend on the file system's."""

    name: str
    pictures: Sequence[Picture]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    read: Callable[[int], bytes | NDArray[uint8]]
    stamp: Callable[[int], str]

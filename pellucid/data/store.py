"""Pictures decoded once into one file."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Unreadable:
    """A picture that could not be read, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Facts:
    """What a picture's file is, as it lies there."""

    width: int
    height: int
    mode: str
    bytes: int
    digest: str


@dataclass(frozen=True, eq=False)
class Packed:
    """The pictures of a listing as the network receives them, and those that could not be read."""

    images: Tensor
    kept: list[int]
    facts: list[Facts]
    unreadable: tuple[Unreadable, ...]

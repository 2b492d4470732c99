"""What pictures there are, before one is decoded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from numpy import uint8
from numpy.typing import NDArray


@dataclass(frozen=True)
class Picture:
    """One picture: what it is called in the data, what it shows, and where it belongs.

    source  unique in the data: "train/cat/001.jpg", a member's name, or "train/17" of arrays
    label   its class by name
    split   "train", "validation" or "test"; empty where the data say nothing
    group   pictures of one group stay on one side
    """

    source: str
    label: str
    split: str = ""
    group: str = ""


@dataclass(frozen=True, eq=False)
class Listing:
    """Every picture of a person's data, in an order that does not depend on the file system's.

    name      what the person gave
    notes     what was understood and what was passed over, a sentence each
    read      picture n as the bytes of its file, or as an array (H, W) or (H, W, C); any thread may call it
    stamp     changes whenever the bytes of picture n may have; empty when that is unknown
    """

    name: str
    pictures: Sequence[Picture]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    read: Callable[[int], bytes | NDArray[uint8]]
    stamp: Callable[[int], str]

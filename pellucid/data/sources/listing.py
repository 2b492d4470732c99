"""Which pictures there are, what each shows and which part it belongs to: names alone, nothing is decoded.

A class is its name. Two parts of a data set agree on a class when they spell it alike, never because it
stands at the same place in a list: there a missing folder shifts every label behind it.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.formatting import listed
from pellucid.language import Message, lazy_gettext

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
PARTS = ("train", "validation", "test")

Content = bytes | NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One picture by name.

    source  unique in the data: "train/cat/001.jpg", or "train/17" of an array
    label   its class's name, composed (Unicode NFC)
    split   "train", "validation" or "test"; "" where the data say nothing
    group   pictures of one group stay on one side of a split; "" for a picture on its own
    """

    source: str
    label: str
    split: str = ""
    group: str = ""


@dataclass(frozen=True, eq=False)
class Listing:
    """Every picture of a data set by name, in an order that does not depend on the file system's.

    name      what the person gave
    pictures  one Picture each
    classes   the names in natural order: "2" before "10"
    notes     what was understood and what was passed over, a sentence each
    read      picture n as the bytes of its file, or as an array (H, W) or (H, W, C); from any thread
    stamp     changes whenever the bytes of picture n may have changed; "" when that is not known
    """

    name: str
    pictures: Sequence[Picture]
    classes: tuple[str, ...]
    notes: tuple[Message, ...]
    read: Callable[[int], Content]
    stamp: Callable[[int], str]


@dataclass(frozen=True)
class Found:
    """What a format's reader gives: pictures with their addresses, before classes are settled.

    layout    how the pictures lie, in a few words: "one folder per class"
    pictures  one Picture each, labels as they were written
    read, stamp  as Listing has them
    notes     what was passed over
    columns   of a table: any of them can be asked for as the group
    """

    layout: Message
    pictures: Sequence[Picture]
    read: Callable[[int], Content]
    stamp: Callable[[int], str]
    notes: tuple[Message, ...] = ()
    columns: tuple[str, ...] = ()


def natural(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """A key that sorts names as people do: "2" before "10", letters without regard to case, then exactly."""
    pieces = re.split(r"([0-9]+)", name)
    key = [
        (0, len(piece.lstrip("0")), piece.lstrip("0")) if piece.isdecimal() else (1, 0, piece.casefold())
        for piece in pieces
        if piece
    ]
    return tuple(key), name


def settled(name: str, found: Found) -> Listing:
    """The listing of what a format's reader found, its classes matched by name.

    Raises UsageError when no picture was found, when there are fewer than two classes, when no picture is to
    be learned from, when a class of another part is none of the training part, or when two classes are
    spelled almost alike.
    """
    pictures = [
        Picture(picture.source, _class_name(picture.label), picture.split, picture.group)
        for picture in found.pictures
    ]
    classes = tuple(sorted({picture.label for picture in pictures}, key=natural))
    by_part: dict[str, Counter[str]] = defaultdict(Counter)
    for picture in pictures:
        by_part[picture.split or "train"][picture.label] += 1
    _refuse_nothing_to_learn(name, by_part)
    _refuse_look_alikes(classes, by_part)
    _refuse_strangers(by_part)
    if len(classes) < 2:
        raise UsageError(
            f"'{name}' holds pictures of one class, '{classes[0]}'. Expected two or more, such as "
            "'pets/cat/1.jpg' and 'pets/dog/1.jpg'."
        )
    counts = {"pictures": len(pictures), "classes": len(classes)}
    notes = [
        lazy_gettext(
            "%(layout)s: %(pictures)s pictures of %(classes)s classes", layout=found.layout, **counts
        )
    ]
    notes += [*found.notes, *_merged(found.pictures)]
    notes += [
        lazy_gettext(
            "%(part)s has no pictures of %(classes)s", part=lazy_gettext(part), classes=listed(missing)
        )
        for part in PARTS[1:]
        if part in by_part and (missing := [label for label in classes if not by_part[part][label]])
    ]
    _refuse_repeated_sources(pictures)
    return Listing(name, pictures, classes, tuple(notes), found.read, found.stamp)


def _class_name(label: str) -> str:
    """A label composed: Hangul typed on one system and decomposed by another is the same name."""
    return unicodedata.normalize("NFC", label)


def _merged(pictures: Sequence[Picture]) -> list[Message]:
    """A note of the classes that were written in more than one way of composing their letters."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        spellings[_class_name(picture.label)].add(picture.label)
    twice = [name for name, ways in spellings.items() if len(ways) > 1]
    if not twice:
        return []
    return [lazy_gettext("%(names)s: composed and decomposed letters are the same name", names=listed(twice))]


def _refuse_nothing_to_learn(name: str, by_part: dict[str, Counter[str]]) -> None:
    if not by_part:
        raise UsageError(
            f"No pictures in '{name}'. Expected one folder per class with .jpg or .png files, such as "
            "'pets/cat/1.jpg'."
        )
    if "train" not in by_part:
        parts = " and ".join(sorted(by_part))
        raise UsageError(
            f"'{name}' has pictures in {parts} only: none to learn from. Expected a part named 'train'."
        )


def _refuse_look_alikes(classes: tuple[str, ...], by_part: dict[str, Counter[str]]) -> None:
    """Refuses names that differ in letter case or space alone, save single letters, which may be meant."""
    looks: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        looks[" ".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    for look, names in looks.items():
        plain = all(unicodedata.normalize("NFKC", name) == name for name in names)
        meant = len(look) == 1 and plain and all(by_part["train"][name] for name in names)
        if len(names) > 1 and not meant:
            homes = [
                f"'{name}' (in {', '.join(part for part in by_part if by_part[part][name])})"
                for name in names
            ]
            raise UsageError(
                f"Are {' and '.join(homes)} one class or {len(names)}? They differ only in letter case or "
                "space. Spell them alike when they are one; give them names that differ when they are not."
            )


def _refuse_strangers(by_part: dict[str, Counter[str]]) -> None:
    for part in PARTS[1:]:
        strangers = sorted(
            (label for label in by_part.get(part, ()) if not by_part["train"][label]), key=natural
        )
        if strangers:
            known = sorted(by_part["train"], key=natural)
            raise UsageError(
                f"The {part} part has pictures of {listed(strangers)}, of which there is none to learn from: "
                f"the classes of the training part are {listed(known)}. Spell the class as it is there, add "
                "training pictures of it, or take it out."
            )


def _refuse_repeated_sources(pictures: Sequence[Picture]) -> None:
    counts = Counter(picture.source for picture in pictures)
    source, count = counts.most_common(1)[0]
    if count > 1:
        raise UsageError(f"'{source}' is given {count} times. Give every picture once.")

"""On which side of a split a picture belongs: decided by what it shows, so that it stays there.

The side is a threshold on a keyed hash of a picture's sketch (`decoding.sketch_of`): of what it shows at its
own size, whatever file it is in and whatever size the network takes. Names, order and the other pictures have
no part in it: a picture that is added, renamed or saved once more moves no other. Counts are therefore about,
not exactly, the shares asked for; `dataset.split`, which is exact, moves pictures when others come.

Two things hold pictures together that do not show the same: a group, whose name then decides; and pixels that
are equal at the network's size alone, where the least of their sketches does. Only there a picture can still
be moved: by one that is added and, at that size, cannot be told from it.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from pellucid.data.sources.listing import PARTS, Picture, natural
from pellucid.errors import UsageError
from pellucid.formatting import listed, plural
from pellucid.language import Message, comma_joined, lazy_gettext, lazy_ngettext

TEST_SHARE = 0.2
TEST_KEY = b"pellucid test"  # no seed: whatever is tried, the pictures to judge by are the same


class Assignment(NamedTuple):
    """The part of every picture, "train", "validation" or "test", and what there is to say about it."""

    parts: list[str]
    notes: list[Message]


class Hashes(NamedTuple):
    """A picture's content: its file's bytes, its pixels as the network takes them, and its sketch."""

    file: str
    pixels: str
    sketch: str


class Fractions(NamedTuple):
    """How much is held out where the data say nothing: a validation share by a seed, and a test share."""

    validation: float
    seed: int
    test: float = TEST_SHARE


def assign_splits(
    pictures: Sequence[Picture],
    contents: Sequence[Hashes],
    shares: Fractions,
    *,
    fixed: Sequence[str] | None = None,
) -> Assignment:
    """The part of each picture. What the data say stands; the parts they lack are held out of training.

    contents  one a picture. Pictures that share their file's bytes, their pixels or a group stay together;
              those that only share a sketch are drawn alike.
    fixed     the parts an earlier split gave, which stand before all; "" for a picture that is new since

    Raises UsageError when a part would be left without a picture.
    """
    if fixed is not None:
        parts = _extended(pictures, contents, fixed, shares)
        notes, held_out = list[Message](), list[str]()
    else:
        parts, notes, held_out = _drawn_parts(pictures, contents, shares)
    _refuse_empty(parts)
    return Assignment(parts, notes + _thin(pictures, parts, held_out))


def _drawn_parts(
    pictures: Sequence[Picture], contents: Sequence[Hashes], shares: Fractions
) -> tuple[list[str], list[Message], list[str]]:
    """Parts, notes, and which of the parts were held out of training because the data have none."""
    given = {picture.split for picture in pictures if picture.split}
    parts = [picture.split or "train" for picture in pictures]
    held_out = [part for part in ("test", "validation") if part not in given]
    notes = _straddling(pictures) if given else []
    if not held_out:
        return parts, notes, held_out
    free = [index for index, part in enumerate(parts) if part == "train"]
    for index, part in _held_out(pictures, contents, free, held_out, shares).items():
        parts[index] = part
    kept = _returned(pictures, parts, set(free), contents)
    return parts, [*notes, *_told(parts, held_out, shares), *kept], held_out


def _extended(
    pictures: Sequence[Picture], contents: Sequence[Hashes], fixed: Sequence[str], shares: Fractions
) -> list[str]:
    """The parts that are fixed; a new picture goes where those are that it belongs with, else is drawn."""
    parts = [said or picture.split for said, picture in zip(fixed, pictures, strict=True)]
    members = _together(pictures, contents, range(len(pictures)))
    new: list[int] = []
    for indices in members.values():
        known = next((parts[index] for index in indices if parts[index]), "")
        for index in indices:
            parts[index] = parts[index] or known
        new += [index for index in indices if not parts[index]]
    chosen = _held_out(pictures, contents, sorted(new), ["test", "validation"], shares, at_least_one=False)
    return [part or chosen.get(index, "train") for index, part in enumerate(parts)]


def connected(keys: Iterable[Sequence[Hashable]]) -> list[int]:
    """For each thing the number of the first it belongs with: those that share any key, however far apart."""
    parents: list[int] = []
    owners: dict[tuple[int, Hashable], int] = {}

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    for index, shared in enumerate(keys):
        parents.append(index)
        for kind, key in enumerate(shared):
            if key:
                first, second = root(owners.setdefault((kind, key), index)), root(index)
                parents[max(first, second)] = min(first, second)
    return [root(index) for index in range(len(parents))]


def drawn(content: str, key: bytes) -> float:
    """A number from 0 to 1 that only depends on the content and the key."""
    digest = hashlib.blake2b(content.encode(errors="surrogateescape"), digest_size=8, key=key).digest()
    return int.from_bytes(digest) / 2**64


def _held_out(
    pictures: Sequence[Picture],
    contents: Sequence[Hashes],
    free: list[int],
    wanted: list[str],
    shares: Fractions,
    *,
    at_least_one: bool = True,
) -> dict[int, str]:
    """Which of the free pictures are held out, and for which part; of very few, the ones nearest to it."""
    keys = {"test": TEST_KEY, "validation": b"validation" + shares.seed.to_bytes(8, "little", signed=True)}
    chosen: dict[int, str] = {}
    anchors: dict[str, list[int]] = defaultdict(list)
    for indices in _together(pictures, contents, free).values():
        # A group's name decides where there is one; of pictures with several sketches, always the same one.
        names = [f"group {group}" for index in indices if (group := pictures[index].group)]
        anchor = min(names or [contents[index].sketch for index in indices])
        anchors[anchor] += indices
        for part in wanted:  # the test part first: what is in it depends on no seed and no other share
            if drawn(anchor, keys[part]) < (shares.test if part == "test" else shares.validation):
                chosen |= dict.fromkeys(indices, part)
                break
    for part in wanted if at_least_one else ():
        left = [anchor for anchor, indices in anchors.items() if indices[0] not in chosen]
        if part not in chosen.values() and len(left) > 1:
            nearest = min(left, key=lambda anchor: drawn(anchor, keys[part]))
            chosen |= dict.fromkeys(anchors[nearest], part)
    return chosen


def _together(
    pictures: Sequence[Picture], contents: Sequence[Hashes], free: Iterable[int]
) -> dict[int, list[int]]:
    """The free pictures by what holds them together: the same content, or a group."""
    free = list(free)
    members: dict[int, list[int]] = defaultdict(list)
    keys = ((contents[index].file, contents[index].pixels, pictures[index].group) for index in free)
    for index, root in zip(free, connected(keys), strict=True):
        members[root].append(index)
    return members


def _returned(
    pictures: Sequence[Picture], parts: list[str], free: set[int], contents: Sequence[Hashes]
) -> list[Message]:
    """Brings a class that nothing is left to learn from back into training, with all that holds to it."""
    learned = {picture.label for picture, part in zip(pictures, parts, strict=True) if part == "train"}
    lost = {pictures[index].label for index in free} - learned
    if not lost:
        return []
    for indices in _together(pictures, contents, sorted(free)).values():
        if any(pictures[index].label in lost for index in indices):
            for index in indices:
                parts[index] = "train"
    names = listed(sorted(lost, key=natural))
    return [
        lazy_gettext(
            "too small to be parted, so all in training: %(names)s. Their score cannot be told", names=names
        )
    ]


def _told(parts: list[str], held_out: list[str], shares: Fractions) -> list[Message]:
    counts = Counter(parts)
    wanted = {"test": shares.test, "validation": shares.validation}
    told = comma_joined(
        lazy_gettext(
            "%(number)s for %(part)s (%(share)s asked for)",
            number=counts[part],
            part=lazy_gettext(part),
            share=f"{wanted[part]:.0%}",
        )
        for part in reversed(held_out)
    )
    return [lazy_gettext("held out of training by content: %(parts)s", parts=told)]


def _thin(pictures: Sequence[Picture], parts: list[str], held_out: list[str]) -> list[Message]:
    """Names the classes of which a part that was held out has no picture."""
    counts = Counter((part, picture.label) for picture, part in zip(pictures, parts, strict=True))
    labels = sorted({picture.label for picture in pictures}, key=natural)
    notes = []
    for part in held_out:
        missing = [label for label in labels if not counts[part, label]]
        if missing:
            few = comma_joined(
                lazy_gettext("'%(name)s' (%(number)s in training)", name=label, number=counts["train", label])
                for label in missing[:5]
            )
            notes.append(
                lazy_gettext(
                    "classes too small: none for %(part)s of %(classes)s",
                    part=lazy_gettext(part),
                    classes=few,
                )
            )
    return notes


def _straddling(pictures: Sequence[Picture]) -> list[Message]:
    """A note of groups that the data's own parts tear apart."""
    parts: dict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        if picture.group:
            parts[picture.group].add(picture.split or "train")
    torn = [group for group, where in parts.items() if len(where) > 1]
    if not torn:
        return []
    return [
        lazy_ngettext(
            "%(count)s group is in two parts as the data give them: %(names)s",
            "%(count)s groups are in two parts as the data give them: %(names)s",
            len(torn),
            names=listed(torn),
        )
    ]


def _refuse_empty(parts: list[str]) -> None:
    counts = Counter(parts)
    for part in PARTS:
        if not counts[part]:
            count = plural(len(parts), "picture leaves", "pictures leave")
            raise UsageError(
                f"{count} none for {part}: those of one content or group stay on one side. Add pictures, put "
                f"some into a folder named '{part}' beside 'train', or name a table with --split."
            )

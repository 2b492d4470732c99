"""The pictures of a data set by name, each with its label and its split; nothing is decoded.

A class is identified by its name. Two splits share a class if they spell it alike, never because it has the
same position in a list, where a missing folder would shift every label after it.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.formatting import breaks_lines, listed
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
    "eval": "test",
    "evaluation": "test",
    "훈련": "train",
    "학습": "train",
    "검증": "validation",
    "시험": "test",
    "테스트": "test",
    "평가": "test",
}
SPLITS = ("train", "validation", "test")
# Words that say nothing of a folder's or a table's pictures: "training_set", "seg_train", "Final_Test".
FILLERS = frozenset(
    "set sets image images img imgs picture pictures photo photos data dataset seg final split part file "
    "files label labels list annotation annotations instances jpegimages".split()
)
UNLABELLED = frozenset("pred predict prediction predictions unlabeled unlabelled".split())

JOINT = "\x1f"  # between the names of several labels of a picture; alone: it has none of them

Content = bytes | NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One picture by name.

    source  identifies the picture: "train/cat/001.jpg", or "train/17" of an array
    label   the name of its class, in Unicode NFC; of several labels their names, as `joined` puts them
    split   "train", "validation" or "test"; "" if the data do not say
    group   pictures of one group are never split up; "" for a picture without a group
    columns  what else a table says of it, by column
    """

    source: str
    label: str
    split: str = ""
    group: str = ""
    columns: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of all its labels: one, unless the data give several."""
        return names_in(self.label)


def names_in(label: str) -> tuple[str, ...]:
    """The names that `joined` put together; of any other text that text."""
    return tuple(filter(None, label.split(JOINT))) if JOINT in label else (label,)


def joined(labels: Iterable[str]) -> str:
    """Several labels of one picture as one text, each once and in an order that depends on nothing else."""
    return JOINT.join(sorted(set(labels), key=natural_key)) or JOINT


@dataclass(frozen=True, eq=False)
class Listing:
    """Every picture of a data set, in an order that does not depend on the file system.

    name      as it was given
    pictures  N
    classes   K names in natural order: "2" before "10"
    notes     what was understood and what was skipped, one sentence each
    read      picture n as the bytes of its file, or as an array (H, W) or (H, W, C); from any thread
    stamp     changes whenever the bytes of picture n may have changed; "" if that is unknown
    """

    name: str
    pictures: Sequence[Picture]
    classes: tuple[str, ...]
    notes: tuple[Message, ...]
    read: Callable[[int], Content]
    stamp: Callable[[int], str]

    @property
    def multi_label(self) -> bool:
        """Whether some picture has several labels, or none."""
        return any(JOINT in picture.label for picture in self.pictures)


@dataclass(frozen=True)
class RawListing:
    """What the reader of a layout returns, before the classes are matched.

    layout    how the pictures are stored, in a few words: "one folder per class"
    pictures  with labels as they are written
    read, stamp  as in Listing
    notes     what was skipped
    columns   of a table: each of them can serve as the group
    """

    layout: Message
    pictures: Sequence[Picture]
    read: Callable[[int], Content]
    stamp: Callable[[int], str]
    notes: tuple[Message, ...] = ()
    columns: tuple[str, ...] = ()


def split_of(name: str) -> str:
    """The split that a folder or table is named after: "train" for "training_set"; "" if it is not."""
    words = _words(name)
    return SPLIT_NAMES.get(words[0], "") if len(words) == 1 else ""


def is_filler(name: str) -> bool:
    """Whether a folder's name says nothing of its pictures, as "images" does."""
    return not _words(name) and bool(re.search(r"[^\W\d_]", name))


def is_unlabelled(name: str) -> bool:
    """Whether a folder is named as pictures without labels: "seg_pred"."""
    words = _words(name)
    return len(words) == 1 and words[0] in UNLABELLED


def _words(name: str) -> list[str]:
    """The words of a name that say something, each once, in lower case: ["train"] of "Train_Set 2017"."""
    words = re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", name).lower())
    stems = [word.removesuffix("set") if word.removesuffix("set") in SPLIT_NAMES else word for word in words]
    return list(dict.fromkeys(word for word in stems if word not in FILLERS))


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """A sorting key for the order people expect: "2" before "10", upper and lower case together."""
    pieces = re.split(r"([0-9]+)", name)
    key = [
        (0, len(piece.lstrip("0")), piece.lstrip("0")) if piece.isdecimal() else (1, 0, piece.casefold())
        for piece in pieces
        if piece
    ]
    return tuple(key), name


def match_classes(name: str, raw: RawListing) -> Listing:
    """The listing of what a reader found, its classes matched by name.

    Raises UsageError when there is no training picture, when there are fewer than two classes, when another
    split has a class that the training split lacks, when two names of classes are nearly equal, or when a
    name is not UTF-8 or has a control character.
    """
    pictures = [replace(picture, label=_class_name(picture.label)) for picture in raw.pictures]
    classes = tuple(sorted({label for picture in pictures for label in picture.labels}, key=natural_key))
    by_split: dict[str, Counter[str]] = defaultdict(Counter)
    for picture in pictures:
        by_split[picture.split or "train"].update(picture.labels)
    _refuse_without_training(name, by_split)
    _refuse_unencodable(pictures)
    _refuse_ambiguous(classes, by_split)
    _refuse_untrained(by_split)
    if len(classes) < 2:
        raise UsageError(
            f"'{name}' holds pictures of one class, {listed(classes)}. Expected two or more, such as "
            "'pets/cat/1.jpg' and 'pets/dog/1.jpg'."
        )
    _refuse_bars(pictures)
    notes = [_counts_note(raw.layout, pictures, classes), *raw.notes, *_spelling_notes(raw.pictures)]
    notes += [
        lazy_gettext(
            "%(part)s has no pictures of %(classes)s", part=lazy_gettext(split), classes=listed(missing)
        )
        for split in SPLITS[1:]
        if split in by_split and (missing := [label for label in classes if not by_split[split][label]])
    ]
    _refuse_repeated_sources(pictures)
    return Listing(name, pictures, classes, tuple(notes), raw.read, raw.stamp)


def _counts_note(layout: Message, pictures: Sequence[Picture], classes: tuple[str, ...]) -> Message:
    counts = {"layout": layout, "pictures": len(pictures), "classes": len(classes)}
    if not any(JOINT in picture.label for picture in pictures):
        return lazy_gettext("%(layout)s: %(pictures)s pictures of %(classes)s classes", **counts)
    mean = sum(len(picture.labels) for picture in pictures) / len(pictures)
    return lazy_gettext(
        "%(layout)s: %(pictures)s pictures, each with any of %(classes)s labels, %(mean)s on average",
        **counts,
        mean=f"{mean:.1f}",
    )


def _refuse_bars(pictures: Sequence[Picture]) -> None:
    """Refuse a bar in the name of one of several labels: tables of ours join the names by it."""
    several = any(JOINT in picture.label for picture in pictures)
    for picture in pictures:
        if several and "|" in picture.label:
            raise UsageError(
                f"'{picture.source}' has the labels {listed(picture.labels)}. Expected names without a bar, "
                "which joins labels in tables. Rename them."
            )


def _class_name(label: str) -> str:
    """The label in Unicode NFC: Hangul composed on one system and decomposed on another is the same name."""
    return unicodedata.normalize("NFC", label)


def _spelling_notes(pictures: Sequence[Picture]) -> list[Message]:
    """A note on the classes that are written both with composed and with decomposed letters."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for label in (label for picture in pictures for label in picture.labels):
        spellings[_class_name(label)].add(label)
    merged = [name for name, forms in spellings.items() if len(forms) > 1]
    if not merged:
        return []
    return [
        lazy_gettext(
            "%(names)s: composed and decomposed letters count as the same name", names=listed(merged)
        )
    ]


def _refuse_without_training(name: str, by_split: dict[str, Counter[str]]) -> None:
    if not by_split:
        raise UsageError(
            f"No pictures in '{name}'. Expected one folder per class with .jpg or .png files, such as "
            "'pets/cat/1.jpg'."
        )
    if "train" not in by_split:
        splits = " and ".join(sorted(by_split))
        raise UsageError(
            f"'{name}' has pictures in {splits} only: none to learn from. Expected a part named 'train'."
        )


def _refuse_unencodable(pictures: Sequence[Picture]) -> None:
    """Refuse labels that are not Unicode: no file that names the classes could be written."""
    for picture in pictures:
        try:
            picture.label.encode()
        except UnicodeEncodeError:
            encoded = picture.label.encode(errors="surrogateescape")
            try:
                reading = f": in EUC-KR it would be '{encoded.decode('cp949')}'"
            except UnicodeDecodeError:
                reading = ""
            raise UsageError(
                f"The class {encoded!r} has a name that is not UTF-8{reading}. It is the label of "
                f"{picture.source.encode(errors='surrogateescape')!r}. Rename the folder, or correct the "
                "label, in UTF-8."
            ) from None
        if any(map(breaks_lines, picture.labels)):
            raise UsageError(
                f"The class {picture.label!r:.80} has a line break or another control character in its name. "
                f"It is the label of {picture.source!r:.80}. Rename the folder, or correct the label."
            )


def _refuse_ambiguous(classes: tuple[str, ...], by_split: dict[str, Counter[str]]) -> None:
    """Refuse names that differ only in letter case or space, except single letters such as "a" and "A"."""
    by_appearance: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        by_appearance[" ".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    for appearance, names in by_appearance.items():
        plain = all(unicodedata.normalize("NFKC", name) == name for name in names)
        deliberate = len(appearance) == 1 and plain and all(by_split["train"][name] for name in names)
        if len(names) > 1 and not deliberate:
            described = [
                f"'{name}' (in {', '.join(split for split in by_split if by_split[split][name])})"
                for name in names
            ]
            raise UsageError(
                f"Are {' and '.join(described)} one class or {len(names)}? They differ only in letter case "
                "or space. If they are one, spell them alike; if not, give them clearly different names."
            )


def _refuse_untrained(by_split: dict[str, Counter[str]]) -> None:
    for split in SPLITS[1:]:
        untrained = sorted(
            (label for label in by_split.get(split, ()) if not by_split["train"][label]), key=natural_key
        )
        if untrained:
            known = sorted(by_split["train"], key=natural_key)
            raise UsageError(
                f"The {split} part has pictures of {listed(untrained)}, of which there is none to learn "
                f"from: the classes of the training part are {listed(known)}. Spell the class as it is "
                "there, add training pictures of it, or remove it."
            )


def _refuse_repeated_sources(pictures: Sequence[Picture]) -> None:
    counts = Counter(picture.source for picture in pictures)
    source, count = counts.most_common(1)[0]
    if count > 1:
        raise UsageError(f"'{source}' is listed {count} times. List every picture once.")

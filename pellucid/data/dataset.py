"""Pictures and labels as two tensors, their origin, and a split that keeps identical pictures together.

Decoded and resized once, a data set is an index away from a batch: no workers, exactly repeatable.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from pellucid.data.mapped import MappedImages, in_blocks
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.language import Message, lazy_ngettext, message_from_json
from pellucid.recipe import Size, checked_size, refuse_unknown_keywords
from pellucid.records import record_from
from pellucid.task import label_sets

Indices = Tensor | Sequence[int] | slice


class Example(NamedTuple):
    """One picture of a Dataset: uint8 (C, H, W), its label as an index into `classes`, and its source.

    Where pictures have several labels, `label` is a tuple of such indices.
    """

    image: Tensor
    label: int | tuple[int, ...]
    source: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures with their labels: picture n shows `classes[labels[n]]` and came from `sources[n]`.

    images   uint8 (N, C, H, W), 0..255; in memory, or read from a file when indexed (MappedImages)
    labels   int64 (N,); or bool (N, K), where a picture can have several labels, or none
    classes  K names; every label is smaller than K
    sources  N names that identify each picture in its data set: "cat/001.jpg", "mnist/test/17"
    groups   N names: pictures of one name belong together, as those of one patient do, and were not drawn one
             by one; "" for a picture that stands alone. () where all do

    Raises UsageError when they do not fit one another.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    sources: Sequence[str]
    groups: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise UsageError(
                f"Expected images as uint8 (N, C, H, W); got {_described(self.images)}. "
                "Scale to 0..255, convert with .to(torch.uint8) and add the missing dimension."
            )
        several = (torch.bool, (len(self.images), len(self.classes)))
        if (self.labels.dtype, tuple(self.labels.shape)) not in (
            (torch.int64, (len(self.images),)),
            several,
        ):
            raise UsageError(
                f"Expected labels as int64 ({len(self.images)},), one a picture; "
                f"got {_described(self.labels)}. Several labels per picture are bool {several[1]}."
            )
        if len(self.sources) != len(self.images):
            raise UsageError(f"Expected {len(self.images)} sources, one a picture; got {len(self.sources)}.")
        if self.groups and len(self.groups) != len(self.images):
            raise UsageError(f"Expected {len(self.images)} groups, one a picture; got {len(self.groups)}.")
        for name in self.classes:
            if not isinstance(name, str):
                raise UsageError(f"Expected class names as text; got {name!r}. Write str({name!r}).")
        if len(set(self.classes)) != len(self.classes):
            raise UsageError(f"Expected class names that differ; got {', '.join(self.classes)}.")
        if self.multi_label or not len(self.labels):
            return
        if not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise UsageError(
                f"Expected labels from 0 to {len(self.classes) - 1} for {len(self.classes)} classes; "
                f"got {int(self.labels.min())} to {int(self.labels.max())}."
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        kind = {1: "gray", 3: "colour"}.get(self.channels, f"{self.channels} channels")
        height, width = self.size
        pictures = "picture" if len(self) == 1 else "pictures"
        classes = f"{len(self.classes)} {'labels' if self.multi_label else 'classes'}"
        return f"Dataset({len(self):,} {pictures}, {width}x{height} {kind}, {classes})"

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> "Dataset": ...
    def __getitem__(self, index: int | slice) -> "Example | Dataset":
        """One picture by its position, negative from the end, or a Dataset of those in a slice."""
        if isinstance(index, slice):
            return self.subset(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} pictures")
        label = self.labels[index]
        numbers = tuple(torch.nonzero(label)[:, 0].tolist()) if self.multi_label else int(label)
        return Example(self.images[index], numbers, self.sources[index])

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    @property
    def channels(self) -> int:
        """C: 1 for gray, 3 for colour."""
        return self.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images.shape[2], self.images.shape[3]

    @property
    def multi_label(self) -> bool:
        """Whether a picture can have several labels, or none."""
        return self.labels.dim() == 2

    @property
    def counts(self) -> dict[str, int]:
        """How many pictures show each class, in the order of `classes`."""
        if self.multi_label:
            return dict(zip(self.classes, self.labels.sum(dim=0).tolist(), strict=True))
        counts = torch.bincount(self.labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, counts, strict=True))

    @cached_property
    def label_names(self) -> Sequence[str]:
        """The label of each picture by name; where it can have several, all of them: "cat|red", or ""."""
        if not self.multi_label:
            return [self.classes[label] for label in self.labels.tolist()]
        return [joined_names(row, self.classes) for row in self.labels.tolist()]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over shape, pixels, labels and class names: equal for equal data, wherever it lies."""
        digest = hashlib.sha256(repr((tuple(self.images.shape), self.classes)).encode())
        for block in in_blocks(self.images):
            digest.update(block.numpy().data)
        digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()

    def subset(self, indices: Indices) -> "Dataset":
        """The pictures at `indices`, in that order; of pictures in a file, none is read.

        indices  any sequence of int, an int64 or bool tensor, or a slice
        """
        positions = self._positions(indices)
        sources = [self.sources[position] for position in positions.tolist()]
        mapped = isinstance(self.images, MappedImages)
        images = self.images.at(positions) if mapped else self.images[positions]  # type: ignore[attr-defined]
        groups = [self.groups[position] for position in positions.tolist()] if self.groups else ()
        return Dataset(images, self.labels[positions], self.classes, sources, groups)

    def _positions(self, indices: Indices) -> Tensor:
        if isinstance(indices, slice):
            return torch.arange(len(self))[indices]
        positions = torch.as_tensor(indices)
        if positions.dtype == torch.bool and positions.shape == self.labels.shape[:1]:
            return torch.nonzero(positions)[:, 0]
        if positions.dim() != 1 or (positions.is_floating_point() and len(positions)):
            raise UsageError(
                "Expected indices as one row of whole numbers, or one bool per picture; "
                f"got {_described(positions)}."
            )
        return positions.to(torch.int64)


class Unreadable(NamedTuple):
    """A picture that was skipped, and the reason."""

    source: str
    reason: str


class FileHeader(NamedTuple):
    """A picture as it was stored: its size in pixels, Pillow's mode ("RGB", "L" ...), its file's bytes.

    source    as in Dataset
    has_more  whether the file has frames or pages after the first, the only one that is read
    """

    width: int
    height: int
    mode: str
    bytes: int
    source: str = ""
    has_more: bool = False


@dataclass(frozen=True)
class Corrections:
    """Pictures to leave out and labels to change, each by its source; no others are touched.

    exclude       sources
    relabel       sources, each with its new label; of several labels "cat|red"
    exclude_file, relabel_file  the tables that said so; "" where it was said in Python
    """

    exclude: tuple[str, ...] = ()
    relabel: tuple[tuple[str, str], ...] = ()
    exclude_file: str = ""
    relabel_file: str = ""


def named_table(file: str, argument: str) -> str:
    """Who asked for a correction, in a sentence: the table, or, where it was said in Python, the argument."""
    return f"'{file}'" if file else f"`{argument}`"


@dataclass(frozen=True)
class Choices:
    """Settings for reading and splitting pictures, as `load` takes them.

    seed           of the random split; the same seed and pictures give the same split
    validation     the share of training pictures held out for validation where the data come without any
    size           pixels per side of your own pictures, or (height, width); 0: chosen from their sizes
    group_by       a column, or a pattern in the names: pictures with one value stay on one side of a split
    split_file     the path of a table that assigns every picture to a split; "" for none
    on_unreadable  "skip" or "stop"
    label_from     the column of labels, or a pattern that finds the label in a picture's path; "": by layout
    fit            "stretch", "pad" or "crop": what is done with your own pictures of other proportions
    crop_boxes     whether each box of annotations is read as a picture of its own
    corrections    pictures left out and labels changed, after the split
    """

    seed: int = 42
    validation: float = 0.2
    size: Size = 0
    group_by: str = ""
    split_file: str = ""
    on_unreadable: str = "skip"
    label_from: str = ""
    fit: str = "stretch"
    crop_boxes: bool = False
    corrections: Corrections = Corrections()

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", checked_size(self.size))


@dataclass(frozen=True, eq=False)
class Origin:
    """Where pictures come from and how they were read; saved with every run.

    name          for people: "mnist", "photos"
    location      the absolute path of your own pictures; "" for a known data set, and for values in memory
    known         whether `name` is one of DATASETS
    choices       the settings for reading and splitting them
    preprocess    how to read a further picture; None: it must have the size and colour of those trained on
    augmentation  what a recipe's "auto" means for them: names of AUGMENTATIONS, or "none"
    found         number of pictures found, readable or not
    unreadable    the pictures skipped
    notes         messages about the layout, skipped files and defaults chosen
    headers       of the pictures that were read, where they are files
    groups        of pictures that stay on one side of a split: the source of each with the name of its group
    columns       of a table that named the pictures, its further columns: the value of each source
    test_excluded, test_relabelled  how many test pictures the corrections left out or gave another label
    """

    name: str = "pictures"
    location: str = ""
    known: bool = False
    choices: Choices = field(default_factory=Choices)
    preprocess: Preprocess | None = None
    augmentation: str = "none"
    found: int = 0
    unreadable: tuple[Unreadable, ...] = ()
    notes: tuple[Message, ...] = ()
    headers: tuple[FileHeader, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    test_excluded: int = 0
    test_relabelled: int = 0

    def __repr__(self) -> str:
        return f"Origin('{self.name}'{f', {self.location!r}' if self.location else ''})"

    @property
    def data(self) -> str:
        """What `load` and the command line take to find the pictures again; "" for values in memory."""
        return self.name if self.known else self.location

    @property
    def test_corrections(self) -> str:
        """What the corrections changed in the test part, in a sentence; "" for nothing."""
        corrections = self.choices.corrections
        notes = []
        if self.test_relabelled:
            notes.append(
                lazy_ngettext(
                    "%(count)s test label was changed by %(table)s.",
                    "%(count)s test labels were changed by %(table)s.",
                    self.test_relabelled,
                    table=named_table(corrections.relabel_file, "relabel"),
                )
            )
        if self.test_excluded:
            notes.append(
                lazy_ngettext(
                    "%(count)s test picture was left out by %(table)s.",
                    "%(count)s test pictures were left out by %(table)s.",
                    self.test_excluded,
                    table=named_table(corrections.exclude_file, "exclude"),
                )
            )
        return " ".join(map(str, notes))

    def to_json(self) -> dict[str, Any]:
        """As plain values; headers, groups and columns are left out."""
        return {
            "name": self.name,
            "location": self.location,
            "known": self.known,
            "choices": asdict(self.choices),
            "preprocess": self.preprocess.to_json() if self.preprocess else None,
            "augmentation": self.augmentation,
            "found": self.found,
            "read": self.found - len(self.unreadable),
            "unreadable": [unreadable._asdict() for unreadable in self.unreadable],
            "notes": [str(note) for note in self.notes],
            "messages": [note.to_json() for note in self.notes],
            "test_excluded": self.test_excluded,
            "test_relabelled": self.test_relabelled,
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Origin":
        """What `to_json` wrote. Raises PellucidError when a value is missing or of another kind."""
        try:
            messages = values["messages"]
            kept = {
                name: value for name, value in values.items() if name not in ("read", "notes", "messages")
            }
            facts = record_from(_OriginFacts, kept)
            notes = tuple(message_from_json(message) for message in messages)
            return Origin(**{each.name: getattr(facts, each.name) for each in fields(facts)}, notes=notes)
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise PellucidError(f"The origin of these pictures is damaged: {error!r}.") from error


@dataclass(frozen=True)
class _OriginFacts:
    """Of an Origin, what a file holds as plain values, beside its notes."""

    name: str
    location: str
    known: bool
    choices: Choices
    preprocess: Preprocess | None
    augmentation: str
    found: int
    unreadable: tuple[Unreadable, ...]
    test_excluded: int
    test_relabelled: int


@dataclass(frozen=True, eq=False)
class Splits:
    """One data set in three parts that share no picture: for training, for validation, for one final test."""

    train: Dataset
    validation: Dataset
    test: Dataset
    origin: Origin = field(default_factory=Origin)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {len(part):,}" for name, part in self.items())
        return f"Splits({parts} pictures, {len(self.train.classes)} classes)"

    def items(self) -> list[tuple[str, Dataset]]:
        """The parts with their names, in the order train, validation, test."""
        return [("train", self.train), ("validation", self.validation), ("test", self.test)]


class Split(NamedTuple):
    """The result of `split`: the remaining pictures, and the pictures held out."""

    rest: Dataset
    held_out: Dataset


@refuse_unknown_keywords
def split(dataset: Dataset, *, fraction: float = 0.2, seed: int = 42) -> Split:
    """Part a data set in two, every class by the same fraction; identical pictures stay on one side.

    Where pictures have several labels, those with the same ones are a class.

    The order in which pictures are picked is a hash of their pixels and the seed, so it does not depend on
    names or on the order of files. Both sides keep the order of the original. A class of one distinct
    picture stays in the rest.

    Raises UsageError when `fraction` is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"Expected a held-out fraction between 0 and 1, such as 0.2; got {fraction}.")
    key = seed.to_bytes(8, "little", signed=True)
    twins: dict[bytes, list[int]] = defaultdict(list)
    for index, digest in enumerate(content_hashes(dataset, key=key)):
        twins[digest].append(index)
    labels = label_sets(dataset.labels).tolist()
    groups_by_class: dict[int, list[list[int]]] = defaultdict(list)
    for _, indices in sorted(twins.items()):
        label = min(labels[index] for index in indices)  # whatever the order, twins of two labels count once
        groups_by_class[label].append(indices)
    held_out: list[int] = []
    carried = 0.0  # what rounding left over from earlier classes, so that the whole fraction is exact
    for _, groups in sorted(groups_by_class.items()):
        wanted = fraction * sum(len(indices) for indices in groups) + carried
        taken: list[int] = []
        for indices in groups[:-1]:
            if len(taken) + len(indices) <= round(wanted):
                taken.extend(indices)
        carried = min(0.5, max(-0.5, wanted - len(taken)))  # no class pays for another's large twins
        held_out.extend(taken)
    chosen = torch.zeros(len(dataset), dtype=torch.bool)
    chosen[torch.tensor(held_out, dtype=torch.int64)] = True
    return Split(dataset.subset(torch.nonzero(~chosen)[:, 0]), dataset.subset(torch.nonzero(chosen)[:, 0]))


def joined(datasets: Sequence[Dataset]) -> Dataset:
    """The pictures of several data sets of the same classes, one after the other; those in a file stay there.

    Raises UsageError when classes or shapes differ.
    """
    first = datasets[0]
    for other in datasets[1:]:
        if (other.classes, other.images.shape[1:]) != (first.classes, first.images.shape[1:]):
            raise UsageError(f"Expected pictures of the same classes and shape; got {first!r} and {other!r}.")
    parts = [each.images for each in datasets]
    mapped = [part for part in parts if isinstance(part, MappedImages)]
    if len(mapped) == len(parts) and all(part.source is mapped[0].source for part in mapped):
        rows = np.concatenate([part.rows for part in mapped])
        images: Tensor = MappedImages(mapped[0].source, rows, mapped[0].contents)
    else:
        images = torch.cat(parts)
    labels = torch.cat([each.labels for each in datasets])
    sources = [source for each in datasets for source in each.sources]
    groups = [group for each in datasets for group in each.groups or [""] * len(each)]
    return Dataset(images, labels, first.classes, sources, groups if any(groups) else ())


def joined_names(chosen: Iterable[bool], classes: Sequence[str]) -> str:
    """The names of the classes chosen, as a table has them: "cat|red"; "" for none."""
    return "|".join(name for name, is_chosen in zip(classes, chosen, strict=True) if is_chosen)


def content_hashes(dataset: Dataset, *, key: bytes = b"") -> list[bytes]:
    """One 16-byte BLAKE2 hash a picture, over its pixels alone; `key` gives another, unrelated order."""
    if isinstance(dataset.images, MappedImages) and not key:
        return dataset.images.hashes()
    return [
        hashlib.blake2b(row.data, digest_size=16, key=key).digest()
        for block in in_blocks(dataset.images)
        for row in block.numpy()
    ]


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"

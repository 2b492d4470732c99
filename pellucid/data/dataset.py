"""Pictures and labels as two tensors, and the honest way to part them.

Decoded and resized once, a data set is an index away from a batch: no workers, exactly repeatable.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.data.mapped import MappedImages, in_blocks
from pellucid.errors import UsageError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures with their labels: picture n shows `classes[labels[n]]` and came from `sources[n]`.

    images   uint8 (N, C, H, W), 0..255; in memory, or in a file and read when asked for (rows.Rows)
    labels   int64 (N,)
    classes  K names; every label is smaller than K
    sources  N names that lead back to where a picture was: "cat/001.jpg", "mnist/test/17"

    Raises UsageError when the four do not fit one another.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    sources: Sequence[str]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise UsageError(
                f"Expected images as uint8 (N, C, H, W); got {_described(self.images)}. "
                "Scale to 0..255, convert with .to(torch.uint8) and add the missing dimension."
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise UsageError(
                f"Expected labels as int64 ({len(self.images)},), one a picture; "
                f"got {_described(self.labels)}."
            )
        if len(self.sources) != len(self.images):
            raise UsageError(f"Expected {len(self.images)} sources, one a picture; got {len(self.sources)}.")
        if len(set(self.classes)) != len(self.classes):
            raise UsageError(f"Expected class names that differ; got {', '.join(self.classes)}.")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise UsageError(
                f"Expected labels from 0 to {len(self.classes) - 1} for {len(self.classes)} classes; "
                f"got {int(self.labels.min())} to {int(self.labels.max())}."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """C: 1 for gray, 3 for colour."""
        return self.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images.shape[2], self.images.shape[3]

    @property
    def counts(self) -> dict[str, int]:
        """How many pictures show each class, in the order of `classes`."""
        counts = torch.bincount(self.labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, counts, strict=True))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over shape, pixels, labels and class names: equal for equal data, wherever it lies."""
        digest = hashlib.sha256(repr((tuple(self.images.shape), self.classes)).encode())
        for block in in_blocks(self.images):
            digest.update(block.numpy().data)
        digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()

    def subset(self, indices: Tensor) -> "Dataset":
        """The pictures at `indices` (int64), in that order; of pictures in a file, none is read."""
        sources = [self.sources[index] for index in indices.tolist()]
        images = self.images.at(indices) if isinstance(self.images, MappedImages) else self.images[indices]
        return Dataset(images, self.labels[indices], self.classes, sources)


@dataclass(frozen=True, eq=False)
class Splits:
    """One data set in three parts that share no picture: to learn from, to choose by, to judge with once."""

    train: Dataset
    validation: Dataset
    test: Dataset

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {len(part):,}" for name, part in self.items())
        return f"Splits({parts} pictures, {len(self.train.classes)} classes)"

    def items(self) -> list[tuple[str, Dataset]]:
        """The parts with their names, in the order train, validation, test."""
        return [("train", self.train), ("validation", self.validation), ("test", self.test)]


class Split(NamedTuple):
    """What `split` gives: the pictures that stay and the pictures held out."""

    rest: Dataset
    held_out: Dataset


def split(dataset: Dataset, *, fraction: float = 0.2, seed: int = 42) -> Split:
    """Part a data set in two, every class by the same fraction; identical pictures stay on one side.

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
    labels = dataset.labels.tolist()
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

"""A network that was trained elsewhere: what is known of it, and which pictures it is judged with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from pellucid.data.dataset import Dataset, Splits
from pellucid.errors import UsageError
from pellucid.formatting import listed
from pellucid.language import Message, lazy_gettext
from pellucid.records import record_from

OPENED = "opened"  # the key in environment.json

UNKNOWN = lazy_gettext(
    "The network was trained elsewhere, and what it learned from is not known: whether these test pictures "
    "were among it cannot be told."
)
ONLY_GIVEN = lazy_gettext(
    "The network was trained elsewhere: copies were looked for only among the pictures that were given as "
    "those it learned from."
)


@dataclass(frozen=True)
class Elsewhere:
    """What a run's environment.json says of a network that was trained elsewhere.

    weights     the name of the file they were read from; "" where the network brought them
    train       whether the pictures it learned from were given
    validation  whether validation pictures were given
    """

    weights: str
    train: bool
    validation: bool

    @property
    def message(self) -> Message:
        """What is known of the pictures it learned from, in a sentence."""
        return ONLY_GIVEN if self.train else UNKNOWN


def elsewhere_in(environment: Mapping[str, Any]) -> Elsewhere | None:
    """What environment.json says of it; None of a network that was trained here."""
    return record_from(Elsewhere, environment[OPENED]) if OPENED in environment else None


def known_parts(splits: Splits, environment: Mapping[str, Any], classes: Sequence[str]) -> Splits:
    """Of the pictures of a run those that it is known to be of: of a network that was trained elsewhere the
    test pictures, and the parts that were given with them, their labels numbered as its outputs are; of
    another run all.

    Raises UsageError for pictures of a class that the network has not.
    """
    found = elsewhere_in(environment)
    if found is None:
        return splits
    given = {"train": found.train, "validation": found.validation, "test": True}
    train, validation, test = (
        in_classes(part if given[name] else part.subset([]), classes) for name, part in splits.items()
    )
    return Splits(train, validation, test, splits.origin)


def in_classes(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """The same pictures with labels that number `classes`.

    Raises UsageError for pictures of a class that is not among them.
    """
    classes = tuple(classes)
    if dataset.classes == classes:
        return dataset
    shown = [name for name, count in dataset.counts.items() if count]
    if strange := [name for name in shown if name not in classes]:
        raise UsageError(
            f"These pictures show {listed(strange)}, which the network has no output for. It has "
            f"{listed(classes)}: give `classes` in the order of its outputs, by the names that the pictures "
            "have."
        )
    if dataset.multi_label:
        columns = [dataset.classes.index(name) if name in dataset.classes else -1 for name in classes]
        labels = torch.stack(
            [
                dataset.labels[:, k] if k >= 0 else torch.zeros(len(dataset), dtype=torch.bool)
                for k in columns
            ],
            dim=1,
        )
    else:
        numbers = torch.tensor([classes.index(name) if name in classes else -1 for name in dataset.classes])
        labels = numbers[dataset.labels]
    return replace(dataset, labels=labels, classes=classes)

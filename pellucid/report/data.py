"""The section on the pictures: what they are, how many of each class, and some of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from pellucid.data.audit.record import NearLeak
from pellucid.data.dataset import Dataset, Origin
from pellucid.data.sources.reasons import translate_reason
from pellucid.evaluation.evaluation import AnyEvaluation
from pellucid.formatting import percent
from pellucid.language import Message, translate
from pellucid.plots import images
from pellucid.plots.images import Atlas, Cell, zoom
from pellucid.report.context import ReportContext
from pellucid.runs.elsewhere import elsewhere_in
from pellucid.task import shows

MAX_SHEET_CHARACTERS = 500_000  # of the data URL of the contact sheet
PICTURES_PER_CLASS = 10  # on the contact sheet
MAX_SHEET_CLASSES = 100
MAX_PAIRS = 24  # near-copies that are shown
MAX_PAIRS_CHARACTERS = 300_000  # of the data URL of their image


@dataclass(frozen=True)
class ClassRow:
    """A class on the contact sheet: its counts, and some of its training pictures.

    counts  pictures per split
    share   training pictures as a share of those of the largest class, 0..1
    """

    name: str
    counts: list[int]
    share: float
    cells: list[Cell]


@dataclass(frozen=True)
class ContactSheet:
    """Some training pictures of each class, and the counts of each split.

    parts             names of the splits
    zoom, small_zoom  of the pictures on a wide and on a narrow screen
    several_labels    whether pictures can have several labels, and so be in several rows
    of_test           whether they are test pictures, as no training pictures are known
    """

    parts: list[str]
    rows: list[ClassRow]
    zoom: int
    small_zoom: int
    remark: str
    several_labels: bool
    of_test: bool = False


@dataclass(frozen=True)
class ReadingSummary:
    """How many of the user's own pictures were found and read, and what was skipped.

    notes       messages about the layout and defaults chosen, a sentence each
    unreadable  the source of each file skipped, with the reason
    """

    found: int
    read: int
    notes: Sequence[Message]
    unreadable: list[tuple[str, Message]]


@dataclass(frozen=True)
class CleanScore:
    """The score on the test pictures of which no copy was learned from or chosen by.

    low, high  ends of the 95 % interval; "" where there is none
    too_few    why there is none; "" where there is one
    """

    count: int
    share: str
    low: str
    high: str
    too_few: str


@dataclass(frozen=True)
class CopyPair:
    """A test picture and the picture it is almost the same as: sources, cells in the atlas "copies"."""

    source: str
    copy: str
    cells: tuple[Cell, Cell]


@dataclass(frozen=True)
class DataSection:
    """What the pictures are, how many of each class, and some of each.

    smallest_class, largest_class  name and number of training pictures
    leaking         sources of test pictures that are also in the training or validation set
    near_leaking    test pictures that are almost the same as one of those
    copies          how many test pictures are either
    all_leaking     whether that is every test picture, so that no score for new pictures exists
    clean           the score without them; None where there are none, or nothing else
    pairs, pair_zoom  some pictures of near_leaking, each beside its copy
    rests_on        all that is known of what the score rests on, a sentence each
    unsearched      what was not searched for near-copies, and why; None where all was
    folds           into how many folds all pictures were divided; 0 where a test part is held out
    elsewhere       of a network trained elsewhere, what is known of the pictures it learned from; else None
    all_pictures    whether the network also learned from the validation pictures, in a second training
    """

    atlases: Mapping[str, Atlas]
    name: str
    sizes: Mapping[str, int]
    height: int
    width: int
    colour: str
    classes: int
    sheet: ContactSheet
    smallest_class: tuple[str, int]
    largest_class: tuple[str, int]
    reading: ReadingSummary | None
    leaking: Sequence[str]
    near_leaking: Sequence[NearLeak]
    copies: int
    all_leaking: bool
    clean: CleanScore | None
    pairs: list[CopyPair]
    pair_zoom: int
    rests_on: list[Message]
    unsearched: Message | None
    fingerprints: Mapping[str, str]
    first_source: str
    folds: int
    all_pictures: bool
    elsewhere: Message | None


def gather(context: ReportContext) -> DataSection:
    """What the pictures are, how many of each class, and some of each."""
    splits, run = context.all_splits, context.run
    train = splits.train if len(splits.train) else splits.test
    elsewhere = elsewhere_in(run.environment)
    basis = context.basis
    parts = (
        {"train": train}
        if run.folds
        else {name: part for name, part in splits.items() if len(part) or elsewhere is None}
    )
    atlas, sheet = contact_sheet(
        parts, samples=PICTURES_PER_CLASS, budget=MAX_SHEET_CHARACTERS, small_width=32
    )
    first = (index for label in range(len(train.classes)) for index in evenly_chosen(train, label, 1))
    clean = basis.clean(context.full_evaluation)
    copies, pairs = _pairs(parts, basis.near_leaking)
    return DataSection(
        atlases={"sheet": atlas, **({"copies": copies} if copies else {})},
        name=run.origin.name,
        sizes={name: len(part) for name, part in splits.items()},
        height=train.size[0],
        width=train.size[1],
        colour=translate("gray") if train.channels == 1 else translate("colour"),
        classes=len(train.classes),
        sheet=sheet,
        smallest_class=min(train.counts.items(), key=lambda item: item[1]),
        largest_class=max(train.counts.items(), key=lambda item: item[1]),
        reading=_reading(run.origin),
        leaking=basis.leaking,
        near_leaking=basis.near_leaking,
        copies=len(basis.copies),
        all_leaking=clean is None,
        clean=_score(clean) if basis.copies and clean is not None else None,
        pairs=pairs,
        pair_zoom=zoom(copies, 64) if copies else 1,
        rests_on=basis.sentences,
        unsearched=basis.unsearched,
        fingerprints={name: part.fingerprint for name, part in splits.items()},
        first_source=next((train.sources[index] for index in first), ""),
        folds=run.folds,
        elsewhere=None if elsewhere is None else elsewhere.message,
        all_pictures=run.all_pictures is not None and not run.folds,
    )


def contact_sheet(
    parts: Mapping[str, Dataset], *, samples: int, budget: int, small_width: int
) -> tuple[Atlas, ContactSheet]:
    """Up to `samples` training pictures of each of the first 100 classes in one image, beside their counts.

    parts        by name, "train" among them; without it, test pictures are taken
    small_width  the greatest width of a picture on a narrow screen, in pixels
    """
    train = parts["train"] if "train" in parts else parts["test"]
    classes = train.classes[:MAX_SHEET_CLASSES]
    chosen = {name: evenly_chosen(train, label, samples) for label, name in enumerate(classes)}
    order = [index for indices in chosen.values() for index in indices]
    atlas = images.fitted_atlas(train.subset(order).images, budget=budget, side=64)
    position = {index: number for number, index in enumerate(order[: atlas.count])}
    most = max(1, *train.counts.values())
    rows = [
        ClassRow(
            name=name,
            counts=[part.counts.get(name, 0) for part in parts.values()],
            share=train.counts[name] / most,
            cells=[atlas.cell(position[index]) for index in chosen.get(name, []) if index in position],
        )
        for name in train.classes
    ]
    zooms = zoom(atlas, 64), zoom(atlas, small_width)
    return atlas, ContactSheet(
        list(parts), rows, *zooms, atlas.remark, train.multi_label, "train" not in parts
    )


def evenly_chosen(dataset: Dataset, label: int, number: int) -> list[int]:
    """Up to `number` pictures of a class, taken at even distances through the data set."""
    indices = torch.nonzero(shows(dataset.labels, label))[:, 0]
    steps = torch.linspace(0, max(0, len(indices) - 1), min(number, len(indices))).round().long()
    chosen: list[int] = indices[steps].tolist()
    return chosen


def _reading(origin: Origin) -> ReadingSummary | None:
    """The summary of reading the user's own pictures; None for a known data set."""
    if not origin.location:
        return None
    unreadable = [(file.source, translate_reason(file.reason)) for file in origin.unreadable]
    return ReadingSummary(origin.found, origin.found - len(unreadable), origin.notes, unreadable)


def _pairs(
    parts: Mapping[str, Dataset], near_leaking: Sequence[NearLeak]
) -> tuple[Atlas | None, list[CopyPair]]:
    """Some near-copies side by side, in one image."""
    shown = near_leaking[:MAX_PAIRS]
    wanted = {source for leak in shown for source in (leak.source, leak.copy)}
    positions = {
        source: (part, index)
        for part in parts.values()
        for index, source in enumerate(part.sources)
        if source in wanted
    }
    found = [leak for leak in shown if leak.source in positions and leak.copy in positions]
    if not found:
        return None, []
    rows = [positions[source] for leak in found for source in (leak.source, leak.copy)]
    atlas = images.fitted_atlas(
        torch.stack([part.images[index] for part, index in rows]), budget=MAX_PAIRS_CHARACTERS, side=64
    )
    return atlas, [
        CopyPair(leak.source, leak.copy, (atlas.cell(2 * number), atlas.cell(2 * number + 1)))
        for number, leak in enumerate(found[: atlas.count // 2])
    ]


def _score(evaluation: AnyEvaluation) -> CleanScore:
    count, accuracy = evaluation.count, evaluation.scores["accuracy"]
    low, high = [percent(end, count=count) for end in accuracy.interval or ()] or ("", "")
    return CleanScore(count, percent(accuracy.value, count=count), low, high, str(accuracy.too_few or ""))

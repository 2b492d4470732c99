"""The section on labels that look wrong: suspects of every part, each beside its picture."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.data.dataset import Dataset
from pellucid.evaluation.label_errors import Suspect
from pellucid.formatting import percent
from pellucid.language import translate
from pellucid.plots.images import Atlas, Cell, fitted_atlas, zoom
from pellucid.report.context import ReportContext

SHOWN = 24  # suspects of each part
MAX_ATLAS_CHARACTERS = 200_000  # of the data URL of their pictures


@dataclass(frozen=True)
class SuspectTile:
    """One picture whose label looks wrong; its score as in `Suspect`."""

    cell: Cell
    source: str
    label: str
    suggested: str
    score: str
    description: str


@dataclass(frozen=True)
class SuspectPart:
    """The suspects of one part of the pictures.

    title   "train", "validation" or "test"
    judged  how many labels were judged; `count` of them look wrong, `pictures` are the first of those
    """

    title: str
    judged_by: str
    judged: int
    count: int
    pictures: list[SuspectTile]


@dataclass(frozen=True)
class LabelErrorsSection:
    """The labels that look wrong.

    accuracy  on pictures held out, in percent, where it is too low to judge labels; else ""
    unjudged  what could not be judged, and why
    command   that writes the table of all of them
    """

    atlases: Mapping[str, Atlas]
    zoom: int
    tile_width: int
    judged: int
    count: int
    accuracy: str
    parts: list[SuspectPart]
    unjudged: list[str]
    command: str
    remark: str


WAYS = {
    "margin over epochs": "judged while the network learned from them",
    "held out": "judged by the finished network, which had not learned from them",
    "out of fold": "each judged by the network of its fold, which had not learned from it",
    "left out": "each judged by a last layer that was solved without it",
}


def gather(context: ReportContext) -> LabelErrorsSection:
    """Judge the labels, and show the suspects."""
    found = context.run.label_errors(context.all_splits)
    datasets = dict(context.all_splits.items())
    shown: dict[str, list[Suspect]] = {part.part: [] for part in found.parts}
    for each in found.suspects:
        if len(shown[each.part]) < SHOWN:
            shown[each.part].append(each)
    images = [
        _pictures(datasets[part], [each.source for each in suspects])
        for part, suspects in shown.items()
        if suspects
    ]
    # Without a suspect there is no picture to show, but the sizes of some are asked for.
    every = torch.cat(images) if images else context.splits.train.images[:1]
    atlas = fitted_atlas(every, budget=MAX_ATLAS_CHARACTERS, side=64)
    parts, start = [], 0
    for part in found.parts:
        pictures = [
            _tile(each, atlas.cell(position))
            for position, each in enumerate(shown[part.part], start)
            if position < atlas.count
        ]
        start += len(shown[part.part])
        count = 0 if found.too_weak else int(part.suspect.sum())
        way = translate(WAYS[part.judged_by])
        parts.append(SuspectPart(part.part, way, len(part.order), count, pictures))
    return LabelErrorsSection(
        atlases={"suspects": atlas} if images else {},
        zoom=zoom(atlas, 64),
        tile_width=atlas.width,
        judged=found.count,
        count=len(found.suspects),
        accuracy=percent(found.accuracy) if found.too_weak and found.accuracy is not None else "",
        parts=parts,
        unjudged=list(found.unjudged),
        command=f"pellucid labels {shlex.quote(context.run.folder.resolve().name)}",
        remark=atlas.remark if images else "",
    )


def _pictures(dataset: Dataset, sources: Sequence[str]) -> Tensor:
    """The pictures of these sources, uint8 (N, C, H, W)."""
    places = {source: place for place, source in enumerate(dataset.sources)}
    pictures: Tensor = dataset.subset([places[source] for source in sources]).images[:]
    return pictures


def _tile(suspect: Suspect, cell: Cell) -> SuspectTile:
    description = translate(
        "%(source)s: labelled %(label)s, rather %(suggested)s",
        source=suspect.source, label=suspect.label, suggested=suspect.suggested_label,
    )  # fmt: skip
    return SuspectTile(
        cell, suspect.source, suspect.label, suspect.suggested_label, f"{suspect.score:.1f}", description
    )

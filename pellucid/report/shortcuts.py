"""The section on shortcuts: what simple cues tell of the class, and what the network does with a part."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pellucid.evaluation.intervals import Estimate
from pellucid.evaluation.shortcuts import CUES, EXAMPLES, THUMBNAIL, Shortcuts
from pellucid.formatting import percent
from pellucid.language import translate
from pellucid.plots import images
from pellucid.plots.images import Atlas, Cell, zoom
from pellucid.report.context import ReportContext

MAX_ATLAS_CHARACTERS = 300_000  # of the data URL that holds the pictures as each cue has them


@dataclass(frozen=True)
class SeenPicture:
    """A test picture as a cue has it, and whether it was told by that."""

    cell: Cell
    correct: bool
    description: str


@dataclass(frozen=True)
class CueRow:
    """What can be told by one thing: how much, and some pictures by which it was told.

    low, high   ends of the 95 % interval in percent; "" where there is none
    suspicious  whether it should not tell the class, and yet does
    """

    title: str
    share: str
    low: str
    high: str
    count: int
    suspicious: bool
    pictures: list[SeenPicture]


@dataclass(frozen=True)
class ShortcutsSection:
    """Simple cues beside the network, and the network on parts of pictures.

    learned, count  training pictures that cues were learned from, test pictures judged
    chance          accuracy of always answering the commonest class, in percent
    network         the network on whole pictures
    left_out        what could not be tried, each with the reason
    """

    atlases: Mapping[str, Atlas]
    zoom: int
    learned: int
    count: int
    chance: str
    network: CueRow
    cues: list[CueRow]
    suspicious: list[CueRow]
    parts: list[CueRow]
    left_out: list[tuple[str, str]]


def gather(context: ReportContext) -> ShortcutsSection:
    """Learn from each cue, and show some pictures as it has them."""
    found = context.shortcuts
    views = _views(found, context.splits.test.images)
    atlas = images.fitted_atlas(torch.cat(list(views.values())), budget=MAX_ATLAS_CHARACTERS)
    places, start = {}, 0
    for name, pictures in views.items():
        places[name] = [
            atlas.cell(place) for place in range(start, start + len(pictures)) if place < atlas.count
        ]
        start += len(pictures)
    sources = [context.splits.test.sources[index] for index in found.indices[:EXAMPLES].tolist()]

    def row(name: str, title: str, accuracy: Estimate, hits: Tensor, suspicious: bool) -> CueRow:
        ends = [percent(end, count=len(hits)) for end in accuracy.interval or ()] or ["", ""]
        seen = zip(places.get(name, []), hits.tolist(), sources, strict=False)
        return CueRow(
            title=title,
            share=percent(accuracy.value, count=len(hits)),
            low=ends[0],
            high=ends[1],
            count=len(hits),
            suspicious=suspicious,
            pictures=[SeenPicture(cell, right, f"{source}: {title}") for cell, right, source in seen],
        )

    titles = {name: str(title) for name, title in CUES.items()}
    if context.splits.test.channels == 1:
        titles["colour"] = translate("brightness")
    cues = [row(cue.name, titles[cue.name], cue.accuracy, cue.hits, cue.suspicious) for cue in found.cues]
    named = {"border": translate("the border alone"), "centre": translate("all but the border")}
    whole = context.one_class.right[found.indices]
    return ShortcutsSection(
        atlases={"shortcuts": atlas},
        zoom=zoom(atlas, 48),
        learned=found.learned,
        count=found.count,
        chance=percent(found.chance.value, count=found.count),
        network=row("whole", translate("whole pictures"), found.network, whole, False),
        cues=cues,
        suspicious=[cue for cue in cues if cue.suspicious],
        parts=[
            row(f"only-{view.name}", named[view.name], view.accuracy, view.hits, False)
            for view in found.views
        ],
        left_out=[(titles[name], str(reason)) for name, reason in found.left_out.items()],
    )


def _views(found: Shortcuts, test: Tensor) -> dict[str, Tensor]:
    """The first pictures judged, uint8 (E, C, H, W) each, whole and as each cue has them."""
    whole = test[found.indices[:EXAMPLES]]
    size = (whole.shape[2], whole.shape[3])
    small = functional.adaptive_avg_pool2d(whole.float(), THUMBNAIL)
    views = {
        "whole": whole,
        "colour": whole.float().mean(dim=(2, 3), keepdim=True).expand(whole.shape).to(torch.uint8),
        "thumbnail": functional.interpolate(small, size=size).to(torch.uint8),
        **{f"only-{view.name}": view.examples for view in found.views},
    }
    if any(cue.name == "border" for cue in found.cues):
        views["border"] = views["only-border"]
    return views

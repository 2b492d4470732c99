"""The section on a small change that turns a prediction into another."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from pellucid.explanation.counterfactual import CAVEAT, Counterfactual, counterfactuals
from pellucid.inference import passes_affordable
from pellucid.language import translate
from pellucid.plots import images
from pellucid.plots.images import Atlas, Cell, zoom
from pellucid.report.context import MAX_FURTHER_EXAMPLES, JudgedPicture, ReportContext, judged_picture

MAX_CLASSES, MIN_CLASSES = 9, 1  # target classes per picture, the likeliest; fewer for a large network
MAX_MULTIPLY_ADDS = 330_000_000_000  # of all searches together, at most
PASSES_PER_CLASS = 280  # of the network, to search for a change to one class, at most
MAX_ATLAS_CHARACTERS = 200_000  # of the data URL of the changed pictures


@dataclass(frozen=True)
class ChangeFound:
    """The smallest of the changes tried that make the network predict one class.

    amount    in pixels turned from black to white
    added, erased, covered  numbers of dabs of pen and rubber, and of regions covered
    after     the changed picture in the atlas; None where no change was confirmed or it did not fit
    traces    the pixels that differ, in the atlas; None likewise
    """

    prediction: str
    confirmed: bool
    amount: str
    added: int
    erased: int
    covered: int
    confidence: float
    after: Cell | None
    traces: Cell | None


@dataclass(frozen=True)
class ChangedPicture:
    """A test picture, the change to each of the other classes, and the smallest of these."""

    kind: str
    picture: JudgedPicture
    smallest: ChangeFound
    changes: list[ChangeFound]


@dataclass(frozen=True)
class CounterfactualSection:
    """A small change that turns each of some predictions into another.

    changed         number of predictions changed, of `examined`
    median          amount of change that took, in pixels; None where no prediction changed
    uses_covers     whether a change covers regions, as of colour pictures
    target_classes  number of other classes tried per picture, of `other_classes`
    """

    atlases: Mapping[str, Atlas]
    large_zoom: int
    small_zoom: int
    test_zoom: int
    rows: list[ChangedPicture]
    changed: int
    examined: int
    median: str | None
    uses_covers: bool
    other_classes: int
    target_classes: int
    remark: str
    caveat: str


def gather(context: ReportContext) -> CounterfactualSection:
    """A small change that turns each of some predictions into another, to each of the other classes."""
    classifier, test = context.run.classifier, context.splits.test
    searches = passes_affordable(classifier.network, test.images, MAX_MULTIPLY_ADDS) // PASSES_PER_CLASS
    chosen = context.further_examples[: max(2, min(MAX_FURTHER_EXAMPLES, searches // MAX_CLASSES))]
    number = max(MIN_CLASSES, min(MAX_CLASSES, searches // max(1, len(chosen))))
    found = []
    for example in chosen:
        order = context.evaluation.probabilities[example.index].argsort(descending=True).tolist()
        found.append(counterfactuals(classifier, test.images[example.index], order[1 : 1 + number]))
    tiles = [image for changes in found for change in changes for image in (change.changed, _traces(change))]
    coloured = torch.stack([tile.expand(3, -1, -1) if tile.shape[0] == 1 else tile for tile in tiles])
    atlas = images.fitted_atlas(coloured, budget=MAX_ATLAS_CHARACTERS, side=64)
    smallest = [min(changes, key=_least_first) for changes in found]
    amounts = [change.amount for change in smallest if change.confirmed]
    rows, position = [], 0
    for example, changes in zip(chosen, found, strict=True):
        cells = {id(change): position + 2 * place for place, change in enumerate(changes)}
        position += 2 * len(changes)
        ordered = [_change_found(each, atlas, cells[id(each)]) for each in sorted(changes, key=_least_first)]
        picture = judged_picture(context, example.index)
        rows.append(ChangedPicture(example.kind, picture, ordered[0], ordered))
    return CounterfactualSection(
        atlases={"test": context.pictures.atlas, "change": atlas},
        large_zoom=zoom(atlas, 112),
        small_zoom=zoom(atlas, 56),
        test_zoom=zoom(context.pictures.atlas, 112),
        rows=[row for row in rows if row.picture.cell],
        changed=len(amounts),
        examined=len(smallest),
        median=f"{median(amounts):.1f}" if amounts else None,
        uses_covers=any(edit.kind == "cover" for change in smallest for edit in change.edits),
        other_classes=len(classifier.classes) - 1,
        target_classes=min(number, len(classifier.classes) - 1),
        remark=atlas.remark,
        caveat=translate(CAVEAT),
    )


def _least_first(change: Counterfactual) -> tuple[bool, float]:
    return not change.confirmed, change.amount


def _change_found(change: Counterfactual, atlas: Atlas, position: int) -> ChangeFound:
    """One change as the page shows it: the picture after it, and what was added and erased."""
    added = sum(edit.kind == "add" for edit in change.edits)
    erased = sum(edit.kind == "erase" for edit in change.edits)
    visible = change.confirmed and position + 1 < atlas.count
    return ChangeFound(
        prediction=change.classes[change.target],
        confirmed=change.confirmed,
        amount=f"{change.amount:.1f}",
        added=added,
        erased=erased,
        covered=len(change.edits) - added - erased,
        confidence=float(change.after[change.target]),
        after=atlas.cell(position) if visible else None,
        traces=atlas.cell(position + 1) if visible else None,
    )


def _traces(change: Counterfactual) -> Tensor:
    """What was changed, over the darkened picture: orange where it got lighter, blue where darker."""
    before, after = (image.float().mean(dim=0) / 255 for image in (change.image, change.changed))
    rise = after - before  # (H, W), -1..1
    gray = before * 0.45
    lighter, darker = (torch.tensor(colour).float() / 255 for colour in ((239, 138, 60), (90, 165, 230)))
    strength = rise.abs().clamp(0, 1)[None]
    colour = torch.where(rise[None] > 0, lighter[:, None, None], darker[:, None, None])
    return ((gray * (1 - strength) + colour * strength) * 255).round().to(torch.uint8)

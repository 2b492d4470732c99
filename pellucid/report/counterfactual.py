"""The section on the smallest change that turns an answer into another."""

from statistics import median
from typing import Any

import torch
from torch import Tensor

from pellucid.explanation.counterfactual import CAVEAT as CHANGE_CAVEAT
from pellucid.explanation.counterfactual import Counterfactual, counterfactuals
from pellucid.explanation.faithfulness import PICTURES
from pellucid.language import translate
from pellucid.plots import images
from pellucid.plots.images import zoom
from pellucid.report.context import CHANGED, Material, cell, shown, telling_pictures, tile
from pellucid.report.evidence import affordable

WAYS, FEWEST_WAYS = 9, 4  # other classes each is led to, the likeliest; fewer for a large network
CHANGE_BUDGET = 200_000  # characters of the address that holds the changed pictures, at most


def change(material: Material) -> dict[str, Any]:
    """The smallest change that turns each of some answers into another; the shortest way to each class."""
    classes = material.run.classifier.classes
    share = affordable(material.run.classifier, material.splits.test) / PICTURES
    chosen = telling_pictures(material)[: max(2, int(CHANGED * share))]
    number = max(FEWEST_WAYS, int(WAYS * share))
    found = [_ways(material, index, number) for _, index in chosen]
    pictures = [image for ways in found for way in ways for image in (way.changed, _traces(way))]
    tiles = torch.stack([_coloured(picture) for picture in pictures])
    atlas = images.fitted_atlas(tiles, budget=CHANGE_BUDGET, side=64)
    smallest = [min(ways, key=lambda way: (not way.confirmed, way.amount)) for ways in found]
    turned = [way.amount for way in smallest if way.confirmed]
    rows: list[dict[str, Any]] = []
    place = 0
    for (why, index), ways, least in zip(chosen, found, smallest, strict=True):
        told = [_way(way, atlas, place + 2 * number) for number, way in enumerate(ways)]
        place += 2 * len(ways)
        order = sorted(range(len(ways)), key=lambda number: (not ways[number].confirmed, ways[number].amount))
        rows.append(
            {
                "why": why,
                "tile": tile(material, index),
                "least": told[ways.index(least)],
                "ways": [told[number] for number in order],
            }
        )
    return {
        **shown(material),
        "atlases": {"test": material.album.atlas, "change": atlas},
        "large": zoom(atlas, 112),
        "small": zoom(atlas, 56),
        "test_large": zoom(material.album.atlas, 112),
        "rows": [row for row in rows if row["tile"]["place"]],
        "turned": len(turned),
        "tried": len(smallest),
        "median": f"{median(turned):.1f}" if turned else None,
        "covers": any(edit.kind == "cover" for way in smallest for edit in way.edits),
        "others": len(classes) - 1,
        "shown_ways": min(number, len(classes) - 1),
        "remark": atlas.remark,
        "caveat": translate(CHANGE_CAVEAT),
    }


def _ways(material: Material, index: int, number: int) -> list[Counterfactual]:
    """The shortest way from the answer to each of `number` other classes, the likeliest first."""
    order = material.evaluation.probabilities[index].argsort(descending=True).tolist()
    wanted = order[1 : 1 + number]
    return counterfactuals(material.run.classifier, material.splits.test.images[index], wanted)


def _way(way: Counterfactual, atlas: images.Atlas, place: int) -> dict[str, Any]:
    """One change as the page shows it: the picture after it, and what was added and erased."""
    added = sum(edit.kind == "add" for edit in way.edits)
    erased = sum(edit.kind == "erase" for edit in way.edits)
    return {
        "to": way.classes[way.target],
        "confirmed": way.confirmed,
        "amount": f"{way.amount:.1f}",
        "added": added,
        "erased": erased,
        "covered": len(way.edits) - added - erased,
        "sure": float(way.after[way.target]),
        "after": cell(atlas, place) if way.confirmed and place + 1 < atlas.count else None,
        "traces": cell(atlas, place + 1) if way.confirmed and place + 1 < atlas.count else None,
    }


def _traces(way: Counterfactual) -> Tensor:
    """What was changed, over the darkened picture: orange where it got lighter, blue where darker."""
    before, after = (image.float().mean(dim=0) / 255 for image in (way.image, way.changed))
    rise = after - before  # (H, W), -1..1
    gray = before * 0.45
    lighter, darker = (torch.tensor(colour).float() / 255 for colour in ((239, 138, 60), (90, 165, 230)))
    strength = rise.abs().clamp(0, 1)[None]
    colour = torch.where(rise[None] > 0, lighter[:, None, None], darker[:, None, None])
    return ((gray * (1 - strength) + colour * strength) * 255).round().to(torch.uint8)


def _coloured(image: Tensor) -> Tensor:
    return image.expand(3, -1, -1) if image.shape[0] == 1 else image

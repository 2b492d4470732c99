"""Sections on single answers: guess them first, what would change them, what they are like."""

from statistics import median
from typing import Any

import torch
from torch import Tensor

from pellucid import drawing
from pellucid.drawing import zoom
from pellucid.evidence import affordable, drawn_map
from pellucid.explanation import DEFAULT_METHODS, explain
from pellucid.explanation.counterfactual import CAVEAT as CHANGE_CAVEAT
from pellucid.explanation.counterfactual import Counterfactual, changes_to_others
from pellucid.explanation.honesty import PICTURES
from pellucid.explanation.neighbours import CAVEAT as NEIGHBOUR_CAVEAT
from pellucid.explanation.neighbours import index_sample, nearest, strangeness
from pellucid.language import said
from pellucid.report.material import Material, cell, shown, tile

CHANGED = 6  # pictures changed: the three examples, then the worst mistakes; fewer for a large network
WAYS, FEWEST_WAYS = 9, 4  # other classes each is led to, the likeliest; fewer for a large network
CHANGE_BUDGET = 200_000  # characters of the address that holds the changed pictures, at most
ALIKE = 8
NEIGHBOUR_BUDGET = 130_000
GUESSED = 10
CHOICES = 10  # classes a reader can choose from


def change(material: Material) -> dict[str, Any]:
    """The smallest change that turns each of some answers into another; the shortest way to each class."""
    classes = material.run.classifier.classes
    share = affordable(material.run.classifier, material.splits.test) / PICTURES
    chosen = _telling(material)[: max(2, int(CHANGED * share))]
    number = max(FEWEST_WAYS, int(WAYS * share))
    found = [_ways(material, index, number) for _, index in chosen]
    pictures = [image for ways in found for way in ways for image in (way.changed, _traces(way))]
    tiles = torch.stack([_coloured(picture) for picture in pictures])
    atlas = drawing.fitted_atlas(tiles, budget=CHANGE_BUDGET, side=64)
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
        "covers": any(dab.kind == "cover" for way in smallest for dab in way.dabs),
        "others": len(classes) - 1,
        "shown_ways": min(number, len(classes) - 1),
        "remark": atlas.remark,
        "caveat": said(CHANGE_CAVEAT),
    }


def neighbours(material: Material) -> dict[str, Any]:
    """The training pictures the network holds most like some test pictures."""
    splits = material.splits
    share = affordable(material.run.classifier, material.splits.test) / PICTURES
    chosen = _telling(material)[: max(2, int(CHANGED * share))]
    index = index_sample(material.run.classifier, splits.train, splits.validation)
    images = splits.test.images[[number for _, number in chosen]]
    alike, unlike = nearest(index, images, ALIKE), strangeness(index, images)
    places = [one.index for row in alike for one in row]
    atlas = drawing.fitted_atlas(index.dataset.images[places], budget=NEIGHBOUR_BUDGET, side=64)
    rows = []
    for number, (why, test_index) in enumerate(chosen):
        told = tile(material, test_index)
        rows.append(
            {
                "why": why,
                "tile": told,
                "unlike": round(float(unlike[number])),
                "same": sum(one.label == told["true"] for one in alike[number]),
                "answered": sum(one.label == told["predicted"] for one in alike[number]),
                "alike": [
                    {
                        "place": cell(atlas, number * len(alike[number]) + rank),
                        "label": one.label,
                        "similarity": f"{one.similarity:.3f}",
                        "source": one.source,
                        "agrees": one.label == told["predicted"],
                    }
                    for rank, one in enumerate(alike[number])
                    if number * len(alike[number]) + rank < atlas.count
                ],
            }
        )
    return {
        **shown(material),
        "atlases": {"test": material.album.atlas, "alike": atlas},
        "large": zoom(atlas, 64),
        "test_large": zoom(material.album.atlas, 64),
        "rows": [row for row in rows if row["tile"]["place"]],
        "searched": len(index.dataset),
        "learned": len(splits.train),
        "strangest": max(rows, key=lambda row: row["unlike"])["unlike"] if rows else 0,
        "held_out": index.held_out,
        "remark": atlas.remark,
        "caveat": said(NEIGHBOUR_CAVEAT),
    }


def guess(material: Material) -> dict[str, Any]:
    """Some test pictures whose answer a reader guesses, before and after seeing a map of its evidence."""
    classifier, test, evaluation = material.run.classifier, material.splits.test, material.evaluation
    mistakes = [i for i in evaluation.mistakes[: GUESSED // 2].tolist() if i in material.album.places]
    right = [i for i in material.hardest_right if i in material.album.places][: GUESSED - len(mistakes)]
    generator = torch.Generator().manual_seed(material.run.recipe.seed)
    drawn = [*mistakes, *right]
    order = [drawn[place] for place in torch.randperm(len(drawn), generator=generator).tolist()]
    method = DEFAULT_METHODS[0]
    questions = []
    for index in order:
        told = tile(material, index)
        heat = explain(classifier, test.images[index], methods=[method]).heatmaps[method]
        classes = [evaluation.classes[k] for k in _choices(evaluation.probabilities[index])]
        questions.append(
            {"tile": told, "map": drawn_map(heat, said("evidence for its answer")), "choices": classes}
        )
    tested = {one["name"]: one["supported"] for one in material.tested["methods"]}
    return {
        **shown(material),
        "large": zoom(material.album.atlas, 168),
        "questions": questions,
        "method": said(method),
        "supported": tested.get(method, False),
        "mistakes": len(mistakes),
    }


def _telling(material: Material) -> list[tuple[str, int]]:
    """The three examples of the page, then further mistakes, the worst first."""
    known = [index for _, index in material.examples]
    rest = [index for index in material.evaluation.mistakes.tolist()[:CHANGED] if index not in known]
    return [*material.examples, *((said("mistake"), index) for index in rest)]


def _ways(material: Material, index: int, number: int) -> list[Counterfactual]:
    """The shortest way from the answer to each of `number` other classes, the likeliest first."""
    order = material.evaluation.probabilities[index].argsort(descending=True).tolist()
    wanted = order[1 : 1 + number]
    return changes_to_others(material.run.classifier, material.splits.test.images[index], wanted)


def _way(way: Counterfactual, atlas: drawing.Atlas, place: int) -> dict[str, Any]:
    """One change as the page shows it: the picture after it, and what was added and erased."""
    added = sum(dab.kind == "add" for dab in way.dabs)
    erased = sum(dab.kind == "erase" for dab in way.dabs)
    return {
        "to": way.classes[way.target],
        "confirmed": way.confirmed,
        "amount": f"{way.amount:.1f}",
        "added": added,
        "erased": erased,
        "covered": len(way.dabs) - added - erased,
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


def _choices(probabilities: Tensor) -> list[int]:
    """The classes a reader can choose from, in their order: all, or the likeliest of many."""
    chosen: list[int] = probabilities.argsort(descending=True)[:CHOICES].sort().values.tolist()
    return chosen

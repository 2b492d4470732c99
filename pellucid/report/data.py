"""The section on the pictures: what they are, how many of each class, and some of each."""

from typing import Any

import torch

from pellucid.data.dataset import Dataset, Origin
from pellucid.data.sources.reasons import translate_reason
from pellucid.files import read_json
from pellucid.language import translate
from pellucid.plots import images
from pellucid.plots.images import zoom
from pellucid.report.context import Material, cell

SHEET_BUDGET = 500_000  # characters of the address that holds the contact sheet, at most
SAMPLES = 10  # pictures of each class on the contact sheet
SHEET_CLASSES = 100


def data(material: Material) -> dict[str, Any]:
    """What the pictures are, how many of each class, and some of each."""
    splits, run = material.splits, material.run
    train = splits.train
    most = max(1, *train.counts.values())
    chosen = {name: _spread(train, label) for label, name in enumerate(train.classes[:SHEET_CLASSES])}
    order = [index for indices in chosen.values() for index in indices]
    leaking = read_json(run.folder / "evaluation.json").get("leaking", [])
    atlas = images.fitted_atlas(train.images[order], budget=SHEET_BUDGET, side=64)
    place = {index: number for number, index in enumerate(order[: atlas.count])}
    rows = [
        {
            "name": name,
            "counts": [part.counts.get(name, 0) for _, part in splits.items()],
            "share": train.counts[name] / most,
            "pictures": [cell(atlas, place[index]) for index in chosen.get(name, []) if index in place],
        }
        for name in train.classes
    ]
    return {
        "atlases": {"sheet": atlas},
        "remark": atlas.remark,
        "zoom": zoom(atlas, 64),
        "small": zoom(atlas, 32),
        "name": run.origin.name,
        "parts": [(name, len(part)) for name, part in splits.items()],
        "height": train.size[0],
        "width": train.size[1],
        "kind": translate("gray") if train.channels == 1 else translate("colour"),
        "classes": len(train.classes),
        "rows": rows,
        "fewest": min(train.counts.items(), key=lambda item: item[1]),
        "most": max(train.counts.items(), key=lambda item: item[1]),
        "reading": _reading(run.origin),
        "leaking": len(leaking),
        "leaking_sources": leaking,
        "without": material.evaluation.without(leaking) if leaking else None,
        "fingerprints": {name: part.fingerprint for name, part in splits.items()},
        "first_sources": [train.sources[index] for index in order[:1]],
    }


def _reading(origin: Origin) -> dict[str, Any] | None:
    """How own pictures were read, in the language of the page; None for a known data set."""
    if not origin.location:
        return None
    unreadable = [{"source": one.source, "reason": translate_reason(one.reason)} for one in origin.unreadable]
    read = origin.found - len(unreadable)
    return {"found": origin.found, "read": read, "unreadable": unreadable, "notes": origin.notes}


def _spread(dataset: Dataset, label: int) -> list[int]:
    """Some pictures of a class, taken at even distances through the data set."""
    mine = torch.nonzero(dataset.labels == label)[:, 0]
    places = torch.linspace(0, max(0, len(mine) - 1), min(SAMPLES, len(mine))).round().long()
    chosen: list[int] = mine[places].tolist()
    return chosen

"""Sections on the inside: what every layer makes of a picture, and whether the maps can be believed."""

from contextlib import suppress
from typing import Any

from pellucid import drawing
from pellucid.classifier import scaled
from pellucid.drawing import zoom
from pellucid.errors import PellucidError
from pellucid.explanation import DEFAULT_METHODS, record
from pellucid.layers import distinct, first_kernels, pictured_layers, silent_channels
from pellucid.report.material import Material, cell, shown, tile

LAYERS_BUDGET, RECEIVED_BUDGET = 1_000_000, 300_000  # characters of the addresses, at most
NAMED = 12  # scores that are named by their classes, at most


def layers(material: Material) -> dict[str, Any]:
    """What every layer makes of three telling test pictures."""
    network, test = material.run.classifier.network, material.splits.test
    chosen = [index for _, index in material.examples]
    images = test.images[chosen]
    received = drawing.fitted_atlas(images, budget=RECEIVED_BUDGET, side=224)
    recorded = distinct(record(network, scaled(images)))
    layers, atlases = pictured_layers(network, recorded, budget=LAYERS_BUDGET)
    if layers and layers[-1]["what"] == "units" and len(material.evaluation.classes) <= NAMED:
        layers[-1] |= _named(layers[-1], material.evaluation.classes)
    looked, silent, channels = silent_channels(network, test.images)
    kernels = first_kernels(network)
    return {
        **shown(material),
        "atlases": {
            "test": material.album.atlas,
            "received": received,
            **atlases,
            **({"kernels": kernels["atlas"]} if kernels else {}),
        },
        "received": [cell(received, number) for number in range(len(chosen))],
        "large": zoom(received, 168),
        "examples": [
            {"why": why, "tile": tile(material, index), "evidence": _evidence(material, example)}
            for example, (why, index) in enumerate(material.examples)
        ],
        "layers": layers,
        "kernels": kernels,
        "silent": silent,
        "channels": channels,
        "looked": looked,
    }


def honesty(material: Material) -> dict[str, Any]:
    """What the tests say of every kind of map."""
    return {**material.tested, "examples": [why for why, _ in material.examples]}


def _named(layer: dict[str, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    """The network's last layer, one unit a class: the classes stand below larger cells."""
    if any(len(grid["tiles"]) != len(classes) for grid in layer["grids"]):
        return {}
    return {"names": classes, "columns": len(classes), "zoom": 28}


def _evidence(material: Material, example: int) -> dict[str, Any] | None:
    """Where the evidence for the answer lies, and whether the tests support it; None without maps."""
    with suppress(PellucidError):
        method = next(method for method in material.tested["methods"] if method["name"] == DEFAULT_METHODS[0])
        return {**method["maps"][example], "supported": method["supported"]}
    return None

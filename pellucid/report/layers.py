"""What each layer puts out, one image a layer on one colour scale: the part of a page that looks inside."""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import PellucidError
from pellucid.explanation.activations import record
from pellucid.explanation.explanation import DEFAULT_METHODS
from pellucid.formatting import figure
from pellucid.inference import scaled
from pellucid.language import translate
from pellucid.plots.images import (
    SIGNED,
    VIRIDIS,
    Atlas,
    fitted_atlas,
    palette_atlas,
    scale_of,
    scale_places,
    zoom,
)
from pellucid.report.context import Material, cell, shown, tile

LOOKED = 500  # pictures on which silent channels are counted
VALUES_LOOKED = 300_000_000  # numbers those may put out in all
CHANNELS = 64  # shown of a layer, at most
UNITS = 256
SIDE = 56  # cells of a map shown, a side


def distinct(layers: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """The layers that change what came before: dropout, at rest when a network is used, is left out."""
    kept: list[tuple[str, Tensor]] = []
    for name, maps in layers.items():
        if not kept or maps.shape != kept[-1][1].shape or not torch.equal(maps, kept[-1][1]):
            kept.append((name, maps))
    return kept


def pictured_layers(
    network: nn.Module, layers: list[tuple[str, Tensor]], *, budget: int
) -> tuple[list[dict[str, Any]], dict[str, Atlas]]:
    """The layers as they are drawn, with their images, as long as there is room; the rest by name alone."""
    drawn, atlases, room = [], {}, budget
    for number, (name, outputs) in enumerate(layers):
        learned = _learns(network, name)
        layer, atlas = _layer(name, outputs, learned=learned)
        if atlas is not None and len(atlas.address) <= room:
            room -= len(atlas.address)
            layer["atlas"] = f"layer{number}"
            atlases[layer["atlas"]] = atlas
        drawn.append(layer)
    return drawn, atlases


def _layer(name: str, outputs: Tensor, *, learned: bool) -> tuple[dict[str, Any], Atlas | None]:
    """All channels of one layer for all examples (B, C, H, W) or (B, F) on one colour scale."""
    shape = " × ".join(str(number) for number in outputs.shape[1:])
    layer: dict[str, Any] = {
        "name": name,
        "shape": shape,
        "atlas": None,
        "what": "numbers",
        "grids": [],
        "names": (),
    }
    if outputs.dim() not in (2, 4) or not outputs.numel():
        return layer, None
    flat = outputs.dim() == 2
    shown = outputs[:, :UNITS, None, None] if flat else outputs[:, :CHANNELS]  # (B, C, H, W)
    low, high = scale_of(outputs)
    signed = low < 0
    low, high = (-max(-low, high), max(-low, high)) if signed else (low, high)
    size, target = shown.shape[2:], 14 if flat else 84 if shown.shape[1] <= 16 and learned else 42
    if max(size) > SIDE:
        height, width = (max(1, length * SIDE // max(size)) for length in size)
        shown = nn.functional.adaptive_avg_pool2d(shown, (height, width))
    places = scale_places(shown.flatten(0, 1), low, high)
    atlas = palette_atlas(places, shown.shape[1], SIGNED if signed else VIRIDIS)
    layer |= {
        "what": "units" if flat else "maps",
        "says": translate("%(count)s units", count=f"{outputs.shape[1]:,}")
        if flat
        else translate(
            "%(count)s channels of %(size)s", count=f"{outputs.shape[1]:,}", size=f"{size[1]} × {size[0]}"
        ),
        "left_out": outputs.shape[1] - shown.shape[1],
        "shrunk": max(size) > SIDE,
        "low": figure(low),
        "high": figure(high),
        "scale": "signed" if signed else "viridis",
        "empty": not high > low,
        "columns": 20 if flat else 4 if target == 84 else 8,
        "zoom": zoom(atlas, target),
        "grids": [_grid(maps, signed=signed) for maps in shown],
    }
    return layer, atlas


def _learns(network: nn.Module, name: str) -> bool:
    """Whether a layer has weights: a pooling or a flattening has none."""
    module = dict(network.named_modules()).get(name.partition("#")[0], network)
    return any(True for _ in module.parameters())


def _grid(maps: Tensor, *, signed: bool) -> dict[str, Any]:
    """One example's channels (C, H, W): the range of each, and which of them are silent."""
    flat = maps.flatten(1)
    ranges = list(zip(flat.amin(dim=1).tolist(), flat.amax(dim=1).tolist(), strict=True))
    silent = [high <= 0 and low >= 0 for low, high in ranges]
    strongest = int(flat.amax(dim=1).argmax())
    return {
        "tiles": [
            {"says": f"{channel}: {_range(low, high)}", "silent": quiet and not signed}
            for channel, ((low, high), quiet) in enumerate(zip(ranges, silent, strict=True))
        ],
        "silent": sum(silent),
        "strongest": f"{strongest} ({figure(ranges[strongest][1])})",
    }


def _range(low: float, high: float) -> str:
    if low == high:
        return translate("silent") if low == 0 else figure(low)
    return translate("%(low)s to %(high)s", low=figure(low), high=figure(high))


def first_kernels(network: nn.Module) -> dict[str, Any] | None:
    """The first layer's weights, when they are pictures of the input: (F, 1 or 3, h, w)."""
    name, weight = next(((n, w) for n, w in network.named_parameters() if w.dim() > 1), ("", None))
    if weight is None or weight.dim() != 4 or weight.shape[1] not in (1, 3):
        return None
    kernels = weight.detach().float()[:CHANNELS]  # (F, C, h, w)
    reach = float(kernels.abs().max())
    bands = kernels.flatten(0, 1)  # (F * C, h, w)
    places = scale_places(bands, -reach, reach)
    atlas = palette_atlas(places, kernels.shape[1], SIGNED)
    return {
        "atlas": atlas,
        "name": name,
        "number": len(weight),
        "shape": f"{weight.shape[3]} × {weight.shape[2]}",
        "colours": (translate("red"), translate("green"), translate("blue"))
        if kernels.shape[1] == 3
        else ("",),
        "zoom": zoom(atlas, 45 if kernels.shape[1] == 1 else 28),
        "says": [_range(float(kernel.min()), float(kernel.max())) for kernel in kernels],
        "reach": figure(reach),
    }


def silent_channels(network: nn.Module, images: Tensor) -> tuple[int, list[tuple[str, int, int]], int]:
    """(pictures looked at, layers with channels that none of them excites, channels in all).

    Only layers with maps and weights of their own count: a pooling is as silent as what it pools.
    """
    one = record(network, scaled(images[:1]))
    layers = [
        name for name, maps in one.items() if maps.dim() == 4 and "#" not in name and _learns(network, name)
    ]
    room = VALUES_LOOKED // sum(maps.numel() for maps in one.values())
    looked = min(len(images), max(3, min(LOOKED, room)))
    highest: dict[str, Tensor] = {}
    for part in torch.split(images[:looked], 50):
        recorded = record(network, scaled(part))
        for name in layers:
            peak = recorded[name].amax(dim=(0, 2, 3))  # (C,)
            highest[name] = torch.maximum(highest[name], peak) if name in highest else peak
    counted = [(name, int((peak <= 0).sum()), len(peak)) for name, peak in highest.items()]
    return looked, [entry for entry in counted if entry[1]], sum(number for _, _, number in counted)


LAYERS_BUDGET, RECEIVED_BUDGET = 1_000_000, 300_000  # characters of the addresses, at most
NAMED = 12  # scores that are named by their classes, at most


def layers(material: Material) -> dict[str, Any]:
    """What every layer makes of three telling test pictures."""
    network, test = material.run.classifier.network, material.splits.test
    chosen = [index for _, index in material.examples]
    images = test.images[chosen]
    received = fitted_atlas(images, budget=RECEIVED_BUDGET, side=224)
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

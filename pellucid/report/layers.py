"""The section on layers: the outputs of each, one image per layer on one colour scale."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pellucid.errors import PellucidError
from pellucid.explanation.activations import record
from pellucid.explanation.layer_names import LayerGroup, grouped, layer_title
from pellucid.explanation.layer_stats import NetworkStats
from pellucid.formatting import figure, percent
from pellucid.inference import scaled
from pellucid.language import translate
from pellucid.plots.images import (
    SIGNED,
    VIRIDIS,
    Atlas,
    Cell,
    fitted_atlas,
    palette_atlas,
    scale_of,
    scale_places,
    zoom,
)
from pellucid.report.context import JudgedPicture, ReportContext, judged_picture
from pellucid.report.evidence import EvidenceMap

MAX_LAYERS_CHARACTERS, MAX_RECEIVED_CHARACTERS = 1_000_000, 300_000  # of data URLs
MAX_NAMED_CLASSES = 12  # of a last layer whose units are named
MAX_CHANNELS, MAX_FOLDED_CHANNELS = 64, 16  # shown of a layer with maps; fewer where there are many layers
MAX_GRID_SIDE = 372  # pixels of one example's channels, three of which stand side by side
MAX_UNITS = 256  # shown of a layer without
MAX_MAP_SIDE = 56  # cells; a larger map is averaged down


@dataclass(frozen=True)
class ChannelTile:
    """One channel's map of one example: its range in words, and whether it is zero everywhere."""

    description: str
    silent: bool


@dataclass(frozen=True)
class ChannelGrid:
    """All channels of a layer for one example, how many are silent, and which is the strongest."""

    tiles: list[ChannelTile]
    silent: int
    strongest: str


@dataclass(frozen=True)
class LayerPicture:
    """One layer as a page draws it: all channels of all examples on one colour scale.

    title        its name as a person reads it
    shape        of the output for one picture, as text
    kind         "maps", "units", or "numbers" for what cannot be drawn
    description  number and size of the channels or units, as text
    atlas        name of the atlas that holds it; None where it cannot be drawn or did not fit
    left_out     number of channels that are not shown
    shrunk       whether maps were averaged down
    low, high    the values at the ends of the colour scale
    scale        "viridis" or "signed"
    empty        whether all outputs are equal
    classes      the classes of its units, in order; empty but for a last layer of few classes
    """

    name: str
    title: str
    shape: str
    kind: str = "numbers"
    description: str = ""
    atlas: str | None = None
    left_out: int = 0
    shrunk: bool = False
    low: str = ""
    high: str = ""
    scale: str = "viridis"
    empty: bool = False
    columns: int = 1
    zoom: int = 1
    grids: tuple[ChannelGrid, ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FirstKernels:
    """The first layer's weights, drawn as pictures of the input.

    number        how many kernels there are
    descriptions  the range of each kernel shown
    colours       names of each kernel's bands; one empty name for a gray network
    scale_limit   the value at the end of the colour scale
    """

    atlas: Atlas
    name: str
    title: str
    number: int
    shape: str
    colours: tuple[str, ...]
    zoom: int
    descriptions: list[str]
    scale_limit: str


@dataclass(frozen=True)
class SilentLayer:
    """A layer with dead channels, which put out the same on every picture: how many, of its `channels`."""

    name: str
    title: str
    silent: int
    channels: int


@dataclass(frozen=True)
class SilentChannels:
    """Layers with silent channels, the number of pictures checked, and of channels in all layers."""

    checked: int
    layers: list[SilentLayer]
    channels: int

    @property
    def limit(self) -> str:
        """The share of such pictures to which a silent channel may yet respond, with 95 % confidence: what
        none of so many leaves open, about three of them (Hanley and Lippman-Hand 1983)."""
        return percent(1 - 0.05 ** (1 / max(1, self.checked)))


@dataclass(frozen=True)
class LayersExample:
    """A test picture whose layers are shown: as the network received it, and the evidence.

    evidence   None where no map can be made
    supported  whether the map's method passed its tests
    """

    kind: str
    picture: JudgedPicture
    received: Cell
    evidence: EvidenceMap | None


@dataclass(frozen=True)
class LayersSection:
    """The outputs of every layer for the example pictures, the first kernels and the silent channels.

    method  of the evidence maps; "" where none can be made. `remark` says how it fared in its tests
    groups  the indices of layers that belong together: of several, all but the last are folded
    """

    atlases: Mapping[str, Atlas]
    large_zoom: int
    examples: list[LayersExample]
    layers: list[LayerPicture]
    groups: list[LayerGroup]
    kernels: FirstKernels | None
    silent: SilentChannels
    method: str
    remark: str


def gather(context: ReportContext) -> LayersSection:
    """The outputs of every layer for the example pictures, the first kernels and the silent channels."""
    network, test = context.run.classifier.network, context.splits.test
    images = test.images[[example.index for example in context.examples]]
    received = fitted_atlas(images, budget=MAX_RECEIVED_CHARACTERS, side=224)
    recorded = distinct(record(network, scaled(images)))
    layers, atlases = pictured_layers(network, recorded, budget=MAX_LAYERS_CHARACTERS)
    classes = context.evaluation.classes
    if layers and layers[-1].kind == "units" and len(classes) <= MAX_NAMED_CLASSES:
        layers[-1] = _with_classes(layers[-1], classes)
    silent = SilentChannels(0, [], 0)
    with suppress(Exception):  # the section on layer statistics says what went wrong
        silent = silent_channels(context.layer_statistics)
    kernels = first_kernels(network)
    maps: tuple[EvidenceMap | None, ...] = (None,) * len(images)
    method, remark = "", ""
    with suppress(PellucidError):  # the section on faithfulness says what went wrong
        preferred = context.evidence.preferred
        if preferred is not None:
            maps, method = preferred.maps, preferred.title
        remark = context.evidence.remark
    return LayersSection(
        atlases={
            "test": context.pictures.atlas,
            "received": received,
            **atlases,
            **({"kernels": kernels.atlas} if kernels else {}),
        },
        large_zoom=zoom(received, 168),
        examples=[
            LayersExample(
                kind=example.kind,
                picture=judged_picture(context, example.index),
                received=received.cell(number),
                evidence=maps[number],
            )
            for number, example in enumerate(context.examples)
        ],
        layers=layers,
        groups=grouped([layer.name for layer in layers]),
        kernels=kernels,
        silent=silent,
        method=method,
        remark=remark,
    )


def _with_classes(layer: LayerPicture, classes: tuple[str, ...]) -> LayerPicture:
    """The network's last layer, one unit a class: the classes stand below larger cells."""
    if any(len(grid.tiles) != len(classes) for grid in layer.grids):
        return layer
    return replace(layer, classes=classes, columns=len(classes), zoom=28)


def distinct(layers: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """The layers that change what came before: dropout, at rest when a network is used, is left out."""
    kept: list[tuple[str, Tensor]] = []
    for name, maps in layers.items():
        if not kept or maps.shape != kept[-1][1].shape or not torch.equal(maps, kept[-1][1]):
            kept.append((name, maps))
    return kept


def pictured_layers(
    network: nn.Module, layers: list[tuple[str, Tensor]], *, budget: int
) -> tuple[list[LayerPicture], dict[str, Atlas]]:
    """The layers as they are drawn, with their images up to `budget` characters; the rest by name alone.

    The last layer of each stage comes first, then those inside.
    """
    drawn: dict[int, LayerPicture] = {}
    atlases, characters_left = {}, budget
    groups = grouped([name for name, _ in layers])
    last, inner = (
        [group.indices[-1] for group in groups],
        [at for group in groups for at in group.indices[:-1]],
    )
    channels = MAX_FOLDED_CHANNELS if inner else MAX_CHANNELS
    for number in [*last, *inner]:
        name, outputs = layers[number]
        layer, atlas = _pictured(name, outputs, channels, learned=_has_weights(network, name))
        if atlas is not None and len(atlas.address) <= characters_left:
            characters_left -= len(atlas.address)
            atlases[f"layer{number}"] = atlas
            layer = replace(layer, atlas=f"layer{number}")
        drawn[number] = layer
    return [drawn[number] for number in range(len(layers))], atlases


def _pictured(
    name: str, outputs: Tensor, channels: int, *, learned: bool
) -> tuple[LayerPicture, Atlas | None]:
    """Up to so many channels of one layer for all examples (B, C, H, W) or (B, F) on one colour scale."""
    shape = " × ".join(str(number) for number in outputs.shape[1:])
    if outputs.dim() not in (2, 4) or not outputs.numel():
        return LayerPicture(name, layer_title(name), shape), None
    flat = outputs.dim() == 2
    shown = outputs[:, :MAX_UNITS, None, None] if flat else outputs[:, :channels]  # (B, C, H, W)
    low, high = scale_of(outputs)
    signed = low < 0
    low, high = (-max(-low, high), max(-low, high)) if signed else (low, high)
    size, side = shown.shape[2:], 14 if flat else 84 if shown.shape[1] <= 16 and learned else 42
    if max(size) > MAX_MAP_SIDE:
        height, width = (max(1, length * MAX_MAP_SIDE // max(size)) for length in size)
        shown = nn.functional.adaptive_avg_pool2d(shown, (height, width))
    places = scale_places(shown.flatten(0, 1), low, high)
    atlas = palette_atlas(places, shown.shape[1], SIGNED if signed else VIRIDIS)
    count, size_text = f"{outputs.shape[1]:,}", f"{size[1]} × {size[0]}"
    layer = LayerPicture(
        name=name,
        title=layer_title(name),
        shape=shape,
        kind="units" if flat else "maps",
        description=translate("%(count)s units", count=count)
        if flat
        else translate("%(count)s channels of %(size)s", count=count, size=size_text),
        left_out=outputs.shape[1] - shown.shape[1],
        shrunk=max(size) > MAX_MAP_SIDE,
        low=figure(low),
        high=figure(high),
        scale="signed" if signed else "viridis",
        empty=not high > low,
        columns=20
        if flat
        else min(4 if side == 84 else 8, MAX_GRID_SIDE // (shown.shape[3] * zoom(atlas, side))),
        zoom=zoom(atlas, side),
        grids=tuple(_grid(maps, signed=signed) for maps in shown),
    )
    return layer, atlas


def _has_weights(network: nn.Module, name: str) -> bool:
    """Whether a layer has weights: a pooling or a flattening has none."""
    module = dict(network.named_modules()).get(name.partition("#")[0], network)
    return any(True for _ in module.parameters())


def _grid(maps: Tensor, *, signed: bool) -> ChannelGrid:
    """One example's channels (C, H, W): the range of each, and which of them are silent."""
    flat = maps.flatten(1)
    ranges = list(zip(flat.amin(dim=1).tolist(), flat.amax(dim=1).tolist(), strict=True))
    silent = [high <= 0 and low >= 0 for low, high in ranges]
    strongest = int(flat.amax(dim=1).argmax())
    return ChannelGrid(
        tiles=[
            ChannelTile(f"{channel}: {_range(low, high)}", quiet and not signed)
            for channel, ((low, high), quiet) in enumerate(zip(ranges, silent, strict=True))
        ],
        silent=sum(silent),
        strongest=f"{strongest} ({figure(ranges[strongest][1])})",
    )


def _range(low: float, high: float) -> str:
    if low == high:
        return translate("silent") if low == 0 else figure(low)
    return translate("%(low)s to %(high)s", low=figure(low), high=figure(high))


def first_kernels(network: nn.Module) -> FirstKernels | None:
    """The first layer's weights, when they are pictures of the input: (F, 1 or 3, h, w)."""
    name, weight = next(((n, w) for n, w in network.named_parameters() if w.dim() > 1), ("", None))
    if weight is None or weight.dim() != 4 or weight.shape[1] not in (1, 3):
        return None
    kernels = weight.detach().float()[:MAX_CHANNELS]  # (F, C, h, w)
    limit = float(kernels.abs().max())
    bands = kernels.flatten(0, 1)  # (F * C, h, w)
    atlas = palette_atlas(scale_places(bands, -limit, limit), kernels.shape[1], SIGNED)
    colours = (translate("red"), translate("green"), translate("blue"))
    return FirstKernels(
        atlas=atlas,
        name=name,
        title=layer_title(name.removesuffix(".weight")),
        number=len(weight),
        shape=f"{weight.shape[3]} × {weight.shape[2]}",
        colours=colours if kernels.shape[1] == 3 else ("",),
        zoom=zoom(atlas, 45 if kernels.shape[1] == 1 else 28),
        descriptions=[_range(float(kernel.min()), float(kernel.max())) for kernel in kernels],
        scale_limit=figure(limit),
    )


def silent_channels(stats: NetworkStats) -> SilentChannels:
    """The channels that are dead: none of the pictures changes what they put out."""
    judged = [layer for layer in stats.layers if layer.judged]
    silent = [
        SilentLayer(layer.name, layer_title(layer.name), len(layer.dead), layer.channels)
        for layer in judged
        if layer.dead
    ]
    return SilentChannels(stats.pictures, silent, sum(layer.channels for layer in judged))

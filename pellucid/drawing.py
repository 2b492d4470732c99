"""Numbers to charts and tensors to pictures.

Charts for pages are SVG whose text stays text; pictures are PNG in data addresses. `plot_*` give
matplotlib figures for notebooks.
"""

import base64
import io
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pellucid.evaluation import Bin, Evaluation, wilson
from pellucid.language import said
from pellucid.training import Epoch

# Viridis at 33 even places (S. van der Walt and N. Smith): even in lightness, so readable in gray. Straight
# lines between them stay within 4 of 255 of the full table.
_ANCHORS = """
440154 470d60 48186a 482374 472d7b 453781 424086 3e4989 3b528b 375b8d 33638d
2f6b8e 2c728e 297a8e 26828e 23898e 21918c 1f988b 1fa088 22a785 28ae80 32b67a
3fbc73 4ec36b 5ec962 70cf57 84d44b 98d83e addc30 c2df23 d8e219 ece51b fde725
"""
VIRIDIS = tuple(tuple(bytes.fromhex(anchor)) for anchor in _ANCHORS.split())
# Signed values: blue against, orange for, gray where there is nothing.
SIGNED = ((33, 102, 172), (103, 169, 207), (190, 205, 215), (225, 225, 225), (235, 205, 170), (239, 138, 60),
          (179, 88, 6))  # fmt: skip

KINDS = ("training", "validation")
ATLAS_SIDE = 3_200  # pixels, at most: 10 million in all, which every browser decodes
Colours = Sequence[tuple[int, ...]]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Atlas:
    """Pictures of one size side by side in one image, so that a page holds each of them once.

    address        the image as "data:image/...": picture n stands in column n % columns, row n // columns
    width, height  of one picture in pixels
    count          how many pictures there are
    remark         what was given up to fit, in words; empty when nothing was
    """

    address: str
    columns: int
    width: int
    height: int
    count: int
    remark: str = ""


def palette_atlas(places: Pixels, columns: int, colours: Colours = VIRIDIS) -> Atlas:
    """Pictures (N, h, w) of `scale_places` as one image of exactly those colours."""
    table = coloured(torch.arange(256), 0, 255, colours=colours)  # (256, 3)
    number, height, width = places.shape
    sheet = _side_by_side(places, columns)
    return Atlas(address(encoded_png(sheet, palette=table)), columns, width, height, number)


def fitted_atlas(images: Tensor, *, budget: int, side: int = 64) -> Atlas:
    """Pictures uint8 (N, C, H, W) as one image whose address has at most `budget` characters.

    No picture is shown larger than `side` pixels. What is too much is given up in this order: shades (16 of
    gray; lossy compression of colour), half the size as often as needed, pictures from the end.
    """
    tiles = smaller(images, side)
    remarks = [] if tiles is images else [_at_size(tiles)]
    tiles = tiles[: (ATLAS_SIDE // tiles.shape[3]) * (ATLAS_SIDE // tiles.shape[2])]
    atlas = _atlas(tiles, exact=True)
    if len(atlas.address) > budget:
        remarks.append(said("in 16 shades of gray") if images.shape[1] == 1 else said("in lossy compression"))
        atlas = _atlas(tiles, exact=False)
    while len(atlas.address) > budget and min(tiles.shape[2:]) >= 32:
        tiles = smaller(tiles, max(tiles.shape[2:]) // 2)
        remarks[-1:] = [remarks[-1], _at_size(tiles)]
        atlas = _atlas(tiles, exact=False)
    while len(atlas.address) > budget and len(tiles) > 1:
        tiles = tiles[: max(1, int(len(tiles) * min(0.95, budget / len(atlas.address))))]
        atlas = _atlas(tiles, exact=False)
    if len(tiles) < len(images):
        remarks.append(said("%(shown)s of %(all)s pictures", shown=f"{len(tiles):,}", all=f"{len(images):,}"))
    return Atlas(atlas.address, atlas.columns, atlas.width, atlas.height, atlas.count, ", ".join(remarks))


def _at_size(tiles: Tensor) -> str:
    return said("at %(width)s × %(height)s pixels", width=tiles.shape[3], height=tiles.shape[2])


def zoom(atlas: Atlas, pixels: int) -> int:
    """How often to enlarge a picture so that it stays within so many pixels, a whole number."""
    return max(1, pixels // max(atlas.width, atlas.height))


def smaller(images: Tensor, side: int) -> Tensor:
    """uint8 (N, C, H, W) averaged down until no side exceeds `side`; the very same where none does."""
    longest = max(images.shape[2:])
    if longest <= side:
        return images
    size = [max(1, round(length * side / longest)) for length in images.shape[2:]]
    return functional.interpolate(images.float(), size, mode="area").round().to(torch.uint8)


def coloured(values: Tensor, low: float, high: float, *, colours: Colours = VIRIDIS) -> Pixels:
    """`values` of any shape as colours (..., 3) on a scale from `low` to `high`; all the lowest if equal."""
    table = np.linspace(0, 255, len(colours))
    places = scale_places(values, low, high, steps=65_280) / 256
    bands = [np.interp(places, table, [colour[band] for colour in colours]) for band in range(3)]
    return np.stack(bands, axis=-1).round().astype(np.uint8)


def scale_places(values: Tensor, low: float, high: float, *, steps: int = 255) -> NDArray[Any]:
    """Where `values` stand on a scale from `low` (0) to `high` (`steps`), rounded; all 0 if equal."""
    kind = np.uint8 if steps <= 255 else np.uint16
    if not high > low:
        return np.zeros(values.shape, dtype=kind)
    share = ((values.double() - low) / (high - low)).nan_to_num(0).clamp(0, 1)
    return (share * steps).round().numpy().astype(kind)


def picture(image: Tensor) -> Pixels:
    """A uint8 picture (C, H, W) as pixels (H, W, 3)."""
    pixels = image.movedim(0, -1).numpy()  # (H, W, C)
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels[..., :3]


def address(content: bytes, kind: str = "png") -> str:
    """An image file's bytes inside an address that needs no file: "data:image/png;base64,..."."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def coloured_address(pixels: Pixels) -> str:
    """Coloured pixels (h, w, 3) as a PNG inside an address."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return address(file.getvalue())


def encoded_png(pixels: Pixels, *, bits: int = 8, palette: Pixels | None = None) -> bytes:
    """Pixels (h, w) as a PNG file: gray of 8 or 4 `bits`, or places in a `palette` (256, 3)."""
    height, width = pixels.shape
    rows = pixels
    if bits == 4:
        shades: Pixels = ((pixels.astype(np.uint16) + 8) // 17).astype(np.uint8)
        shades = np.pad(shades, ((0, 0), (0, width % 2)))
        rows = (shades[:, ::2] << 4 | shades[:, 1::2]).astype(np.uint8)
    header = struct.pack(">IIBBBBB", width, height, bits, 0 if palette is None else 3, 0, 0, 0)
    unfiltered = np.pad(rows, ((0, 0), (1, 0))).tobytes()  # each row begins with a 0: no filter
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(unfiltered, 6)), (b"IEND", b"")]
    if palette is not None:
        chunks.insert(1, (b"PLTE", palette.tobytes()))
    framed = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _atlas(tiles: Tensor, *, exact: bool) -> Atlas:
    number, channels, height, width = tiles.shape
    columns = max(1, min(number, ATLAS_SIDE // width, math.ceil(math.sqrt(number * height / width))))
    if channels == 1:
        sheet = _side_by_side(tiles[:, 0].numpy(), columns)
        return Atlas(address(encoded_png(sheet, bits=8 if exact else 4)), columns, width, height, number)
    sheet = _side_by_side(tiles.movedim(1, -1).numpy(), columns)
    file, kind = io.BytesIO(), "png" if exact else "webp"
    Image.fromarray(sheet).save(file, kind, **({} if exact else {"quality": 60, "method": 2}))
    return Atlas(address(file.getvalue(), kind), columns, width, height, number)


def _side_by_side(tiles: NDArray[Any], columns: int) -> Pixels:
    """Tiles (N, h, w, ...) in rows of `columns`, without gaps; empty places are 0."""
    number, height, width, *bands = tiles.shape
    rows = math.ceil(number / columns)
    padded = np.zeros((rows * columns, height, width, *bands), dtype=np.uint8)
    padded[:number] = tiles
    grid = padded.reshape(rows, columns, height, width, *bands).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(rows * height, columns * width, *bands))


def sheet_columns(channels: int) -> int:
    """In how many columns to lay maps out: 16 as 4x4, 32 as 8 wide, as the course page does."""
    return 4 if channels <= 16 else 8 if channels <= 64 else 16


def line_chart(title: str, history: list[Epoch], names: tuple[str, str], *, unit: str) -> str:
    """Two curves by epoch, training dashed and validation whole, the best epoch marked, as inline SVG.

    unit  "nats": from zero up; "share": 0..1 shown in percent, up to 100 %
    """
    width, height, left, right, top, bottom = 560, 296, 52, 92, 46, 40
    series = [_finite_by_epoch(history, name) for name in names]
    low, high, ticks = _value_axis([value for values in series for value in values.values()], unit)
    last = max(2, len(history))

    def x(epoch: int) -> float:
        return left + (epoch - 1) / (last - 1) * (width - left - right)

    def y(value: float) -> float:
        return top + (high - min(max(value, low), high)) / (high - low) * (height - top - bottom)

    parts = [_text(0, 14, title, "start", "name")]
    for value in ticks:
        label = f"{value * 100:.4g} %" if unit == "share" else f"{value:.3g}"
        parts.append(f'<path class="grid" d="M{left} {y(value):.1f}H{width - right}"/>')
        parts.append(_text(left - 8, y(value) + 4, label, "end"))
    for place in _whole_ticks(last if len(history) > 1 else 1):
        parts.append(_text(x(place), height - bottom + 20, str(place), "middle"))
    best = next((epoch for epoch in reversed(history) if epoch.best), None)
    if best is not None:
        parts.append(f'<path class="best" d="M{x(best.epoch):.1f} {top - 18}V{height - bottom}"/>')
        anchor = "end" if x(best.epoch) > width / 2 else "start"
        nudge = -6 if anchor == "end" else 6
        parts.append(
            _text(
                x(best.epoch) + nudge, top - 9, said("best: %(epoch)s", epoch=best.epoch), anchor, "tick mark"
            )
        )
    curves = [(kind, values) for kind, values in zip(KINDS, series, strict=True) if values]
    ends = _apart([y(list(values.values())[-1]) + 4 for _, values in curves])
    for (kind, values), end in zip(curves, ends, strict=True):
        points = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in values.items())
        parts.append(f'<polyline class="{kind}" points="{points}"/>')
        for epoch, value in values.items():
            told = said(
                "epoch %(epoch)s: %(kind)s %(value)s", epoch=epoch, kind=said(kind), value=f"{value:.4f}"
            )
            parts.append(_dot((x(epoch), y(value)), 2.75, kind, told))
        parts.append(_text(x(max(values)) + 10, end, said(kind), "start", f"label {kind}"))
    return _chart(title, width, height, parts)


def reliability_chart(bins: list[Bin]) -> str:
    """How often answers of like confidence were right, with 95 % intervals, against the diagonal of honest
    confidence, as SVG. Both axes begin where the answers do."""
    size, left, right, top, bottom = 340, 52, 14, 34, 48
    reached = min([1.0, *(min(part.confidence, part.accuracy) for part in bins)])
    low = max(0.0, min(0.9, math.floor(reached * 10 - 0.25) / 10))
    span_x, span_y = size - left - right, size - top - bottom

    def at(confidence: float, accuracy: float) -> tuple[float, float]:
        across, up = ((max(low, value) - low) / (1 - low) for value in (confidence, accuracy))
        return left + across * span_x, top + (1 - up) * span_y

    parts = [_text(0, 14, said("Right, by how sure it was"), "start", "name")]
    for share in _ticks(low, 1.0):
        across, up = at(share, share)
        parts.append(f'<path class="grid" d="M{left} {up:.1f}H{size - right}"/>')
        parts.append(_text(across, size - bottom + 19, f"{share * 100:.3g} %", "middle"))
        parts.append(_text(left - 8, up + 4, f"{share * 100:.3g} %", "end"))
    (x0, y0), (x1, y1) = at(low, low), at(1, 1)
    parts.append(f'<path class="honest" d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"/>')
    for part in bins:
        below, above = wilson(part.accuracy, part.count)
        across, up = at(part.confidence, part.accuracy)
        reach = f"M{across:.1f} {at(0, below)[1]:.1f}V{at(0, above)[1]:.1f}"
        parts.append(f'<path class="whisker" d="{reach}"/>')
        says = said(
            "%(count)s answers: %(sure)s sure, %(right)s right",
            count=f"{part.count:,}", sure=f"{part.confidence:.1%}", right=f"{part.accuracy:.1%}",
        )  # fmt: skip
        parts.append(_dot((across, up), 4.5, "validation", says))
    parts.append(_text(left + span_x / 2, size - 8, said("how sure it was"), "middle"))
    return _chart(said("Confidence and accuracy"), size, size, parts)


def distribution_chart(title: str, parts: dict[str, Tensor], *, top: float = 255.0) -> str:
    """How values 0..`top` of each part spread, as shares in 32 steps, as SVG: training dashed, the others
    whole; a curve is as high at its peak as the highest."""
    width, height, left, right, above, below = 560, 240, 6, 6, 46, 34
    bins = 32
    counts = {name: torch.histc(values.float(), bins, 0, top) for name, values in parts.items()}
    curves = {name: count / count.sum().clamp_min(1) for name, count in counts.items()}
    highest = max([1e-9, *(float(curve.max()) for curve in curves.values())])

    def at(step: float, share: float) -> str:
        x = left + step / bins * (width - left - right)
        return f"{x:.1f},{above + (1 - share / highest) * (height - above - below):.1f}"

    marks = {"train": "training", "validation": "validation", "test": "judged"}
    drawn = [_text(0, 14, title, "start", "name")]
    for number, (name, curve) in enumerate(curves.items()):
        kind, place = marks.get(name, "training"), width - 250 + number * 90
        drawn.append(f'<polyline class="{kind}" points="{place},30 {place + 18},30"/>')
        drawn.append(_text(place + 24, 34, said(name), "start", "label"))
        points = " ".join(at(step + 0.5, share) for step, share in enumerate(curve.tolist()))
        drawn.append(f'<polyline class="{kind}" points="{at(0, 0)} {points} {at(bins, 0)}"/>')
    drawn.append(f'<path class="axis" d="M{left} {height - below}H{width - right}"/>')
    for value in (0, 64, 128, 192, 255):
        x = left + value / top * (width - left - right)
        anchor = "start" if value == 0 else "end" if value == top else "middle"
        drawn.append(_text(x, height - below + 18, str(value), anchor))
    return _chart(title, width, height, drawn)


def interval_strip(low: float, share: float, high: float) -> str:
    """A share 0..1 with its interval on a scale up to 100 %, as SVG."""
    width, height, edge = 260, 44, 6
    floor = min(0.9, max(0.0, math.floor((low - 0.02) * 10) / 10)) if low < 0.98 else 0.95

    def x(value: float) -> float:
        return edge + (value - floor) / (1 - floor) * (width - 2 * edge)

    parts = [f'<path class="axis" d="M{edge} 14H{width - edge}"/>']
    for value, anchor in ((floor, "start"), ((floor + 1) / 2, "middle"), (1.0, "end")):
        parts.append(f'<path class="axis" d="M{x(value):.1f} 10V18"/>')
        parts.append(_text(x(value), 36, f"{value * 100:.3g} %", anchor))
    parts.append(f'<path class="range" d="M{x(low):.1f} 14H{x(high):.1f}"/>')
    says = said(
        "%(share)s right, 95 %% interval %(low)s to %(high)s",
        share=f"{share:.2%}", low=f"{low:.2%}", high=f"{high:.2%}",
    )  # fmt: skip
    parts.append(_dot((x(share), 14), 5, "share", says))
    return _chart(says, width, height, parts)


def _finite_by_epoch(history: list[Epoch], name: str) -> dict[int, float]:
    """A figure of each epoch that has it as a number."""
    values = {epoch.epoch: float(getattr(epoch, name)) for epoch in history}
    return {epoch: value for epoch, value in values.items() if math.isfinite(value)}


def _value_axis(finite: list[float], unit: str) -> tuple[float, float, list[float]]:
    """(low, high, round numbers between) of an axis that holds every value."""
    if unit == "share":
        lowest = min([0.995, *finite])
        ticks = _ticks(lowest, 1.0)
        if lowest < ticks[0] - 1e-9:
            ticks.insert(0, max(0.0, ticks[0] - (ticks[1] - ticks[0])))
        return ticks[0], 1.0, ticks
    highest = max([1e-3, *finite])
    ticks = _ticks(0.0, highest)
    if ticks[-1] < highest - 1e-9:
        ticks.append(ticks[-1] + ticks[1])
    return 0.0, ticks[-1], ticks


def _whole_ticks(last: int) -> list[int]:
    """At most seven whole numbers from 1 to `last`, far enough apart to be read."""
    step = next(step for step in _STEPS if (last - 1) / step <= 6)
    return [1, *(number for number in range(step, last + 1, step) if number > max(1, step / 2))]


_STEPS = [factor * 10**power for power in range(7) for factor in (1, 2, 5)]


def _apart(ends: list[float]) -> list[float]:
    """Two heights moved until a line of text fits between them."""
    if len(ends) < 2 or abs(ends[0] - ends[1]) >= 15:
        return ends
    middle, sign = sum(ends) / 2, 1 if ends[0] >= ends[1] else -1
    return [middle + 7.5 * sign, middle - 7.5 * sign]


def _chart(title: str, width: int, height: int, parts: list[str]) -> str:
    kind = "chart square" if width == height else "chart"
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    head = f'<svg class="{kind}" {size} role="img" aria-label="{escape(title)}">'
    return "".join([head, f"<title>{escape(title)}</title>", *parts, "</svg>"])


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _dot(place: tuple[float, float], radius: float, kind: str, says: str) -> str:
    circle = f'<circle class="{kind}" cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="{radius}">'
    return f"{circle}<title>{escape(says)}</title></circle>"


def plot_history(history: list[Epoch]) -> Any:
    """Loss and accuracy by epoch, best epoch marked, as a matplotlib figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    epochs = [epoch.epoch for epoch in history]
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, [getattr(epoch, name) for epoch in history], "--o", markersize=3, label="training")
        values = [getattr(epoch, f"val_{name}") for epoch in history]
        axes.plot(epochs, values, "-o", markersize=3, label="validation")
        for epoch in [epoch.epoch for epoch in history if epoch.best][-1:]:
            axes.axvline(epoch, color="gray", linewidth=0.8, label="best epoch")
        axes.set(xlabel="epoch", ylabel=name)
        axes.legend()
    return figure


def plot_confusion(evaluation: Evaluation) -> Any:
    """True classes by predicted ones, counts written in, as a matplotlib figure."""
    from matplotlib.figure import Figure

    number = len(evaluation.classes)
    figure = Figure(figsize=(2 + 0.5 * number, 1.5 + 0.5 * number), layout="constrained")
    axes = figure.subplots()
    axes.imshow(evaluation.confusion.double().log1p().numpy(), cmap="Blues")
    for true, row in enumerate(evaluation.confusion.tolist()):
        for predicted, count in enumerate(row):
            if count:
                axes.text(predicted, true, str(count), ha="center", va="center", fontsize=8)
    axes.set(xlabel="predicted", ylabel="true", xticks=range(number), yticks=range(number))
    axes.set_xticklabels(evaluation.classes)
    axes.set_yticklabels(evaluation.classes)
    return figure


def plot_feature_maps(maps: Tensor, *, title: str = "") -> Any:
    """All channels (C, H, W) of a layer on one printed colour scale, as a matplotlib figure."""
    from matplotlib.figure import Figure

    maps = maps if maps.dim() == 3 else maps.reshape(1, 1, -1)
    columns = sheet_columns(len(maps))
    rows = math.ceil(len(maps) / columns)
    figure = Figure(figsize=(columns * 1.1 + 1, rows * 1.1 + 0.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    low, high = scale_of(maps)
    shown: Any = None
    for place, cell in enumerate(axes):
        cell.axis("off")
        if place < len(maps):
            shown = cell.imshow(maps[place].numpy(), vmin=low, vmax=high, cmap="viridis")
            cell.set_title(str(place), fontsize=7, pad=2)
    figure.colorbar(shown, ax=list(axes), shrink=0.8)
    figure.suptitle(title)
    return figure


def plot_explanation(
    image: Tensor,
    heatmaps: dict[str, Tensor],
    maps: dict[str, Tensor],
    title: str,
    *,
    beside: dict[str, Tensor] | None = None,
) -> Any:
    """The picture, the evidence by method, other pictures by their captions, and all channels of every layer
    with maps: a matplotlib figure."""
    from matplotlib.figure import Figure

    layers = {name: layer for name, layer in maps.items() if layer.dim() == 3}
    others = list((beside or {}).items())
    heights = [
        2.4,
        *([1.5] if others else []),
        *(0.5 + 0.62 * math.ceil(len(layer) / 16) for layer in layers.values()),
    ]
    figure = Figure(figsize=(11, sum(heights) + 0.5), layout="constrained")
    figure.suptitle(title)
    strips = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    top = np.atleast_1d(strips[0].subplots(1, 1 + len(heatmaps)))
    top[0].imshow(picture(image))
    top[0].set_title("what the network received", fontsize=9)
    for cell, (name, heat) in zip(top[1:], heatmaps.items(), strict=True):
        reach = float(heat.abs().max())
        shown = cell.imshow(heat.numpy(), cmap="PuOr_r", vmin=-reach or -1, vmax=reach or 1)
        cell.set_title(f"evidence, {name}" if reach else f"no evidence, {name}", fontsize=9)
        strips[0].colorbar(shown, ax=cell, shrink=0.8)
    for cell in top:
        cell.axis("off")
    if others:
        row = np.atleast_1d(strips[1].subplots(1, max(8, len(others))))
        for cell, (caption, other) in zip(row, others, strict=False):
            cell.imshow(picture(other))
            cell.set_title(caption, fontsize=8)
        for cell in row:
            cell.axis("off")
    for strip, (name, layer) in zip(strips[-len(layers) :] if layers else [], layers.items(), strict=True):
        low, high = scale_of(layer)
        strip.suptitle(
            f"{name}: {len(layer)} channels, from {low:.3g} (dark) to {high:.3g} (bright)", fontsize=9
        )
        cell = strip.subplots()
        cell.axis("off")
        cell.imshow(_sheet(layer, 16).numpy(), vmin=low, vmax=high, cmap="viridis", interpolation="nearest")
    return figure


def _sheet(maps: Tensor, columns: int) -> Tensor:
    """Maps (N, h, w) side by side in one, not-a-number between them: one image is drawn in no time, a
    thousand take a minute."""
    count, height, width = maps.shape
    gap = max(1, round(max(height, width) / 12))
    rows = math.ceil(count / columns)
    down, across = height + gap, width + gap
    sheet = torch.full((rows * down - gap, columns * across - gap), float("nan"))
    for place, one in enumerate(maps):
        top, left = place // columns * down, place % columns * across
        sheet[top : top + height, left : left + width] = one
    return sheet


def png(figure: Any) -> bytes:
    """A matplotlib figure as the bytes of a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def scale_of(maps: Tensor) -> tuple[float, float]:
    """The colour scale of a layer: from zero, or below where values are negative, to its largest value."""
    return min(0.0, float(maps.min())), float(maps.max())


def _ticks(low: float, high: float) -> list[float]:
    """Four or five round numbers from `low` to `high`."""
    rough = (high - low) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [step * number for number in range(first, math.floor(high / step + 1e-9) + 1)]


def decades_chart(title: str, curves: dict[str, dict[int, float]]) -> str:
    """Curves by epoch on a scale of powers of ten, each named at its end, as inline SVG.

    curves  by name, a value above zero for each epoch; others are left out
    """
    width, height, left, right, top, bottom = 560, 296, 62, 110, 36, 40
    kept = {
        name: {epoch: value for epoch, value in curve.items() if 0 < value < math.inf}
        for name, curve in curves.items()
    }
    kept = {name: curve for name, curve in kept.items() if curve}
    powers = [math.log10(value) for curve in kept.values() for value in curve.values()] or [0.0]
    low, high = math.floor(min(powers)), max(math.ceil(max(powers)), math.floor(min(powers)) + 1)
    last = max([2, *(epoch for curve in kept.values() for epoch in curve)])

    def x(epoch: int) -> float:
        return left + (epoch - 1) / (last - 1) * (width - left - right)

    def y(value: float) -> float:
        return top + (high - math.log10(value)) / (high - low) * (height - top - bottom)

    parts = [_text(0, 14, title, "start", "name")]
    for power in range(low, high + 1, max(1, (high - low) // 5)):
        parts.append(f'<path class="grid" d="M{left} {y(10.0**power):.1f}H{width - right}"/>')
        parts.append(_text(left - 8, y(10.0**power) + 4, f"{10.0**power:g}", "end"))
    for place in _whole_ticks(last):
        parts.append(_text(x(place), height - bottom + 20, str(place), "middle"))
    ends = _spread_out({name: y(curve[max(curve)]) + 4 for name, curve in kept.items()})
    for number, (name, curve) in enumerate(kept.items()):
        points = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in sorted(curve.items()))
        parts.append(
            f'<polyline class="validation" style="opacity:{1 - 0.1 * (number % 6):.1f}" points="{points}"/>'
        )
        for epoch, value in curve.items():
            told = said("epoch %(epoch)s: %(kind)s %(value)s", epoch=epoch, kind=name, value=f"{value:.3g}")
            parts.append(_dot((x(epoch), y(value)), 2.5, "validation", told))
        parts.append(_text(x(max(curve)) + 10, ends[name], name, "start", "label"))
    return _chart(title, width, height, parts)


def _spread_out(heights: dict[str, float], *, line: float = 14) -> dict[str, float]:
    """Heights moved apart, the highest kept, until a line of text fits between any two."""
    placed: dict[str, float] = {}
    before = -math.inf
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        before = placed[name] = max(height, before + line)
    return placed


def text_map(heat: Tensor, *, side: int = 28) -> list[str]:
    """A signed map (h, w) in lines of characters: shades speak for, `-=%#` against, the fuller the more."""
    rows = heat[None, None]
    if max(heat.shape) > side:
        height, width = (max(1, length * side // max(heat.shape)) for length in heat.shape)
        size = (height, width)
        rows = functional.adaptive_avg_pool2d(rows, size)
    reach = float(rows.abs().max())
    if reach == 0:
        return ["no evidence"]
    steps = (rows[0, 0] / reach * 4).trunc().int() + 4  # 0..8
    return ["".join("#%=-·░▒▓█"[step] * 2 for step in row).rstrip() for row in steps.tolist()]

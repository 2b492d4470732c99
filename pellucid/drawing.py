"""Numbers to charts and tensors to pictures.

Charts for pages are SVG whose text stays text; pictures are PNG in data addresses. `plot_*` give
matplotlib figures for notebooks.
"""

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pellucid.evaluation import Bin, Evaluation
from pellucid.training import Epoch

# Viridis at nine even places (S. van der Walt and N. Smith): even in lightness, so readable in gray.
VIRIDIS = ((68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142), (31, 158, 137),
           (53, 183, 121), (109, 205, 89), (253, 231, 37))  # fmt: skip
# Signed values: blue against, orange for, gray where there is nothing.
SIGNED = ((33, 102, 172), (103, 169, 207), (190, 205, 215), (225, 225, 225), (235, 205, 170), (239, 138, 60),
          (179, 88, 6))  # fmt: skip

Pixels = NDArray[np.uint8]


def coloured(
    values: Tensor, low: float, high: float, *, colours: Sequence[tuple[int, ...]] = VIRIDIS
) -> Pixels:
    """`values` of any shape as colours (..., 3) on a scale from `low` to `high`; all the lowest if equal."""
    share = (
        ((values.double() - low) / (high - low)).clamp(0, 1).numpy() if high > low else np.zeros(values.shape)
    )
    places = np.linspace(0, 1, len(colours))
    bands = [np.interp(share, places, [colour[band] for colour in colours]) for band in range(3)]
    return np.stack(bands, axis=-1).round().astype(np.uint8)


def tiled(tiles: Pixels, columns: int, *, gap: int = 1) -> Image.Image:
    """Tiles (N, h, w) or (N, h, w, 3) side by side in rows of `columns`, on see-through gaps."""
    if tiles.ndim == 3:
        tiles = np.repeat(tiles[..., None], 3, axis=-1)
    number, height, width, _ = tiles.shape
    rows = math.ceil(number / columns)
    sheet = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 4), dtype=np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        sheet[top : top + height, left : left + width, :3] = tile
        sheet[top : top + height, left : left + width, 3] = 255
    return Image.fromarray(sheet)


def picture(image: Tensor) -> Pixels:
    """A uint8 picture (C, H, W) as pixels (H, W, 3)."""
    pixels = image.movedim(0, -1).numpy()  # (H, W, C)
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels[..., :3]


def data_address(image: Image.Image) -> str:
    """The picture as PNG inside an address that needs no file: "data:image/png;base64,..."."""
    if image.mode == "RGB" and _is_gray(image):
        image = image.convert("L")
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def sheet_columns(channels: int) -> int:
    """In how many columns to lay maps out: 16 as 4x4, 32 as 8 wide, as the course page does."""
    return 4 if channels <= 16 else 8 if channels <= 64 else 16


def line_chart(title: str, history: list[Epoch], names: tuple[str, str], *, unit: str) -> str:
    """Two curves by epoch, training dashed and validation whole, the best epoch marked, as inline SVG."""
    width, height, left, right, top, bottom = 560, 260, 56, 96, 18, 36
    series = [[float(getattr(epoch, name)) for epoch in history] for name in names]
    finite = [value for values in series for value in values if math.isfinite(value)] or [0.0]
    low, high = (0.0, max(finite) * 1.05) if unit == "nats" else (min(finite), 1.0)
    high = high if high > low else low + 1e-3
    last = max(2, len(history))

    def x(epoch: int) -> float:
        return left + (epoch - 1) / (last - 1) * (width - left - right)

    def y(value: float) -> float:
        return top + (high - min(max(value, low), high)) / (high - low) * (height - top - bottom)

    parts = []
    for value in _ticks(low, high):
        label = f"{value * 100:.3g} %" if unit == "share" else f"{value:.3g}"
        parts.append(f'<path class="grid" d="M{left} {y(value):.1f}H{width - right}"/>')
        parts.append(_text(left - 8, y(value) + 4, label, "end"))
    for place in sorted({1, last, *(round(1 + (last - 1) * k / 4) for k in range(5))}):
        parts.append(_text(x(place), height - 14, str(place), "middle"))
    parts.append(_text(width - right + 14, height - 14, "epoch"))
    best = next((epoch for epoch in reversed(history) if epoch.best), None)
    if best is not None:
        parts.append(f'<path class="best" d="M{x(best.epoch):.1f} {top}V{height - bottom}"/>')
        parts.append(_text(x(best.epoch), top - 5, f"best: {best.epoch}", "middle"))
    ends = [y(high if math.isnan(values[-1]) else values[-1]) + 4 for values in series if values]
    if len(ends) == 2 and abs(ends[0] - ends[1]) < 15:  # keep the two labels apart
        middle, sign = sum(ends) / 2, 1 if ends[0] >= ends[1] else -1
        ends = [middle + 7.5 * sign, middle - 7.5 * sign]
    for kind, values, end in zip(("training", "validation"), series, ends, strict=True):
        pairs = [(e, value) for e, value in zip(history, values, strict=True) if not math.isnan(value)]
        places = [(x(epoch.epoch), y(value)) for epoch, value in pairs]
        points = " ".join(f"{across:.1f},{up:.1f}" for across, up in places)
        parts.append(f'<polyline class="{kind}" points="{points}"/>')
        for (epoch, value), spot in zip(pairs, places, strict=True):
            parts.append(_dot(spot, 2.5, kind, f"epoch {epoch.epoch}: {kind} {value:.4f}"))
        parts.append(_text(x(history[-1].epoch) + 10, end, kind, "start", f"label {kind}"))
    return _chart(title, width, height, parts)


def reliability_chart(bins: list[Bin]) -> str:
    """How often answers of like confidence were right, against the diagonal of honest confidence, as SVG."""
    size, edge = 260, 40
    span = size - 2 * edge

    def at(confidence: float, accuracy: float) -> tuple[float, float]:
        return edge + confidence * span, size - edge - accuracy * span

    parts = [
        f'<path class="grid" d="M{edge} {size - edge}L{size - edge} {edge}"/>',
        f'<path class="axis" d="M{edge} {edge}V{size - edge}H{size - edge}"/>',
    ]
    for share in (0, 0.5, 1):
        across, up = at(share, share)
        parts.append(_text(across, size - edge + 16, f"{share:.0%}", "middle"))
        parts.append(_text(edge - 6, up + 4, f"{share:.0%}", "end"))
    for part in bins:
        says = f"{part.count:,} answers: {part.confidence:.1%} sure, {part.accuracy:.1%} right"
        parts.append(_dot(at(part.confidence, part.accuracy), 4.5, "validation", says))
    parts.append(_text(size / 2, size - 6, "how sure", "middle"))
    parts.append(_text(edge, edge - 14, "how often right", "middle"))
    return _chart("Confidence and accuracy", size, size, parts)


def _chart(title: str, width: int, height: int, parts: list[str]) -> str:
    kind = "chart square" if width == height else "chart"
    head = f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
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


def plot_explanation(image: Tensor, heatmaps: dict[str, Tensor], maps: dict[str, Tensor], title: str) -> Any:
    """The picture, the evidence by method, all channels of every layer with maps: a matplotlib figure."""
    from matplotlib.figure import Figure

    layers = {name: layer for name, layer in maps.items() if layer.dim() == 3}
    heights = [2.4, *(0.5 + 0.62 * math.ceil(len(layer) / 16) for layer in layers.values())]
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
    for strip, (name, layer) in zip(strips[1:], layers.items(), strict=True):
        low, high = scale_of(layer)
        strip.suptitle(
            f"{name}: {len(layer)} channels, from {low:.3g} (dark) to {high:.3g} (bright)", fontsize=9
        )
        axes = strip.subplots(math.ceil(len(layer) / 16), 16, squeeze=False).ravel()
        for place, cell in enumerate(axes):
            cell.axis("off")
            if place < len(layer):
                cell.imshow(layer[place].numpy(), vmin=low, vmax=high, cmap="viridis")
    return figure


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


def _is_gray(image: Image.Image) -> bool:
    pixels = torch.from_numpy(np.array(image))
    return bool((pixels == pixels[..., :1]).all())

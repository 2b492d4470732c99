"""matplotlib figures, for notebooks and PNG files."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.evaluation.evaluation import Evaluation
from pellucid.plots.images import picture, scale_of
from pellucid.training.loop import Epoch


def sheet_columns(channels: int) -> int:
    """The number of columns to lay maps out in: 4 for up to 16 maps, 8 for up to 64, else 16."""
    return 4 if channels <= 16 else 8 if channels <= 64 else 16


def plot_history(history: Sequence[Epoch]) -> Any:
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
    """Labels by predictions, counts written in, as a matplotlib figure."""
    from matplotlib.figure import Figure

    number = len(evaluation.classes)
    figure = Figure(figsize=(2 + 0.5 * number, 1.5 + 0.5 * number), layout="constrained")
    axes = figure.subplots()
    axes.imshow(evaluation.confusion.double().log1p().numpy(), cmap="Blues")
    for label, row in enumerate(evaluation.confusion.tolist()):
        for prediction, count in enumerate(row):
            if count:
                axes.text(prediction, label, str(count), ha="center", va="center", fontsize=8)
    axes.set(xlabel="prediction", ylabel="label", xticks=range(number), yticks=range(number))
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
    beside: Mapping[str, Tensor] | None = None,
    warnings: Mapping[str, str] | None = None,
) -> Any:
    """The picture, the evidence by method, other pictures by their captions, and all channels of every layer
    with maps: a matplotlib figure.

    warnings  by method, what to say above its map in red; nothing where it is empty
    """
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
        title = f"evidence, {name}" if reach else f"no evidence, {name}"
        warning = (warnings or {}).get(name, "")
        color = "firebrick" if warning else "black"
        cell.set_title(f"{title}\n{warning}" if warning else title, fontsize=9, color=color)
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

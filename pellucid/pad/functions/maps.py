"""Convolutions, pooling, padding and other sizes."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pellucid.pad.functions.table import (
    Table,
    index,
    refusal,
    register_in,
    sides,
)
from pellucid.pad.graph import Arguments, Graph, Source, Value, shape_of

TABLE: Table = {}
lowers = register_in(TABLE)


@lowers("conv1d", "conv2d", "conv3d", takes="input weight bias stride padding dilation groups")
def _convolution(graph: Graph, given: Arguments) -> Value:
    weight, bias = _weights(graph, given)
    count = len(shape_of(weight)) - 2
    stride, dilation = (sides(given[name], count) for name in ("stride", "dilation"))
    kernel, padding = list(shape_of(weight)[2:]), given["padding"]
    if isinstance(padding, str):  # of an odd number of pixels the larger half is added at the end
        spans = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
        padding = [span // 2 for span in spans] if padding == "same" else [0] * count
    image, first = graph.padded.get(given["input"], (given["input"], [0] * count))
    padding = [own + before for own, before in zip(sides(padding, count), first, strict=True)]
    before, after, source = shape_of(image), shape_of(graph.node), graph.source(weight)
    if count == 1:
        before, after = (*before[:2], 1, before[2]), (*after[:2], 1, after[2])
        stride, padding, dilation, kernel = [1, *stride], [0, *padding], [1, *dilation], [1, *kernel]
        source = graph.source(weight, lambda tensor: tensor.unsqueeze(2))
    elif count == 3:
        tap = padding[0] // dilation[0]
        if (before[2], after[2]) != (1, 1) or padding[0] % dilation[0] or tap >= kernel[0]:
            raise refusal(graph, "convolves maps, and volumes of depth 1 only")
        before, after = (*before[:2], *before[3:]), (*after[:2], *after[3:])
        stride, padding, dilation, kernel = stride[1:], padding[1:], dilation[1:], kernel[1:]
        source = graph.source(weight, lambda tensor: tensor[:, :, tap])
    tensors = [source] if bias is None else [source, graph.source(bias)]
    return _over_maps(
        graph, "conv2d", image, (before, after), tensors=tensors, kernel=kernel, stride=stride,
        padding=padding, dilation=dilation, groups=given["groups"],
    )  # fmt: skip


def _weights(graph: Graph, given: Arguments) -> tuple[Any, Any]:
    weight, bias = given["weight"], given["bias"]
    if not graph.fixed(weight) or (bias is not None and not graph.fixed(bias)):
        raise refusal(graph, "needs fixed weights of a convolution")
    return weight, bias


def _over_maps(
    graph: Graph,
    kind: str,
    image: Value,
    shapes: tuple[Sequence[int], Sequence[int]],
    *,
    tensors: Sequence[Source] = (),
    **attributes: Any,
) -> Value:
    """An operation on maps (N, C, H, W), in whatever shape they come, and the node's shape in the end.

    shapes  (N, C, H, W) before and after
    """
    before, after = shapes
    if len(before) != 4:
        raise refusal(graph, f"runs '{kind}' on maps (B, C, H, W); here they are {tuple(before)}")
    if before[0] != 1:
        attributes["slices"] = before[0]
    value = graph.put(kind, graph.view(image, before), shape=after, tensors=tensors, **attributes)
    return graph.view(value, shape_of(graph.node))


@lowers("conv_transpose2d", takes="input weight bias stride padding output_padding groups dilation")
def _transposed_convolution(graph: Graph, given: Arguments) -> Value:
    """Zeros between the cells, then a convolution with the kernel turned round."""
    weight, bias = _weights(graph, given)
    groups, kernel = given["groups"], list(shape_of(weight)[2:])
    stride, padding, dilation = (sides(given[name], 2) for name in ("stride", "padding", "dilation"))
    before, after = shape_of(given["input"]), shape_of(graph.node)
    indices: list[list[int] | None] = [None, None]
    for axis in (0, 1):
        front = dilation[axis] * (kernel[axis] - 1) - padding[axis]
        length = after[2 + axis] + dilation[axis] * (kernel[axis] - 1)
        cells = [divmod(at - front, stride[axis]) for at in range(length)]
        side = before[2 + axis]
        indices.append([cell if not rest and 0 <= cell < side else -1 for cell, rest in cells])

    def turned(tensor: Tensor) -> Tensor:
        inputs, outputs = tensor.shape[:2]
        parts = tensor.reshape(groups, inputs // groups, outputs, *kernel).transpose(1, 2)
        return parts.reshape(groups * outputs, inputs // groups, *kernel).flip(2, 3)

    spread_shape = (*before[:2], *(len(each) for each in indices[2:] if each is not None))
    spread = graph.put(
        "index", given["input"], shape=spread_shape, view=list(before), indices=indices, fill=0.0
    )
    tensors = [graph.source(weight, turned)] + ([] if bias is None else [graph.source(bias)])
    return _over_maps(
        graph, "conv2d", spread, (spread_shape, after), tensors=tensors, kernel=kernel, stride=[1, 1],
        padding=[0, 0], dilation=dilation, groups=groups,
    )  # fmt: skip


def _windows(graph: Graph, given: Arguments, kind: str, **attributes: Any) -> Value:
    """A pooling of maps, or of rows as maps of one row."""
    before, after = shape_of(given["self"]), shape_of(graph.node)
    if len(before) == 3:
        before, after = (*before[:2], 1, before[2]), (*after[:2], 1, after[2])
        attributes = {
            name: [0 if name == "padding" else 1, *value] if isinstance(value, list) else value
            for name, value in attributes.items()
        }
    return _over_maps(graph, kind, given["self"], (before, after), **attributes)


@lowers("max_pool1d", "max_pool2d", "max_pool2d_with_indices",
        takes="self kernel_size stride padding dilation ceil_mode")  # fmt: skip
def _max_pool(graph: Graph, given: Arguments) -> Value:
    count = len(shape_of(given["self"])) - 2
    kernel = sides(given["kernel_size"], count)
    return _windows(
        graph, given, "max_pool2d",
        kernel=kernel,
        stride=sides(given["stride"] or kernel, count),
        padding=sides(given["padding"], count),
        dilation=sides(given["dilation"], count),
        ceil=bool(given["ceil_mode"]),
    )  # fmt: skip


@lowers("avg_pool1d", "avg_pool2d",
        takes="self kernel_size stride padding ceil_mode count_include_pad divisor_override")  # fmt: skip
def _average_pool(graph: Graph, given: Arguments) -> Value:
    count = len(shape_of(given["self"])) - 2
    kernel = sides(given["kernel_size"], count)
    return _windows(
        graph, given, "avg_pool2d",
        kernel=kernel,
        stride=sides(given["stride"] or kernel, count),
        padding=sides(given["padding"], count),
        ceil=bool(given["ceil_mode"]),
        count_padding=bool(given["count_include_pad"]),
        divisor=given.get("divisor_override") or 0,
    )  # fmt: skip


@lowers("avg_pool3d", takes="self kernel_size stride")
def _average_channels(graph: Graph, given: Arguments) -> Value:
    """Over the first of three sides only, as a local response norm averages over channels."""
    (depth, *others), stride = sides(given["kernel_size"], 3), sides(given["stride"] or 0, 3)
    before, after = shape_of(given["self"]), shape_of(graph.node)
    if others != [1, 1] or stride != [1, 1, 1]:
        raise refusal(graph, "averages over maps, not over volumes")
    flat = [(*shape[:3], math.prod(shape[3:])) for shape in (before, after)]
    return _over_maps(
        graph, "avg_pool2d", given["self"], (flat[0], flat[1]), kernel=[depth, 1], stride=[1, 1],
        padding=[0, 0], ceil=False, count_padding=True, divisor=0,
    )  # fmt: skip


@lowers("adaptive_avg_pool1d", "adaptive_avg_pool2d", takes="self output_size")
def _adaptive_average_pool(graph: Graph, given: Arguments) -> Value:
    return _windows(graph, given, "adaptive_avg_pool2d")


@lowers("adaptive_max_pool1d", "adaptive_max_pool2d", takes="self output_size")
def _adaptive_max_pool(graph: Graph, given: Arguments) -> Value:
    return _windows(graph, given, "adaptive_max_pool2d")


@lowers("upsample_bilinear2d", "upsample_bilinear2d_aa",
        takes="input self output_size align_corners scale_factors scales_h scales_w")  # fmt: skip
def _resize(graph: Graph, given: Arguments) -> Value:
    image = given.get("input") or given["self"]
    before, after = shape_of(image), shape_of(graph.node)
    for scale, old, new in zip(_scales(given), before[2:], after[2:], strict=True):
        if scale is not None and abs(scale * old - new) > 1e-6:
            raise refusal(graph, f"resizes by factors that give whole sizes, not by {scale}")
    antialias = "aa" in str(graph.node.target)
    if antialias and given["align_corners"]:
        raise refusal(graph, "resizes with antialiasing or with aligned corners, not both")
    align = bool(given["align_corners"])
    return _over_maps(graph, "resize", image, (before, after), antialias=antialias, align_corners=align)


def _scales(given: Arguments) -> list[float | None]:
    factors = given.get("scale_factors")
    return list(factors) if factors else [given.get("scales_h"), given.get("scales_w")]


@lowers("upsample_nearest2d", takes="input self output_size scale_factors scales_h scales_w")
def _nearest(graph: Graph, given: Arguments) -> Value:
    image = given.get("input") or given["self"]
    before, after = shape_of(image), shape_of(graph.node)
    indices: list[list[int] | None] = [None, None]
    for scale, old, new in zip(_scales(given), before[2:], after[2:], strict=True):
        step = 1 / scale if scale else old / new
        indices.append([min(old - 1, int(at * step)) for at in range(new)])
    return index(graph, image, before, indices)


@lowers("pad", takes="self pad mode value")
def _pad(graph: Graph, given: Arguments) -> Value | None:
    """Zeros before a convolution become its own padding: its output's shape tells how many follow."""
    sizes, mode, fill = list(given["pad"]), given["mode"], given["value"] or 0.0
    readers = {str(reader.target) for reader in graph.node.users}
    left, _, top, _ = (*sizes, 0, 0, 0, 0)[:4]
    shape = shape_of(given["self"])
    zeros = mode == "constant" and not fill and len(shape) == 4 and len(sizes) <= 4 and min(sizes) >= 0
    if zeros and readers == {"aten.conv2d.default"}:
        graph.padded[graph.node] = given["self"], [top, left]
        return None
    indices: list[list[int] | None] = [None] * len(shape)
    for pair in range(len(sizes) // 2):
        before, after = sizes[2 * pair : 2 * pair + 2]
        side = shape[-1 - pair]
        indices[-1 - pair] = [_reflected(at, side, mode) for at in range(-before, side + after)]
    return index(graph, given["self"], shape, indices, fill=float(fill))


def _reflected(at: int, side: int, mode: str) -> int:
    """Which cell stands at a place beyond the edge; -1: none, what is filled in."""
    if 0 <= at < side:
        return at
    if mode == "reflect":
        at = abs(at) % (2 * side - 2)
        return at if at < side else 2 * side - 2 - at
    return {"constant": -1, "replicate": min(max(at, 0), side - 1), "circular": at % side}[mode]


@lowers("constant_pad_nd", takes="self pad value")
def _constant_pad(graph: Graph, given: Arguments) -> Value | None:
    return _pad(graph, {**given, "mode": "constant"})

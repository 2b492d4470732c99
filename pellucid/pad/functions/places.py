"""Functions that move numbers without changing any."""

import math

import torch

from pellucid.pad.functions.table import (
    Table,
    along,
    index,
    moved,
    refusal,
    register_in,
)
from pellucid.pad.graph import Arguments, Graph, Value, shape_of

TABLE: Table = {}
lowers = register_in(TABLE)


@lowers("alias", "clone", "contiguous", "detach", "flatten", "lift_fresh_copy", "reshape", "squeeze", "to",
        "to_copy", "unsqueeze", "unsafe_view", "view", "view_copy", "reshape_copy",
        takes="self size dim shape dims start_dim end_dim")  # fmt: skip
def _same(graph: Graph, given: Arguments) -> Value:
    """The same numbers in the same order, perhaps under another shape."""
    return graph.view(given["self"], shape_of(graph.node))


@lowers("dropout", "native_dropout", takes="input p train")
def _dropout(graph: Graph, given: Arguments) -> Value:
    if given["train"] is not False and given["p"]:
        raise refusal(graph, "draws no random numbers; this dropout works in evaluation mode, too")
    return graph.result(given["input"])


@lowers("slice", takes="self dim start end step")
def _slice(graph: Graph, given: Arguments) -> Value:
    side = shape_of(given["self"])[given["dim"]]
    chosen = list(range(side))[given["start"] : given["end"] : given["step"]]
    return along(graph, given["self"], given["dim"], chosen)


@lowers("select", takes="self dim index")
def _select(graph: Graph, given: Arguments) -> Value:
    side = shape_of(given["self"])[given["dim"]]
    return along(graph, given["self"], given["dim"], [given["index"] % side])


@lowers("split", "split_with_sizes", "unbind", "chunk", takes="self split_size split_sizes dim chunks")
def _split(graph: Graph, given: Arguments) -> None:
    """Its parts become operations where they are used."""
    dim, start, whole = given["dim"], 0, given["self"]
    graph.parts[graph.node] = []
    for part in graph.node.meta["val"]:
        count = part.shape[dim] if part.dim() == len(shape_of(whole)) else 1
        chosen = list(range(start, start + count))
        graph.parts[graph.node].append(
            lambda chosen=chosen: along(graph, whole, dim, chosen)  # type: ignore[misc]
        )
        start += count


@lowers("expand", "broadcast_to", takes="self size")
def _expand(graph: Graph, given: Arguments) -> Value:
    after, before = shape_of(graph.node), shape_of(given["self"])
    before = (*[1] * (len(after) - len(before)), *before)
    indices = [None if old == new else [0] * new for old, new in zip(before, after, strict=True)]
    return index(graph, given["self"], before, indices)


@lowers("repeat", takes="self repeats")
def _repeat(graph: Graph, given: Arguments) -> Value:
    before, times = shape_of(given["self"]), list(given["repeats"])
    before = (*[1] * (len(times) - len(before)), *before)
    indices = [list(range(side)) * count for side, count in zip(before, times, strict=True)]
    return index(graph, given["self"], before, indices)


@lowers("flip", takes="self dims")
def _flip(graph: Graph, given: Arguments) -> Value:
    shape = shape_of(given["self"])
    turned = {dim % len(shape) for dim in given["dims"]}
    indices = [list(range(side))[::-1] if dim in turned else None for dim, side in enumerate(shape)]
    return index(graph, given["self"], shape, indices)


@lowers("roll", takes="self shifts dims")
def _roll(graph: Graph, given: Arguments) -> Value:
    whole, dims = shape_of(given["self"]), list(given["dims"])
    shape, dims = (whole, dims) if dims else ((math.prod(whole),), [0])
    indices: list[list[int] | None] = [None] * len(shape)
    for dim, shift in zip(dims, given["shifts"], strict=True):
        side = shape[dim]
        indices[dim] = [(at - shift) % side for at in range(side)]
    return index(graph, given["self"], shape, indices)


@lowers("index_select", takes="self dim index")
def _index_select(graph: Graph, given: Arguments) -> Value:
    return along(graph, given["self"], given["dim"], graph.constant(given["index"]).tolist())


@lowers("index", "unsafe_index", takes="self indices")
def _index_by_tensors(graph: Graph, given: Arguments) -> Value:
    """By fixed indices of one dimension, or of several that follow each other."""
    shape, indices = shape_of(given["self"]), list(given["indices"])
    chosen = [dim for dim, each in enumerate(indices) if each is not None]
    if not chosen or chosen != list(range(chosen[0], chosen[-1] + 1)):
        raise refusal(graph, "takes indices of dimensions that follow each other")
    if not all(graph.fixed(indices[dim]) for dim in chosen):
        raise refusal(graph, "takes fixed indices, not those that depend on the picture")
    found = [graph.constant(indices[dim]) for dim in chosen]
    if any(each.dtype == torch.bool for each in found):
        raise refusal(graph, "takes indices, not masks")
    first, last = chosen[0], chosen[-1] + 1
    flat = torch.zeros((), dtype=torch.int64)
    for dim, each in zip(chosen, found, strict=True):
        flat = flat * shape[dim] + each % shape[dim]
    merged = (*shape[:first], math.prod(shape[first:last]), *shape[last:])
    kept: list[list[int] | None] = [None] * len(merged)
    kept[first] = flat.flatten().tolist()
    return index(graph, given["self"], merged, kept)


@lowers("unfold", takes="self dimension size step")
def _unfold(graph: Graph, given: Arguments) -> Value:
    """Windows along one dimension, which may overlap."""
    before, after, size = shape_of(given["self"]), shape_of(graph.node), given["size"]
    dim = given["dimension"] % len(before)
    chosen = [first * given["step"] + at for first in range(after[dim]) for at in range(size)]
    wide = (*before[:dim], len(chosen), *before[dim + 1 :])
    windows = graph.view(along(graph, given["self"], dim, chosen, after=wide),
                         (*before[:dim], after[dim], size, *before[dim + 1 :]))  # fmt: skip
    axes = [axis for axis in range(len(after)) if axis != dim + 1]
    return moved(graph, windows, [*axes, dim + 1])


@lowers("permute", takes="self dims")
def _permute(graph: Graph, given: Arguments) -> Value:
    return moved(graph, given["self"], list(given["dims"]))


@lowers("transpose", "t", takes="self dim0 dim1")
def _transpose(graph: Graph, given: Arguments) -> Value:
    axes = list(range(len(shape_of(given["self"]))))
    first, second = given.get("dim0", 0), given.get("dim1", -1)
    if len(axes) > 1:
        axes[first], axes[second] = axes[second], axes[first]
    return moved(graph, given["self"], axes)


@lowers("cat", "concat", "concatenate", takes="tensors dim")
def _cat(graph: Graph, given: Arguments) -> Value:
    after = shape_of(graph.node)
    parts = [each for each in given["tensors"] if math.prod(shape_of(each))]
    return graph.put("cat", *parts, outer=math.prod(after[: given["dim"] % len(after)]))


@lowers("full_like", "zeros_like", "ones_like", takes="self fill_value")
def _filled(graph: Graph, given: Arguments) -> Value:
    name = str(graph.node.target)
    number = given.get("fill_value", 1.0 if "ones" in name else 0.0)
    after = shape_of(graph.node)
    return graph.put(
        "constant", shape=after, tensors=[lambda state, computed: torch.full(after, float(number))]
    )

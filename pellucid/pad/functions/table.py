"""How functions of torch are written down with what they become, and what many of them need."""

from collections.abc import Callable, Sequence
from typing import Any

from pellucid.errors import UsageError
from pellucid.pad.graph import Arguments, Graph, Result, Value, shape_of, where

Convert = Callable[[Graph, Arguments], Value | None]
Table = dict[str, tuple[Convert, tuple[str, ...]]]  # by function: how, and which arguments it understands
Register = Callable[..., Callable[[Convert], Convert]]
LOWEST = -6e4  # stands for minus infinity before a softmax: about the lowest that 16 bits can hold


def register_in(table: Table) -> Register:
    """A decorator that puts a conversion into the table, under the names of its functions.

    It takes the names, and in `takes` the arguments that the conversion understands.
    """

    def lowers(*names: str, takes: str = "self") -> Callable[[Convert], Convert]:
        def register(convert: Convert) -> Convert:
            table.update({name: (convert, tuple(takes.split())) for name in names})
            return convert

        return register

    return lowers


def refusal(graph: Graph, sentence: str) -> UsageError:
    """What is raised for a call that the page's engine cannot run: what it can, and where the call stands."""
    return UsageError(f"The page's engine {sentence}: {where(graph.node)}.")


def sides(value: Any, count: int) -> list[int]:
    """One number for each of `count` sides, of which one alone stands for all."""
    each = [value] if isinstance(value, int) else list(value)
    return each * count if len(each) == 1 else each


def moved(graph: Graph, given: Value, axes: list[int]) -> Value:
    """Its dimensions in another order; those of one cell move without any number moving."""
    shape = shape_of(given)
    axes = [axis % len(shape) for axis in axes]
    after = [shape[axis] for axis in axes]
    large = [axis for axis in axes if shape[axis] > 1]
    if large == sorted(large):
        return graph.view(given, after)
    return graph.put("permute", given, shape=after, view=list(shape), axes=axes)


def index(
    graph: Graph,
    given: Value,
    shape: Sequence[int],
    indices: Sequence[list[int] | None],
    *,
    fill: float = 0.0,
    after: Sequence[int] | None = None,
) -> Value:
    """Of a value of that shape the cells of those indices, side by side; -1: `fill`."""
    kept = [
        None if each is None or each == list(range(side)) else each
        for each, side in zip(indices, shape, strict=True)
    ]
    after = shape_of(graph.node) if after is None else after
    if not any(each is not None for each in kept):
        return graph.view(given, after)
    return graph.put("index", given, shape=after, view=list(shape), indices=kept, fill=fill)


def along(
    graph: Graph, given: Value, dim: int, chosen: list[int], *, after: Sequence[int] | None = None
) -> Value:
    """Of one dimension the chosen cells."""
    shape = shape_of(given)
    indices: list[list[int] | None] = [None] * len(shape)
    if shape:
        indices[dim % len(shape)] = chosen
    return index(graph, given, shape, indices, after=after)


def dims_of(dims: Any, rank: int) -> list[int]:
    """Those named, or all where none is."""
    named = [dims] if isinstance(dims, int) else list(dims or range(rank))
    return sorted({dim % rank for dim in named}) if rank else []


def reduce(graph: Graph, kind: str, given: Value, dims: Any, *, after: Sequence[int] | None = None) -> Result:
    """The mean, sum or largest number over dimensions."""
    shape = shape_of(given)
    chosen = dims_of(dims, len(shape))
    after = shape_of(graph.node) if after is None else after
    if all(shape[dim] == 1 for dim in chosen):
        return graph.view(given, after)
    return graph.put(kind, given, shape=after, view=list(shape), dims=chosen)


def two(graph: Graph, kind: str, first: Any, second: Any, *, shape: Sequence[int] | None = None) -> Result:
    """An operation on two values, or on a value and a weight or a number."""
    operands = (first, second)
    values = [each for each in operands if isinstance(each, Result) or each in graph.values]
    fixed = [each for each in operands if each not in values and graph.fixed(each)]
    number = next((float(each) for each in operands if isinstance(each, int | float)), None)
    if shape is None and isinstance(first, Result):
        shape = first.shape
    return graph.put(
        kind,
        *values,
        shape=shape,
        tensors=[graph.source(each) for each in fixed],
        number=number,
        swapped=first not in values,
    )

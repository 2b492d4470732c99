"""Sums of products, norms, and what is taken over dimensions."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.pad.functions.table import (
    LOWEST,
    Table,
    dims_of,
    moved,
    reduce,
    refusal,
    register_in,
    two,
)
from pellucid.pad.graph import Arguments, Graph, Result, Source, Value, shape_of

TABLE: Table = {}
lowers = register_in(TABLE)


@lowers("linear", takes="input weight bias")
def _linear(graph: Graph, given: Arguments) -> Value:
    weight, bias = given["weight"], given["bias"]
    if not graph.fixed(weight) or (bias is not None and not graph.fixed(bias)):
        raise refusal(graph, "needs fixed weights of a linear layer")
    tensors = [graph.source(each) for each in (weight, bias) if each is not None]
    return graph.put("linear", given["input"], tensors=tensors)


@lowers("matmul", "bmm", "mm", "mv", takes="self other mat2 vec")
def _matmul(graph: Graph, given: Arguments) -> Value:
    first = given["self"]
    second = next(given[name] for name in ("other", "mat2", "vec") if name in given)
    if graph.fixed(second) and not graph.fixed(first) and len(shape_of(second)) == 2:
        return graph.put("linear", first, tensors=[graph.source(second, torch.Tensor.t)])
    return _product(graph, first, second, shape_of(graph.node))


def _product(graph: Graph, first: Value, second: Value, after: Sequence[int]) -> Result:
    """Matrices times matrices, broadcast over all dimensions but the last two."""
    left, right = list(shape_of(first)), list(shape_of(second))
    left = [1, *left] if len(left) == 1 else left
    right = [*right, 1] if len(right) == 1 else right
    rank = max(len(left), len(right))
    left, right = ([1] * (rank - len(shape)) + shape for shape in (left, right))
    return graph.put("matmul", first, second, shape=after, first=left, second=right)


@lowers("scaled_dot_product_attention",
        takes="query key value attn_mask dropout_p is_causal scale enable_gqa")  # fmt: skip
def _attention(graph: Graph, given: Arguments) -> Value:
    """As torch defines it: each product, the mask and the softmax a value of its own."""
    query, key, value, mask = (given[name] for name in ("query", "key", "value", "attn_mask"))
    if given["dropout_p"] or given["enable_gqa"]:
        raise refusal(graph, "knows attention without dropout and with as many keys as queries")
    queries, keys = shape_of(query), shape_of(key)
    batch = [max(sides) for sides in zip(queries[:-2], keys[:-2], strict=True)]
    after = (*batch, queries[-2], keys[-2])
    axes = [*range(len(keys) - 2), len(keys) - 1, len(keys) - 2]
    scores = _product(graph, query, moved(graph, key, axes), after)
    scale = given["scale"] if given["scale"] is not None else queries[-1] ** -0.5
    scores = two(graph, "mul", scores, float(scale))
    if given["is_causal"]:
        ahead = torch.ones(queries[-2], keys[-2]).triu(1) * LOWEST
        scores = graph.put(
            "add", scores, shape=after, tensors=[lambda state, computed: ahead], number=None, swapped=False
        )
    elif mask is not None and graph.fixed(mask):
        source = graph.source(mask, _added_mask)
        scores = graph.put("add", scores, shape=after, tensors=[source], number=None, swapped=False)
    elif mask is not None:
        scores = two(graph, "add", scores, mask, shape=after)
    shares = graph.put("softmax", scores, shape=after, count=after[-1], inner=1)
    return _product(graph, shares, value, shape_of(graph.node))


def _added_mask(mask: Tensor) -> Tensor:
    if mask.dtype == torch.bool:
        return torch.where(mask, 0.0, LOWEST)
    return mask.clamp(min=LOWEST)


@lowers("batch_norm", "native_batch_norm_legit_no_training",
        takes="input weight bias running_mean running_var training momentum eps cudnn_enabled")  # fmt: skip
def _batch_norm(graph: Graph, given: Arguments) -> Value:
    """Folded: in evaluation mode a batch norm is one factor and one term per channel."""
    if given.get("training") or given["running_mean"] is None:
        raise refusal(graph, "needs a batch norm with running statistics")
    shape = shape_of(given["input"])
    weight, bias, mean, variance = (
        None if given[name] is None else graph.source(given[name], torch.Tensor.double)
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    epsilon = float(given["eps"])

    def factor(state: Any, computed: Any) -> Tensor:
        scale = (variance(state, computed) + epsilon).rsqrt()  # type: ignore[misc]
        return scale if weight is None else scale * weight(state, computed)

    def term(state: Any, computed: Any) -> Tensor:
        offset = -mean(state, computed) * factor(state, computed)  # type: ignore[misc]
        return offset if bias is None else offset + bias(state, computed)

    slices: dict[str, Any] = {"slices": shape[0]} if shape[0] != 1 else {}
    return graph.put("affine", given["input"], tensors=[factor, term], **slices)


@lowers("layer_norm", takes="input normalized_shape weight bias eps cudnn_enable")
def _layer_norm(graph: Graph, given: Arguments) -> Value:
    count = math.prod(given["normalized_shape"])
    tensors = _norm_tensors(graph, given, count)
    epsilon = float(given["eps"])
    return graph.put("layer_norm", given["input"], tensors=tensors, count=count, each=1, epsilon=epsilon)


@lowers("group_norm", takes="input num_groups weight bias eps cudnn_enabled")
def _group_norm(graph: Graph, given: Arguments) -> Value:
    channels, *sides = shape_of(given["input"])[1:]
    each = math.prod(sides)
    tensors = _norm_tensors(graph, given, channels)
    count = channels // given["num_groups"] * each
    return graph.put(
        "group_norm", given["input"], tensors=tensors, count=count, each=each, epsilon=float(given["eps"])
    )


@lowers(
    "instance_norm",
    takes="input weight bias running_mean running_var use_input_stats momentum eps cudnn_enabled",
)
def _instance_norm(graph: Graph, given: Arguments) -> Value:
    if not given["use_input_stats"]:
        return _batch_norm(graph, given)
    return _group_norm(graph, {**given, "num_groups": shape_of(given["input"])[1]})


def _norm_tensors(graph: Graph, given: Arguments, count: int) -> list[Source]:
    """Factors and terms, ones and zeros where only one of them is there."""
    if given["weight"] is None and given["bias"] is None:
        return []
    found: list[Source] = []
    for name, otherwise in (("weight", 1.0), ("bias", 0.0)):
        if given[name] is None:
            found.append(lambda state, computed, fill=otherwise: torch.full((count,), fill))  # type: ignore[misc]
        elif not graph.fixed(given[name]):
            raise refusal(graph, "needs fixed weights of a normalisation")
        else:
            found.append(graph.source(given[name]))
    return found


@lowers("softmax", "log_softmax", "safe_softmax", takes="self dim half_to_float")
def _softmax(graph: Graph, given: Arguments) -> Value:
    shape, name = shape_of(graph.node), str(graph.node.target)
    dim = given["dim"] % max(1, len(shape))
    kind = "log_softmax" if "log" in name else "softmax"
    return graph.put(kind, given["self"], count=shape[dim], inner=math.prod(shape[dim + 1 :]))


@lowers("mean", takes="self dim keepdim")
def _mean(graph: Graph, given: Arguments) -> Value:
    shape, dims = shape_of(given["self"]), given.get("dim")
    if len(shape) == 4 and shape[0] == 1 and dims is not None and dims_of(dims, 4) == [2, 3]:
        return graph.put("adaptive_avg_pool2d", graph.view(given["self"], shape))
    return reduce(graph, "mean", given["self"], dims)


@lowers("sum", takes="self dim keepdim")
def _sum(graph: Graph, given: Arguments) -> Value:
    return reduce(graph, "sum", given["self"], given.get("dim"))


@lowers("amax", "amin", "max", "min", takes="self dim keepdim")
def _extreme(graph: Graph, given: Arguments) -> Value:
    kind = "amax" if "max" in str(graph.node.target) else "amin"
    return reduce(graph, kind, given["self"], given.get("dim"))  # where each stands is no value


@lowers("linalg_vector_norm", takes="self ord dim keepdim")
def _vector_norm(graph: Graph, given: Arguments) -> Value:
    whole, dims = given["self"], given["dim"]
    if given["ord"] == 2:
        square = two(graph, "mul", whole, whole, shape=shape_of(whole))
        return graph.put("sqrt", reduce(graph, "sum", square, dims))
    if given["ord"] == 1:
        return reduce(graph, "sum", graph.put("abs", whole, shape=shape_of(whole)), dims)
    raise refusal(graph, f"knows the norms of order 1 and 2, not {given['ord']}")


@lowers("var", "std", "var_mean", takes="self dim correction unbiased keepdim")
def _variance(graph: Graph, given: Arguments) -> Value:
    whole, after = given["self"], shape_of(graph.node)
    before, dims = shape_of(whole), dims_of(given["dim"], len(shape_of(whole)))
    kept = tuple(1 if dim in dims else side for dim, side in enumerate(before))
    correction = given.get("correction", int(given.get("unbiased", True)))
    correction = 1 if correction is None else correction
    count = math.prod(before[dim] for dim in dims) - correction
    mean = reduce(graph, "mean", whole, dims, after=kept)
    apart = two(graph, "sub", whole, mean, shape=before)
    total = reduce(graph, "sum", two(graph, "mul", apart, apart, shape=before), dims)
    value = two(graph, "div", total, float(count))
    if ".std." in str(graph.node.target):
        return graph.put("sqrt", value)
    graph.parts[graph.node] = [lambda: value, lambda: graph.view(mean, after)]
    return value

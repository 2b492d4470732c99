"""Operations: the closed list of what a lowered network is made of, as torch runs each.

assets/pad/operations.js runs the same list in the page, and is tested against this one.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pellucid.models.kernels.fused import max_pool_2x2

HALVING = {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0], "dilation": [1, 1], "ceil": False}


@dataclass(frozen=True)
class Operation:
    """One operation: values in, one value out.

    kind        a name of `KINDS`
    layer       the layer it belongs to, as `explanation.record` names it; a function outside of any layer
                is named "<module>.<function>"
    inputs      which values it reads: 0 is the picture, n + 1 the output of operation n
    tensors     which tensors of the program it uses, in the order its kind expects
    shape       of its output for one picture, of any number of dimensions: (C, H, W), (F,), (T, F), ...
    attributes  its numbers: stride, padding, ...
    spatial     whether its output is maps (C, H, W) that lie over the picture
    """

    kind: str
    layer: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    tensors: tuple[int, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    spatial: bool = False


Kind = Callable[[list[Tensor], list[Tensor], Operation], Tensor]


def _sliced(kind: Kind) -> Kind:
    """`kind` for maps (B, C, H, W) as well as for several of them in one picture, (B, N, C, H, W)."""

    def run(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
        if not operation.attributes.get("slices"):
            return kind(inputs, tensors, operation)
        maps = kind([inputs[0].flatten(0, 1)], tensors, operation)
        return maps.reshape(len(inputs[0]), *operation.shape)

    return run


def _run_conv2d(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
    given = operation.attributes
    image, bias, padding = inputs[0], tensors[1] if len(tensors) > 1 else None, given["padding"]
    after = [
        (cells - 1) * stride + (size - 1) * step + 1 - first - side
        for cells, stride, size, step, first, side in zip(
            operation.shape[-2:], given["stride"], given["kernel"], given["dilation"], padding,
            image.shape[2:], strict=True,
        )
    ]  # fmt: skip
    if any(last > first for last, first in zip(after, padding, strict=True)):
        (top, left), (bottom, right) = padding, (max(0, last) for last in after)
        image, padding = functional.pad(image, (left, right, top, bottom)), [0, 0]
    return functional.conv2d(
        image, tensors[0], bias, given["stride"], padding, given["dilation"], given["groups"]
    )


def _run_affine(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
    shape = (-1, *[1] * (inputs[0].dim() - 2))
    return inputs[0] * tensors[0].reshape(shape) + tensors[1].reshape(shape)


def _run_resize(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
    a = operation.attributes
    return functional.interpolate(
        inputs[0],
        operation.shape[-2:],
        mode="bilinear",
        antialias=a["antialias"],
        align_corners=a["align_corners"],
    )


def _run_max_pool2d(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
    a = operation.attributes
    if a == HALVING and not torch.is_grad_enabled():
        return max_pool_2x2(inputs[0])
    return functional.max_pool2d(inputs[0], a["kernel"], a["stride"], a["padding"], a["dilation"], a["ceil"])


def _run_avg_pool2d(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
    a = operation.attributes
    count, divisor = a["count_padding"], a["divisor"] or None
    return functional.avg_pool2d(inputs[0], a["kernel"], a["stride"], a["padding"], a["ceil"], count, divisor)


def _run_arithmetic(function: Callable[[Any, Any], Tensor]) -> Kind:
    def run(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
        rank = len(operation.shape)
        operands: list[Any] = [_aligned(value, rank) for value in inputs]
        operands += [tensor.reshape(_last(tensor.shape, rank)) for tensor in tensors]
        if len(operands) == 1:
            operands.append(operation.attributes["number"])
        if operation.attributes["swapped"]:
            operands.reverse()
        return function(*operands)

    return run


def _last(shape: Sequence[int], rank: int) -> list[int]:
    """The shape of a constant beside values of `rank` dimensions: without the batch of one in front."""
    return list(shape[max(0, len(shape) - rank) :])


def _aligned(value: Tensor, rank: int) -> Tensor:
    """A value (B, ...) with ones after B, until it has `rank` dimensions of its own."""
    return value.reshape(len(value), *[1] * (rank + 1 - value.dim()), *value.shape[1:])


def _run_where(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
    condition, first, second = (_aligned(value, len(operation.shape)) for value in inputs)
    return torch.where(condition != 0, first, second)


def _compared(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Tensor]:
    """Yes as 1, no as 0, in floats."""
    return lambda first, second: function(first, second).float()


def _run_function(function: Callable[..., Tensor], *names: str) -> Kind:
    def run(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
        return function(inputs[0], *[operation.attributes[name] for name in names])

    return run


def _run_cat(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
    count, outer = len(inputs[0]), operation.attributes["outer"]
    return torch.cat([value.reshape(count, outer, -1) for value in inputs], dim=2)


def _run_permute(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
    whole = inputs[0].reshape(len(inputs[0]), *operation.attributes["view"])
    return whole.permute(0, *(axis + 1 for axis in operation.attributes["axes"]))


def _run_index(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
    a = operation.attributes
    value = inputs[0].reshape(len(inputs[0]), *a["view"])
    for dim, indices in enumerate(a["indices"], 1):
        if indices is None:
            continue
        chosen = torch.tensor(indices, dtype=torch.int64)
        value = value.index_select(dim, chosen.clamp_min(0))
        if bool((chosen < 0).any()):
            outside = (chosen < 0).reshape([-1, *[1] * (value.dim() - 1 - dim)])
            value = torch.where(outside, torch.tensor(float(a["fill"])), value)
    return value


def _run_reduce(function: Callable[..., Tensor]) -> Kind:
    def run(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
        whole = inputs[0].reshape(len(inputs[0]), *operation.attributes["view"])
        return function(whole, dim=[dim + 1 for dim in operation.attributes["dims"]])

    return run


def _run_softmax(function: Callable[..., Tensor]) -> Kind:
    def run(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
        a = operation.attributes
        return function(inputs[0].reshape(len(inputs[0]), -1, a["count"], a["inner"]), dim=2)

    return run


def _run_matmul(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
    a = operation.attributes
    first = inputs[0].reshape(len(inputs[0]), *a["first"])
    return torch.matmul(first, inputs[1].reshape(len(inputs[1]), *a["second"]))


def _run_norm(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
    """Groups of `count` numbers, each brought to mean 0 and variance 1; then a factor and a term for every
    `each` numbers in turn."""
    a, count = operation.attributes, len(inputs[0])
    groups = inputs[0].reshape(count, -1, a["count"])
    normal = functional.layer_norm(groups, (a["count"],), eps=a["epsilon"])
    if not tensors:
        return normal
    factor, term = (tensor.flatten()[:, None] for tensor in tensors)
    return normal.reshape(count, -1, len(factor), a["each"]) * factor + term


def _run_constant(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
    return tensors[0].reshape(1, *operation.shape).expand(len(inputs[0]), *operation.shape)


SPREADING: dict[str, Kind] = {  # over maps, or over all that is there
    "conv2d": _sliced(_run_conv2d),
    "affine": _sliced(_run_affine),
    "resize": _sliced(_run_resize),
    "max_pool2d": _sliced(_run_max_pool2d),
    "avg_pool2d": _sliced(_run_avg_pool2d),
    "adaptive_avg_pool2d": _sliced(
        lambda inputs, tensors, operation: functional.adaptive_avg_pool2d(
            inputs[0],
            list(operation.shape[-2:]) if len(operation.shape) > 2 else 1,  # type: ignore[arg-type]
        )
    ),
    "adaptive_max_pool2d": _sliced(
        lambda inputs, tensors, operation: functional.adaptive_max_pool2d(
            inputs[0], list(operation.shape[-2:])
        )
    ),
    "layer_norm": _run_norm,
    "group_norm": _run_norm,
    "linear": lambda inputs, tensors, operation: functional.linear(inputs[0], *tensors),
    "matmul": _run_matmul,
    "mean": _run_reduce(torch.mean),
    "sum": _run_reduce(torch.sum),
    "amax": _run_reduce(torch.amax),
    "amin": _run_reduce(torch.amin),
    "softmax": _run_softmax(torch.softmax),
    "log_softmax": _run_softmax(torch.log_softmax),
}

POINTWISE: dict[str, Kind] = {  # one number at a time, or two
    "relu": _run_function(functional.relu),
    "leaky_relu": _run_function(functional.leaky_relu, "slope"),
    "elu": lambda inputs, tensors, operation: torch.ops.aten.elu(
        inputs[0], *(operation.attributes[name] for name in ("alpha", "scale", "input_scale"))
    ),
    "softplus": _run_function(functional.softplus, "beta", "threshold"),
    "mish": _run_function(functional.mish),
    "gelu": lambda inputs, tensors, operation: functional.gelu(
        inputs[0], approximate=operation.attributes["approximate"]
    ),
    "silu": _run_function(functional.silu),
    "sigmoid": _run_function(torch.sigmoid),
    "tanh": _run_function(torch.tanh),
    "hardsigmoid": _run_function(functional.hardsigmoid),
    "hardswish": _run_function(functional.hardswish),
    "clamp": _run_function(functional.hardtanh, "low", "high"),  # without a slope at its ends, as in the page
    "abs": _run_function(torch.abs),
    "exp": _run_function(torch.exp),
    "log": _run_function(torch.log),
    "sqrt": _run_function(torch.sqrt),
    "rsqrt": _run_function(torch.rsqrt),
    "sin": _run_function(torch.sin),
    "cos": _run_function(torch.cos),
    "erf": _run_function(torch.erf),
    "add": _run_arithmetic(operator.add),
    "sub": _run_arithmetic(operator.sub),
    "mul": _run_arithmetic(operator.mul),
    "div": _run_arithmetic(operator.truediv),
    "pow": _run_arithmetic(operator.pow),
    "prelu": _run_arithmetic(lambda value, slope: torch.where(value > 0, value, slope * value)),
    "maximum": _run_arithmetic(torch.maximum),
    "minimum": _run_arithmetic(torch.minimum),
    "gt": _run_arithmetic(_compared(operator.gt)),
    "ge": _run_arithmetic(_compared(operator.ge)),
    "eq": _run_arithmetic(_compared(operator.eq)),
    "where": _run_where,
}

MOVING: dict[str, Kind] = {  # the same numbers, elsewhere
    "cat": _run_cat,
    "view": lambda inputs, tensors, operation: inputs[0],
    "permute": _run_permute,
    "index": _run_index,
    "constant": _run_constant,
}

KINDS: dict[str, Kind] = {**SPREADING, **POINTWISE, **MOVING}


def run(operation: Operation, inputs: list[Tensor], tensors: list[Tensor]) -> Tensor:
    """The operation's output (B, *operation.shape), of inputs (B, ...)."""
    return KINDS[operation.kind](inputs, tensors, operation).reshape(len(inputs[0]), *operation.shape)


def multiply_adds(operation: Operation, shapes: Sequence[Sequence[int]]) -> int:
    """Multiplications of two numbers whose products are summed, for one picture; `shapes` are those of all
    values."""
    outputs, a = math.prod(operation.shape), operation.attributes
    if operation.kind == "linear":
        return outputs * shapes[operation.inputs[0]][-1]
    if operation.kind == "matmul":
        return outputs * int(a["first"][-1])
    if operation.kind == "conv2d":
        channels = shapes[operation.inputs[0]][-3] // a["groups"]
        return outputs * int(channels * math.prod(a["kernel"]))
    return 0

"""Operations: the closed list of what a lowered network is made of, as torch runs each.

assets/pad/operations.js runs the same list in the page, and is tested against this one.
"""

import operator
from collections.abc import Callable
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
    shape       of its output, without the batch: (C, H, W) or (F,)
    attributes  its numbers: stride, padding, ...
    """

    kind: str
    layer: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    tensors: tuple[int, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)


Kind = Callable[[list[Tensor], list[Tensor], Operation], Tensor]


def _run_conv2d(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
    given = operation.attributes
    image, bias, padding = inputs[0], tensors[1] if len(tensors) > 1 else None, given["padding"]
    after = [
        (cells - 1) * stride + (size - 1) * step + 1 - first - side
        for cells, stride, size, step, first, side in zip(
            operation.shape[1:], given["stride"], given["kernel"], given["dilation"], padding,
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
        other: Any = operation.attributes["number"]
        second = inputs[1] if len(inputs) > 1 else tensors[0] if tensors else other
        return function(second, inputs[0]) if operation.attributes["swapped"] else function(inputs[0], second)

    return run


def _run_function(function: Callable[..., Tensor], *names: str) -> Kind:
    def run(inputs: list[Tensor], tensors: list[Tensor], operation: Operation) -> Tensor:
        return function(inputs[0], *[operation.attributes[name] for name in names])

    return run


KINDS: dict[str, Kind] = {
    "conv2d": _run_conv2d,
    "linear": lambda inputs, tensors, operation: functional.linear(inputs[0], *tensors),
    "affine": _run_affine,
    "resize": lambda inputs, tensors, operation: functional.interpolate(
        inputs[0], operation.shape[1:], mode="bilinear", antialias=operation.attributes["antialias"]
    ),
    "max_pool2d": _run_max_pool2d,
    "avg_pool2d": _run_avg_pool2d,
    "adaptive_avg_pool2d": lambda inputs, tensors, operation: functional.adaptive_avg_pool2d(
        inputs[0],
        operation.shape[1:] if len(operation.shape) == 3 else 1,
    ).reshape(len(inputs[0]), *operation.shape),
    "adaptive_max_pool2d": lambda inputs, tensors, operation: functional.adaptive_max_pool2d(
        inputs[0], list(operation.shape[1:])
    ),
    "relu": _run_function(functional.relu),
    "leaky_relu": _run_function(functional.leaky_relu, "slope"),
    "gelu": lambda inputs, tensors, operation: functional.gelu(
        inputs[0], approximate=operation.attributes["approximate"]
    ),
    "silu": _run_function(functional.silu),
    "sigmoid": _run_function(torch.sigmoid),
    "tanh": _run_function(torch.tanh),
    "hardsigmoid": _run_function(functional.hardsigmoid),
    "hardswish": _run_function(functional.hardswish),
    "clamp": _run_function(torch.clamp, "low", "high"),
    "add": _run_arithmetic(operator.add),
    "sub": _run_arithmetic(operator.sub),
    "mul": _run_arithmetic(operator.mul),
    "div": _run_arithmetic(operator.truediv),
    "cat": lambda inputs, tensors, operation: torch.cat(inputs, dim=1),
    "view": lambda inputs, tensors, operation: inputs[0].reshape(len(inputs[0]), *operation.shape),
    "softmax": _run_function(torch.softmax, "dim"),
    "log_softmax": _run_function(torch.log_softmax, "dim"),
}

"""Functions of one number at a time, or of two."""

from typing import Any

import torch
from torch import Tensor

from pellucid.pad.functions.table import (
    LOWEST,
    Table,
    refusal,
    register_in,
    two,
)
from pellucid.pad.graph import Arguments, Graph, Value, shape_of

TABLE: Table = {}
lowers = register_in(TABLE)


def _activation(name: str, kind: str = "", *, takes: str = "self", **attributes: str | float) -> None:
    """A function of one number; `attributes`: the arguments that it takes, or numbers."""

    def convert(graph: Graph, given: Arguments) -> Value:
        found: Arguments = {
            key: given[each] if isinstance(each, str) else each for key, each in attributes.items()
        }
        return graph.put(kind or name, given[takes.split()[0]], **found)

    names = [each for each in attributes.values() if isinstance(each, str)]
    lowers(name, takes=" ".join([takes, *names]))(convert)


for _name in ("relu", "silu", "mish", "sigmoid", "tanh", "hardsigmoid", "hardswish", "abs", "exp", "log",
              "sqrt", "rsqrt", "sin", "cos", "erf"):  # fmt: skip
    _activation(_name)
_activation("leaky_relu", slope="negative_slope")
_activation("gelu", approximate="approximate")
_activation("elu", alpha="alpha", scale="scale", input_scale="input_scale")
_activation("selu", "elu", alpha=1.6732632423543772, scale=1.0507009873554805, input_scale=1.0)
_activation("softplus", beta="beta", threshold="threshold")
_activation("hardtanh", "clamp", low="min_val", high="max_val")
_activation("relu6", "clamp", low=0.0, high=6.0)


@lowers("celu", takes="self alpha")
def _celu(graph: Graph, given: Arguments) -> Value:
    alpha = float(given["alpha"])
    return graph.put("elu", given["self"], alpha=alpha, scale=1.0, input_scale=1 / alpha)


@lowers("prelu", takes="self weight")
def _prelu(graph: Graph, given: Arguments) -> Value:
    rank = len(shape_of(given["self"]))
    if not graph.fixed(given["weight"]):
        raise refusal(graph, "needs a fixed slope")

    def slopes(weight: Tensor) -> Tensor:
        return weight.reshape(-1, *[1] * (rank - 2)) if weight.numel() > 1 and rank > 1 else weight.reshape(1)

    source = graph.source(given["weight"], slopes)
    return graph.put("prelu", given["self"], tensors=[source], number=None, swapped=False)


@lowers("clamp", "clamp_min", "clamp_max", takes="self min max")
def _clamp(graph: Graph, given: Arguments) -> Value:
    low, high = given.get("min"), given.get("max")
    if all(each is None or isinstance(each, int | float) for each in (low, high)):
        ends: Arguments = {
            "low": -3e38 if low is None else float(low),
            "high": 3e38 if high is None else float(high),
        }
        return graph.put("clamp", given["self"], **ends)
    value = graph.result(given["self"])
    for bound, kind in ((low, "maximum"), (high, "minimum")):
        if bound is not None:
            value = two(graph, kind, value, bound)
    return value


def _arithmetic(name: str, second: str = "other") -> None:
    lowers(name, takes=f"self {second}")(lambda graph, given: two(graph, name, given["self"], given[second]))


for _name in ("mul", "div", "maximum", "minimum", "gt", "ge", "eq"):
    _arithmetic(_name)
_arithmetic("pow", "exponent")


@lowers("add", takes="self other alpha")
def _add(graph: Graph, given: Arguments) -> Value:
    return two(graph, "add", given["self"], _times(graph, given["other"], given["alpha"]))


@lowers("sub", takes="self other alpha")
def _sub(graph: Graph, given: Arguments) -> Value:
    return two(graph, "sub", given["self"], _times(graph, given["other"], given["alpha"]))


@lowers("rsub", takes="self other alpha")
def _rsub(graph: Graph, given: Arguments) -> Value:
    return two(graph, "sub", given["other"], _times(graph, given["self"], given["alpha"]))


def _times(graph: Graph, given: Any, alpha: float) -> Any:
    if alpha == 1:
        return given
    if isinstance(given, int | float):
        return given * alpha
    if graph.fixed(given):
        return graph.constant_value(given, lambda tensor: tensor * alpha)
    return two(graph, "mul", given, float(alpha), shape=shape_of(given))


@lowers("log1p")
def _log_of_one_more(graph: Graph, given: Arguments) -> Value:
    return graph.put("log", two(graph, "add", given["self"], 1.0))


@lowers("expm1")
def _exponential_less_one(graph: Graph, given: Arguments) -> Value:
    return two(graph, "sub", graph.put("exp", given["self"]), 1.0)


@lowers("sign")
def _sign(graph: Graph, given: Arguments) -> Value:
    positive = two(graph, "gt", given["self"], 0.0)
    return two(graph, "sub", positive, two(graph, "gt", 0.0, given["self"]))


@lowers("reciprocal")
def _reciprocal(graph: Graph, given: Arguments) -> Value:
    return two(graph, "div", 1.0, given["self"])


@lowers("neg")
def _neg(graph: Graph, given: Arguments) -> Value:
    return two(graph, "mul", given["self"], -1.0)


@lowers("square")
def _square(graph: Graph, given: Arguments) -> Value:
    return two(graph, "mul", given["self"], given["self"])


@lowers("lt", takes="self other")
def _less(graph: Graph, given: Arguments) -> Value:
    return two(graph, "gt", given["other"], given["self"])


@lowers("le", takes="self other")
def _at_most(graph: Graph, given: Arguments) -> Value:
    return two(graph, "ge", given["other"], given["self"])


@lowers("where", takes="condition self other")
def _where(graph: Graph, given: Arguments) -> Value:
    operands = (given["condition"], given["self"], given["other"])
    return graph.put("where", *[_operand(graph, each) for each in operands])


def _operand(graph: Graph, given: Any) -> Value:
    if isinstance(given, int | float):
        number = min(max(float(given), LOWEST), -LOWEST)
        return graph.put("constant", shape=(1,), tensors=[lambda state, computed: torch.tensor([number])])
    return graph.constant_value(given, _limited) if graph.fixed(given) else given


def _limited(tensor: Tensor) -> Tensor:
    """Minus infinity, and what stands for it in a mask, as a number that 16 bits can hold."""
    return tensor.float().clamp(LOWEST, -LOWEST)

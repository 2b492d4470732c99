"""Lowering: a network as a short list of simple operations that a page can run, and torch, to check it.

`torch.export` gives the graph; each node becomes an operation of a closed list. What is not on the list is
refused by name, with the line that calls it.
"""

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.inference import evaluation_mode
from pellucid.models.outputs import LAST
from pellucid.pad.operations import KINDS, Operation

State = Mapping[str, Tensor]
Source = Callable[[State], Tensor]  # looks a tensor up in a state_dict, or computes it from one


@dataclass(frozen=True, eq=False)
class Program:
    """A network lowered to operations; its weights are looked up in any `state_dict` of the network.

    shape  of the picture it takes: (C, H, W), float 0..1; its last value is the scores, as in Output.scores:
           without the softmax or the sigmoid that the network may end in
    """

    shape: tuple[int, ...]
    operations: tuple[Operation, ...]
    lookups: tuple[Source, ...]

    def weights(self, state: State) -> list[Tensor]:
        """The program's tensors, float32, out of a `state_dict` of the network it was lowered from."""
        return [lookup(state).detach().float().contiguous() for lookup in self.lookups]

    def run(self, images: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
        """All values for `images` (B, C, H, W), in order: the pictures themselves, then each operation's."""
        return self.run_on([images], weights)

    def run_on(self, values: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
        """All values, the first of which are given: runs the rest of the network from the middle."""
        results = list(values)
        for operation in self.operations[len(values) - 1 :]:
            inputs = [results[index] for index in operation.inputs]
            tensors = [weights[index] for index in operation.tensors]
            results.append(KINDS[operation.kind](inputs, tensors, operation))
        return results

    @property
    def layers(self) -> dict[str, int]:
        """The index of the last value of each layer, by name, in order of execution."""
        return {operation.layer: index for index, operation in enumerate(self.operations, 1)}

    @property
    def multiply_adds(self) -> int:
        """Multiplications with a weight, for one picture."""
        shapes = [self.shape, *(operation.shape for operation in self.operations)]
        total = 0
        for operation in self.operations:
            if operation.kind == "linear":
                total += math.prod(operation.shape) * shapes[operation.inputs[0]][-1]
            elif operation.kind == "conv2d":
                channels = shapes[operation.inputs[0]][0] // operation.attributes["groups"]
                total += math.prod(operation.shape) * channels * math.prod(operation.attributes["kernel"])
        return total

    def to_json(self) -> dict[str, Any]:
        """Everything but the weights, as plain values."""
        return {
            "shape": list(self.shape),
            "operations": [
                {
                    "kind": operation.kind,
                    "layer": operation.layer,
                    "inputs": list(operation.inputs),
                    "tensors": list(operation.tensors),
                    "shape": list(operation.shape),
                    **operation.attributes,
                }
                for operation in self.operations
            ],
        }


def lower(network: nn.Module, shape: Sequence[int]) -> Program:
    """`network`, which takes float 0..1 pictures (B, *shape), as a Program.

    The network is left as it was. Raises UsageError, naming the operation and where it is called, for what
    is not on the list.
    """
    example = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    with (
        evaluation_mode(network),
        torch.no_grad(),
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # torch warns of its own internals
        try:
            exported = torch.export.export(network, (example,)).run_decompositions({})
        except Exception as error:  # what torch raises here has no common kind
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"torch.export cannot follow this network: {reason}") from error
        return _Lowering(network, exported, tuple(shape)).program()


class _Lowering:
    """The conversion of an exported graph, node by node."""

    def __init__(self, network: nn.Module, exported: Any, shape: tuple[int, ...]) -> None:
        self.nodes = list(exported.graph.nodes)
        self.shape = shape
        self.leaves = {name for name, module in network.named_modules() if not any(module.children())}
        signature = exported.graph_signature
        self.names: dict[str, str] = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        own = {name: tensor.detach().clone() for name, tensor in network.named_buffers()}
        constants = {name: value for name, value in exported.constants.items() if isinstance(value, Tensor)}
        self.fixed: dict[str, Tensor] = {**constants, **own}  # what a state_dict does not hold
        self.values: dict[Any, int] = {}
        self.sources: dict[Any, Source] = {}
        self.padded: dict[Any, tuple[Any, list[int]]] = {}  # what is padded, and by how much above and left
        self.operations: list[Operation] = []
        self.lookups: list[Source] = []
        self.runs: dict[str, int] = {}  # how often each layer has begun
        self.last_layer: tuple[str, str] | None = None

    def program(self) -> Program:
        """The whole graph, lowered."""
        for node in self.nodes:
            if node.op == "placeholder":
                self._placeholder(node)
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                self._check_output(node)
        return Program(self.shape, tuple(self.operations[: self._scores()]), tuple(self.lookups))

    def _scores(self) -> int:
        """The value that holds the scores: the last, or what a softmax or a sigmoid at the end is given."""
        last = len(self.operations)
        while last and self.operations[last - 1].kind == "view":
            last -= 1
        if last and self.operations[last - 1].kind in LAST:
            return self.operations[last - 1].inputs[0]
        return len(self.operations)

    def _placeholder(self, node: Any) -> None:
        if node.name in self.names:
            name, fixed = self.names[node.name], self.fixed
            self.sources[node] = lambda state: state[name] if name in state else fixed[name]
        else:
            self.values[node] = 0

    def _check_output(self, node: Any) -> None:
        results = node.args[0]
        if len(results) != 1 or self.values.get(results[0]) != len(self.operations):
            raise UsageError(f"Expected a network with one output, its scores; this one has {len(results)}.")

    def _call(self, node: Any) -> None:
        name = _function_name(node)
        if node.all_input_nodes and all(source in self.sources for source in node.all_input_nodes):
            self.sources[node] = self._computed(node)
        elif name == "getitem" and node.args[1] == 0:
            self.values[node] = self.values[node.args[0]]
        elif name == "aten.sym_size":
            return
        elif name not in LOWERED or not self._can_take(node):
            raise UsageError(
                f"The page's engine cannot run '{name.removeprefix('aten.')}' in {_where(node)}. "
                f"It runs: {', '.join(sorted(KINDS))}."
            )
        else:
            LOWERED[name](self, node)

    def _computed(self, node: Any) -> Source:
        """A tensor that depends on weights alone, such as those of a folded normalisation."""
        sources = {source: self.sources[source] for source in node.all_input_nodes}

        def value(state: State) -> Tensor:
            given = {source: lookup(state) for source, lookup in sources.items()}
            tensor: Tensor = node.target(
                *torch.fx.map_arg(node.args, given.__getitem__),
                **torch.fx.map_arg(node.kwargs, given.__getitem__),
            )
            return tensor

        return value

    def _can_take(self, node: Any) -> bool:
        """Whether the input depends on the picture, and the output has the shape of one picture's value."""
        shape = (
            node.meta["val"][0].shape
            if isinstance(node.meta["val"], tuple | list)
            else node.meta["val"].shape
        )
        inputs = [source for source in node.all_input_nodes if source not in self.sources]
        return bool(inputs) and len(shape) in (2, 4) and shape[0] == 1

    def put(
        self,
        node: Any,
        kind: str,
        *,
        inputs: Sequence[Any] | None = None,
        tensors: Sequence[Source] = (),
        **attributes: Any,
    ) -> None:
        """Append one operation that stands for `node`."""
        value = node.meta["val"]
        shape = tuple((value[0] if isinstance(value, tuple | list) else value).shape[1:])
        first = len(self.lookups)
        self.lookups += tensors
        indices = tuple(range(first, len(self.lookups)))
        read = tuple(self.values[source] for source in (inputs if inputs is not None else node.args[:1]))
        layer = self._layer(node, kind)
        self.operations.append(Operation(kind, layer, read, shape, indices, attributes))
        self.values[node] = len(self.operations)

    def _layer(self, node: Any, kind: str) -> str:
        module = _module(node)
        inside = module in self.leaves
        key = (module or "network", "") if inside else (f"{module}.{kind}" if module else kind, node.name)
        if self.last_layer is not None and key == self.last_layer:
            return self.operations[-1].layer
        self.last_layer = key
        run = self.runs[key[0]] = self.runs.get(key[0], 0) + 1
        return key[0] if run == 1 else f"{key[0]}#{run}"


def _function_name(node: Any) -> str:
    """ "aten.conv2d" for every overload of it."""
    if node.target.__class__.__name__ == "OpOverload":
        name = str(node.target)
        return name if name in LOWERED else name.rsplit(".", 1)[0]
    return getattr(node.target, "__name__", str(node.target))


def _module(node: Any) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    name = stack[-1][0] if stack else ""
    return re.sub(r"@\d+$", "", name)


def _where(node: Any) -> str:
    """ "layer 'block1', line 12 of model.py: y = x.sort()" """
    module = _module(node)
    where = f"layer '{module}'" if module else "the network's forward"
    lines = re.findall(r'File "([^"]+)", line (\d+), in .*\n\s*(.+)', node.meta.get("stack_trace") or "")
    if not lines:
        return where
    file, line, code = lines[-1]
    return f"{where}, line {line} of {Path(file).name}: {code.strip()}"


def _argument(node: Any, position: int, name: str, default: Any) -> Any:
    value = node.args[position] if len(node.args) > position else node.kwargs.get(name, default)
    return default if value is None else value


def _pair(value: Any) -> list[int]:
    numbers = [value] if isinstance(value, int) else list(value)
    return numbers * 2 if len(numbers) == 1 else numbers


def _conv2d(lowering: _Lowering, node: Any) -> None:
    weight, bias = node.args[1], _argument(node, 2, "bias", None)
    if weight not in lowering.sources or (bias is not None and bias not in lowering.sources):
        raise UsageError(
            f"The page's engine needs fixed weights; 'conv2d' computes its own in {_where(node)}."
        )
    kernel = list(weight.meta["val"].shape[2:])
    dilation = _pair(_argument(node, 5, "dilation", [1, 1]))
    padding = _argument(node, 4, "padding", [0, 0])
    if isinstance(padding, str):  # of an odd number of pixels the larger half is added at the end
        spans = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
        padding = [span // 2 for span in spans] if padding == "same" else [0, 0]
    image, first = lowering.padded.get(node.args[0], (node.args[0], [0, 0]))
    sources = [lowering.sources[tensor] for tensor in (weight, bias) if tensor is not None]
    lowering.put(
        node,
        "conv2d",
        inputs=[image],
        tensors=sources,
        kernel=kernel,
        stride=_pair(_argument(node, 3, "stride", [1, 1])),
        padding=[own + before for own, before in zip(_pair(padding), first, strict=True)],
        dilation=dilation,
        groups=_argument(node, 6, "groups", 1),
    )


def _pad(lowering: _Lowering, node: Any) -> None:
    """Zeros before a convolution become its own padding: its output's shape tells how many follow."""
    left, _, top, _ = (*_argument(node, 1, "pad", []), 0, 0, 0, 0)[:4]
    zeros = _argument(node, 2, "mode", "constant") == "constant" and not _argument(node, 3, "value", 0)
    readers = {_function_name(reader) for reader in node.users}
    if not zeros or readers != {"aten.conv2d"} or len(node.args[1]) > 4 or min(node.args[1]) < 0:
        raise UsageError(f"The page's engine pads with zeros, and before a convolution only: {_where(node)}.")
    lowering.padded[node] = node.args[0], [top, left]


def _expand(lowering: _Lowering, node: Any) -> None:
    """One channel as several: a gray picture as one in colour."""
    before, after = node.args[0].meta["val"].shape, node.meta["val"].shape
    if before == after:
        _same(lowering, node)
    elif len(after) == 4 and before[1] == 1 and before[2:] == after[2:]:
        lowering.put(node, "cat", inputs=[node.args[0]] * after[1])
    else:
        raise UsageError(f"The page's engine repeats a map as channels, nothing else: {_where(node)}.")


def _resize(*, antialias: bool) -> Callable[[_Lowering, Any], None]:
    def resize(lowering: _Lowering, node: Any) -> None:
        if _argument(node, 2, "align_corners", False):
            raise UsageError(f"The page's engine resizes without aligned corners only: {_where(node)}.")
        lowering.put(node, "resize", antialias=antialias)

    return resize


def _linear(lowering: _Lowering, node: Any) -> None:
    sources = [lowering.sources[tensor] for tensor in node.args[1:] if tensor is not None]
    lowering.put(node, "linear", tensors=sources)


def _batch_norm(lowering: _Lowering, node: Any) -> None:
    """Folded: in evaluation mode a batch norm is one factor and one term per channel."""
    weight, bias, mean, variance = (
        None if tensor is None else lowering.sources[tensor] for tensor in node.args[1:5]
    )
    if mean is None or variance is None:
        raise UsageError(f"The page's engine needs a batch norm with running statistics: {_where(node)}.")
    epsilon = float(node.args[-1])

    def factor(state: State) -> Tensor:
        scale = (variance(state).double() + epsilon).rsqrt()
        return scale if weight is None else scale * weight(state).double()

    def term(state: State) -> Tensor:
        offset = -mean(state).double() * factor(state)
        return offset if bias is None else offset + bias(state).double()

    lowering.put(node, "affine", tensors=[factor, term])


def _pool(kind: str) -> Callable[[_Lowering, Any], None]:
    def pool(lowering: _Lowering, node: Any) -> None:
        kernel = _pair(node.args[1])
        attributes: dict[str, Any] = {
            "kernel": kernel,
            "stride": _pair(_argument(node, 2, "stride", kernel) or kernel),
            "padding": _pair(_argument(node, 3, "padding", [0, 0])),
        }
        if kind == "max_pool2d":
            attributes["dilation"] = _pair(_argument(node, 4, "dilation", [1, 1]))
            attributes["ceil"] = bool(_argument(node, 5, "ceil_mode", False))
        else:
            attributes["ceil"] = bool(_argument(node, 4, "ceil_mode", False))
            attributes["count_padding"] = bool(_argument(node, 5, "count_include_pad", True))
            attributes["divisor"] = _argument(node, 6, "divisor_override", 0)
        lowering.put(node, kind, **attributes)

    return pool


def _activation(kind: str, **attributes: tuple[int, str, Any]) -> Callable[[_Lowering, Any], None]:
    """`attributes` name the function's own arguments: position, name and default."""

    def activation(lowering: _Lowering, node: Any) -> None:
        values = {key: _argument(node, *argument) for key, argument in attributes.items()}
        lowering.put(node, kind, **values)

    return activation


def _clamp(lowering: _Lowering, node: Any) -> None:
    low, high = _argument(node, 1, "min", -3e38), _argument(node, 2, "max", 3e38)
    lowering.put(node, "clamp", low=float(low), high=float(high))


def _arithmetic(kind: str) -> Callable[[_Lowering, Any], None]:
    def arithmetic(lowering: _Lowering, node: Any) -> None:
        first, second = node.args[:2]
        alpha = float(node.kwargs.get("alpha", 1))
        if alpha != 1:
            raise UsageError(f"The page's engine cannot scale while it adds: {_where(node)}.")
        inputs = [each for each in (first, second) if each in lowering.values]
        tensors = [lowering.sources[each] for each in (first, second) if each in lowering.sources]
        numbers = [float(each) for each in (first, second) if isinstance(each, int | float)]
        lowering.put(
            node,
            kind,
            inputs=inputs,
            tensors=tensors,
            number=numbers[0] if numbers else None,
            swapped=first not in lowering.values,
        )

    return arithmetic


def _number_first(kind: str, number: float | None = None) -> Callable[[_Lowering, Any], None]:
    """With the number as the first operand: `1 - x`, `1 / x`."""

    def number_first(lowering: _Lowering, node: Any) -> None:
        first = float(node.args[1]) if number is None else number
        lowering.put(node, kind, number=first, swapped=True)

    return number_first


def _cat(lowering: _Lowering, node: Any) -> None:
    if _argument(node, 1, "dim", 0) not in (1, 1 - len(node.meta["val"].shape)):
        raise UsageError(f"The page's engine joins channels, no other dimension: {_where(node)}.")
    lowering.put(node, "cat", inputs=node.args[0])


def _mean(lowering: _Lowering, node: Any) -> None:
    dims = sorted(dim % 4 for dim in node.args[1])
    if dims != [2, 3] or len(node.args[0].meta["val"].shape) != 4:
        raise UsageError(f"The page's engine takes means over whole maps only: {_where(node)}.")
    lowering.put(node, "adaptive_avg_pool2d")


def _softmax(kind: str) -> Callable[[_Lowering, Any], None]:
    def softmax(lowering: _Lowering, node: Any) -> None:
        if len(node.meta["val"].shape) != 2 or node.args[1] not in (1, -1):
            raise UsageError(f"The page's engine takes a softmax over classes only: {_where(node)}.")
        lowering.put(node, kind, dim=1)

    return softmax


def _same(lowering: _Lowering, node: Any) -> None:
    """The same numbers in the same order, perhaps under another shape."""
    before, after = node.args[0].meta["val"].shape, node.meta["val"].shape
    if before == after:
        lowering.values[node] = lowering.values[node.args[0]]
    else:
        lowering.put(node, "view")


SAME = (
    "aten.alias", "aten.clone", "aten.contiguous", "aten.detach", "aten.detach_", "aten.dropout",
    "aten.flatten", "aten.lift_fresh_copy", "aten.reshape", "aten.squeeze", "aten.to", "aten._to_copy",
    "aten._assert_tensor_metadata", "aten.unsqueeze", "aten._unsafe_view", "aten.view",
)  # fmt: skip

LOWERED: dict[str, Callable[[_Lowering, Any], None]] = {
    "aten.conv2d": _conv2d,
    "aten.pad": _pad,
    "aten.expand": _expand,
    "aten.upsample_bilinear2d": _resize(antialias=False),
    "aten._upsample_bilinear2d_aa": _resize(antialias=True),
    "aten.linear": _linear,
    "aten._native_batch_norm_legit_no_training": _batch_norm,
    "aten.max_pool2d": _pool("max_pool2d"),
    "aten.avg_pool2d": _pool("avg_pool2d"),
    "aten.adaptive_avg_pool2d": lambda lowering, node: lowering.put(node, "adaptive_avg_pool2d"),
    "aten.adaptive_max_pool2d": lambda lowering, node: lowering.put(node, "adaptive_max_pool2d"),
    "aten.mean": _mean,
    "aten.relu": _activation("relu"),
    "aten.leaky_relu": _activation("leaky_relu", slope=(1, "negative_slope", 0.01)),
    "aten.gelu": _activation("gelu", approximate=(1, "approximate", "none")),
    "aten.silu": _activation("silu"),
    "aten.sigmoid": _activation("sigmoid"),
    "aten.tanh": _activation("tanh"),
    "aten.hardsigmoid": _activation("hardsigmoid"),
    "aten.hardswish": _activation("hardswish"),
    "aten.hardtanh": _activation("clamp", low=(1, "min_val", -1.0), high=(2, "max_val", 1.0)),
    "aten.relu6": lambda lowering, node: lowering.put(node, "clamp", low=0.0, high=6.0),
    "aten.clamp": _clamp,
    "aten.add": _arithmetic("add"),
    "aten.sub": _arithmetic("sub"),
    "aten.mul": _arithmetic("mul"),
    "aten.div": _arithmetic("div"),
    "aten.rsub": _number_first("sub"),
    "aten.reciprocal": _number_first("div", 1.0),
    "aten.cat": _cat,
    "aten.softmax": _softmax("softmax"),
    "aten._softmax": _softmax("softmax"),
    "aten.log_softmax": _softmax("log_softmax"),
    "aten._log_softmax": _softmax("log_softmax"),
    **dict.fromkeys(SAME, _same),
}

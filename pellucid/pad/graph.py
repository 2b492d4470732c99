"""A network's graph, as `torch.export` gives it, on its way to a list of operations.

What depends on weights alone is not an operation: it is computed once from a `state_dict`, whatever it is.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.pad.operations import MOVING, POINTWISE, Operation

State = Mapping[str, Tensor]
Computed = dict[Any, Any]  # what was computed of a state so far, by node of the graph
Source = Callable[[State, Computed], Tensor]  # a tensor of a state_dict, or one computed from it
Arguments = dict[str, Any]  # of a call, by the name that torch gives them


class Result(NamedTuple):
    """What a node, or a part of one, has become.

    value  the index of the program's value
    shape  as the graph has it, with the batch of one
    """

    value: int
    shape: tuple[int, ...]


Value = Any  # a node of the graph, or a Result

# What changes neither numbers nor shapes, or is judged by the kind of number that comes out.
HARMLESS = {"memory_format", "layout", "device", "pin_memory", "non_blocking", "copy", "dtype", "implicit"}
MAPS = {"conv2d", "affine", "resize", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d",
        "adaptive_max_pool2d", "group_norm", "cat", "index"}  # fmt: skip
SPATIAL = {*MAPS, *POINTWISE}  # kinds whose output lies over the picture if their input does


class Graph:
    """An exported graph, and the operations that its nodes have become so far."""

    def __init__(self, network: nn.Module, exported: Any, shape: tuple[int, ...], prefix: str = "") -> None:
        """`prefix`: before every name of the network's, where it was exported inside of another module."""
        self.shape = shape
        self.prefix = prefix
        self.node: Any = None  # the one that becomes operations now
        self.values: dict[Any, Result] = {}  # what each node has become
        self.parts: dict[Any, list[Callable[[], Value]]] = {}  # of a call with several results, each one
        self.padded: dict[Any, tuple[Any, list[int]]] = {}  # what is padded, and by how much above and left
        self.operations: list[Operation] = []
        self.lookups: list[Source] = []
        modules = network.named_modules()
        self._leaves = {name for name, module in modules if name and not any(module.children())}
        signature = exported.graph_signature
        self._names: dict[str, str] = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        own = {name: tensor.detach().clone() for name, tensor in network.named_buffers()}
        constants = {
            name.removeprefix(prefix): value
            for name, value in exported.constants.items()
            if isinstance(value, Tensor)
        }
        self._fixed: dict[str, Tensor] = {**constants, **own}  # what a state_dict does not hold
        self._state = network.state_dict()
        self._sources: set[Any] = set()
        self._computed: Computed = {}
        self._turned: set[int] = set()  # values that are maps with their channels behind, (H, W, C)
        self._runs: dict[str, int] = {}  # how often each layer has begun
        self._last_layer: tuple[str, str] | None = None

    # --- what depends on weights alone

    def place(self, node: Any) -> None:
        """Take in a placeholder: a weight, or the picture."""
        if node.name in self._names:
            self._sources.add(node)
        else:
            self.values[node] = Result(0, shape_of(node))

    def fold(self, node: Any) -> bool:
        """Whether a call needs no picture, so that it is computed with the weights."""
        if not all(each in self._sources for each in node.all_input_nodes):
            return False
        tags = getattr(node.target, "tags", ())
        if torch.Tag.nondeterministic_seeded in tags and function_name(node) != "dropout":
            raise UsageError(
                f"The page's engine draws no random numbers; '{function_name(node)}' does in {where(node)}."
            )
        self._sources.add(node)
        return True

    def fixed(self, value: Value) -> bool:
        """Whether it depends on weights alone."""
        return value in self._sources

    def source(self, node: Any, change: Callable[[Tensor], Tensor] | None = None) -> Source:
        """How to compute what depends on weights alone, changed in the end."""

        def lookup(state: State, computed: Computed) -> Tensor:
            found: Tensor = self._compute(node, state, computed)
            return found if change is None else change(found)

        return lookup

    def constant(self, node: Any) -> Tensor:
        """What depends on weights alone, as the network has it now."""
        found: Tensor = self._compute(node, self._state, self._computed)
        return found

    def _compute(self, node: Any, state: State, computed: Computed) -> Any:
        if node in computed:
            return computed[node]
        if node.op == "placeholder":
            name = self._names[node.name].removeprefix(self.prefix)
            result = state[name] if name in state else self._fixed[name]
        else:
            given = {each: self._compute(each, state, computed) for each in node.all_input_nodes}
            result = node.target(
                *torch.fx.map_arg(node.args, given.__getitem__),
                **torch.fx.map_arg(node.kwargs, given.__getitem__),
            )
        computed[node] = result
        return result

    # --- operations

    def put(
        self,
        kind: str,
        *inputs: Value,
        shape: Sequence[int] | None = None,
        tensors: Sequence[Source] = (),
        **attributes: Any,
    ) -> Result:
        """One more operation, for the node at hand.

        shape  of its output as the graph has it; None: that of the node
        """
        read = tuple(self.result(each).value for each in inputs)
        whole = shape_of(self.node) if shape is None else tuple(shape)
        first = len(self.lookups)
        self.lookups += tensors
        indices = tuple(range(first, len(self.lookups)))
        layer, inner = self._layer(kind), one_picture(whole)
        spatial = self._is_spatial(kind, read, inner, attributes)
        self.operations.append(Operation(kind, layer, read, inner, indices, attributes, spatial))
        if self._has_channels_behind(kind, read, attributes):
            self._turned.add(len(self.operations))
        return Result(len(self.operations), whole)

    def result(self, given: Value) -> Result:
        """What a node has become; what depends on weights alone becomes a value, too."""
        if isinstance(given, Result):
            return given
        if given in self._sources and given not in self.values:
            self.values[given] = self.constant_value(given)
        return self.values[given]

    def constant_value(self, node: Any, change: Callable[[Tensor], Tensor] | None = None) -> Result:
        """What depends on weights alone as a value, changed in a way that keeps its shape."""
        return self.put("constant", shape=shape_of(node), tensors=[self.source(node, change)])

    def view(self, given: Value, shape: Sequence[int]) -> Result:
        """The same numbers in the same order under another shape."""
        result = self.result(given)
        if self._shape_at(result.value) == one_picture(shape):
            return Result(result.value, tuple(shape))
        return self.put("view", result, shape=shape)

    def _shape_at(self, index: int) -> tuple[int, ...]:
        return self.shape if index == 0 else self.operations[index - 1].shape

    def _is_spatial(
        self, kind: str, read: Sequence[int], shape: Sequence[int], attributes: Mapping[str, Any]
    ) -> bool:
        """Whether the output is maps that lie over the picture: those of a kind that keeps every cell's
        place, or moves it along a row or column, from inputs that are maps or one number a channel."""
        if kind == "permute" and read[0] in self._turned:
            return list(attributes["axes"]) == [0, 3, 1, 2]
        if kind not in SPATIAL or len(shape) != 3 or attributes.get("outer", 1) != 1:
            return False
        if kind == "index" and list(attributes["view"])[:-3] not in ([], [1]):
            return False
        large = [each for each in read if math.prod(self._shape_at(each)[1:]) > 1 or kind in MAPS]
        return bool(large) and all(
            each == 0 or (len(self._shape_at(each)) == 3 and self.operations[each - 1].spatial)
            for each in large
        )

    def _has_channels_behind(self, kind: str, read: Sequence[int], attributes: Mapping[str, Any]) -> bool:
        """Whether the output is maps (H, W, C) that lie over the picture, as between two permutes."""
        if kind == "permute":
            source = read[0]
            spatial = len(self._shape_at(source)) == 3 and (
                source == 0 or self.operations[source - 1].spatial
            )
            return spatial and list(attributes["axes"]) == [0, 2, 3, 1]
        large = [each for each in read if math.prod(self._shape_at(each)[:-1]) > 1]
        kept = kind in POINTWISE or kind in ("linear", "layer_norm")
        return kept and bool(large) and all(each in self._turned for each in large)

    def _layer(self, kind: str) -> str:
        module = f"{module_of(self.node)}.".removeprefix(self.prefix).strip(".")
        name = function_name(self.node) if kind in MOVING else kind
        inside = module in self._leaves
        function = f"{module}.{name}" if module else name
        key = (module, "") if inside else (function, self.node.name)
        if self._last_layer is not None and key == self._last_layer:
            return self.operations[-1].layer
        self._last_layer = key
        run = self._runs[key[0]] = self._runs.get(key[0], 0) + 1
        return key[0] if run == 1 else f"{key[0]}#{run}"


def one_picture(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape of the graph, which runs a batch of one, for one picture."""
    return tuple(shape[1:] if len(shape) > 1 and shape[0] == 1 else shape)


def shape_of(given: Value) -> tuple[int, ...]:
    """The shape as the graph has it, with the batch of one; of several outputs, the first one's."""
    if isinstance(given, Result):
        return given.shape
    value = given.meta["val"]
    return tuple((value[0] if isinstance(value, tuple | list) else value).shape)


def arguments_of(node: Any) -> Arguments:
    """All arguments of a call, those left out included, by name."""
    found = {}
    for position, argument in enumerate(node.target._schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        given = node.args[position] if position < len(node.args) else node.kwargs.get(argument.name, default)
        found[argument.name] = given
    return found


def refuse_unknown(node: Any, given: Arguments, known: Sequence[str]) -> None:
    """Raises UsageError, naming it, for an argument that would change the numbers and is not in `known`."""
    for argument in node.target._schema.arguments:
        name, value = argument.name, given[argument.name]
        usual = argument.default_value if argument.has_default_value() else None
        if name not in known and name not in HARMLESS and value != usual:
            function = f"'{name}={value}' of '{function_name(node)}'"
            raise UsageError(f"The page's engine does not know {function} in {where(node)}.")


def function_name(node: Any) -> str:
    """ "conv2d" for every overload of it."""
    if node.target.__class__.__name__ == "OpOverload":
        name = str(node.target).split(".")[1]
        return name if name == "_weight_norm" else name.strip("_")
    return getattr(node.target, "__name__", str(node.target))


def module_of(node: Any) -> str:
    """The name of the innermost module in whose forward the call stands."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    name = stack[-1][0] if stack else ""
    return re.sub(r"@\d+$", "", name)


def where(node: Any) -> str:
    """ "layer 'block1', line 12 of model.py: y = x.sort()" """
    module = module_of(node)
    place = f"layer '{module}'" if module else "the network's forward"
    lines = re.findall(r'File "([^"]+)", line (\d+), in .*\n\s*(.+)', node.meta.get("stack_trace") or "")
    if not lines:
        return place
    file, line, code = lines[-1]
    return f"{place}, line {line} of {Path(file).name}: {code.strip()}"

"""Lowering: a network as a short list of simple operations that a page can run, and torch, to check it.

`torch.export` gives the graph; each node becomes operations of a closed list. What is not on the list is
refused by name, with the line that calls it, and so is a network that the list does not compute alike.
"""

import functools
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.inference import evaluation_mode
from pellucid.models.outputs import LAST, Output, output_of
from pellucid.pad.functions import LOWERED
from pellucid.pad.graph import (
    Graph,
    Source,
    State,
    arguments_of,
    function_name,
    refuse_unknown,
    shape_of,
    where,
)
from pellucid.pad.operations import Operation, multiply_adds, run

TOLERANCE = 1e-4  # of the largest score, or of 1: by how much a score may differ, in 32-bit floats
CHECKED = 3  # random pictures on which a lowered network is compared with the network
FLOATS = (torch.float32, torch.float64, torch.bool)  # of values; bool: 0 and 1


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
        computed: dict[Any, Any] = {}
        return [lookup(state, computed).detach().float().contiguous() for lookup in self.lookups]

    def run(self, images: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
        """All values for `images` (B, C, H, W), in order: the pictures themselves, then each operation's."""
        return self.run_on([images], weights)

    def run_on(self, values: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
        """All values, the first of which are given: runs the rest of the network from the middle."""
        results = list(values)
        for operation in self.operations[len(values) - 1 :]:
            inputs = [results[index] for index in operation.inputs] or results[:1]
            results.append(run(operation, inputs, [weights[index] for index in operation.tensors]))
        return results

    @property
    def layers(self) -> dict[str, int]:
        """The index of the last value of each layer, by name, in order of execution."""
        return {operation.layer: index for index, operation in enumerate(self.operations, 1)}

    @property
    def multiply_adds(self) -> int:
        """Multiplications of two numbers whose products are summed, for one picture."""
        shapes = [self.shape, *(operation.shape for operation in self.operations)]
        return sum(multiply_adds(operation, shapes) for operation in self.operations)


def lower(network: nn.Module, shape: Sequence[int]) -> Program:
    """`network`, which takes float 0..1 pictures (B, *shape), as a Program that computes the same scores.

    The network is left as it was. Raises UsageError, naming the operation and where it is called, for what
    is not on the list, and naming the difference for a network whose scores the program does not give.
    """
    generator = torch.Generator().manual_seed(0)
    examples = torch.rand(CHECKED, *shape, generator=generator).to(_precision(network))
    with _untouched(network), torch.no_grad():
        output = _output(network, examples)
        exported = _exported(network, output, examples[:1])
        program = _lowered(network, exported, output, tuple(shape))
        expected = torch.cat([output.scores(network, example) for example in examples[:, None]])
        found = program.run(examples.float(), program.weights(network.state_dict()))[-1]
    refuse_difference(found, expected)
    return program


def _precision(network: nn.Module) -> torch.dtype:
    """That of most of its weights."""
    counts = Counter({torch.float32: 0})
    for weight in network.parameters():
        if weight.is_floating_point():
            counts[weight.dtype] += weight.numel()
    return counts.most_common(1)[0][0]


def _output(network: nn.Module, examples: Tensor) -> Output:
    try:
        return output_of(network, examples)
    except UsageError:
        raise
    except Exception as error:  # the network's own
        shape, reason = tuple(examples.shape), " ".join(str(error).split())[:200]
        raise UsageError(f"This network does not take pictures {shape}: {reason}") from error


@contextmanager
def _untouched(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards modes, buffers and torch's random state are as before."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    with ExitStack() as stack:
        try:
            stack.enter_context(evaluation_mode(network))
        except NotImplementedError as error:
            raise UsageError(f"This network cannot be brought into evaluation mode: {error}") from error
        stack.enter_context(torch.random.fork_rng(devices=[]))
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    if not torch.equal(buffer, before):
                        buffer.copy_(before)


class _OnePart(nn.Module):
    """A network whose output has several parts, as one that returns its scores alone."""

    def __init__(self, network: nn.Module, output: Output) -> None:
        super().__init__()
        self.network, self.place = network, output.place

    def forward(self, images: Tensor) -> Any:
        """That part of the output."""
        found = self.network(images)
        for step in self.place:
            keyed = isinstance(found, Mapping) or isinstance(step, int)
            found = found[step] if keyed else getattr(found, str(step))
        return found


def refuse_difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference between two tables of scores (N, K).

    Raises UsageError, naming it, if it is more than TOLERANCE of the largest score, or of 1.
    """
    if not bool(torch.isfinite(expected).all()):
        raise UsageError("The page shows numbers; a score of this network is infinite or NaN.")
    expected = expected.reshape(found.shape)
    difference = float((found - expected).abs().max())
    allowed = TOLERANCE * max(1.0, float(expected.abs().max()))
    if not difference <= allowed:
        raise UsageError(
            f"The page's engine does not compute what this network computes: a score differs by "
            f"{difference:.2g}, where {allowed:.2g} is allowed."
        )
    return difference


def _exported(network: nn.Module, output: Output, example: Tensor) -> Any:
    """The graph of torch.export, in which only functions that LOWERED knows are left whole."""
    whole = _OnePart(network, output).eval() if output.place else network
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own internals
            return torch.export.export(whole, (example,)).run_decompositions(_decompositions())
    except Exception as error:  # what torch raises here has no common kind
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"torch.export cannot follow this network: {reason}") from error


@functools.cache
def _decompositions() -> Mapping[Any, Any]:
    """How torch takes functions apart, but for those of LOWERED."""
    whole = {*LOWERED, "dropout", "weight_norm"}
    table: dict[Any, Any] = dict(torch.export.default_decompositions())
    return {name: how for name, how in table.items() if str(name).split(".")[1].strip("_") not in whole}


def _lowered(network: nn.Module, exported: Any, output: Output, shape: tuple[int, ...]) -> Program:
    """The whole graph, as far as its scores depend on it."""
    nodes = {node.name: node for node in exported.graph.nodes}
    last = nodes[exported.graph_signature.user_outputs[0]]
    graph, needed = Graph(network, exported, shape, "network." if output.place else ""), _ancestors(last)
    for node in exported.graph.nodes:
        if node not in needed:
            continue
        if node.op == "placeholder":
            graph.place(node)
        elif not graph.fold(node):
            _call(graph, node)
    if not graph.operations or last not in graph.values:
        raise UsageError("Expected a network whose scores are computed from a picture.")
    if output.kind == "probabilities" and not output.inside:
        graph.put("log", last)
    operations = graph.operations[: _scores(graph.operations, output)]
    return Program(shape, tuple(operations), tuple(graph.lookups))


def _scores(operations: Sequence[Operation], output: Output) -> int:
    """The value that holds the scores: the last, or what a softmax or a sigmoid at the end is given."""
    last = len(operations)
    if output.kind == "logits" or not output.inside:
        return last
    while last and operations[last - 1].kind in ("view", "log"):
        last -= 1
    return operations[last - 1].inputs[0] if last and operations[last - 1].kind in LAST else len(operations)


def _ancestors(node: Any) -> set[Any]:
    """The node and all that it depends on."""
    found, waiting = {node}, [node]
    while waiting:
        for each in waiting.pop().all_input_nodes:
            if each not in found:
                found.add(each)
                waiting.append(each)
    return found


def _call(graph: Graph, node: Any) -> None:
    """What a call that depends on the picture becomes."""
    graph.node, name = node, function_name(node)
    if name == "getitem":
        parts = graph.parts.get(node.args[0], [])
        if node.args[1] >= len(parts):
            raise UsageError(f"The page's engine knows the first result of this call only: {where(node)}.")
        graph.values[node] = graph.view(parts[node.args[1]](), shape_of(node))
        return
    if name not in LOWERED:
        raise UsageError(f"The page's engine cannot run '{name}' in {where(node)}.")
    convert, takes = LOWERED[name]
    value = node.meta["val"]
    kind = (value[0] if isinstance(value, tuple | list) else value).dtype
    if kind not in FLOATS:
        kind = str(kind).removeprefix("torch.")
        raise UsageError(
            f"The page's engine computes in 32-bit floats; '{name}' gives {kind} in {where(node)}."
        )
    given = arguments_of(node)
    refuse_unknown(node, given, takes)
    result = convert(graph, given)
    if result is not None:
        graph.values[node] = graph.result(result)
        graph.parts.setdefault(node, [lambda: result])

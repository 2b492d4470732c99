"""Places: where in a network evidence is looked at, so that nothing of the picture passes it by."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.overrides import TorchFunctionMode

from pellucid.errors import UsageError
from pellucid.explanation.activations import (
    Grid,
    Hook,
    after_module,
    before_module,
    find_module,
    first_tensor,
    forward_hooks,
    is_passthrough,
    layer_grids,
    layer_of,
    network_input,
    preserved_state,
    uncompiled,
)
from pellucid.inference import network_errors
from pellucid.models.outputs import output_of

# Functions that can be a place of their own where no module does the same; not poolings, views or copies.
JOINING = frozenset(
    "add sub mul cat concat concatenate conv2d einsum batch_norm group_norm layer_norm".split()
)
RECTIFYING = frozenset(
    "relu relu6 leaky_relu elu selu gelu silu mish hardswish hardtanh tanh softplus".split()
)
MOST_COMPARED = 12  # of the last places, where none is a cut

_Given = tuple[tuple[int, ...], GradientEdge | None]  # the shape of a function's input, and where it is


class Place(NamedTuple):
    """Where evidence is looked at.

    name    of a layer, as `record` gives it; or of a function that no module calls alone: "block.add", from
            its second call on "block.add#2"
    shape   of its output for one picture
    bypass  which share of the picture's gradient, 0..1, does not pass through it: 0 of a cut
    """

    name: str
    shape: tuple[int, ...]
    bypass: float = 0.0


def evidence_place(network: nn.Module, images: Tensor, *, modules: bool = False) -> Place:
    """The last spatial place of a network that is a cut: once its output is held, the scores no longer depend
    on the picture.

    images   (B, C, H, W), of which the first is run
    modules  whether only modules count, and no functions that are called outside of them

    Poolings are skipped, because their input shows the same evidence in finer cells. In a transformer it is
    the last layer whose picture tokens still reach the scores. Where there is no cut, it is the one of the
    last places that the least share of the gradient passes by.

    Raises UsageError, listing the layers' output shapes, when there is no spatial place.
    """
    run = _Run(uncompiled(network), images)
    found = [each for each in run.candidates if not (modules and each.function)]
    cuts = (each for each in reversed(found) if run.is_cut(each))
    cut = next((each for each in cuts if run.has_evidence(each)), None)
    if cut is not None and cut.function in RECTIFYING:
        # What a ReLU is given has the same evidence, and a module's name says more than a function's.
        source = next((each for each in found if _same(each.edge, cut.source) and not each.function), None)
        cut = source if source is not None and run.is_cut(source) else cut
    if cut is not None:
        return Place(cut.name, cut.shape)
    compared = [each for each in found if run.has_evidence(each)][-MOST_COMPARED:]
    if not compared:
        shapes = ", ".join(f"{key} {shape}" for key, shape in run.shapes.items())
        raise UsageError(
            "No layer of this network has maps (B, C, H, W) as output, or tokens that follow what moves in "
            f"the picture. Its layers: {shapes}."
        )
    share, _, least = min((run.bypass(each), -at, each) for at, each in enumerate(compared))
    return Place(least.name, least.shape, share)


def place_named(network: nn.Module, images: Tensor, name: str) -> Place:
    """The place of that name, a layer or a function. Raises UsageError where there is none."""
    network = uncompiled(network)
    run = _Run(network, images)
    found = next((each for each in run.outputs if each.name == name), None)
    if found is None:
        found = next((each for each in run.outputs if name in each.others), None)
    if found is None:
        find_module(network, name)  # raises for an unknown name
        raise UsageError(f"Layer '{name}' did not run for these pictures.")
    cut = found.edge is None or run.is_cut(found)
    return Place(name, found.shape, 0.0 if cut else run.bypass(found))


def place_grid(network: nn.Module, images: Tensor, name: str, shape: tuple[int, ...]) -> Grid | None:
    """How the output of a place, which has that shape, lies over the pictures; None where it does not."""
    watching = partial(_outputs_watched, uncompiled(network))
    return layer_grids(uncompiled(network), images, {name: shape}, watching=watching).get(name)


def function_of(network: nn.Module, name: str) -> str:
    """The function that a place is named after; "" where it is named after a module."""
    base = name.partition("#")[0]
    if base == "network" or base in dict(network.named_modules(remove_duplicate=False)):
        return ""
    function = base.rpartition(".")[2]
    return function if function in JOINING | RECTIFYING else ""


@contextmanager
def function_watched(network: nn.Module, name: str) -> Iterator[list[tuple[Tensor, GradientEdge]]]:
    """Inside the block the list it gives takes what the function of that place returns: a copy, and where it
    is in the graph of gradients."""
    captured: list[tuple[Tensor, GradientEdge]] = []

    def ran(key: str, _: Sequence[_Given], output: Tensor) -> None:
        if key == name and (edge := _edge(output)) is not None:
            captured.append((output.detach().clone(), edge))

    with _watched(network, ran):
        yield captured


class _Output(NamedTuple):
    """The output of a module or a function.

    others    names of modules and functions that return the same
    edge      where it is in the graph of gradients; None outside of it
    function  its name; "" of a module
    source    where the input of its shape is
    possible  whether it can be a place, where it lies over the picture
    """

    name: str
    others: tuple[str, ...]
    shape: tuple[int, ...]
    edge: GradientEdge | None
    function: str
    source: GradientEdge | None
    possible: bool


class _Run:
    """One run of a network with the graph of its gradients, and every output in order of execution."""

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        self.outputs: list[_Output] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        with preserved_state(network), torch.enable_grad():
            picture = network_input(network, images[:1]).requires_grad_()
            self.picture, self.end = picture, get_gradient_edge(picture).node
            output = output_of(network, picture)
            modules = {name: module for name, module in network.named_modules() if name}
            modules = modules or {"network": network}
            self.modules, self.given = modules, dict[str, Tensor | None]()
            hooks = forward_hooks(modules, self._module_ran)
            with hooks, _watched(network, self._function_ran, self.given), network_errors():
                scores = output.scores(network, picture)
            self.best = scores.amax(dim=1).sum()
        if not self.best.requires_grad or self.end not in _nodes(self.best):
            raise UsageError(
                "No gradient reaches the picture from the scores: something in this network cannot be "
                "differentiated, or runs under torch.no_grad(). Occlusion needs no gradient."
            )
        shapes = {each.name: each.shape for each in self.outputs if each.possible}
        self.grids = layer_grids(network, images, shapes, watching=partial(_outputs_watched, network))

    @property
    def candidates(self) -> list[_Output]:
        """The outputs that can be a place, in order of execution."""
        tokens = {shape[1] for shape in self.shapes.values() if len(shape) == 3}

        def attention(shape: tuple[int, ...]) -> bool:  # a square map as wide as there are tokens
            return len(shape) == 4 and shape[2] == shape[3] and shape[2] in tokens

        spatial = [each for each in self.outputs if each.name in self.grids and each.edge is not None]
        cells = {each.name: self.grids[each.name].height * self.grids[each.name].width for each in spatial}
        return [each for each in spatial if cells[each.name] > 1 and not attention(each.shape)]

    def is_cut(self, output: _Output) -> bool:
        """Whether every path from the scores back to the picture passes through an output."""
        assert output.edge is not None
        return self.end not in _nodes(self.best, without=output.edge.node)

    def bypass(self, output: _Output) -> float:
        """The share of the picture's gradient that does not pass through an output, 0..1."""
        there = self._gradient(output)
        (whole,) = torch.autograd.grad(self.best, self.picture, retain_graph=True)
        if there is None or output.edge is None:
            return 1.0
        (through,) = torch.autograd.grad(
            output.edge, self.picture, [there], retain_graph=True, allow_unused=True
        )
        if through is None:
            return 1.0
        around = float((whole - through).abs().sum())
        return around / max(around + float(through.abs().sum()), 1e-30)

    def has_evidence(self, output: _Output) -> bool:
        """Whether the scores depend on the output, of tokens on those of the picture: after the last
        attention only the class token counts."""
        grid, gradient = self.grids.get(output.name), self._gradient(output)
        if grid is None or gradient is None:
            return False
        return grid.kind != "tokens" or bool(grid.maps(gradient).any())

    def _gradient(self, output: _Output) -> Tensor | None:
        """That of the scores at an output; None where they do not depend on it."""
        edges = [] if output.edge is None else [output.edge]
        found = torch.autograd.grad(self.best, edges, retain_graph=True, allow_unused=True)
        return found[0] if found else None

    def _module_ran(self, key: str, output: Tensor) -> None:
        self.shapes[key] = tuple(output.shape)
        name = layer_of(key, self.modules)
        module, given = self.modules[name], self.given.pop(name, None)
        same = given is not None and given is not output and is_passthrough(given, output)
        has_weights = any(True for _ in module.parameters())
        self._add(key, output, function="", source=None, possible=has_weights or not same)

    def _function_ran(self, key: str, inputs: Sequence[_Given], output: Tensor) -> None:
        source = next((edge for shape, edge in inputs if shape == tuple(output.shape)), None)
        function = key.partition("#")[0].rpartition(".")[2]
        self._add(key, output, function=function, source=source, possible=True)

    def _add(
        self, key: str, output: Tensor, *, function: str, source: GradientEdge | None, possible: bool
    ) -> None:
        edge, shape = _edge(output), tuple(output.shape)
        before = next((at for at, each in enumerate(self.outputs) if _same(each.edge, edge)), None)
        if before is not None:  # a container returns the output of its last module
            known = self.outputs[before]
            if known.function and not function:  # a module's name is better than a function's inside of it
                others = (*known.others, known.name)
                self.outputs[before] = known._replace(name=key, others=others, function="")
            else:
                self.outputs[before] = known._replace(others=(*known.others, key))
            return
        possible = possible and output.is_floating_point() and output.dim() in (3, 4)
        self.outputs.append(_Output(key, (), shape, edge, function, source, possible))


class _Functions(TorchFunctionMode):
    """Inside the block `ran` is told of every function of JOINING and RECTIFYING: its key, its inputs, its
    output. `running` are the names of the modules that run, the innermost last."""

    def __init__(self, running: list[str], ran: Callable[[str, Sequence[_Given], Tensor], None]) -> None:
        super().__init__()
        self.running, self.ran, self.calls = running, ran, dict[str, int]()

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the function; calls inside it are not told of."""
        called = getattr(function, "__name__", "").partition(".")[0]
        name = called.strip("_")
        name = name[1:] if called.startswith(("__i", "__r")) else name
        if name not in JOINING | RECTIFYING:
            return function(*args, **(kwargs or {}))
        inputs = [(tuple(each.shape), _edge(each)) for each in args if isinstance(each, Tensor)]
        output = function(*args, **(kwargs or {}))
        if isinstance(output, Tensor):
            key = f"{self.running[-1]}.{name}" if self.running else name
            run = self.calls[key] = self.calls.get(key, 0) + 1
            self.ran(key if run == 1 else f"{key}#{run}", inputs, output)
        return output


@contextmanager
def _outputs_watched(network: nn.Module, hook: Hook) -> Iterator[None]:
    """Inside the block `hook` is called with the output of every module and of every function, by its key."""
    modules = {name: module for name, module in network.named_modules() if name} or {"network": network}

    def told(key: str, output: Tensor) -> None:
        hook(key, output)  # a function's output is not replaced

    with forward_hooks(modules, hook), _watched(network, lambda key, _, output: told(key, output)):
        yield


@contextmanager
def _watched(
    network: nn.Module,
    ran: Callable[[str, Sequence[_Given], Tensor], None],
    given: dict[str, Tensor | None] | None = None,
) -> Iterator[None]:
    """Inside the block `ran` is told of functions; `given` takes the first input of every module."""
    running: list[str] = []
    handles = []

    def begins(name: str) -> Callable[[nn.Module, Any], None]:
        def begin(_: nn.Module, inputs: Any) -> None:
            running.append(name)
            if given is not None:
                given[name] = first_tensor(inputs)

        return begin

    try:
        for name, module in network.named_modules():
            if name:
                handles.append(before_module(module, begins(name)))
                handles.append(after_module(module, lambda *_: running.pop() and None))
        with _Functions(running, ran):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _nodes(scores: Tensor, without: Node | None = None) -> set[Node]:
    """The nodes of the graph of gradients from the scores back, as if `without` were not there."""
    waiting, found = [scores.grad_fn], set[Node]()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found and node != without:
            found.add(node)
            waiting += [following for following, _ in node.next_functions]
    return found


def _edge(tensor: Tensor) -> GradientEdge | None:
    return get_gradient_edge(tensor) if tensor.requires_grad else None


def _same(first: GradientEdge | None, second: GradientEdge | None) -> bool:
    return first is not None and second is not None and first[:2] == second[:2]

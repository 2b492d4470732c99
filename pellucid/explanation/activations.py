"""The output of every layer of any network, which is left exactly as it was."""

import copy
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields, is_dataclass, replace
from functools import partial
from math import isqrt, log
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from pellucid.errors import PellucidError, UsageError
from pellucid.inference import evaluation_mode, laid_out_for, network_errors, refuse_lazy, scaled
from pellucid.recipe import refuse_unknown_keywords

Hook = Callable[[str, Tensor], Tensor | None]  # layer and output -> a replacement, or None

RECORD_BYTES = 96 << 20  # of the outputs of all layers that are held at once
SPECIAL_TOKENS = 16  # that may stand before and behind those of the picture, at most
SPOTS = (1 / 6, 5 / 12, 7 / 12, 5 / 6)  # of a side, where a spot is put to see which cells respond
SPOT = 1 / 12  # of a side, its size
FOLLOWED = 0.6  # share of the spots that the largest response must follow


def recordable(network: nn.Module, images: Tensor, most: int) -> int:
    """How many pictures' outputs of every layer fit into RECORD_BYTES, up to `most` and at least 1.

    images  (N, C, H, W), N > 0, of which the first is run through the network
    """
    size = sum(output.numel() * output.element_size() for output in record(network, images[:1]).values())
    return max(1, min(most, RECORD_BYTES // max(1, size)))


@refuse_unknown_keywords
def record(network: nn.Module, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
    """The output of every layer for `images`, by the layer's name and in order of execution.

    images   the network's input, float (B, C, H, W), or of other dimensions where it takes those; uint8
             pictures are scaled to 0..1 first
    layers   names from `network.named_modules()`; without them, every module without submodules and every
             module with weights of its own. A module that runs twice appears as "name" and "name#2"; either
             can be asked for.

    The outputs are float32 copies on the CPU, (B, ...) each; of a module with several output tensors, the
    first. Of complex numbers they are the magnitudes, of quantised ones what those stand for. Functions that
    are not modules (`functional.relu(...)`, `+`) cannot be seen: ask for the module that calls them. Parts
    that torch.compile made run as they were written. A TorchScript module is one layer, whatever it holds,
    and a network in which no layer runs as a module is one layer, "network": `silent_layers` names those.

    The network runs in evaluation mode without gradients; hooks, modes, gradients and torch's random state
    are restored afterwards, also after an error. Raises UsageError for an unknown layer, and, quoting it, for
    an error of the network's own.
    """
    network = uncompiled(network)
    names = None if layers is None else list(layers)
    modules: dict[str, nn.Module] = {}
    for name in names or ():
        modules |= find_module(network, name)
    if names is None:
        modules = layers_of(network)
    recorded: dict[str, Tensor] = {}

    def store(key: str, output: Tensor) -> None:  # a copy, safe from a later in-place ReLU
        recorded[key] = _real(output.detach()).to("cpu", torch.float32, copy=True).contiguous()

    with preserved_state(network), torch.no_grad():
        inputs = network_input(network, images)
        with forward_hooks(modules, store), network_errors():
            whole = first_tensor(network(inputs))
    if names is None:
        if not recorded and whole is not None:
            store("network", whole)
        return recorded
    for name in names:
        if name not in recorded:
            raise UsageError(
                f"Layer '{name}' has no output for these pictures. "
                f"Of the layers asked for, these ran: {', '.join(recorded) or 'none'}."
            )
    return {
        key: output for key, output in recorded.items() if key in names or layer_of(key, modules) in names
    }


def silent_layers(network: nn.Module, recorded: Iterable[str]) -> list[str]:
    """The layers with weights that are not among the keys of `recorded`, in the order of definition: they did
    not run, or what they do was done without calling them."""
    layers = layers_of(uncompiled(network))
    ran = {layer_of(key, layers) for key in recorded}
    return [
        name
        for name, module in layers.items()
        if name not in ran and any(True for _ in module.parameters(recurse=False))
    ]


@contextmanager
def preserved_state(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block, and parts that torch.compile made run as they were written;
    afterwards every mode and torch's random state are restored."""
    cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if cuda else []
    # A compiled part skips hooks. Where nothing was compiled the compiler is not loaded: it takes a second.
    compiled = "torch._dynamo" in sys.modules
    eager: Any = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
    with (
        evaluation_mode(network),
        torch.random.fork_rng(devices=devices),
        torch.inference_mode(False),
        eager,
    ):
        yield


@contextmanager
def forward_hooks(modules: Mapping[str, nn.Module], hook: Hook) -> Iterator[None]:
    """Inside the block `hook(key, output)` is called after every run of one of `modules`.

    The key is the module's name, from its second run on with the number of the run: "conv", "conv#2". A
    tensor that `hook` returns replaces the output.
    """
    handles = []
    try:
        for name, module in modules.items():
            handles.append(after_module(module, _numbered(name, hook)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def before_module(module: nn.Module, hook: Callable[[nn.Module, Any], Any]) -> RemovableHandle:
    """Calls `hook(module, inputs)` before every run of the module until the handle's `remove`."""
    if not _is_script(module):
        return module.register_forward_pre_hook(hook)
    return register_module_forward_pre_hook(
        lambda each, inputs: hook(each, inputs) if each is module else None
    )


def after_module(module: nn.Module, hook: Callable[[nn.Module, Any, Any], Any]) -> RemovableHandle:
    """Calls `hook(module, inputs, output)` after every run of the module until the handle's `remove`."""
    if not _is_script(module):
        return module.register_forward_hook(hook)
    return register_module_forward_hook(  # a TorchScript module takes no hooks of its own
        lambda each, inputs, output: hook(each, inputs, output) if each is module else None
    )


def uncompiled(network: nn.Module) -> nn.Module:
    """The network inside a `torch.compile` wrapper, because a compiled network may skip its hooks."""
    inner = getattr(network, "_orig_mod", network)
    return inner if isinstance(inner, nn.Module) else network


def network_input(network: nn.Module, images: Tensor) -> Tensor:
    """A copy of `images` (B, C, H, W) in the device, precision and memory format that the network takes;
    uint8 becomes 0..1. To be called before hooks are registered: it may try the network.

    Raises UsageError for other dimensions, unless the network has no weights of a convolution (F, C, h, w),
    which would take the pictures' first dimension for channels.
    """
    refuse_lazy(network)
    flat = any(weight.dim() == 4 for weight in network.parameters())
    if images.dim() != 4 and (images.dim() < 2 or flat):
        raise UsageError(f"Expected pictures (B, C, H, W); got {tuple(images.shape)}. images[None] adds B.")
    images = scaled(images) if images.dtype == torch.uint8 else images.detach().clone()
    weight = _first_weight(network)
    if weight is not None and (images.is_floating_point() or images.dim() == 4):
        images = images.to(weight.device, weight.dtype)
    return laid_out_for(network, images)


def _first_weight(network: nn.Module) -> Tensor | None:
    """The first floating-point weight of a module without submodules, else of any, else the first buffer."""
    leaves = [module for module in network.modules() if not any(True for _ in module.children())]
    weights: list[Tensor] = [weight for module in leaves for weight in module.parameters(recurse=False)]
    weights += [*network.parameters(), *network.buffers()]
    return next((weight for weight in weights if weight.is_floating_point()), None)


def _parts_of(output: Any) -> list[tuple[Any, Any]]:
    """(key, part) of a module's output that holds others: a mapping, a list or tuple, a dataclass."""
    if isinstance(output, Mapping):
        return list(output.items())
    if isinstance(output, list | tuple):
        return list(enumerate(output))
    if is_dataclass(output) and not isinstance(output, type):
        return [(each.name, getattr(output, each.name)) for each in fields(output)]
    return []


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor in a module's output: a tensor, or a tuple, list, mapping or dataclass of outputs;
    None without any."""
    if isinstance(output, Tensor):
        return output
    found = (first_tensor(part) for _, part in _parts_of(output))
    return next((tensor for tensor in found if tensor is not None), None)


def _real(output: Tensor) -> Tensor:
    """Magnitudes of complex numbers; the numbers that quantised ones stand for."""
    if output.is_quantized:
        return output.dequantize()
    return output.abs() if output.is_complex() else output


class Grid(NamedTuple):
    """How a layer's output lies over the picture: maps of `height` x `width` cells."""

    kind: str  # "channels first" (B, C, h, w), "channels last" (B, h, w, C) or "tokens" (B, n, C)
    height: int
    width: int
    extra: int = 0  # tokens before those of the picture, such as a class token

    def maps(self, output: Tensor) -> Tensor:
        """The output as (B, C, h, w), without tokens before or behind those of the picture."""
        if self.kind == "channels first":
            return output
        if self.kind == "channels last":
            return output.movedim(-1, 1)
        cells = output[:, self.extra : self.extra + self.height * self.width].mT  # (B, C, h*w)
        return cells.reshape(*cells.shape[:2], self.height, self.width)


def layer_grids(
    network: nn.Module,
    images: Tensor,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    watching: Callable[[Hook], AbstractContextManager[Any]] | None = None,
) -> dict[str, Grid]:
    """How the outputs of layers lie over pictures (B, C, H, W), by key; those that do not are left out.

    shapes    of the layers' outputs, by key, as `record` gives them
    watching  inside of whose context a hook is called with every such key and output; without it the keys are
              those of modules

    Maps (B, C, h, w) in the proportions of the picture are taken as they are. Whatever else could lie over
    it, such as tokens, does where the largest response follows a spot that is moved over the first picture:
    that is tried once for each layer of a network.
    """
    size = (images.shape[-2], images.shape[-1])
    possible = {key: possible_grids(shape, size) for key, shape in shapes.items()}
    grids = {
        key: found[0] for key, found in possible.items() if len(found) == 1 and found[0].kind != "tokens"
    }
    known = _grids.setdefault(network, {})
    unknown = [key for key in shapes if possible[key] and key not in grids and (key, size) not in known]
    if unknown:
        if watching is None:
            modules = dict(item for key in unknown for item in find_module(network, key).items())
            watching = partial(forward_hooks, modules)
        responses = _responses(network, images[:1], unknown, watching)
        for key in unknown:
            known[key, size] = _following(responses.get(key), possible[key], size)
    tried = {key: grid for key in shapes if (grid := known.get((key, size))) is not None and possible[key]}
    return {key: grid for key in shapes if (grid := grids.get(key) or tried.get(key)) is not None}


_grids: "WeakKeyDictionary[nn.Module, dict[tuple[str, tuple[int, int]], Grid | None]]" = WeakKeyDictionary()


def possible_grids(shape: tuple[int, ...], size: tuple[int, int]) -> list[Grid]:
    """Every way in which an output of that shape could lie over a picture of `size` (H, W).

    Four dimensions are (B, C, h, w) alone, unless (B, h, w, C) is nearer the picture's proportions or both
    are as near. Tokens (B, n, C) could when n, less some before or behind, fills a grid of its proportions.
    """
    if len(shape) == 4:
        first, last = Grid("channels first", *shape[2:]), Grid("channels last", *shape[1:3])
        proportional = [grid for grid in (first, last) if _aspect_error(grid[1:3], size) < 0.2]
        return [first] if proportional == [first] else [first, last]
    if len(shape) != 3:
        return []
    found = []
    for height in range(1, 2 + isqrt(2 * shape[1] * size[0] // size[1])):
        width = round(height * size[1] / size[0])
        for columns in (width - 1, width, width + 1):
            special = shape[1] - height * columns
            if (
                columns > 0
                and height * columns > 1
                and 0 <= special <= min(SPECIAL_TOKENS, height * columns)
                and _aspect_error((height, columns), size) < 0.2
            ):
                found += [Grid("tokens", height, columns, extra) for extra in range(special + 1)]
    return found


def _responses(
    network: nn.Module,
    image: Tensor,
    keys: list[str],
    watching: Callable[[Hook], AbstractContextManager[Any]],
) -> dict[str, Tensor]:
    """How much each number of the layers' outputs changes with a spot at each of the places, by key: squares
    (P, ...), where an output has a row for each picture."""
    responses: dict[str, Tensor] = {}

    def measure(key: str, output: Tensor) -> None:
        if key in keys and output.dim() in (3, 4) and len(output) == 1 + len(SPOTS) ** 2:
            outputs = _real(output.detach()).float()
            responses[key] = (outputs[1:] - outputs[:1]).square()

    with preserved_state(network), torch.no_grad():
        inputs = network_input(network, _with_spots(image))
        with watching(measure), network_errors():
            network(inputs)
    return responses


def _with_spots(image: Tensor) -> Tensor:
    """A picture (1, C, H, W), and the same with a spot at each of the places, (1 + P, C, H, W): in the spot
    every value is the lowest or the highest, whichever is farther."""
    image = scaled(image) if image.dtype == torch.uint8 else image.detach()
    low, high = min(0.0, float(image.min())), max(1.0, float(image.max()))
    pictures = image.repeat(1 + len(SPOTS) ** 2, 1, 1, 1)
    for picture, (top, bottom, left, right) in zip(pictures[1:], _spots(image.shape[2:]), strict=True):
        spot = picture[:, top:bottom, left:right]
        spot.copy_(torch.where(spot > (low + high) / 2, low, high))
    return pictures


def _spots(size: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """The places of the spots: first and last row, first and last column, the last ones excluded."""
    sides = []
    for side in size[:2]:
        length = max(1, round(side * SPOT))
        starts = [min(side - length, max(0, round(place * side - length / 2))) for place in SPOTS]
        sides.append([(start, start + length) for start in starts])
    return [(*rows, *columns) for rows in sides[0] for columns in sides[1]]


def _following(response: Tensor | None, grids: list[Grid], size: tuple[int, int]) -> Grid | None:
    """Of the possible grids the one on which the largest response is nearest the spots; None where it follows
    them on none."""
    best: tuple[float, Grid] | None = None
    if response is None:
        return None
    for grid in grids:
        cells = grid.maps(response).sum(dim=1)  # (P, h, w)
        if grid.height * grid.width < 2 or not bool(cells.isfinite().all()):
            continue
        peaks = cells.flatten(1).argmax(dim=1)
        distances, followed = 0.0, 0
        for peak, (top, bottom, left, right) in zip(peaks.tolist(), _spots(size), strict=True):
            rows = abs((peak // grid.width + 0.5) / grid.height - (top + bottom) / 2 / size[0])
            columns = abs((peak % grid.width + 0.5) / grid.width - (left + right) / 2 / size[1])
            followed += rows <= 0.5 / grid.height + SPOT and columns <= 0.5 / grid.width + SPOT
            distances += rows + columns
        if followed >= FOLLOWED * len(peaks) and (best is None or distances < best[0]):
            best = distances, grid
    return None if best is None else best[1]


def is_passthrough(before: Tensor, output: Tensor) -> bool:
    """Whether the `output` of a module without weights is its input `before`, perhaps reshaped or made
    smaller."""
    if before.dim() != output.dim():
        return before.numel() == output.numel() and torch.equal(before.flatten(), output.flatten())
    if output.dim() == 4 and output.shape[2:].numel() < before.shape[2:].numel():
        return True
    return output.shape == before.shape and torch.equal(output, before)


def _aspect_error(sides: tuple[int, ...], size: tuple[int, int]) -> float:
    """How far two sides are from the aspect ratio of the picture, as a difference of logarithms."""
    if sides[0] < 1 or sides[1] < 1 or size[0] < 1 or size[1] < 1:
        return float("inf")
    return abs(log(sides[0] / size[0]) - log(sides[1] / size[1]))


def _named(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in network.named_modules():
        yield name or "network", module


def find_module(network: nn.Module, layer: str) -> dict[str, nn.Module]:
    """{name: module} of a layer, "conv" or "conv#2". Raises UsageError for an unknown one, listing the
    layers."""
    modules = dict(_named(network)) | dict(network.named_modules(remove_duplicate=False))
    base = layer_of(layer, modules)
    if not base or base not in modules:
        raise UsageError(f"No layer '{layer}' in this network. Its layers: {', '.join(layers_of(network))}.")
    return {base: modules[base]}


def layer_of(key: str, names: Container[str]) -> str:
    """The name of the layer whose output has that key: "conv" of "conv#2", unless a layer is called so."""
    return key if key in names else key.rpartition("#")[0]


def layers_of(network: nn.Module) -> dict[str, nn.Module]:
    """The modules without submodules, or with weights of their own, by name. A TorchScript module is one, and
    what is inside it runs without being called."""
    scripted = [f"{name}." for name, module in network.named_modules() if _is_script(module) and name]
    return {
        name: module
        for name, module in _named(network)
        if (
            not any(True for _ in module.children())
            or any(True for _ in module.parameters(recurse=False))
            or _is_script(module)
        )
        and not any(name.startswith(prefix) for prefix in scripted)
        and (name == "network" or not _is_script(network))
    }


def _is_script(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule)


def _numbered(name: str, hook: Hook) -> Any:
    """A forward hook that calls `hook` with the layer's key, counting the module's runs."""
    runs = 0

    def numbered(module: nn.Module, inputs: Any, output: Any) -> Any:
        nonlocal runs
        runs += 1
        tensor = first_tensor(output)
        if tensor is None:
            return None
        replacement = hook(name if runs == 1 else f"{name}#{runs}", tensor)
        return None if replacement is None else _replaced(output, tensor, replacement)

    return numbered


def _replaced(output: Any, tensor: Tensor, replacement: Tensor) -> Any:
    """`output` with `replacement` in place of `tensor`."""
    if output is tensor:
        return replacement
    parts = {key: _replaced(part, tensor, replacement) for key, part in _parts_of(output)}
    if all(parts[key] is part for key, part in _parts_of(output)):
        return output
    if type(output) in (list, tuple):
        return type(output)(parts.values())
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return type(output)(*parts.values())
    if isinstance(output, MutableMapping):
        changed = copy.copy(output)
        changed.update(parts)
        return changed
    if is_dataclass(output) and not isinstance(output, type) and all(each.init for each in fields(output)):
        return replace(output, **parts)
    raise PellucidError(
        f"The output of a layer is a {type(output).__name__}, in which no tensor can be replaced. "
        "Choose another layer."
    )

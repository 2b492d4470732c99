"""What each layer of a network puts out, for any network, leaving it exactly as it was."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import isqrt, log
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pellucid.errors import PellucidError, UsageError
from pellucid.inference import evaluating, scaled

Hear = Callable[[str, Tensor], Tensor | None]

SPECIAL_TOKENS = (0, 1, 2, 5)  # class token; with distillation token; with four registers


def record(network: nn.Module, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
    """What each layer put out for `images`, by the layer's name and in order of execution.

    images   what the network takes, float (B, C, H, W); uint8 pictures are scaled to 0..1 first
    layers   names from `network.named_modules()`; without them, every module that has no other module
             inside, and every one with weights of its own. A module that runs twice appears as "name" and
             "name#2"; either can be asked for.

    The values are float32 copies on the CPU, (B, ...) each; of a module that puts out several tensors, the
    first. Functions that are no modules (`functional.relu(...)`, `+`) cannot be seen: name the module they
    stand in to see what it puts out after them.

    The network runs in evaluation mode without gradients; its hooks, modes and gradients and torch's random
    state are afterwards as before, also after an error. Raises UsageError for an unknown layer.
    """
    network = original(network)
    wanted = None if layers is None else list(layers)
    modules = _chosen(network, wanted)
    recorded: dict[str, Tensor] = {}

    def keep(key: str, output: Tensor) -> None:  # a copy: a later in-place ReLU must not reach it
        recorded[key] = output.detach().to("cpu", torch.float32, copy=True).contiguous()

    with undisturbed(network), torch.no_grad(), listening(modules, keep):
        network(fitted(network, images))
    if wanted is not None:
        _refuse_silent(wanted, recorded)
        recorded = {
            key: output
            for key, output in recorded.items()
            if key in wanted or key.partition("#")[0] in wanted
        }
    return recorded


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every mode and torch's random state are as before."""
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if in_use else []
    with evaluating(network), torch.random.fork_rng(devices=devices), torch.inference_mode(False):
        yield


@contextmanager
def listening(modules: Mapping[str, nn.Module], hear: Hear) -> Iterator[None]:
    """Inside the block `hear(key, output)` is called whenever one of `modules` has run.

    The key is the module's name, from its second run on with the number of the run: "conv", "conv#2". A
    tensor that `hear` gives back takes the place of the output.
    """
    handles = []
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(_hook(name, hear)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def original(network: nn.Module) -> nn.Module:
    """The network itself where `torch.compile` wrapped it: a compiled one may pass its hooks by."""
    inner = getattr(network, "_orig_mod", network)
    return inner if isinstance(inner, nn.Module) else network


def fitted(network: nn.Module, images: Tensor) -> Tensor:
    """A copy of `images` on the device and in the precision of the network's weights; uint8 becomes 0..1."""
    if images.dim() != 4:
        raise UsageError(f"Expected pictures (B, C, H, W); got {tuple(images.shape)}. images[None] adds B.")
    images = scaled(images) if images.dtype == torch.uint8 else images.detach().clone()
    for weight in network.parameters():
        if weight.is_floating_point():
            return images.to(weight.device, weight.dtype)
    return images


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor of what a module puts out: a tensor, a tuple or list, or a mapping of such."""
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, Mapping) else output
    if not isinstance(output, list | tuple | Mapping):
        return None
    return next((found for part in parts if (found := first_tensor(part)) is not None), None)


class Grid(NamedTuple):
    """How what a layer puts out lies over the picture: maps of `height` x `width` cells."""

    kind: str  # "channels first" (B, C, h, w), "channels last" (B, h, w, C) or "tokens" (B, extra + h*w, C)
    height: int
    width: int
    extra: int = 0

    def maps(self, output: Tensor) -> Tensor:
        """The output as (B, C, h, w); extra tokens, such as the class token, are left out."""
        if self.kind == "channels first":
            return output
        if self.kind == "channels last":
            return output.movedim(-1, 1)
        places = output[:, self.extra :].mT  # (B, C, h*w)
        return places.reshape(*places.shape[:2], self.height, self.width)


def grid_of(shape: tuple[int, ...], size: tuple[int, int]) -> Grid | None:
    """How an output of that shape lies over a picture of `size`; None where it has no places.

    (B, C, h, w) is taken as such unless only (B, h, w, C) has the proportions of the picture. Tokens
    (B, n, C) count as places when n, less up to five special ones in front, is a grid of the picture's shape.
    """
    if len(shape) == 4:
        first, last = _skew(shape[2:], size), _skew(shape[1:3], size)
        if first > 0.5 and last < 0.2 and shape[3] >= max(shape[1:3]):
            return Grid("channels last", shape[1], shape[2])
        return Grid("channels first", shape[2], shape[3])
    if len(shape) == 3:
        for extra in SPECIAL_TOKENS:
            cells = shape[1] - extra
            height = isqrt(max(0, cells) * size[0] // size[1])
            for rows in (height, height + 1):
                if cells > 1 and rows and cells % rows == 0 and _skew((rows, cells // rows), size) < 0.2:
                    return Grid("tokens", rows, cells // rows, extra)
    return None


def last_spatial_layer(network: nn.Module, images: Tensor) -> str:
    """The last layer that still has places, and on whose places the answer for `images` depends.

    Poolings are passed over, because their input shows the same evidence in finer cells; so are modules
    that change nothing, such as dropout. A block that adds or rectifies outside of modules counts as a
    layer. Of transformers it is the last layer whose picture tokens still reach the answer.

    Raises UsageError, listing what the layers put out, when there is none.
    """
    network = original(network)
    places = _Places(network, (images.shape[-2], images.shape[-1]))
    with undisturbed(network), torch.enable_grad(), listening(places.modules, places.hear):
        answer = first_tensor(network(fitted(network, images[:1]).requires_grad_()))
        reached = places.reached(answer)
    if not reached:
        shapes = ", ".join(f"{key} {shape}" for key, shape in places.shapes.items())
        raise UsageError(f"No layer of this network puts out maps (B, C, H, W). Its layers: {shapes}.")
    return reached[-1]


class _Places:
    """Collects the outputs that lie over the picture while a network runs once."""

    def __init__(self, network: nn.Module, size: tuple[int, int]) -> None:
        parts = {name: module for name, module in network.named_modules() if name}
        self.modules = parts or {"network": network}
        self.size = size
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.outputs: dict[str, Tensor] = {}
        self.passed_on: list[tuple[Tensor, int]] = []  # with how often each had been changed in place
        self.previous: Tensor | None = None

    def hear(self, key: str, output: Tensor) -> Tensor | None:
        """Keeps the output if it has places of its own; passes a copy on, safe from in-place changes."""
        self.shapes[key] = tuple(output.shape)
        module = self.modules[key.partition("#")[0]]
        same = any(output is other and output._version == changes for other, changes in self.passed_on)
        if same or not output.is_floating_point():
            return None  # a container putting out what its last part put out
        before, self.previous = self.previous, output
        grid = grid_of(tuple(output.shape), self.size)
        weighted = any(True for _ in module.parameters())
        idle = before is not None and not weighted and adds_nothing(before, output)
        if grid is not None and grid.height * grid.width > 1 and not idle:
            self.outputs[key] = output
        copy = output.clone()
        self.passed_on.append((copy, copy._version))
        return copy

    def reached(self, answer: Tensor | None) -> list[str]:
        """The kept layers on which the answer depends, in order of execution."""
        tokens = {shape[1] for shape in self.shapes.values() if len(shape) == 3}
        kept = {
            key: output
            for key, output in self.outputs.items()
            if output.requires_grad
            and not (output.dim() == 4 and output.shape[2] == output.shape[3] and output.shape[2] in tokens)
        }
        if answer is None or not answer.requires_grad or not kept:
            return []
        best = answer.float().flatten(1).amax(dim=1).sum()
        gradients = torch.autograd.grad(best, list(kept.values()), allow_unused=True)
        return [
            key
            for (key, output), gradient in zip(kept.items(), gradients, strict=True)
            if gradient is not None and self._has_evidence(output, gradient)
        ]

    def _has_evidence(self, output: Tensor, gradient: Tensor) -> bool:
        grid = grid_of(tuple(output.shape), self.size)
        if grid is None or grid.kind != "tokens":
            return grid is not None
        return bool(grid.maps(gradient).any())  # after the last attention only the class token counts


def adds_nothing(before: Tensor, output: Tensor) -> bool:
    """Whether a module without weights, given `before`, only shrinks it or hands it on."""
    if before.dim() != output.dim():
        return before.numel() == output.numel() and torch.equal(before.flatten(), output.flatten())
    if output.dim() == 4 and output.shape[2:].numel() < before.shape[2:].numel():
        return True
    return output.shape == before.shape and torch.equal(output, before)


def _skew(sides: tuple[int, ...], size: tuple[int, int]) -> float:
    """How far two sides are from the proportions of the picture; 0: the same, or larger than it."""
    if sides[0] < 1 or sides[1] < 1 or size[0] < 1 or size[1] < 1:
        return float("inf")
    return abs(log(sides[0] / size[0]) - log(sides[1] / size[1]))


def _named(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in network.named_modules():
        yield name or "network", module


def module_named(network: nn.Module, layer: str) -> dict[str, nn.Module]:
    """The module of a layer, "conv" or "conv#2", by its name. Raises UsageError, listing the layers."""
    base = layer.partition("#")[0]
    named = dict(_named(network)) | dict(network.named_modules(remove_duplicate=False))
    if not base or base not in named:
        raise UsageError(f"No layer '{layer}' in this network. Its layers: {', '.join(layers_of(network))}.")
    return {base: named[base]}


def layers_of(network: nn.Module) -> dict[str, nn.Module]:
    """The modules that have no other inside, or weights of their own, by name."""
    return {
        name: module
        for name, module in _named(network)
        if not any(True for _ in module.children()) or any(True for _ in module.parameters(recurse=False))
    }


def _chosen(network: nn.Module, wanted: list[str] | None) -> dict[str, nn.Module]:
    if wanted is None:
        return layers_of(network)
    chosen: dict[str, nn.Module] = {}
    for name in wanted:
        chosen |= module_named(network, name)
    return chosen


def _refuse_silent(wanted: list[str], recorded: Mapping[str, Tensor]) -> None:
    for name in wanted:
        if name not in recorded:
            raise UsageError(
                f"Layer '{name}' put out nothing for these pictures. "
                f"What was asked for and ran: {', '.join(recorded) or 'no layer'}."
            )


def _hook(name: str, hear: Hear) -> Any:
    runs = 0

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        nonlocal runs
        runs += 1
        found = first_tensor(output)
        if found is None:
            return None
        replacement = hear(name if runs == 1 else f"{name}#{runs}", found)
        return None if replacement is None else _replaced(output, found, replacement)

    return hook


def _replaced(output: Any, found: Tensor, replacement: Tensor) -> Any:
    """`output` with `replacement` in the place of `found`."""
    if output is found:
        return replacement
    if type(output) in (list, tuple):
        return type(output)(_replaced(part, found, replacement) for part in output)
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return type(output)(*(_replaced(part, found, replacement) for part in output))
    if type(output) is dict:
        return {key: _replaced(part, found, replacement) for key, part in output.items()}
    if isinstance(output, list | tuple | Mapping):
        raise PellucidError(
            f"A layer puts out a {type(output).__name__}, which cannot be put together again with another "
            "tensor in it. Name another layer."
        )
    return output

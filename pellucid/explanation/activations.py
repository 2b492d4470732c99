"""The output of every layer of any network, which is left exactly as it was."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import isqrt, log
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pellucid.errors import PellucidError, UsageError
from pellucid.inference import evaluation_mode, scaled
from pellucid.recipe import refuse_unknown_keywords

Hook = Callable[[str, Tensor], Tensor | None]  # layer and output -> a replacement, or None

RECORD_BYTES = 96 << 20  # of the outputs of all layers that are held at once
SPECIAL_TOKENS = (0, 1, 2, 5)  # none; class token; with a distillation token; with four registers


def recordable(network: nn.Module, images: Tensor, most: int) -> int:
    """How many pictures' outputs of every layer fit into RECORD_BYTES, up to `most` and at least 1.

    images  (N, C, H, W), N > 0, of which the first is run through the network
    """
    size = sum(output.numel() * output.element_size() for output in record(network, images[:1]).values())
    return max(1, min(most, RECORD_BYTES // max(1, size)))


@refuse_unknown_keywords
def record(network: nn.Module, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
    """The output of every layer for `images`, by the layer's name and in order of execution.

    images   the network's input, float (B, C, H, W); uint8 pictures are scaled to 0..1 first
    layers   names from `network.named_modules()`; without them, every module without submodules and every
             module with weights of its own. A module that runs twice appears as "name" and "name#2"; either
             can be asked for.

    The outputs are float32 copies on the CPU, (B, ...) each; of a module with several output tensors, the
    first. Functions that are not modules (`functional.relu(...)`, `+`) cannot be seen: ask for the module
    that calls them.

    The network runs in evaluation mode without gradients; hooks, modes, gradients and torch's random state
    are restored afterwards, also after an error. Raises UsageError for an unknown layer.
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
        recorded[key] = output.detach().to("cpu", torch.float32, copy=True).contiguous()

    with preserved_state(network), torch.no_grad(), forward_hooks(modules, store):
        network(network_input(network, images))
    if names is None:
        return recorded
    for name in names:
        if name not in recorded:
            raise UsageError(
                f"Layer '{name}' has no output for these pictures. "
                f"Of the layers asked for, these ran: {', '.join(recorded) or 'none'}."
            )
    return {key: out for key, out in recorded.items() if key in names or key.partition("#")[0] in names}


@contextmanager
def preserved_state(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every mode and torch's random state are restored."""
    cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if cuda else []
    with evaluation_mode(network), torch.random.fork_rng(devices=devices), torch.inference_mode(False):
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
            handles.append(module.register_forward_hook(_numbered(name, hook)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def uncompiled(network: nn.Module) -> nn.Module:
    """The network inside a `torch.compile` wrapper, because a compiled network may skip its hooks."""
    inner = getattr(network, "_orig_mod", network)
    return inner if isinstance(inner, nn.Module) else network


def network_input(network: nn.Module, images: Tensor) -> Tensor:
    """A copy of `images` (B, C, H, W) in the device and precision of the network's weights; uint8 becomes
    0..1."""
    if images.dim() != 4:
        raise UsageError(f"Expected pictures (B, C, H, W); got {tuple(images.shape)}. images[None] adds B.")
    images = scaled(images) if images.dtype == torch.uint8 else images.detach().clone()
    for weight in network.parameters():
        if weight.is_floating_point():
            return images.to(weight.device, weight.dtype)
    return images


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor in a module's output: a tensor, or a tuple, list or mapping of outputs; None without
    any."""
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, Mapping) else output
    if not isinstance(output, list | tuple | Mapping):
        return None
    return next((tensor for part in parts if (tensor := first_tensor(part)) is not None), None)


class Grid(NamedTuple):
    """How a layer's output lies over the picture: maps of `height` x `width` cells."""

    kind: str  # "channels first" (B, C, h, w), "channels last" (B, h, w, C) or "tokens" (B, extra + h*w, C)
    height: int
    width: int
    extra: int = 0

    def maps(self, output: Tensor) -> Tensor:
        """The output as (B, C, h, w), without extra tokens such as the class token."""
        if self.kind == "channels first":
            return output
        if self.kind == "channels last":
            return output.movedim(-1, 1)
        cells = output[:, self.extra :].mT  # (B, C, h*w)
        return cells.reshape(*cells.shape[:2], self.height, self.width)


def grid_of(shape: tuple[int, ...], size: tuple[int, int]) -> Grid | None:
    """How an output of that shape lies over a picture of `size` (H, W); None where it is not spatial.

    Four dimensions are (B, C, h, w) unless only (B, h, w, C) has the picture's aspect ratio. Tokens (B, n, C)
    are spatial when n, less up to five special tokens at the start, fills a grid of that aspect ratio.
    """
    if len(shape) == 4:
        first, last = _aspect_error(shape[2:], size), _aspect_error(shape[1:3], size)
        if first > 0.5 and last < 0.2 and shape[3] >= max(shape[1:3]):
            return Grid("channels last", shape[1], shape[2])
        return Grid("channels first", shape[2], shape[3])
    if len(shape) == 3:
        for extra in SPECIAL_TOKENS:
            cells = shape[1] - extra
            height = isqrt(max(0, cells) * size[0] // size[1])
            for rows in (height, height + 1):
                if (
                    cells > 1
                    and rows
                    and cells % rows == 0
                    and _aspect_error((rows, cells // rows), size) < 0.2
                ):
                    return Grid("tokens", rows, cells // rows, extra)
    return None


def last_spatial_layer(network: nn.Module, images: Tensor) -> str:
    """The last spatial layer on whose cells the scores for `images` depend.

    Poolings are skipped, because their input shows the same evidence in finer cells, and so are modules that
    change nothing, such as dropout. A block that adds or rectifies outside of modules counts as a layer. In a
    transformer it is the last layer whose picture tokens still reach the scores.

    Raises UsageError, listing the layers' output shapes, when there is none.
    """
    network = uncompiled(network)
    outputs = _SpatialOutputs(network, (images.shape[-2], images.shape[-1]))
    with preserved_state(network), torch.enable_grad(), forward_hooks(outputs.modules, outputs.hook):
        scores = first_tensor(network(network_input(network, images[:1]).requires_grad_()))
        layers = outputs.on_which_depends(scores)
    if not layers:
        shapes = ", ".join(f"{key} {shape}" for key, shape in outputs.shapes.items())
        raise UsageError(f"No layer of this network has maps (B, C, H, W) as output. Its layers: {shapes}.")
    return layers[-1]


class _SpatialOutputs:
    """Collects the spatial outputs of a network during one run."""

    def __init__(self, network: nn.Module, size: tuple[int, int]) -> None:
        submodules = {name: module for name, module in network.named_modules() if name}
        self.modules = submodules or {"network": network}
        self.size = size
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.outputs: dict[str, Tensor] = {}
        self.copies: list[
            tuple[Tensor, int]
        ] = []  # passed on, each with its version, which in-place changes raise
        self.previous: Tensor | None = None

    def hook(self, key: str, output: Tensor) -> Tensor | None:
        """Stores the output if it is spatial and new; passes a copy on, so that in-place changes spare it."""
        self.shapes[key] = tuple(output.shape)
        module = self.modules[key.partition("#")[0]]
        same = any(output is copy and output._version == version for copy, version in self.copies)
        if same or not output.is_floating_point():
            return None  # a container returns the output of its last module
        before, self.previous = self.previous, output
        grid = grid_of(tuple(output.shape), self.size)
        has_weights = any(True for _ in module.parameters())
        unchanged = before is not None and not has_weights and is_passthrough(before, output)
        if grid is not None and grid.height * grid.width > 1 and not unchanged:
            self.outputs[key] = output
        copy = output.clone()
        self.copies.append((copy, copy._version))
        return copy

    def on_which_depends(self, scores: Tensor | None) -> list[str]:
        """The stored layers on which the largest scores depend, in order of execution."""
        tokens = {shape[1] for shape in self.shapes.values() if len(shape) == 3}
        candidates = {  # a square map as wide as the number of tokens is a transformer's attention
            key: output
            for key, output in self.outputs.items()
            if output.requires_grad
            and not (output.dim() == 4 and output.shape[2] == output.shape[3] and output.shape[2] in tokens)
        }
        if scores is None or not scores.requires_grad or not candidates:
            return []
        best = scores.float().flatten(1).amax(dim=1).sum()
        gradients = torch.autograd.grad(best, list(candidates.values()), allow_unused=True)
        return [
            key
            for (key, output), gradient in zip(candidates.items(), gradients, strict=True)
            if gradient is not None and self._has_evidence(output, gradient)
        ]

    def _has_evidence(self, output: Tensor, gradient: Tensor) -> bool:
        grid = grid_of(tuple(output.shape), self.size)
        if grid is None or grid.kind != "tokens":
            return grid is not None
        return bool(grid.maps(gradient).any())  # after the last attention only the class token has a gradient


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
    base = layer.partition("#")[0]
    modules = dict(_named(network)) | dict(network.named_modules(remove_duplicate=False))
    if not base or base not in modules:
        raise UsageError(f"No layer '{layer}' in this network. Its layers: {', '.join(layers_of(network))}.")
    return {base: modules[base]}


def layers_of(network: nn.Module) -> dict[str, nn.Module]:
    """The modules without submodules, or with weights of their own, by name."""
    return {
        name: module
        for name, module in _named(network)
        if not any(True for _ in module.children()) or any(True for _ in module.parameters(recurse=False))
    }


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
    if type(output) in (list, tuple):
        return type(output)(_replaced(part, tensor, replacement) for part in output)
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return type(output)(*(_replaced(part, tensor, replacement) for part in output))
    if type(output) is dict:
        return {key: _replaced(part, tensor, replacement) for key, part in output.items()}
    if isinstance(output, list | tuple | Mapping):
        raise PellucidError(
            f"The output of a layer is a {type(output).__name__}, in which no tensor can be replaced. "
            "Choose another layer."
        )
    return output

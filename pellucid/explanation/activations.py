"""What each layer of a network puts out, for any network, leaving it exactly as it was."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.classifier import evaluating
from pellucid.errors import UsageError


def record(network: nn.Module, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
    """What each layer put out for `images`, by the layer's name and in order of execution.

    images   what the network takes: float 0..1 (B, C, H, W)
    layers   names from `network.named_modules()`; without them, every module that has no other module
             inside. A module that runs twice appears as "name" and "name#2".

    The values are float32 copies on the CPU, (B, ...) each. Functions that are no modules cannot be seen.
    The network runs in evaluation mode without gradients; its hooks, modes, gradients and torch's random
    state are afterwards as before, also after an error. Raises UsageError for an unknown layer.
    """
    modules = _chosen(network, layers)
    recorded: OrderedDict[str, Tensor] = OrderedDict()
    with (
        evaluating(network),
        torch.random.fork_rng(devices=[]),
        torch.no_grad(),
        listening(modules, lambda name, output: _keep(recorded, name, output)),
    ):
        network(images)
    return dict(recorded)


@contextmanager
def listening(modules: dict[str, nn.Module], hear: Any) -> Iterator[None]:
    """Inside the block `hear(name, output)` is called whenever one of `modules` has run."""
    handles = []
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(_hook(name, hear)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def last_spatial_layer(network: nn.Module, images: Tensor) -> str:
    """The name of the last layer that puts out maps (B, C, H, W) with more than one cell.

    Raises UsageError, listing what the layers put out, when there is none.
    """
    recorded = record(network, images[:1])
    spatial = [
        name for name, output in recorded.items() if output.dim() == 4 and output.shape[2:].numel() > 1
    ]
    if not spatial:
        shapes = ", ".join(f"{name} {tuple(output.shape)}" for name, output in recorded.items())
        raise UsageError(f"No layer of this network puts out maps (B, C, H, W). Its layers: {shapes}.")
    return spatial[-1].partition("#")[0]


def _chosen(network: nn.Module, layers: Iterable[str] | None) -> dict[str, nn.Module]:
    named = {name: module for name, module in network.named_modules() if name}
    if layers is None:
        leaves = {name: module for name, module in named.items() if not any(True for _ in module.children())}
        return leaves or {"network": network}
    wanted = list(layers)
    for name in wanted:
        if name not in named:
            raise UsageError(f"No layer '{name}' in this network. Its layers: {', '.join(named)}.")
    return {name: named[name] for name in wanted}


def _hook(name: str, hear: Any) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        hear(name, output)

    return hook


def _keep(recorded: dict[str, Tensor], name: str, output: Any) -> None:
    if isinstance(output, list | tuple):
        output = next((part for part in output if isinstance(part, Tensor)), None)
    if not isinstance(output, Tensor):
        return
    key, turn = name, 1
    while key in recorded:
        turn += 1
        key = f"{name}#{turn}"
    recorded[key] = output.detach().to(
        "cpu", torch.float32, copy=True
    )  # a later in-place ReLU must not reach it

"""Layer statistics: cost, receptive field, unused channels and linear-probe accuracy of every layer."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.explanation.activations import (
    Grid,
    before_module,
    forward_hooks,
    is_passthrough,
    layer_grids,
    layer_of,
    layers_of,
    network_input,
    preserved_state,
    record,
    recordable,
    uncompiled,
)
from pellucid.explanation.probes import leading_layers, probe_hits
from pellucid.explanation.trace import WHOLE, Reach, cell_fields
from pellucid.inference import network_errors, scaled
from pellucid.task import task_of
from pellucid.training.sampling import stratified_order

DUPLICATE = 0.95  # correlation of two channels above which one of them is hardly needed
CELLS_PER_PICTURE = 16
PROBE_FEATURES = 512
MAX_TRIED_SIDE = 64  # pixels a side up to which a receptive field that cannot be derived is found by trying
EFFECTIVE = 0.0455  # of the peak: two standard deviations, after Luo et al.
BATCH = 16
FIELD_PICTURES = 16  # over which an effective field is averaged; fewer for a large network
FIELD_MULTIPLY_ADDS = 80_000_000_000  # of all effective fields
TIMED_RUNS = 5

CAVEATS = {
    "channels": "Dead, always on and duplicate on these pictures; others may activate a channel.",
    "probe": "The network need not use what a probe can read from a layer.",
    "field": "The theoretical receptive field is a limit; what matters in practice is smaller.",
}

Field = tuple[int, int] | Literal["whole"]  # height and width in pixels; or the whole picture


@dataclass(frozen=True)
class Duplicates:
    """Two channels of a layer that respond to the same things."""

    first: int
    second: int
    correlation: float


@dataclass(frozen=True)
class LayerStats:
    """The statistics of one layer.

    shape            of its output for one picture
    channels         their number
    parameters       its own, without those of submodules
    multiply_adds    for one picture
    seconds          for one picture, the median of a few runs
    dead             channels that have the same value everywhere on every picture
    always_on        channels of a rectified layer that are above zero everywhere on every picture
    duplicates       pairs of channels that correlate above 0.95
    field            receptive field of a cell in the middle, (height, width) in pixels; "whole" where it is
                     the whole picture whatever its size; None: unknown
    effective_field  side in pixels of a square as large as the effective receptive field; None: unknown
    probe            accuracy of a linear classifier on this layer, on pictures it did not learn from
    untrained_probe  the same for the network before training; None where that was not given
    judged           whether the layer changes its input, so that statistics of its channels mean something
    """

    name: str
    shape: tuple[int, ...]
    channels: int
    parameters: int
    multiply_adds: int
    seconds: float
    dead: tuple[int, ...] = ()
    always_on: tuple[int, ...] = ()
    duplicates: tuple[Duplicates, ...] = ()
    field: Field | None = None
    effective_field: float | None = None
    probe: float | None = None
    untrained_probe: float | None = None
    judged: bool = True


@dataclass(frozen=True)
class NetworkStats:
    """The statistics of all layers in order of execution, measured on `pictures` pictures.

    leading  the layer from which most can be read, and those whose probes may be as good: see
             `probes.leading_layers`
    """

    layers: tuple[LayerStats, ...]
    pictures: int
    leading: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Of all layers together."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Of all layers together, for one picture."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def sentence(self) -> str:
        """The unused channels, in words."""
        judged = [layer for layer in self.layers if layer.judged]
        dead = [f"{len(layer.dead)} of {layer.channels} in {layer.name}" for layer in judged if layer.dead]
        pairs = [f"{len(layer.duplicates)} in {layer.name}" for layer in judged if layer.duplicates]
        parts = [
            f"dead channels: {', '.join(dead)}" if dead else "no channel is dead",
            f"pairs of duplicate channels: {', '.join(pairs)}" if pairs else "no two channels are duplicates",
        ]
        return f"On {self.pictures} pictures: {'; '.join(parts)}."


def layer_statistics(
    classifier: Classifier,
    dataset: Dataset,
    *,
    pictures: int = 512,
    seed: int = 0,
    untrained: nn.Module | None = None,
) -> NetworkStats:
    """The statistics of every layer on a sample of `dataset`, preferably not of training pictures.

    pictures   how many are drawn at random, by `seed`, each class in its share
    untrained  the network before training, for probes of its layers

    Linear probes (Alain and Bengio, arXiv:1610.01644) answer each picture after learning from two thirds of
    the others. Raises UsageError when there are fewer than three pictures.
    """
    if len(dataset) < 3:
        raise UsageError(f"Expected at least 3 pictures for layer statistics; got {len(dataset)}.")
    sample = dataset.subset(stratified_order(dataset, seed=seed)[:pictures])
    network = uncompiled(classifier.network)
    images = scaled(sample.images[: recordable(network, sample.images, 16)])
    summaries = _summaries(network, sample.images, seed)
    before = {} if untrained is None else _features_before(uncompiled(untrained), sample.images)
    labels, count = sample.labels, len(sample.classes)
    hits = {key: probe_hits(summary.features, labels, count) for key, summary in summaries.items()}
    hits_before = {key: probe_hits(features, labels, count) for key, features in before.items()}
    costs, seconds = multiply_adds(network, images[:1]), layer_seconds(network, images[:1])
    gradients = 2 * len(summaries) * max(1, sum(costs.values()))  # of one picture, from every layer
    shared = max(1, min(FIELD_PICTURES, FIELD_MULTIPLY_ADDS // gradients))
    theoretical, effective = (
        receptive_fields(network, images[:1]),
        effective_receptive_fields(network, images[:shared]),
    )
    modules = layers_of(network)
    layers = []
    for key, summary in summaries.items():
        name = layer_of(key, modules)
        run = name != key
        parameters = modules[name].parameters(recurse=False)
        layers.append(
            LayerStats(
                key,
                summary.shape,
                len(summary.lowest),
                0 if run else sum(weight.numel() for weight in parameters),
                0 if run else costs.get(name, 0),  # of all runs of a module
                seconds.get(key, 0.0),
                *(summary.channels() if summary.judged else ((), (), ())),
                theoretical.get(key),
                effective.get(key),
                float(hits[key].double().mean()),
                float(hits_before[key].double().mean()) if key in hits_before else None,
                summary.judged,
            )
        )
    judged = {key: hits[key] for key, summary in summaries.items() if summary.judged}
    return NetworkStats(tuple(layers), len(sample), tuple(leading_layers(judged)))


def multiply_adds(network: nn.Module, images: Tensor) -> dict[str, int]:
    """The multiply-adds of every layer for one of `images` (B, C, H, W): convolutions and matrix products,
    each counted in the innermost layer that computes it."""
    network = uncompiled(network)
    counter = FlopCounterMode(display=False)
    # Without gradients FlopCounterMode fails where a weight, such as a class token, is given to a module.
    with preserved_state(network), torch.enable_grad():
        inputs = network_input(network, images[:1])
        with counter, network_errors():
            network(inputs)
    counts: dict[str, dict[Any, int]] = counter.get_flop_counts()
    root, layers = type(network).__name__, list(layers_of(network))
    whole = {
        name: sum(counts.get(root if name == "network" else f"{root}.{name}", {}).values()) // 2
        for name in layers
    }
    own = dict(whole)
    for name in layers:  # FlopCounterMode counts what a part of a module computes in the module, too
        outer = name.rpartition(".")[0]
        while outer and outer not in whole:
            outer = outer.rpartition(".")[0]
        outer = outer or ("network" if name != "network" and "network" in whole else "")
        if outer:
            own[outer] -= whole[name]
    return own


def layer_seconds(network: nn.Module, images: Tensor) -> dict[str, float]:
    """The time of each layer for `images` (B, C, H, W), in seconds: the median of a few runs."""
    network = uncompiled(network)
    images = network_input(network, images)
    runs: dict[str, list[float]] = {}
    for _ in range(TIMED_RUNS):
        with preserved_state(network), torch.no_grad(), _timed(layers_of(network)) as durations:
            network(images)
        for key, seconds in durations.items():
            runs.setdefault(key, []).append(seconds)
    return {key: median(seconds) for key, seconds in runs.items()}


def receptive_fields(network: nn.Module, images: Tensor) -> dict[str, Field]:
    """The receptive field of a cell in the middle of each layer: (height, width) in pixels from the first
    that it can see to the last; "whole" where every cell sees the whole picture, of any size.

    Derived from windows, strides and paddings, exactly and at any size. Where that is not possible, as before
    a transformer's first attention, it is found by trying for pictures of up to 64 pixels a side: a row is
    set to NaN, and the cells that become NaN can see it. Layers of which neither is possible are left out.
    """
    network = uncompiled(network)
    fields: dict[str, Field] = {}
    reaches: Mapping[str, Reach | str] = {}
    with suppress(
        ArithmeticError, LookupError, RuntimeError, TypeError, ValueError
    ):  # a network of its own kind
        reaches = cell_fields(network, images[:1], layers_of(network))
    for key, reach in reaches.items():
        if isinstance(reach, Reach):
            ends = (side[len(side) // 2] for side in (reach.rows, reach.columns))
            height, width = (last - first + 1 for first, last in ends)
            fields[key] = (height, width)
        elif reach == WHOLE:
            fields[key] = "whole"
    size = (images.shape[2], images.shape[3])
    layers = layers_of(network)
    missing = set(layers) - {layer_of(key, layers) for key in fields}
    if missing and max(size) <= MAX_TRIED_SIDE:
        shapes = {key: tuple(output.shape) for key, output in record(network, images[:1]).items()}
        grids = layer_grids(network, images, shapes)
        copy = deepcopy(network).double()  # in which nothing overflows to NaN
        down, across = _extent(copy, images, grids, size, dim=2), _extent(copy, images, grids, size, dim=3)
        tried = {key: (down[key], across[key]) for key in down if key in across}
        fields = {**tried, **fields}
    return fields


def effective_receptive_fields(network: nn.Module, images: Tensor) -> dict[str, float]:
    """The effective receptive field of a cell in the middle of each layer: the side in pixels of a square as
    large as the area whose gradient is above a twentieth of the maximum (Luo et al., arXiv:1701.04128)."""
    network = uncompiled(network)
    outputs: dict[str, Tensor] = {}

    def store(key: str, output: Tensor) -> Tensor:
        outputs[key] = output
        return output.clone()  # an in-place ReLU changes the copy

    with preserved_state(network), torch.enable_grad():
        images = network_input(network, images).requires_grad_()
        with forward_hooks(layers_of(network), store):
            network(images)
        shapes = {key: tuple(output.shape) for key, output in outputs.items()}
        grids = layer_grids(network, images, shapes)
        return {
            key: side
            for key, output in outputs.items()
            if (side := _effective_side(output, images, grids.get(key))) is not None
        }


def weight_changes(states: Sequence[Mapping[str, Tensor]]) -> list[dict[str, float]]:
    """The relative change of each weight tensor from one `state_dict` to the next, by norm: one dict per
    pair. About 0.001 per step is usual."""
    return [
        {
            name: float((after[name] - before[name]).norm() / before[name].norm().clamp_min(1e-12))
            for name in before
            if name in after and before[name].is_floating_point()
        }
        for before, after in pairwise(states)
    ]


def gradient_norms(classifier: Classifier, dataset: Dataset, *, pictures: int = 256) -> dict[str, float]:
    """The norm of the loss's gradient for each weight tensor, over the first `pictures` of `dataset`."""
    network = uncompiled(classifier.network)
    weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    with preserved_state(network), torch.enable_grad():
        logits = network(network_input(network, dataset.images[:pictures]))
        labels = dataset.labels[:pictures].to(logits.device)
        loss = task_of(labels).loss(logits.float(), labels)
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return {
        name: 0.0 if gradient is None else float(gradient.norm())
        for name, gradient in zip(weights, gradients, strict=True)
    }


@dataclass
class _Summary:
    """What is stored of a layer's outputs: little, however many pictures there are."""

    shape: tuple[int, ...]
    judged: bool
    lowest: Tensor  # (C,)
    highest: Tensor
    parts: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # cells (n, C) and features (B, F)

    @property
    def features(self) -> Tensor:
        return torch.cat([features for _, features in self.parts])

    def channels(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[Duplicates, ...]]:
        """Dead channels, always-on channels, duplicates."""
        dead = self.highest <= self.lowest
        rectified = bool(self.lowest.min() >= 0)
        on = (self.lowest > 0) & ~dead if rectified else torch.zeros_like(dead)
        return _indices(dead), _indices(on), self._duplicates(~dead)

    def _duplicates(self, alive: Tensor) -> tuple[Duplicates, ...]:
        cells = torch.cat([cells for cells, _ in self.parts]).double()  # (n, C)
        cells = cells - cells.mean(dim=0)
        cells = cells / cells.norm(dim=0).clamp_min(1e-12)
        correlations = (cells.T @ cells).triu(diagonal=1) * alive * alive[:, None]
        pairs = torch.nonzero(correlations > DUPLICATE).tolist()
        return tuple(Duplicates(i, j, float(correlations[i, j])) for i, j in pairs)


def _summaries(network: nn.Module, images: Tensor, seed: int) -> dict[str, _Summary]:
    generator = torch.Generator().manual_seed(seed)
    layers = layers_of(network)
    with_weights = {name for name, module in layers.items() if any(True for _ in module.parameters())}
    summaries: dict[str, _Summary] = {}
    for part, outputs, grids in _recorded_in_parts(network, images):
        before = part
        for key, output in outputs.items():
            maps = _maps(output, grids.get(key))
            if key not in summaries:
                judged = layer_of(key, layers) in with_weights or not is_passthrough(before, output)
                shape = tuple(output.shape[1:])
                summaries[key] = _Summary(shape, judged, *_extremes(maps))
            summary, (lowest, highest) = summaries[key], _extremes(maps)
            summary.lowest = torch.minimum(summary.lowest, lowest)
            summary.highest = torch.maximum(summary.highest, highest)
            summary.parts.append((_some_cells(maps, generator), _pooled(maps)))
            before = output
    return summaries


def _features_before(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What a probe reads of each layer, float32 (N, F)."""
    parts: dict[str, list[Tensor]] = {}
    for _, outputs, grids in _recorded_in_parts(network, images):
        for key, output in outputs.items():
            parts.setdefault(key, []).append(_pooled(_maps(output, grids.get(key))))
    return {key: torch.cat(features) for key, features in parts.items()}


def _recorded_in_parts(
    network: nn.Module, images: Tensor
) -> Iterator[tuple[Tensor, dict[str, Tensor], dict[str, Grid]]]:
    """Scaled pictures, every layer's output for them, as many at once as may be held, and how the outputs lie
    over them; layers without a row for each picture are left out."""
    size = recordable(network, images, BATCH)
    one, two = (record(network, scaled(images[:count])) for count in (1, 2))
    rows = {key for key in one if one[key].dim() > 0 and len(one[key]) == 1 and len(two[key]) == 2}
    grids = layer_grids(network, images, {key: tuple(one[key].shape) for key in rows})
    for start in range(0, len(images), size):
        part = scaled(images[start : start + size])
        yield part, {key: out for key, out in record(network, part).items() if key in rows}, grids


def _maps(output: Tensor, grid: Grid | None) -> Tensor:
    """A layer's output as maps (B, C, h, w). What does not lie over the picture is read as PyTorch has it:
    maps, steps (B, T, C), numbers as maps of one cell."""
    if grid is not None:
        return grid.maps(output)
    if output.dim() > 3:
        return output.flatten(3)
    return (output.mT if output.dim() == 3 else output.flatten(1)[..., None])[..., None]


def _extremes(maps: Tensor) -> tuple[Tensor, Tensor]:
    return maps.amin(dim=(0, 2, 3)), maps.amax(dim=(0, 2, 3))


def _some_cells(maps: Tensor, generator: torch.Generator) -> Tensor:
    """A few random cells of each picture, (n, C)."""
    pictures, width, area = len(maps), maps.shape[3], maps[0, 0].numel()
    drawn = torch.randperm(pictures * area, generator=generator)[: CELLS_PER_PICTURE * pictures]
    # By index: all cells in a row would be a copy of the maps, for a few hundred of them.
    return maps[drawn // area, :, drawn % area // width, drawn % width]


def _pooled(maps: Tensor) -> Tensor:
    """At most 512 numbers per picture, or one per channel: maps averaged to as many cells as that allows."""
    side = max(1, int((PROBE_FEATURES / maps.shape[1]) ** 0.5))
    size = (min(side, maps.shape[2]), min(side, maps.shape[3]))
    return functional.adaptive_avg_pool2d(maps, size).flatten(1)


def _indices(flags: Tensor) -> tuple[int, ...]:
    return tuple(torch.nonzero(flags)[:, 0].tolist())


@contextmanager
def _timed(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, float]]:
    """Times every run of `modules` inside the block: seconds by key."""
    starts: dict[str, float] = {}
    durations: dict[str, float] = {}

    def stop(key: str, output: Tensor) -> None:
        if output.is_cuda:
            torch.cuda.synchronize()
        durations[key] = time.perf_counter() - starts[layer_of(key, modules)]

    def start(name: str) -> Callable[[nn.Module, Any], None]:
        return lambda module, inputs: starts.update({name: time.perf_counter()})

    handles = []
    try:
        for name, module in modules.items():
            handles.append(before_module(module, start(name)))
        with forward_hooks(modules, stop):
            yield durations
    finally:
        for handle in handles:
            handle.remove()


def _extent(
    network: nn.Module, images: Tensor, grids: Mapping[str, Grid], size: tuple[int, int], *, dim: int
) -> dict[str, int]:
    """How many pixels along `dim` the cell in the middle of each layer can see."""
    side = size[dim - 2]
    probes = torch.full((side, *images.shape[1:]), 0.5)
    for index, probe in enumerate(probes):
        probe.narrow(dim - 1, index, 1).fill_(float("nan"))
    try:
        recorded = record(network, probes)
    except UsageError:
        return {}
    extents = {}
    for key, grid in grids.items():
        middle = grid.maps(recorded[key])[:, :, grid.height // 2, grid.width // 2]  # (probes, C)
        seen = torch.nonzero(middle.isnan().any(dim=1))[:, 0].tolist()
        extents[key] = seen[-1] - seen[0] + 1 if seen else 0
    return extents


def _effective_side(output: Tensor, images: Tensor, grid: Grid | None) -> float | None:
    if grid is None or not output.requires_grad:
        return None
    middle = grid.maps(output)[:, :, grid.height // 2, grid.width // 2].sum()
    (gradient,) = torch.autograd.grad(middle, images, retain_graph=True, allow_unused=True)
    if gradient is None:
        return None
    strength = gradient.float().abs().mean(dim=(0, 1))  # (H, W)
    return math.sqrt(float((strength > EFFECTIVE * strength.max()).sum()))

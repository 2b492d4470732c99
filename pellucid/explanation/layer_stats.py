"""Is the network in good health? What each layer costs, sees, wastes, and already knows."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.explanation.activations import (
    adds_nothing,
    fitted,
    grid_of,
    layers_of,
    listening,
    original,
    record,
    undisturbed,
)
from pellucid.explanation.faithfulness import randomised
from pellucid.inference import scaled
from pellucid.models import MODELS, build

TWIN = 0.95  # correlation of two channels from which on one of them is hardly needed
CELLS_A_PICTURE = 16
PROBE_FEATURES = 512
PROBED = 2 / 3  # the share of the sample a probe learns from
RIDGE = 10.0
PROBES_A_SIDE = 32  # rows and columns tried for the field of view; larger pictures are tried in steps
IN_SIGHT = 0.0455  # of the peak: two standard deviations, after Luo et al.
BATCH = 64
TIMED_RUNS = 5

CAVEATS = {
    "channels": "Dead, always-on and twin on these pictures; others might wake a channel.",
    "probe": "What can be read from a layer need not be used by the network.",
    "field": "The theoretical field is a limit; what counts in practice is smaller.",
}


@dataclass(frozen=True)
class Twins:
    """Two channels of a layer that respond alike."""

    first: int
    second: int
    correlation: float


@dataclass(frozen=True)
class LayerStats:
    """One layer.

    shape            of what it puts out for one picture
    parameters       its own, not those of modules inside
    multiply_adds    for one picture
    seconds          for one picture, the median of a few runs
    dead             channels that put out the same number everywhere on every picture
    always_on        channels of a rectified layer that are above zero everywhere on every picture
    twins            pairs of channels that correlate above 0.95
    field            height and width in pixels of what one cell in the middle can see; None: unknown
    effective_field  side in pixels of a square as large as what the cell sees in practice; None: unknown
    probe            share of held-out pictures told apart by a linear classifier on this layer
    untrained_probe  the same for the network before training
    judged           whether the layer computes something, so that its channels are worth judging
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    seconds: float
    dead: tuple[int, ...] = ()
    always_on: tuple[int, ...] = ()
    twins: tuple[Twins, ...] = ()
    field: tuple[int, int] | None = None
    effective_field: float | None = None
    probe: float | None = None
    untrained_probe: float | None = None
    judged: bool = True


@dataclass(frozen=True)
class NetworkStats:
    """All layers in order of execution, judged on `pictures` pictures."""

    layers: tuple[LayerStats, ...]
    pictures: int

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
        """What is wasted, in words."""
        judged = [layer for layer in self.layers if layer.judged]
        dead = [f"{len(layer.dead)} of {layer.shape[0]} in {layer.name}" for layer in judged if layer.dead]
        twins = [f"{len(layer.twins)} in {layer.name}" for layer in judged if layer.twins]
        parts = [
            f"channels that never fire: {', '.join(dead)}" if dead else "every channel fires",
            f"pairs of twins: {', '.join(twins)}" if twins else "no two channels are twins",
        ]
        return f"On {self.pictures} pictures: {'; '.join(parts)}."


def examine(classifier: Classifier, dataset: Dataset, *, pictures: int = 512, seed: int = 0) -> NetworkStats:
    """The health of every layer, judged on a seeded sample of `dataset`, best one it did not learn from.

    Linear probes (Alain and Bengio, arXiv:1610.01644) learn from two thirds of the sample and are judged on
    the rest. Raises UsageError when there are fewer than three pictures.
    """
    if len(dataset) < 3:
        raise UsageError(f"Expected at least 3 pictures to examine a network on; got {len(dataset)}.")
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:pictures]
    sample = dataset.subset(order)
    network = original(classifier.network)
    images = scaled(sample.images)
    summaries = _summaries(network, images, seed)
    untrained = _summaries(_untrained(classifier), images, seed)
    labels, number = sample.labels, len(sample.classes)
    costs, seconds = multiply_adds(network, images[:1]), layer_seconds(network, images[:1])
    theoretical, effective = fields(network, images[:1]), effective_fields(network, images[:16])
    modules = layers_of(network)
    layers = []
    for key, summary in summaries.items():
        name, _, again = key.partition("#")
        own = modules[name].parameters(recurse=False)
        before = untrained.get(key)
        layers.append(
            LayerStats(
                key,
                summary.shape,
                0 if again else sum(weight.numel() for weight in own),
                0 if again else costs.get(name, 0),  # all runs of a module are counted with its first
                seconds.get(key, 0.0),
                *(summary.channels() if summary.judged else ((), (), ())),
                theoretical.get(key),
                effective.get(key),
                probe_accuracy(summary.features, labels, number),
                None if before is None else probe_accuracy(before.features, labels, number),
                summary.judged,
            )
        )
    return NetworkStats(tuple(layers), len(sample))


def multiply_adds(network: nn.Module, images: Tensor) -> dict[str, int]:
    """Multiplications with addition of every layer for one of `images`, convolutions and matrix products."""
    network = original(network)
    counter = FlopCounterMode(display=False)
    with undisturbed(network), torch.no_grad(), counter:
        network(fitted(network, images[:1]))
    counts: dict[str, dict[Any, int]] = counter.get_flop_counts()
    root = type(network).__name__
    found = {}
    for name in layers_of(network):
        operations = counts.get(root if name == "network" else f"{root}.{name}", {})
        found[name] = sum(operations.values()) // 2
    return found


def layer_seconds(network: nn.Module, images: Tensor) -> dict[str, float]:
    """The time each layer takes for `images`, in seconds: the median of a few runs."""
    network = original(network)
    images = fitted(network, images)
    runs: dict[str, list[float]] = {}
    for _ in range(TIMED_RUNS):
        with undisturbed(network), torch.no_grad(), _timing(layers_of(network)) as taken:
            network(images)
        for key, seconds in taken.items():
            runs.setdefault(key, []).append(seconds)
    return {key: median(seconds) for key, seconds in runs.items()}


def fields(network: nn.Module, images: Tensor) -> dict[str, tuple[int, int]]:
    """What one cell in the middle of each layer with places can see at most: height and width in pixels.

    Found by experiment, so it holds for any module: a row of the picture is made not-a-number, and it is
    looked which cells catch it. In pictures of more than 32 pixels a side the figures are a little coarse.
    Empty where the network cannot compute in double precision, which makes sure nothing else catches it.
    """
    network = deepcopy(original(network)).double()
    size = (images.shape[2], images.shape[3])
    down = _caught(network, images, size, dim=2)
    across = _caught(network, images, size, dim=3)
    return {name: (down[name], across[name]) for name in down if name in across}


def effective_fields(network: nn.Module, images: Tensor) -> dict[str, float]:
    """What one cell in the middle of each layer sees in practice: the side in pixels of a square as large
    as the pixels whose gradient is above a twentieth of the largest (Luo et al., arXiv:1701.04128)."""
    network = original(network)
    size = (images.shape[2], images.shape[3])
    outputs: dict[str, Tensor] = {}

    def keep(key: str, output: Tensor) -> Tensor:
        outputs[key] = output
        return output.clone()  # an in-place ReLU changes the copy

    with undisturbed(network), torch.enable_grad():
        images = fitted(network, images).requires_grad_()
        with listening(layers_of(network), keep):
            network(images)
        return {
            key: side
            for key, output in outputs.items()
            if (side := _side_in_sight(output, images, size)) is not None
        }


def probe_accuracy(features: Tensor, labels: Tensor, classes: int) -> float:
    """The share of the last third of the pictures told apart by ridge regression learned from the others.

    features  (N, F); labels int64 (N,)
    """
    learned = max(1, round(len(features) * PROBED))
    features = features.double()
    mean, spread = features[:learned].mean(dim=0), features[:learned].std(dim=0, correction=0)
    features = functional.pad((features - mean) / spread.clamp_min(1e-6), (0, 1), value=1.0)
    wanted = functional.one_hot(labels[:learned], classes).double()
    known = features[:learned]
    penalty = RIDGE * torch.eye(known.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(known.T @ known + penalty, known.T @ wanted)  # (F + 1, K)
    guesses = (features[learned:] @ weights).argmax(dim=1)
    return float((guesses == labels[learned:]).double().mean()) if len(guesses) else 0.0


def weight_changes(states: Sequence[Mapping[str, Tensor]]) -> list[dict[str, float]]:
    """By how much each tensor of weights changed from one state of a network to the next, as a share of its
    length: one entry an epoch for the states kept after each. About 0.001 a step is usual."""
    return [
        {
            name: float((after[name] - before[name]).norm() / before[name].norm().clamp_min(1e-12))
            for name in before
            if name in after and before[name].is_floating_point()
        }
        for before, after in pairwise(states)
    ]


def gradient_lengths(classifier: Classifier, dataset: Dataset, *, pictures: int = 256) -> dict[str, float]:
    """The length of the loss's gradient for each tensor of weights, over the first `pictures`."""
    network = original(classifier.network)
    weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    with undisturbed(network), torch.enable_grad():
        logits = network(fitted(network, dataset.images[:pictures]))
        loss = functional.cross_entropy(logits.float(), dataset.labels[:pictures].to(logits.device))
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return {
        name: 0.0 if gradient is None else float(gradient.norm())
        for name, gradient in zip(weights, gradients, strict=True)
    }


@dataclass
class _Summary:
    """What is kept of a layer's outputs: little, however many pictures there are."""

    shape: tuple[int, ...]
    judged: bool
    lowest: Tensor  # (C,)
    highest: Tensor
    parts: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # cells (n, C) and features (B, F)

    @property
    def features(self) -> Tensor:
        return torch.cat([features for _, features in self.parts])

    def channels(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[Twins, ...]]:
        """Dead ones, always-on ones, twins."""
        dead = self.highest <= self.lowest
        rectified = bool(self.lowest.min() >= 0)
        on = (self.lowest > 0) & ~dead if rectified else torch.zeros_like(dead)
        return _places(dead), _places(on), self._twins(~dead)

    def _twins(self, alive: Tensor) -> tuple[Twins, ...]:
        cells = torch.cat([cells for cells, _ in self.parts]).double()  # (n, C)
        cells = cells - cells.mean(dim=0)
        cells = cells / cells.norm(dim=0).clamp_min(1e-12)
        correlations = (cells.T @ cells).triu(diagonal=1) * alive * alive[:, None]
        pairs = torch.nonzero(correlations > TWIN).tolist()
        return tuple(Twins(i, j, float(correlations[i, j])) for i, j in pairs)


def _summaries(network: nn.Module, images: Tensor, seed: int) -> dict[str, _Summary]:
    generator = torch.Generator().manual_seed(seed)
    weighted = {name for name, module in layers_of(network).items() if any(True for _ in module.parameters())}
    summaries: dict[str, _Summary] = {}
    for part in torch.split(images, BATCH):
        before = part.float()
        for key, output in record(network, part).items():
            grid = grid_of(tuple(output.shape), (part.shape[2], part.shape[3]))
            maps = grid.maps(output) if grid is not None else output.flatten(1)[..., None, None]
            if key not in summaries:
                judged = key.partition("#")[0] in weighted or not adds_nothing(before, output)
                shape = tuple(output.shape[1:])
                summaries[key] = _Summary(shape, judged, *_extremes(maps))
            summary, (lowest, highest) = summaries[key], _extremes(maps)
            summary.lowest = torch.minimum(summary.lowest, lowest)
            summary.highest = torch.maximum(summary.highest, highest)
            summary.parts.append((_some_cells(maps, generator), _pooled(maps)))
            before = output
    return summaries


def _extremes(maps: Tensor) -> tuple[Tensor, Tensor]:
    return maps.amin(dim=(0, 2, 3)), maps.amax(dim=(0, 2, 3))


def _some_cells(maps: Tensor, generator: torch.Generator) -> Tensor:
    """A few places of each picture, (n, C)."""
    cells = maps.flatten(2).transpose(1, 2).flatten(0, 1)  # (B*h*w, C)
    wanted = min(len(cells), CELLS_A_PICTURE * len(maps))
    return cells[torch.randperm(len(cells), generator=generator)[:wanted]]


def _pooled(maps: Tensor) -> Tensor:
    """At most 512 numbers a picture, or one a channel: maps averaged to as many cells as that allows."""
    side = max(1, int((PROBE_FEATURES / maps.shape[1]) ** 0.5))
    size = (min(side, maps.shape[2]), min(side, maps.shape[3]))
    return functional.adaptive_avg_pool2d(maps, size).flatten(1)


def _places(flags: Tensor) -> tuple[int, ...]:
    return tuple(torch.nonzero(flags)[:, 0].tolist())


def _untrained(classifier: Classifier) -> nn.Module:
    """The network as it was before it learned, or with its weights shuffled where that cannot be built."""
    if classifier.model not in MODELS:
        return randomised(classifier.network, seed=0)
    size = (classifier.preprocess.height, classifier.preprocess.width)
    return build(classifier.model, classifier.preprocess.channels, len(classifier.classes), size, seed=0)


@contextmanager
def _timing(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, float]]:
    """Inside the block every run of a module is timed: seconds by key."""
    begun: dict[str, float] = {}
    taken: dict[str, float] = {}

    def end(key: str, output: Tensor) -> None:
        if output.is_cuda:
            torch.cuda.synchronize()
        taken[key] = perf_counter() - begun[key.partition("#")[0]]

    def starter(name: str) -> Callable[[nn.Module, Any], None]:
        return lambda module, inputs: begun.update({name: perf_counter()})

    handles = []
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_pre_hook(starter(name)))
        with listening(modules, end):
            yield taken
    finally:
        for handle in handles:
            handle.remove()


def _caught(network: nn.Module, images: Tensor, size: tuple[int, int], *, dim: int) -> dict[str, int]:
    """How many pixels along `dim` reach the cell in the middle of each layer."""
    side = size[dim - 2]
    step = -(-side // PROBES_A_SIDE)
    starts = range(0, side, step)
    probes = torch.full((len(starts), *images.shape[1:]), 0.5)
    for probe, start in zip(probes, starts, strict=True):
        probe.narrow(dim - 1, start, min(step, side - start)).fill_(float("nan"))
    try:
        recorded = record(network, probes)
    except (RuntimeError, ValueError, TypeError, NotImplementedError):
        return {}
    found = {}
    for key, output in recorded.items():
        grid = grid_of(tuple(output.shape), size)
        if grid is None:
            continue
        middle = grid.maps(output)[:, :, grid.height // 2, grid.width // 2]  # (probes, C)
        found[key] = min(side, int(middle.isnan().any(dim=1).sum()) * step)
    return found


def _side_in_sight(output: Tensor, images: Tensor, size: tuple[int, int]) -> float | None:
    grid = grid_of(tuple(output.shape), size)
    if grid is None or not output.requires_grad:
        return None
    middle = grid.maps(output)[:, :, grid.height // 2, grid.width // 2].sum()
    (gradient,) = torch.autograd.grad(middle, images, retain_graph=True, allow_unused=True)
    if gradient is None:
        return None
    strength = gradient.float().abs().mean(dim=(0, 1))  # (H, W)
    return math.sqrt(float((strength > IN_SIGHT * strength.max()).sum()))

"""Answers of torch to the drawing page, as bytes: scores, evidence, and the outputs of open layers.

A question is little-endian: the run, whether evidence is against the second class, the snapshot of training
(255: the trained weights), whether a cell is traced (u8 each), the numbers of open layers and of switched-off
channels (u16 each), the open layers (u16 each), the switched-off channels (layer and channel, u16 each), the
cell (layer, channel, row, column as displayed, u16 each), then the picture, uint8 (C, H, W). It holds numbers
only: no name, path or address.
"""

import json
import math
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from pellucid.assets import constants
from pellucid.classifier import Classifier
from pellucid.errors import UsageError
from pellucid.evaluation.novelty import Reference
from pellucid.explanation.activations import (
    Grid,
    find_module,
    forward_hooks,
    is_passthrough,
    layer_grids,
    layers_of,
    network_input,
    record,
)
from pellucid.explanation.neighbours import HiddenLayer
from pellucid.explanation.places import evidence_place
from pellucid.explanation.trace import CellTrace, Reach, Tracer, cell_fields
from pellucid.inference import evaluation_mode, scaled
from pellucid.pad.data import ReceptiveField, TorchLayerData
from pellucid.training.snapshots import Snapshot

TRACE_FIELDS = (
    "kind",
    "received",
    "first",
    "bias",
    "total",
    "after",
    "value",
)  # of a CellTrace, sent as JSON
CHANNELS, UNITS, SIDE = 64, 128, 56  # maxima sent per layer: maps, numbers, cells per side
MAX_OPEN, MAX_SILENCED = 64, 4_096
HEAD = struct.Struct("<BBBBHH")
NOW: int = constants("live")["now"]  # in place of a snapshot: the trained weights


class InvalidQuestion(UsageError):
    """A question that the page never asks."""


@dataclass(frozen=True, eq=False)
class Question:
    """One question about one run; its encoding is described above."""

    run: int
    contrast: bool
    snapshot: int
    opened: tuple[int, ...]
    silenced: tuple[tuple[int, int], ...]
    chosen: tuple[int, int, int, int] | None
    pixels: bytes

    @staticmethod
    def read(body: bytes) -> "Question":
        """Raises InvalidQuestion when a count is too large or the bytes end early."""
        if len(body) < HEAD.size:
            raise InvalidQuestion("The question is cut off.")
        run, contrast, snapshot, chosen, opened, silenced = HEAD.unpack_from(body)
        count = opened + 2 * silenced + 4 * chosen
        start = HEAD.size + 2 * count
        invalid = opened > MAX_OPEN or silenced > MAX_SILENCED or contrast > 1 or chosen > 1
        if invalid or len(body) < start:
            raise InvalidQuestion("The question has an unexpected format.")
        numbers = struct.unpack_from(f"<{count}H", body, HEAD.size)
        pairs = numbers[opened : opened + 2 * silenced]
        return Question(
            run,
            bool(contrast),
            snapshot,
            numbers[:opened],
            tuple(zip(pairs[::2], pairs[1::2], strict=True)),
            numbers[-4:] if chosen else None,
            body[start:],
        )


@dataclass(frozen=True)
class Layer:
    """One layer as the page displays it.

    key    its name, as `record` gives it
    shape  of its output for one picture: (C, h, w) for maps, (F,) for numbers
    shown  the shape that is sent
    grid   how its output lies over the picture; None where it is not spatial
    reach  the receptive fields of its cells; None where they are unknown
    """

    key: str
    shape: tuple[int, ...]
    shown: tuple[int, ...]
    grid: Grid | None
    reach: Reach | str | None = None

    @property
    def data(self) -> TorchLayerData:
        """What the page needs to know."""
        field: ReceptiveField = "whole" if self.reach == "whole" else None
        if isinstance(self.reach, Reach):  # in a reduced layer, over all the cells behind each displayed one
            sides = zip((self.reach.rows, self.reach.columns), self.shown[1:], strict=True)
            field = [
                [[side[first][0], side[last][1]] for first, last in _source_cells(len(side), count)]
                for side, count in sides
            ]
        return TorchLayerData(self.key, self.shape, self.shown, field)

    def cell(self, row: int, column: int) -> tuple[int, int]:
        """The middle one of the cells behind a displayed cell."""
        spans = [
            _source_cells(side, count) for side, count in zip(self.shape[1:], self.shown[1:], strict=True)
        ]
        (top, bottom), (left, right) = spans[0][row], spans[1][column]
        return (top + bottom) // 2, (left + right) // 2

    def visible(self, output: Tensor) -> Tensor:
        """The part of an output (1, ...) that is sent: (C, h, w) or (F,), large maps averaged."""
        if self.grid is None:
            return output.detach()[0, : self.shown[0]].float().clone()
        maps = self.grid.maps(output.detach())[:, : self.shown[0]].float()
        if self.shown[1:] != self.shape[1:]:
            return functional.adaptive_avg_pool2d(maps, (self.shown[1], self.shown[2]))[0]
        return maps[0].clone()  # a copy: a later in-place ReLU must not reach it


class Answerer:
    """Answers questions about one picture at a time for one classifier, whose weights are frozen.

    snapshots  earlier weights, which can be asked about without a copy of the network
    reference  training pictures as the network sees them, to tell what is unlike anything taught
    """

    def __init__(
        self,
        classifier: Classifier,
        snapshots: Sequence[Snapshot] = (),
        reference: Reference | None = None,
    ) -> None:
        self.classifier, self.snapshots = classifier, list(snapshots)
        self.network = classifier.network.requires_grad_(False)
        self.output = classifier.output
        size = classifier.preprocess
        self.shape = (size.channels, size.height, size.width)
        self.layers, self.evidence = self._layers()
        self.indices = {layer.key: index for index, layer in enumerate(self.layers)}
        self.modules = layers_of(self.network)
        if self.evidence is not None:
            self.modules |= find_module(self.network, self.layers[self.evidence].key)
        self.reference = reference
        self.last: HiddenLayer | None = None
        if reference is not None:
            with evaluation_mode(self.network), torch.inference_mode():
                self.last = HiddenLayer.of(self.network, self._noise())

    def _layers(self) -> tuple[list[Layer], int | None]:
        """The layers in order of execution, and the index of the one at which evidence is computed."""
        image = self._noise()
        try:
            place = evidence_place(self.network, scaled(image), modules=True)
            best = place.name if place.bypass == 0 else None
        except UsageError:
            best = None
        names = list(layers_of(self.network))
        if best is not None and best.partition("#")[0] not in names:
            names.append(best.partition("#")[0])
        layers: list[Layer] = []
        before: Tensor | None = None
        modules = {name: find_module(self.network, name)[name] for name in names}
        reaches = cell_fields(self.network, scaled(image), modules)
        recorded = record(self.network, image, names)
        shapes = {key: tuple(output.shape) for key, output in recorded.items()}
        grids = layer_grids(self.network, image, shapes)
        for key, output in recorded.items():
            unchanged = before is not None and output.shape == before.shape and is_passthrough(before, output)
            before = output
            layer = None
            if not unchanged or key == best:
                layer = _layer(key, output, grids.get(key), reaches.get(key))
            if layer is not None:
                layers.append(layer)
        evidence = next((index for index, layer in enumerate(layers) if layer.key == best), None)
        return layers, evidence

    def _noise(self) -> Tensor:
        """A picture of noise, uint8 (1, C, H, W)."""
        generator = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, (1, *self.shape), generator=generator).to(torch.uint8)

    def answer(self, question: Question) -> bytes:
        """Scores (K,), evidence (h, w), the open layers and the trace of a cell: float32 after a JSON header
        with their shapes.

        Raises InvalidQuestion when the picture has another size or there is no such layer, channel, cell or
        snapshot.
        """
        start = time.perf_counter()
        image = self._picture(question)
        silenced = self._silenced(question)
        tracer = self._tracer(question)
        visible: dict[int, Tensor] = {}
        leaf: list[Tensor] = []

        def on_output(key: str, output: Tensor) -> Tensor | None:
            if tracer is not None:
                tracer.after_module(key)
            index = self.indices.get(key, -1)
            result = _without(output, silenced[index]) if index in silenced else output
            if index in question.opened:
                visible[index] = self.layers[index].visible(result)
            if index == self.evidence:  # the graph of the gradient starts here
                leaf.append(result.detach().clone().requires_grad_())
                result = leaf[0].clone()
            if tracer is not None:
                tracer.on_output(key, result)
            return None if result is output else result

        with (
            evaluation_mode(self.network),
            torch.enable_grad(),
            forward_hooks(self.modules, on_output),
            self._traced(tracer),
            self._hidden(wanted=question.snapshot == NOW and not silenced) as hidden,
        ):
            scores = self.scores(image, question.snapshot)
        cells = self._evidence(scores[0], leaf, contrast=question.contrast)
        trace, trace_parts = ({}, []) if tracer is None else self._encoded(tracer)
        parts = [scores.detach()[0].float(), *([] if cells is None else [cells])]
        head = {
            "classes": scores.shape[1],
            "evidence": None if cells is None else list(cells.shape),
            "layers": [[index, *part.shape] for index, part in sorted(visible.items())],
            "working": trace or None,
            "novelty": self._novelty(hidden),
            "milliseconds": round((time.perf_counter() - start) * 1000, 1),
        }
        return packed(head, [*parts, *(visible[index] for index in sorted(visible)), *trace_parts])

    def snapshot_scores(self, question: Question) -> bytes:
        """The scores (M + 1, K) of the picture at every snapshot and now, after a JSON header with the shape.

        Raises InvalidQuestion as `answer` does.
        """
        image, silenced = self._picture(question), self._silenced(question)
        with self.without(silenced):
            rows = [self.scores(image, snapshot)[0] for snapshot in (*range(len(self.snapshots)), NOW)]
        scores = torch.stack(rows).float()
        return packed({"scores": list(scores.shape)}, [scores])

    @contextmanager
    def without(
        self, silenced: dict[int, list[int]], on_output: Callable[[int, Tensor], None] | None = None
    ) -> Iterator[None]:
        """Inside the block these channels, by layer index, are zero; `on_output` is called with the index and
        output of every layer."""

        def silence(key: str, output: Tensor) -> Tensor | None:
            index = self.indices.get(key, -1)
            replacement = _without(output, silenced[index]) if index in silenced else None
            if on_output is not None and index >= 0:
                on_output(index, output if replacement is None else replacement)
            return replacement

        with evaluation_mode(self.network), torch.inference_mode(), forward_hooks(self.modules, silence):
            yield

    def scores(self, image: Tensor, snapshot: int) -> Tensor:
        """The scores (1, K) of one picture with the weights of that snapshot."""
        inputs = network_input(self.network, image)
        state = {} if snapshot == NOW else dict(self.snapshots[snapshot][2])
        return self.output.scores(lambda x: functional_call(self.network, state, (x,)), inputs)

    def _tracer(self, question: Question) -> Tracer | None:
        if question.chosen is None:
            return None
        index, channel, row, column = question.chosen
        sides = self.layers[index].shown if index < len(self.layers) else ()
        if (
            any(at >= side for at, side in zip((channel, row, column), (*sides, 1, 1), strict=False))
            or not sides
        ):
            raise InvalidQuestion("There is no such cell.")
        layer = self.layers[index]
        return Tracer(layer.key, layer.grid, channel, *(layer.cell(row, column) if layer.grid else (0, 0)))

    @contextmanager
    def _traced(self, tracer: Tracer | None) -> Iterator[None]:
        if tracer is None:
            yield
            return
        module = self.modules[tracer.key.partition("#")[0]]
        handle = module.register_forward_pre_hook(tracer.before_module)
        try:
            with tracer.recorder:
                yield
        finally:
            handle.remove()

    @contextmanager
    def _hidden(self, *, wanted: bool) -> Iterator[list[Tensor]]:
        """Inside the block the list it gives takes the last hidden layer; nothing unless `wanted`."""
        if self.last is None or not wanted:
            yield []
            return
        with self.last.captured() as captured:
            yield captured

    def _novelty(self, hidden: list[Tensor]) -> dict[str, Any] | None:
        """How unlike the training pictures the picture is, as the page has it."""
        if self.reference is None or self.last is None or not hidden:
            return None
        found = self.reference.novelty(self.last.features(hidden[-1]))
        distance = float(found.distances[0])
        if not math.isfinite(distance):
            return None
        return {
            "unlike": bool(found.unlike[0]),
            "distance": distance,
            "nearer": math.floor(float(found.percentiles[0])),
            "held_out": len(self.reference.held_out),
        }

    def _encoded(self, tracer: Tracer) -> tuple[dict[str, Any], list[Tensor]]:
        """The trace of a cell as plain values, with its kernel and patch as tensors."""
        trace = tracer.result()
        numbers = [trace.bias, trace.total, trace.value, *(step["value"] for step in trace.after)]
        if not all(map(math.isfinite, numbers)):
            trace = CellTrace()
        parts = [part.detach().float() for part in (trace.kernel, trace.patch) if part is not None]
        inside = [at for at, layer in enumerate(self.layers) if layer.key.startswith(f"{tracer.key}.")]
        values = {
            "layer": self.indices[tracer.key],
            "cell": list(tracer.cell),
            "inside": inside if trace.kind == "block" else [],
            **{name: getattr(trace, name) for name in TRACE_FIELDS},
            "kernel": None if trace.kernel is None else list(trace.kernel.shape),
            "patch": None if trace.patch is None else list(trace.patch.shape),
        }
        return values, parts

    def _picture(self, question: Question) -> Tensor:
        channels, height, width = self.shape
        if len(question.pixels) != channels * height * width:
            raise InvalidQuestion("The picture does not have the size this network takes.")
        pixels = np.frombuffer(question.pixels, dtype=np.uint8).reshape(1, *self.shape).copy()
        return scaled(torch.from_numpy(pixels))

    def _silenced(self, question: Question) -> dict[int, list[int]]:
        silenced: dict[int, list[int]] = {}
        for index, channel in question.silenced:
            if index >= len(self.layers) or channel >= self.layers[index].shape[0]:
                raise InvalidQuestion("There is no such layer or channel.")
            silenced.setdefault(index, []).append(channel)
        if any(index >= len(self.layers) for index in question.opened):
            raise InvalidQuestion("There is no such layer.")
        if question.snapshot != NOW and question.snapshot >= len(self.snapshots):
            raise InvalidQuestion("There is no such snapshot.")
        return silenced

    def _evidence(self, scores: Tensor, leaf: list[Tensor], *, contrast: bool) -> Tensor | None:
        """Gradient x activation (h, w) for the predicted class, or for its lead over the second."""
        if self.evidence is None or not leaf or not scores.requires_grad:
            return None
        best = scores.detach().topk(min(2, len(scores))).indices.tolist()
        wanted = scores[best[0]] - scores[best[1]] if contrast and len(best) > 1 else scores[best[0]]
        (gradient,) = torch.autograd.grad(wanted, leaf[0])
        grid = self.layers[self.evidence].grid
        assert grid is not None  # the layer is spatial
        return (grid.maps(gradient) * grid.maps(leaf[0].detach())).sum(dim=1)[0].float()


def packed(head: dict[str, Any], parts: list[Tensor]) -> bytes:
    """A length (u32), the header as JSON padded to whole words, then the tensors' memory."""
    text = json.dumps(head, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    return b"".join(
        [struct.pack("<I", len(text)), text, *(part.contiguous().numpy().tobytes() for part in parts)]
    )


def _source_cells(side: int, count: int) -> list[tuple[int, int]]:
    """For a side displayed in `count` cells: the first and the last of its own cells behind each."""
    return [(at * side // count, -(-(at + 1) * side // count) - 1) for at in range(count)]


def _layer(key: str, output: Tensor, grid: Grid | None, reach: Reach | str | None) -> Layer | None:
    """The layer with that `output` (1, ...) as displayed; None where it cannot be displayed."""
    if output.dim() == 2:
        return Layer(key, tuple(output.shape[1:]), (min(UNITS, output.shape[1]),), None)
    if grid is None:
        return None
    _, channels, height, width = grid.maps(output).shape
    shrink = max(1.0, max(height, width) / SIDE)
    shown = (min(CHANNELS, channels), max(1, round(height / shrink)), max(1, round(width / shrink)))
    if isinstance(reach, Reach) and (len(reach.rows), len(reach.columns)) != (height, width):
        reach = None
    return Layer(key, (channels, height, width), shown, grid, reach)


def _without(output: Tensor, channels: list[int]) -> Tensor:
    """A copy of an output with these channels set to zero."""
    silenced = output.clone()
    axis = 1 if silenced.dim() in (2, 4) else 2
    silenced.index_fill_(axis, torch.tensor(channels), 0.0)
    return silenced

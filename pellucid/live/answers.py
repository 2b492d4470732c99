"""What torch answers, as the bytes a page reads: scores, evidence, and the layers that are open in it.

A question is little-endian: which run, whether the runner-up is argued against, which snapshot of training is
asked (255: now), whether a cell is taken apart (u8 each), how many layers are open and how many channels
silenced (u16 each), the open layers (u16 each), the silenced channels (layer and channel, u16 each), the cell
(layer, channel, row, column as shown, u16 each), then the picture, uint8 (C, H, W). It holds numbers only: no
name, path or address.
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

from pellucid.classifier import Classifier
from pellucid.errors import UsageError
from pellucid.explanation.activations import (
    Grid,
    adds_nothing,
    first_tensor,
    fitted,
    grid_of,
    last_spatial_layer,
    layers_of,
    listening,
    module_named,
    record,
)
from pellucid.explanation.trace import CellTrace, Reach, Tracer, fields
from pellucid.inference import evaluating, scaled
from pellucid.training.snapshots import Snapshot

WORKING = ("kind", "received", "first", "bias", "total", "after", "value")  # of a cell's, as it travels
CHANNELS, UNITS, SIDE = 64, 128, 56  # of a layer sent at most: maps, numbers, cells a side
MOST_OPEN, MOST_SILENCED = 64, 4_096
HEAD = struct.Struct("<BBBBHH")
NOW = 255  # the snapshot that is not past


class Malformed(UsageError):
    """A question that no page of ours asks."""


@dataclass(frozen=True, eq=False)
class Question:
    """One question to one run; see above for how it travels."""

    run: int
    contrast: bool
    snapshot: int
    opened: tuple[int, ...]
    silenced: tuple[tuple[int, int], ...]
    chosen: tuple[int, int, int, int] | None
    pixels: bytes

    @staticmethod
    def read(body: bytes) -> "Question":
        """Raises Malformed when a count is too large or the bytes end early."""
        if len(body) < HEAD.size:
            raise Malformed("The question is cut off.")
        run, contrast, snapshot, chosen, opened, silenced = HEAD.unpack_from(body)
        count = opened + 2 * silenced + 4 * chosen
        start = HEAD.size + 2 * count
        unlike = opened > MOST_OPEN or silenced > MOST_SILENCED or contrast > 1 or chosen > 1
        if unlike or len(body) < start:
            raise Malformed("The question is not of the kind expected.")
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
    """One layer as the page shows it.

    key    the name `record` gives it
    shape  of what it puts out for one picture: (C, h, w) for maps, (F,) for numbers
    shown  as much of it as is sent
    grid   how its numbers lie over the picture; None for numbers without a place
    reach  what its cells can see of the picture: None where that cannot be told
    """

    key: str
    shape: tuple[int, ...]
    shown: tuple[int, ...]
    grid: Grid | None
    reach: Reach | str | None = None

    def facts(self) -> dict[str, Any]:
        """What the page must know to ask and to show."""
        seen: Any = self.reach
        if isinstance(self.reach, Reach):  # of a layer shown smaller, what all cells under one shown see
            sides = zip((self.reach.rows, self.reach.columns), self.shown[1:], strict=True)
            seen = [
                [[side[first][0], side[last][1]] for first, last in _covered(len(side), count)]
                for side, count in sides
            ]
        return {"name": self.key, "shape": list(self.shape), "shown": list(self.shown), "field": seen}

    def cell(self, row: int, column: int) -> tuple[int, int]:
        """The middle one of the cells that a cell shown stands for."""
        spans = [_covered(side, count) for side, count in zip(self.shape[1:], self.shown[1:], strict=True)]
        (top, bottom), (left, right) = spans[0][row], spans[1][column]
        return (top + bottom) // 2, (left + right) // 2

    def visible(self, output: Tensor) -> Tensor:
        """What is sent of an output (1, ...): (C, h, w) or (F,), a large map as means of its cells."""
        if self.grid is None:
            return output.detach()[0, : self.shown[0]].float().clone()
        maps = self.grid.maps(output.detach())[:, : self.shown[0]].float()
        if self.shown[1:] != self.shape[1:]:
            return functional.adaptive_avg_pool2d(maps, (self.shown[1], self.shown[2]))[0]
        return maps[0].clone()  # a copy: a later in-place ReLU must not reach it


class Answerer:
    """A classifier asked for one picture at a time. It never learns: its weights are fixed.

    snapshots  its weights as they were: asked like those of now, without a copy of the network
    """

    def __init__(self, classifier: Classifier, snapshots: Sequence[Snapshot] = ()) -> None:
        self.classifier, self.snapshots = classifier, list(snapshots)
        self.network = classifier.network.requires_grad_(False)
        size = classifier.preprocess
        self.shape = (size.channels, size.height, size.width)
        self.layers, self.evidence = self._found()
        self.places = {layer.key: place for place, layer in enumerate(self.layers)}
        self.modules = layers_of(self.network)
        if self.evidence is not None:
            self.modules |= module_named(self.network, self.layers[self.evidence].key)

    def _found(self) -> tuple[list[Layer], int | None]:
        """The layers in order of execution, and which of them tells where the evidence lies."""
        generator = torch.Generator().manual_seed(0)
        image = torch.randint(0, 256, (1, *self.shape), generator=generator).to(torch.uint8)
        try:
            best = last_spatial_layer(self.network, scaled(image))
        except UsageError:
            best = None
        names = list(layers_of(self.network))
        if best is not None and best.partition("#")[0] not in names:
            names.append(best.partition("#")[0])
        layers: list[Layer] = []
        before: Tensor | None = None
        modules = {name: module_named(self.network, name)[name] for name in names}
        seen = fields(self.network, scaled(image), modules)
        for key, output in record(self.network, image, names).items():
            idle = before is not None and output.shape == before.shape and adds_nothing(before, output)
            before = output
            layer = None if idle and key != best else _layer(key, output, self.shape[1:], seen.get(key))
            if layer is not None:
                layers.append(layer)
        place = next((place for place, layer in enumerate(layers) if layer.key == best), None)
        return layers, place

    def facts(self) -> dict[str, Any]:
        """What the page must know to ask and to show."""
        return {"layers": [layer.facts() for layer in self.layers], "evidence": self.evidence}

    def answer(self, question: Question) -> bytes:
        """Scores (K,), evidence (h, w), the open layers and what a cell is made of, as float32 behind a head
        that tells the shapes.

        Raises Malformed when the picture is of another size or a layer, channel, cell or snapshot is not
        there.
        """
        begun = time.perf_counter()
        image = self._picture(question)
        silenced = self._silenced(question)
        worker = self._worker(question)
        shown: dict[int, Tensor] = {}
        leaf: list[Tensor] = []

        def hear(key: str, output: Tensor) -> Tensor | None:
            if worker is not None:
                worker.left(key)
            passed = handed = output
            place = self.places.get(key, -1)
            if place in silenced:
                passed = handed = _without(output, silenced[place])
            if place in question.opened:
                shown[place] = self.layers[place].visible(passed)
            if place == self.evidence:  # from here on autograd listens
                leaf.append(passed.detach().clone().requires_grad_())
                handed = leaf[0].clone()
            if worker is not None:
                worker.named(key, handed)
            return None if handed is output else handed

        with (
            evaluating(self.network),
            torch.enable_grad(),
            listening(self.modules, hear),
            self._apart(worker),
        ):
            scores = self.scores(image, question.snapshot)
        cells = self._evidence(scores[0], leaf, contrast=question.contrast)
        working, apart = ({}, []) if worker is None else self._told(worker)
        parts = [scores.detach()[0].float(), *([] if cells is None else [cells])]
        head = {
            "classes": scores.shape[1],
            "evidence": None if cells is None else list(cells.shape),
            "layers": [[place, *part.shape] for place, part in sorted(shown.items())],
            "working": working or None,
            "milliseconds": round((time.perf_counter() - begun) * 1000, 1),
        }
        return packed(head, [*parts, *(shown[place] for place in sorted(shown)), *apart])

    def past(self, question: Question) -> bytes:
        """The scores (M + 1, K) of the picture at every snapshot and now, behind a head that tells the shape.

        Raises Malformed as `answer` does.
        """
        image, silenced = self._picture(question), self._silenced(question)
        with self.without(silenced):
            rows = [self.scores(image, snapshot)[0] for snapshot in (*range(len(self.snapshots)), NOW)]
        scores = torch.stack(rows).float()
        return packed({"scores": list(scores.shape)}, [scores])

    @contextmanager
    def without(
        self, silenced: dict[int, list[int]], hear: Callable[[int, Tensor], None] | None = None
    ) -> Iterator[None]:
        """Inside the block these channels, by their layer, are out of everything; `hear` gets each layer's
        output by its place."""

        def silence(key: str, output: Tensor) -> Tensor | None:
            place = self.places.get(key, -1)
            passed = _without(output, silenced[place]) if place in silenced else None
            if hear is not None and place >= 0:
                hear(place, output if passed is None else passed)
            return passed

        with evaluating(self.network), torch.inference_mode(), listening(self.modules, silence):
            yield

    def scores(self, image: Tensor, snapshot: int) -> Tensor:
        """(1, K), with the weights of then."""
        given = fitted(self.network, image)
        state = {} if snapshot == NOW else dict(self.snapshots[snapshot][2])
        scores = first_tensor(functional_call(self.network, state, (given,)))
        assert scores is not None  # a classifier's network puts out scores
        return scores

    def _worker(self, question: Question) -> Tracer | None:
        """Who watches the layer whose cell is taken apart."""
        if question.chosen is None:
            return None
        place, channel, row, column = question.chosen
        sides = self.layers[place].shown if place < len(self.layers) else ()
        if (
            any(at >= side for at, side in zip((channel, row, column), (*sides, 1, 1), strict=False))
            or not sides
        ):
            raise Malformed("There is no such cell.")
        layer = self.layers[place]
        return Tracer(layer.key, layer.grid, channel, *(layer.cell(row, column) if layer.grid else (0, 0)))

    @contextmanager
    def _apart(self, worker: Tracer | None) -> Iterator[None]:
        if worker is None:
            yield
            return
        module = self.modules[worker.key.partition("#")[0]]
        handle = module.register_forward_pre_hook(worker.begin)
        try:
            with worker.listener:
                yield
        finally:
            handle.remove()

    def _told(self, worker: Tracer) -> tuple[dict[str, Any], list[Tensor]]:
        """What a cell is made of, as plain values, with its kernel and what that meets."""
        found = worker.finished()
        numbers = [found.bias, found.total, found.value, *(step["value"] for step in found.after)]
        if not all(map(math.isfinite, numbers)):
            found = CellTrace()
        parts = [one.detach().float() for one in (found.kernel, found.patch) if one is not None]
        inside = [at for at, one in enumerate(self.layers) if one.key.startswith(f"{worker.key}.")]
        told = {
            "layer": self.places[worker.key],
            "cell": list(worker.cell),
            "inside": inside if found.kind == "block" else [],
            **{name: getattr(found, name) for name in WORKING},
            "kernel": None if found.kernel is None else list(found.kernel.shape),
            "patch": None if found.patch is None else list(found.patch.shape),
        }
        return told, parts

    def _picture(self, question: Question) -> Tensor:
        channels, height, width = self.shape
        if len(question.pixels) != channels * height * width:
            raise Malformed("The picture is not of the size this network takes.")
        pixels = np.frombuffer(question.pixels, dtype=np.uint8).reshape(1, *self.shape).copy()
        return scaled(torch.from_numpy(pixels))

    def _silenced(self, question: Question) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for place, channel in question.silenced:
            if place >= len(self.layers) or channel >= self.layers[place].shape[0]:
                raise Malformed("There is no such layer or channel.")
            found.setdefault(place, []).append(channel)
        if any(place >= len(self.layers) for place in question.opened):
            raise Malformed("There is no such layer.")
        if question.snapshot != NOW and question.snapshot >= len(self.snapshots):
            raise Malformed("There is no such snapshot.")
        return found

    def _evidence(self, scores: Tensor, leaf: list[Tensor], *, contrast: bool) -> Tensor | None:
        """Gradient x activation (h, w) for the best class, or for it against the second."""
        if self.evidence is None or not leaf or not scores.requires_grad:
            return None
        best = scores.detach().topk(min(2, len(scores))).indices.tolist()
        wanted = scores[best[0]] - scores[best[1]] if contrast and len(best) > 1 else scores[best[0]]
        (gradient,) = torch.autograd.grad(wanted, leaf[0])
        grid = self.layers[self.evidence].grid
        assert grid is not None  # the layer was chosen for its places
        return (grid.maps(gradient) * grid.maps(leaf[0].detach())).sum(dim=1)[0].float()


def packed(head: dict[str, Any], parts: list[Tensor]) -> bytes:
    """A length (u32), the head as JSON filled up to whole words, then the parts as they lie in memory."""
    text = json.dumps(head, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    return b"".join(
        [struct.pack("<I", len(text)), text, *(part.contiguous().numpy().tobytes() for part in parts)]
    )


def _covered(side: int, count: int) -> list[tuple[int, int]]:
    """Of a side shown in `count` cells: the first and the last of its own that each stands for."""
    return [(at * side // count, -(-(at + 1) * side // count) - 1) for at in range(count)]


def _layer(key: str, output: Tensor, size: tuple[int, ...], reach: Reach | str | None) -> Layer | None:
    """What is shown of a layer that put out `output` (1, ...); None where a page can show nothing of it."""
    if output.dim() == 2:
        return Layer(key, tuple(output.shape[1:]), (min(UNITS, output.shape[1]),), None)
    grid = grid_of(tuple(output.shape), (size[0], size[1]))
    if grid is None:
        return None
    _, channels, height, width = grid.maps(output).shape
    shrink = max(1.0, max(height, width) / SIDE)
    shown = (min(CHANNELS, channels), max(1, round(height / shrink)), max(1, round(width / shrink)))
    if isinstance(reach, Reach) and (len(reach.rows), len(reach.columns)) != (height, width):
        reach = None
    return Layer(key, (channels, height, width), shown, grid, reach)


def _without(output: Tensor, channels: list[int]) -> Tensor:
    """A copy of an output with these channels at zero."""
    silenced = output.clone()
    axis = 1 if silenced.dim() in (2, 4) else 2
    silenced.index_fill_(axis, torch.tensor(channels), 0.0)
    return silenced

"""What torch answers, as the bytes a page reads: scores, evidence, and the layers that are open in it.

A question is little-endian: which run (u8), whether the runner-up is argued against (u8), how many layers are
open and how many channels silenced (u16 each), the open layers (u16 each), the silenced channels (layer and
channel, u16 each), then the picture, uint8 (C, H, W). It holds numbers only: no name, path or address.
"""

import json
import struct
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pellucid.classifier import Classifier, evaluating, scaled
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

CHANNELS, UNITS, SIDE = 64, 128, 56  # of a layer sent at most: maps, numbers, cells a side
MOST_OPEN, MOST_SILENCED = 64, 4_096
HEAD = struct.Struct("<BBHH")


class Malformed(UsageError):
    """A question that no page of ours asks."""


@dataclass(frozen=True, eq=False)
class Question:
    """One question to one run; see above for how it travels."""

    run: int
    contrast: bool
    opened: tuple[int, ...]
    silenced: tuple[tuple[int, int], ...]
    pixels: bytes

    @staticmethod
    def read(body: bytes) -> "Question":
        """Raises Malformed when a count is too large or the bytes end early."""
        if len(body) < HEAD.size:
            raise Malformed("The question is cut off.")
        run, contrast, opened, silenced = HEAD.unpack_from(body)
        start = HEAD.size + 2 * opened + 4 * silenced
        if opened > MOST_OPEN or silenced > MOST_SILENCED or contrast > 1 or len(body) < start:
            raise Malformed("The question is not of the kind expected.")
        numbers = struct.unpack_from(f"<{opened + 2 * silenced}H", body, HEAD.size)
        pairs = numbers[opened:]
        return Question(
            run,
            bool(contrast),
            numbers[:opened],
            tuple(zip(pairs[::2], pairs[1::2], strict=True)),
            body[start:],
        )


@dataclass(frozen=True)
class Layer:
    """One layer as the page shows it.

    key    the name `record` gives it
    shape  of what it puts out for one picture: (C, h, w) for maps, (F,) for numbers
    shown  as much of it as is sent
    grid   how its numbers lie over the picture; None for numbers without a place
    """

    key: str
    shape: tuple[int, ...]
    shown: tuple[int, ...]
    grid: Grid | None

    def visible(self, output: Tensor) -> Tensor:
        """What is sent of an output (1, ...): (C, h, w) or (F,), a large map as means of its cells."""
        if self.grid is None:
            return output.detach()[0, : self.shown[0]].float().clone()
        maps = self.grid.maps(output.detach())[:, : self.shown[0]].float()
        if self.shown[1:] != self.shape[1:]:
            return functional.adaptive_avg_pool2d(maps, (self.shown[1], self.shown[2]))[0]
        return maps[0].clone()  # a copy: a later in-place ReLU must not reach it


class Answerer:
    """A classifier asked for one picture at a time. It never learns: its weights are fixed."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
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
        for key, output in record(self.network, image, names).items():
            idle = before is not None and output.shape == before.shape and adds_nothing(before, output)
            before = output
            layer = None if idle and key != best else _layer(key, output, self.shape[1:])
            if layer is not None:
                layers.append(layer)
        place = next((place for place, layer in enumerate(layers) if layer.key == best), None)
        return layers, place

    def facts(self) -> dict[str, Any]:
        """What the page must know to ask and to show."""
        rows = [{"name": one.key, "shape": list(one.shape), "shown": list(one.shown)} for one in self.layers]
        return {"layers": rows, "evidence": self.evidence}

    def answer(self, question: Question) -> bytes:
        """Scores (K,), evidence (h, w) and the open layers as float32 behind a head that tells the shapes.

        Raises Malformed when the picture is of another size or a layer or channel is not there.
        """
        begun = time.perf_counter()
        image = self._picture(question)
        silenced = self._silenced(question)
        shown: dict[int, Tensor] = {}
        leaf: list[Tensor] = []

        def hear(key: str, output: Tensor) -> Tensor | None:
            place = self.places.get(key)
            if place is None:
                return None
            passed = _without(output, silenced[place]) if place in silenced else output
            if place in question.opened:
                shown[place] = self.layers[place].visible(passed)
            if place == self.evidence:  # from here on autograd listens
                leaf.append(passed.detach().clone().requires_grad_())
                return leaf[0].clone()
            return None if passed is output else passed

        with evaluating(self.network), torch.enable_grad(), listening(self.modules, hear):
            scores = first_tensor(self.network(fitted(self.network, image)))
            assert scores is not None  # a classifier's network puts out scores
            cells = self._evidence(scores[0], leaf, contrast=question.contrast)
        parts = [scores.detach()[0].float(), *([] if cells is None else [cells])]
        head = {
            "classes": scores.shape[1],
            "evidence": None if cells is None else list(cells.shape),
            "layers": [[place, *part.shape] for place, part in sorted(shown.items())],
            "milliseconds": round((time.perf_counter() - begun) * 1000, 1),
        }
        return packed(head, [*parts, *(shown[place] for place in sorted(shown))])

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
    """A length (u32), the head as JSON filled up to whole words, then the parts as float32."""
    text = json.dumps(head, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    return b"".join(
        [struct.pack("<I", len(text)), text, *(part.contiguous().numpy().tobytes() for part in parts)]
    )


def _layer(key: str, output: Tensor, size: tuple[int, ...]) -> Layer | None:
    """What is shown of a layer that put out `output` (1, ...); None where a page can show nothing of it."""
    if output.dim() == 2:
        return Layer(key, tuple(output.shape[1:]), (min(UNITS, output.shape[1]),), None)
    grid = grid_of(tuple(output.shape), (size[0], size[1]))
    if grid is None:
        return None
    _, channels, height, width = grid.maps(output).shape
    shrink = max(1.0, max(height, width) / SIDE)
    shown = (min(CHANNELS, channels), max(1, round(height / shrink)), max(1, round(width / shrink)))
    return Layer(key, (channels, height, width), shown, grid)


def _without(output: Tensor, channels: list[int]) -> Tensor:
    """A copy of an output with these channels at zero."""
    silenced = output.clone()
    axis = 1 if silenced.dim() in (2, 4) else 2
    silenced.index_fill_(axis, torch.tensor(channels), 0.0)
    return silenced

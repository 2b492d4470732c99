"""Channel statistics over test pictures, where torch runs the network: computed when first asked for.

One pass over the test pictures covers all layers, once per session; the accuracy without a channel takes a
pass of its own. Both run in short slices, so that a stroke in between is answered at once, and both end when
their time is up: the page receives the number of pictures used.
"""

import struct
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pellucid.data.dataset import Dataset
from pellucid.explanation.channels import (
    accuracies,
    accuracy_changes,
    at_random,
    beyond_chance_of_one,
    change_p_values,
    channel_maxima,
    rank_pictures,
)
from pellucid.inference import scaled
from pellucid.live.answers import NOW, Answerer, InvalidQuestion, packed
from pellucid.pad.section import SAMPLE_PICTURES, Subject, class_balanced_order

PASS_SECONDS = 8.0  # for all layers, once per session
SWITCHED_OFF_SECONDS = 4.0  # for one channel
SLICE_SECONDS = 0.08  # about the longest a stroke has to wait
MIN_PICTURES = 30  # used whatever the time, and needed for the accuracy without a channel
THUMBNAIL = 64  # pixels per side
CHANNEL_QUESTION = struct.Struct("<BHH")
PICTURE_QUESTION = struct.Struct("<BH")


@dataclass(frozen=True)
class ChannelQuestion:
    """A question about one channel of one layer of one run."""

    run: int
    layer: int
    channel: int

    @staticmethod
    def read(body: bytes) -> "ChannelQuestion":
        """Raises InvalidQuestion for another number of bytes."""
        if len(body) != CHANNEL_QUESTION.size:
            raise InvalidQuestion("The question has an unexpected format.")
        return ChannelQuestion(*CHANNEL_QUESTION.unpack(body))


@dataclass(frozen=True)
class Without:
    """What is lost without a channel, on so many pictures; None where there was time for too few.

    accuracy_change  overall and by class, in tenths of a point
    beyond_chance    which of these changes are beyond chance, corrected for all channels of the network
    """

    pictures: int
    accuracy_change: list[int] | None
    beyond_chance: list[int] | None


class ChannelCounter:
    """Runs the test pictures of one run through its network, a slice at a time, and counts per channel."""

    def __init__(self, answerer: Answerer, subject: Subject) -> None:
        self.answerer, self.subject = answerer, subject
        self.size = 1  # pictures in the next slice
        self.seconds = 0.0  # spent in the pass, of torch's own work
        self.done = False
        self.scores: list[Tensor] = []
        self.maxima: dict[int, list[Tensor]] = {}
        self.ranges: dict[int, tuple[float, float]] = {}
        self.tables: dict[int, dict[str, Any]] = {}
        self.without: dict[tuple[int, int], Without] = {}
        self.halfway: tuple[tuple[int, int], list[Tensor], float] | None = None

    def step(self, layer: int, channel: int) -> bool:
        """One slice of the work for a channel's statistics; False when nothing is left to do.

        Raises InvalidQuestion when there is no such channel.
        """
        layers = self.answerer.layers
        if layer >= len(layers) or channel >= layers[layer].shown[0]:
            raise InvalidQuestion("There is no such channel.")
        if self.step_pass():
            return True
        if (layer, channel) not in self.without and self.sample_size:
            self._step_without(layer, channel)
            return True
        return False

    def step_pass(self) -> bool:
        """One slice of the pass over the test pictures; False when it is finished."""
        if not self.done:
            self._step_pass()
            return True
        return False

    def scales(self) -> bytes:
        """A header with the lowest and highest value of each layer over the pictures of the pass."""
        ends = [
            [float(f"{end:.4g}") for end in self.ranges.get(at, (0, 0))]
            for at in range(len(self.answerer.layers))
        ]
        return packed({"sample_size": self.sample_size, "scales": ends}, [])

    def statistics(self, layer: int, channel: int) -> bytes:
        """A header with the channel's statistics, then thumbnails of the pictures it names, uint8 (n, C, h,
        w).

        `accuracy_change` is None where there was time for too few pictures without the channel.
        """
        if not self.sample_size:
            return packed({"sample_size": 0}, [])
        if layer not in self.tables:
            self.tables[layer] = rank_pictures(torch.cat(self.maxima[layer]), self.sample_size)
        table = {name: rows[channel] for name, rows in self.tables[layer].items()}
        random = at_random(channel, self.sample_size)
        indices = sorted({*table["top"], *table["low"], *random})
        pictures = self._pictures(torch.tensor(indices))
        images = _thumbnails(pictures.images[:])
        without = self.without[layer, channel]
        head = {
            "sample_size": self.sample_size, "random": random, **table,
            "ablation_pictures": without.pictures, "accuracy_change": without.accuracy_change,
            "beyond_chance": without.beyond_chance, "tested_channels": self.channels, "places": indices,
            "labels": pictures.labels.tolist(), "sources": list(pictures.sources),
            "shape": list(images.shape),
        }  # fmt: skip
        return packed(head, [images])

    def picture(self, index: int) -> bytes:
        """A test picture of the pass, as the network receives it, uint8 (C, H, W).

        Raises InvalidQuestion when there is none.
        """
        if index >= self.sample_size:
            raise InvalidQuestion("There is no such picture.")
        return self._pictures(torch.tensor([index])).images[0].contiguous().numpy().tobytes()

    @property
    def sample_size(self) -> int:
        """The number of pictures run so far."""
        return sum(map(len, self.scores))

    @property
    def channels(self) -> int:
        """The number of channels that can be switched off."""
        return sum(layer.shown[0] for layer in self.answerer.layers)

    @cached_property
    def order(self) -> Tensor:
        """The indices of the test pictures of the pass, in order."""
        test = self.subject.test
        return (
            torch.zeros(0, dtype=torch.int64)
            if test is None
            else class_balanced_order(test)[:SAMPLE_PICTURES]
        )

    def _pictures(self, positions: Tensor) -> Dataset:
        assert self.subject.test is not None  # else `order` is empty
        return self.subject.test.subset(self.order[positions])

    def _step_pass(self) -> None:
        if self.sample_size == len(self.order):
            self.done = True
            return
        start = time.perf_counter()

        def on_output(index: int, output: Tensor) -> None:
            grid = self.answerer.layers[index].grid
            maps = output if grid is None else grid.maps(output)
            maps = maps[:, : self.answerer.layers[index].shown[0]].float()
            self.maxima.setdefault(index, []).append(channel_maxima(maps).clone())
            low, high = self.ranges.get(index, (0.0, 0.0))
            self.ranges[index] = (min(low, float(maps.min())), max(high, float(maps.max())))

        self.scores.append(self._slice(self.sample_size, {}, on_output))
        self._adapt_size(time.perf_counter() - start, len(self.scores[-1]))
        self.seconds += time.perf_counter() - start
        self.done = self.seconds > PASS_SECONDS and self.sample_size >= MIN_PICTURES

    def _step_without(self, layer: int, channel: int) -> None:
        """One slice without the channel; unfinished work for another channel is dropped."""
        key = (layer, channel)
        scores, spent = self.halfway[1:] if self.halfway and self.halfway[0] == key else ([], 0.0)
        start, done = time.perf_counter(), sum(map(len, scores))
        scores = [*scores, self._slice(done, {layer: [channel]})]
        seconds = time.perf_counter() - start
        self._adapt_size(seconds, len(scores[-1]))
        self.halfway = (key, scores, spent + seconds)
        done += len(scores[-1])
        if done < self.sample_size and spent + seconds < SWITCHED_OFF_SECONDS:
            return
        labels = self._pictures(torch.arange(done)).labels
        before, after = torch.cat(self.scores)[:done], torch.cat(scores)
        enough = done >= min(MIN_PICTURES, len(self.order))
        changes = accuracy_changes(accuracies(before, labels), accuracies(after, labels))
        found = beyond_chance_of_one(change_p_values(before, after, labels), self.channels)
        self.without[key] = Without(done, changes, found) if enough else Without(done, None, None)
        self.halfway = None

    def _slice(self, first: int, silenced: dict[int, list[int]], on_output: Any = None) -> Tensor:
        """Scores (n, K) of the next slice of pictures, from `first` on."""
        end = min(first + self.size, len(self.order) if on_output else self.sample_size)
        images = scaled(self._pictures(torch.arange(first, end)).images[:])
        with self.answerer.without(silenced, on_output):
            return self.answerer.scores(images, NOW).float().clone()

    def _adapt_size(self, seconds: float, count: int) -> None:
        """Makes the next slice as large as fits its time."""
        fit = int(count * SLICE_SECONDS / max(seconds, 1e-6))
        self.size = max(1, min(2 * self.size, fit, 128))


def _thumbnails(images: Tensor) -> Tensor:
    """Pictures (n, C, H, W), reduced to sides of at most THUMBNAIL pixels."""
    height, width = images.shape[2:]
    shrink = max(height, width) / THUMBNAIL
    if shrink <= 1:
        return images
    size = (max(1, round(height / shrink)), max(1, round(width / shrink)))
    return functional.adaptive_avg_pool2d(images.float(), size).round().to(torch.uint8)

"""What test pictures say of a channel, where torch runs the network: counted when it is first asked for.

All layers are looked at in one pass over the test pictures, once a session; what a channel is worth is
counted for that channel alone. Both go in short slices, so that a stroke in between is answered at once, and
both end when their time is spent: the page is told how many pictures it was.
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
from pellucid.explanation.channels import NINE, lost, ranked, right, strongest
from pellucid.inference import scaled
from pellucid.live.answers import NOW, Answerer, Malformed, packed
from pellucid.pad.section import LOOKED, Subject, turns

LOOKING_SECONDS = 8.0  # for all layers, once a session
SWITCHING_SECONDS = 4.0  # for one channel
A_SLICE = 0.08  # seconds that a stroke waits at most, about
FEWEST = 30  # pictures looked at whatever the time, and needed to say what a channel is worth
THUMBNAIL = 64  # pixels of a side of a picture shown small
ASKED = struct.Struct("<BHH")
ONE = struct.Struct("<BH")


@dataclass(frozen=True)
class Asked:
    """Which run is asked for which channel of which layer."""

    run: int
    layer: int
    channel: int

    @staticmethod
    def read(body: bytes) -> "Asked":
        """Raises Malformed for another number of bytes."""
        if len(body) != ASKED.size:
            raise Malformed("The question is not of the kind expected.")
        return Asked(*ASKED.unpack(body))


class Counter:
    """Looks at the test pictures of one run, a slice at a time. Times count only torch's own work."""

    def __init__(self, answerer: Answerer, subject: Subject) -> None:
        self.answerer, self.subject = answerer, subject
        self.size = 1  # pictures in the next slice
        self.spent = 0.0
        self.done = False
        self.scores: list[Tensor] = []
        self.highest: dict[int, list[Tensor]] = {}
        self.ends: dict[int, tuple[float, float]] = {}
        self.tables: dict[int, dict[str, Any]] = {}
        self.worth: dict[tuple[int, int], tuple[int, list[int] | None]] = {}
        self.halfway: tuple[tuple[int, int], list[Tensor], float] | None = None

    def step(self, layer: int, channel: int) -> bool:
        """One slice of what a channel's facts need; False when nothing is left to do.

        Raises Malformed when there is no such channel.
        """
        layers = self.answerer.layers
        if layer >= len(layers) or channel >= layers[layer].shown[0]:
            raise Malformed("There is no such channel.")
        if self.look():
            return True
        if (layer, channel) not in self.worth and self.looked:
            self._switch(layer, channel)
            return True
        return False

    def look(self) -> bool:
        """One slice of looking at test pictures; False when they have been looked at."""
        if not self.done:
            self._look()
            return True
        return False

    def scales(self) -> bytes:
        """A head with the lowest and highest value of each layer over the pictures looked at."""
        ends = [
            [float(f"{end:.4g}") for end in self.ends.get(at, (0, 0))]
            for at in range(len(self.answerer.layers))
        ]
        return packed({"looked": self.looked, "scales": ends}, [])

    def told(self, layer: int, channel: int) -> bytes:
        """A head with what was counted, then the pictures it names, small, uint8 (n, C, h, w).

        `off` is None where too few pictures could be asked without the channel.
        """
        if not self.looked:
            return packed({"looked": 0}, [])
        if layer not in self.tables:
            self.tables[layer] = ranked(torch.cat(self.highest[layer]), self.looked)
        table = {name: rows[channel] for name, rows in self.tables[layer].items()}
        random = [(channel * NINE + place * 61 + 7) % self.looked for place in range(NINE)]
        places = sorted({*table["top"], *table["low"], *random})
        pictures = self._pictures(torch.tensor(places))
        images = _small(pictures.images[:])
        number, off = self.worth[layer, channel]
        head = {
            "looked": self.looked, "random": random, **table, "number": number, "off": off, "places": places,
            "labels": pictures.labels.tolist(), "sources": list(pictures.sources),
            "shape": list(images.shape),
        }  # fmt: skip
        return packed(head, [images])

    def picture(self, place: int) -> bytes:
        """A test picture that was looked at, as the network receives it, uint8 (C, H, W).

        Raises Malformed when there is none.
        """
        if place >= self.looked:
            raise Malformed("There is no such picture.")
        return self._pictures(torch.tensor([place])).images[0].contiguous().numpy().tobytes()

    @property
    def looked(self) -> int:
        """Pictures looked at so far."""
        return sum(map(len, self.scores))

    @cached_property
    def order(self) -> Tensor:
        """Which test pictures are looked at, in turn; none where there are none."""
        test = self.subject.test
        return torch.zeros(0, dtype=torch.int64) if test is None else turns(test)[:LOOKED]

    def _pictures(self, places: Tensor) -> Dataset:
        assert self.subject.test is not None  # there is an order
        return self.subject.test.subset(self.order[places])

    def _look(self) -> None:
        if self.looked == len(self.order):
            self.done = True
            return
        begun = time.perf_counter()

        def hear(place: int, output: Tensor) -> None:
            grid = self.answerer.layers[place].grid
            maps = output if grid is None else grid.maps(output)
            maps = maps[:, : self.answerer.layers[place].shown[0]].float()
            self.highest.setdefault(place, []).append(strongest(maps).clone())
            low, high = self.ends.get(place, (0.0, 0.0))
            self.ends[place] = (min(low, float(maps.min())), max(high, float(maps.max())))

        self.scores.append(self._asked(self.looked, {}, hear))
        self._timed(time.perf_counter() - begun, len(self.scores[-1]))
        self.spent += time.perf_counter() - begun
        self.done = self.spent > LOOKING_SECONDS and self.looked >= FEWEST

    def _switch(self, layer: int, channel: int) -> None:
        """One slice without the channel; what was begun for another channel is given up."""
        key = (layer, channel)
        scores, spent = self.halfway[1:] if self.halfway and self.halfway[0] == key else ([], 0.0)
        begun, done = time.perf_counter(), sum(map(len, scores))
        scores = [*scores, self._asked(done, {layer: [channel]})]
        seconds = time.perf_counter() - begun
        self._timed(seconds, len(scores[-1]))
        self.halfway = (key, scores, spent + seconds)
        done += len(scores[-1])
        if done < self.looked and spent + seconds < SWITCHING_SECONDS:
            return
        labels = self._pictures(torch.arange(done)).labels
        before, after = torch.cat(self.scores)[:done], torch.cat(scores)
        known = done >= min(FEWEST, len(self.order))
        self.worth[key] = (done, lost(right(before, labels), right(after, labels)) if known else None)
        self.halfway = None

    def _asked(self, first: int, silenced: dict[int, list[int]], hear: Any = None) -> Tensor:
        """Scores (n, K) of the next slice of pictures from `first` on."""
        end = min(first + self.size, len(self.order) if hear else self.looked)
        images = scaled(self._pictures(torch.arange(first, end)).images[:])
        with self.answerer.without(silenced, hear):
            return self.answerer.scores(images, NOW).float().clone()

    def _timed(self, seconds: float, count: int) -> None:
        """The next slice holds about as many pictures as fit its time."""
        fit = int(count * A_SLICE / max(seconds, 1e-6))
        self.size = max(1, min(2 * self.size, fit, 128))


def _small(images: Tensor) -> Tensor:
    """Pictures (n, C, H, W) with sides of THUMBNAIL pixels at most."""
    height, width = images.shape[2:]
    shrink = max(height, width) / THUMBNAIL
    if shrink <= 1:
        return images
    size = (max(1, round(height / shrink)), max(1, round(width / shrink)))
    return functional.adaptive_avg_pool2d(images.float(), size).round().to(torch.uint8)

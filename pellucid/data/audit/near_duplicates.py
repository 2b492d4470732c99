"""Pictures that are almost the same: hashed, so that not every two are compared, then held side by side.

A picture is hashed by which side of random planes it lies on (Charikar 2002, doi:10.1145/509907.509965),
the planes drawn in the space of the set's own principal components, each scaled to equal spread: so the
hashes part even pictures that are all alike at a glance, as handwritten digits are. Two that share one of
many hashes are compared pixel by pixel at a common size, after removing brightness and contrast.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

SIDE = 32  # pixels a side at which pictures are compared, at most
THUMBNAIL = 16  # pixels a side of the gray thumbnail that is hashed, at most
COMPONENTS = 32  # principal components that are hashed
TABLES = 12  # hashes a picture: some 200 bits in all for 70,000 pictures
WINDOW = 24  # pictures of one hash each is compared with, at most: the work grows with N, not N squared
SAMPLE = 2_000  # pictures that tell how alike any two are
BLOCK = 2_048  # pictures held at once

LIMIT = 0.05  # distance two pictures may have, at most, and be one
FRACTION = 0.08  # of the distance to pictures that merely look alike
COPIES = 10  # near-copies a picture may have and still be told from what merely looks alike

Parts = Sequence[Tensor]


@dataclass(frozen=True)
class Pair:
    """Two pictures by number, first < second, and how far apart: 0 equal but for brightness and contrast."""

    first: int
    second: int
    distance: float


def near_pairs(parts: Parts, thumbnails: Tensor, chosen: Tensor) -> list[Pair]:
    """Every two pictures that are one picture stored twice, the nearest first.

    parts       uint8 (N, C, H, W), one or several, of one size; pictures are numbered through them
    thumbnails  float32 (N, D), as `thumbnails` gives them
    chosen      numbers of those to compare, int64

    The distance of two is 1 - r, the correlation of their pixels. They are one when it is at most LIMIT, and
    at most a FRACTION of how far either is from the pictures it resembles most without being a copy: in a
    set of digits, where any two 1s are alike, that is much less. Flat pictures are nobody's copy.
    """
    chosen = chosen[thumbnails[chosen].any(dim=1)]
    if len(chosen) < 2:
        return []
    first, second = (chosen[side] for side in _candidates(_components(thumbnails[chosen])))
    near = distances(thumbnails, first, second) <= 2 * LIMIT  # a glance, before pixels are fetched
    first, second = first[near], second[near]
    distance = _pixel_distances(parts, first, second)
    near = distance <= LIMIT
    first, second, distance = first[near], second[near], distance[near]
    room = _room(parts, torch.unique(torch.cat([first, second])), chosen)
    near = distance <= FRACTION * torch.minimum(room[first], room[second])
    found = zip(first[near].tolist(), second[near].tolist(), distance[near].tolist(), strict=True)
    pairs = [Pair(min(one, other), max(one, other), max(0.0, value)) for one, other, value in found]
    return sorted(pairs, key=lambda pair: (pair.distance, pair.first, pair.second))


def thumbnails(parts: Parts) -> Tensor:
    """Small gray pictures as vectors of length 1, float32 (N, D); mean and contrast removed, flat ones 0."""
    gray = (block.float().mean(dim=1, keepdim=True) for part in parts for block in _blocks(part))
    return torch.cat([_unit(_shrunk(block, THUMBNAIL)) for block in gray])


def taken(parts: Parts, numbers: Tensor) -> Tensor:
    """The pictures of these numbers, in their order: uint8 (B, C, H, W)."""
    pictures = torch.empty(len(numbers), *parts[0].shape[1:], dtype=torch.uint8)
    start = 0
    for part in parts:
        here = (numbers >= start) & (numbers < start + len(part))
        if here.any():
            pictures[here] = part[numbers[here] - start]
        start += len(part)
    return pictures


def distances(vectors: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """1 - r of each pair of `vectors` (N, D) by number: float32 (P,)."""
    pairs = zip(_blocks(first), _blocks(second), strict=True)
    near = [1 - (vectors[one] * vectors[other]).sum(dim=1) for one, other in pairs]
    return torch.cat(near) if near else torch.empty(0)


def _blocks(rows: Tensor) -> Iterator[Tensor]:
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


def _compared(parts: Parts, numbers: Tensor) -> Tensor:
    """Pictures as vectors of length 1 at the common size, (B, D).

    Colours lose their mean one by one and share one contrast: a red disc stays unlike a green one.
    """
    return _unit(_shrunk(taken(parts, numbers).float(), SIDE))


def _shrunk(pictures: Tensor, side: int) -> Tensor:
    size = min(side, pictures.shape[2]), min(side, pictures.shape[3])
    shrunk: Tensor = functional.adaptive_avg_pool2d(pictures, size)
    return shrunk


def _unit(pictures: Tensor) -> Tensor:
    centred = pictures.flatten(2) - pictures.flatten(2).mean(dim=2, keepdim=True)  # (B, C, h*w)
    vectors = centred.flatten(1)
    length: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    flat = length < 0.5 * math.sqrt(vectors.shape[1])  # less than half a shade of contrast
    units: Tensor = (vectors / length.clamp_min(1e-6)).masked_fill(flat, 0)
    return units


def _components(vectors: Tensor) -> Tensor:
    """The pictures along the set's principal components, each of spread 1: (N, P)."""
    sample = vectors[:: max(1, len(vectors) // (5 * SAMPLE))].double()
    mean = sample.mean(dim=0)
    spread, directions = torch.linalg.eigh((sample - mean).T @ (sample - mean) / len(sample))
    widths = spread.flip(0)[:COMPONENTS].clamp_min(0).sqrt()
    useful = max(1, int((widths > 1e-4).sum()))
    axes = directions.flip(1)[:, :useful] / widths[:useful].clamp_min(1e-6)
    along: Tensor = (vectors - mean.float()) @ axes.float()
    return along


def _candidates(points: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures that share a hash, by row of `points` (N, P): two int64 (pairs,), each pair once."""
    number = len(points)
    bits = min(24, max(4, math.ceil(math.log2(number)) + 2))
    generator = torch.Generator().manual_seed(0)
    weights = 2 ** torch.arange(bits)
    found: list[NDArray[np.int64]] = []
    for _ in range(TABLES):
        planes = torch.randn(points.shape[1], bits, generator=generator)
        assign_splits = points @ planes  # (N, bits)
        code = ((assign_splits > 0) * weights).sum(dim=1).numpy()
        order = np.lexsort(
            (assign_splits[:, 0].numpy(), code)
        )  # within one hash, neighbours along a line are compared
        found.append(_neighbours(order, code[order], number))
    pairs = torch.from_numpy(np.unique(np.concatenate(found)))
    return pairs // number, pairs % number


def _neighbours(order: NDArray[np.int64], code: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Pairs at most WINDOW apart in `order` whose codes are equal, as smaller * number + larger."""
    pairs = [np.empty(0, dtype=np.int64)]
    for step in range(1, min(WINDOW, len(order) - 1) + 1):
        same = np.nonzero(code[:-step] == code[step:])[0]
        if not len(same):
            break
        one, other = order[same], order[same + step]
        pairs.append(np.minimum(one, other) * number + np.maximum(one, other))
    return np.concatenate(pairs)


def _pixel_distances(parts: Parts, first: Tensor, second: Tensor) -> Tensor:
    """1 - r of each pair at the common size, its pictures fetched block by block."""
    pairs = zip(_blocks(first), _blocks(second), strict=True)
    vectors = ((_compared(parts, one), _compared(parts, other)) for one, other in pairs)
    near = [1 - (one * other).sum(dim=1) for one, other in vectors]
    return torch.cat(near) if near else torch.empty(0)


def _room(parts: Parts, asked: Tensor, chosen: Tensor) -> Tensor:
    """How far each picture of `asked` is from those it resembles most, its copies left out; others 0: (N,).

    Told by a sample of `chosen`: the neighbour there that is about the COPIES-th among all.
    """
    order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(1))[:SAMPLE]
    sample = _compared(parts, chosen[order])
    rank = min(
        len(sample), 2 + math.ceil(COPIES * len(sample) / len(chosen))
    )  # it may meet itself and a copy
    room = torch.zeros(sum(len(part) for part in parts))
    for numbers in _blocks(asked):
        room[numbers] = 1 - (_compared(parts, numbers) @ sample.T).topk(rank, dim=1).values[:, -1]
    return room

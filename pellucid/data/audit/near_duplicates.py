"""Near-duplicates: candidates are found by hashing, so that not every two pictures are compared.

A hash says on which side of random planes a picture is (Charikar 2002, doi:10.1145/509907.509965). The
planes are drawn in the space of the data set's principal components, each scaled to equal spread: so most
hashes separate even pictures that all look alike, such as handwritten digits. Two pictures that share one of
several hashes are compared pixel by pixel at a common size, after removing brightness and contrast.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pellucid.data.mapped import BLOCK_BYTES, in_blocks

SIDE = 32  # pictures are compared at 32x32 pixels at most
THUMBNAIL = 16  # gray thumbnails of 16x16 pixels at most are hashed
COMPONENTS = 32  # principal components that are hashed
TABLES = 12  # hashes per picture: some 200 bits in total for 70,000 pictures
PLAIN_TABLES = (
    4  # and of components as they are: scaled to equal spread, those of a few scenes are mostly noise
)
WINDOW = 24  # candidates per picture and hash, at most: the time grows with N, not with its square
SAMPLE = 2_000  # pictures used to estimate how alike any two are
BLOCK = 2_048  # pictures held at once

LIMIT = 0.05  # the largest distance of near-duplicates
FRACTION = 0.08  # and this much of the distance to pictures that merely look alike
COPIES = 10  # near-duplicates that a picture may have without hiding what merely looks alike
# So near are copies alone, however many there are: of 20,000 MNIST digits no two are nearer than 0.01, of
# small ones than 0.0058. But for a camera that never moves: then many pictures may be as near.
SURE, CROWD = 0.003, 0.25

Images = Sequence[Tensor]  # each uint8 (N, C, H, W), numbered consecutively


@dataclass(frozen=True)
class Pair:
    """Two indices, first < second, and their distance: 0 if equal but for brightness and contrast."""

    first: int
    second: int
    distance: float


def near_pairs(images: Images, thumbnails: Tensor, chosen: Tensor) -> list[Pair]:
    """Every two pictures that are copies of one picture, the nearest first.

    Of a picture with many only the nearest are given.

    images      uint8 (N, C, H, W), one or several of the same size, numbered consecutively
    thumbnails  float32 (N, D), as `thumbnails` returns them
    chosen      indices of those to compare, int64

    The distance of two pictures is 1 - r, r being the correlation of their pixels. It must be at most LIMIT,
    and at most a FRACTION of the distance of either to the pictures it resembles most without being a copy:
    in a set of digits, where any two 1s are alike, that is much less. Pictures within SURE are copies in any
    case, as are the frames of a scene, unless a share CROWD of all pictures is as near. Flat pictures are
    never copies.
    """
    chosen = chosen[thumbnails[chosen].any(dim=1)]
    if len(chosen) < 2:
        return []
    scaled, plain = _components(thumbnails[chosen])
    first, second = (chosen[side] for side in _candidates([scaled] * TABLES + [plain] * PLAIN_TABLES))
    # Before any pixels are read: copies are alike as thumbnails, too, and more so than what is merely alike.
    distance = distances(thumbnails, first, second)
    near = distance <= 2 * LIMIT
    first, second, distance = first[near], second[near], distance[near]
    asked = torch.unique(torch.cat([first, second]))
    limit = _limits(thumbnails.__getitem__, asked, chosen)
    near = distance <= 2 * torch.minimum(limit[first], limit[second])
    first, second = first[near], second[near]
    distance = _pixel_distances(images, first, second)
    near = distance <= LIMIT
    first, second, distance = first[near], second[near], distance[near]
    asked = torch.unique(torch.cat([first, second]))
    limit = _limits(partial(_unit_vectors, images), asked, chosen)
    near = distance <= torch.minimum(limit[first], limit[second])
    first, second, distance = first[near], second[near], distance[near]
    nearest = _among_the_nearest(first, distance) | _among_the_nearest(second, distance)
    found = zip(*(column[nearest].tolist() for column in (first, second, distance)), strict=True)
    pairs = [Pair(min(one, other), max(one, other), max(0.0, value)) for one, other, value in found]
    return sorted(pairs, key=lambda pair: (pair.distance, pair.first, pair.second))


def _among_the_nearest(owners: Tensor, distance: Tensor) -> Tensor:
    """Whether each pair is one of the COPIES nearest of its owner, bool (P,): a scene of a thousand frames
    would have half a million."""
    order = distance.argsort(stable=True)
    order = order[owners[order].argsort(stable=True)]  # by owner, the nearest first
    sizes = torch.unique_consecutive(owners[order], return_counts=True)[1]
    starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    near = torch.arange(len(order)) - starts < COPIES
    return torch.empty(len(order), dtype=torch.bool).scatter(0, order, near)


def thumbnails(images: Images) -> Tensor:
    """Small gray pictures as unit vectors, float32 (N, D), without mean and contrast; flat ones are 0."""
    gray = (block.float().mean(dim=1, keepdim=True) for tensor in images for block in in_blocks(tensor))
    return torch.cat([_unit(_shrunk(block, THUMBNAIL)) for block in gray])


def select(images: Images, indices: Tensor) -> Tensor:
    """The pictures at `indices`, in that order: uint8 (B, C, H, W)."""
    pictures = torch.empty(len(indices), *images[0].shape[1:], dtype=torch.uint8)
    start = 0
    for tensor in images:
        inside = (indices >= start) & (indices < start + len(tensor))
        if inside.any():
            pictures[inside] = tensor[indices[inside] - start]
        start += len(tensor)
    return pictures


def distances(vectors: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """1 - r of each pair of rows of `vectors` (N, D): float32 (P,)."""
    pairs = zip(_blocks(first), _blocks(second), strict=True)
    near = [1 - (vectors[one] * vectors[other]).sum(dim=1) for one, other in pairs]
    return torch.cat(near) if near else torch.empty(0)


def _blocks(rows: Tensor) -> Iterator[Tensor]:
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


def _unit_vectors(images: Images, indices: Tensor) -> Tensor:
    """Pictures as unit vectors at the common size, (B, D).

    The mean is removed per channel, the contrast of all together: a red disc stays unlike a green one.
    """
    count = max(1, BLOCK_BYTES // images[0].shape[1:].numel())
    return torch.cat(
        [_unit(_shrunk(select(images, part).float(), SIDE)) for part in torch.split(indices, count)]
    )


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


def _components(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The pictures in the space of the principal components: each of variance 1, and as they are, (N, P)."""
    sample = vectors[:: max(1, len(vectors) // (5 * SAMPLE))].double()
    mean = sample.mean(dim=0)
    spread, directions = torch.linalg.eigh((sample - mean).T @ (sample - mean) / len(sample))
    widths = spread.flip(0)[:COMPONENTS].clamp_min(0).sqrt()
    useful = max(1, int((widths > 1e-4).sum()))
    plain: Tensor = (vectors - mean.float()) @ directions.flip(1)[:, :useful].float()
    return plain / widths[:useful].clamp_min(1e-6).float(), plain


def _candidates(tables: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pairs of rows of points (N, P), one set of them to hash for each table, that share a hash: two int64
    (pairs,), each pair once."""
    number = len(tables[0])
    bits = min(24, max(4, math.ceil(math.log2(number)) + 2))
    generator = torch.Generator().manual_seed(0)
    weights = 2 ** torch.arange(bits)
    found: list[NDArray[np.int64]] = []
    for points in tables:
        planes = torch.randn(points.shape[1], bits, generator=generator)
        projections = points @ planes  # (N, bits)
        code = ((projections > 0) * weights).sum(dim=1).numpy()
        order = np.lexsort(
            (projections[:, 0].numpy(), code)
        )  # within one hash, neighbours along a line are compared
        found.append(_neighbours(order, code[order], number))
    pairs = torch.unique_consecutive(torch.from_numpy(np.sort(np.concatenate(found))))
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


def _pixel_distances(images: Images, first: Tensor, second: Tensor) -> Tensor:
    """1 - r of each pair at the common size, read block by block."""
    pairs = zip(_blocks(first), _blocks(second), strict=True)
    vectors = ((_unit_vectors(images, one), _unit_vectors(images, other)) for one, other in pairs)
    near = [1 - (one * other).sum(dim=1) for one, other in vectors]
    return torch.cat(near) if near else torch.empty(0)


def _limits(vectors: Callable[[Tensor], Tensor], asked: Tensor, chosen: Tensor) -> Tensor:
    """How near a copy of each picture of `asked` must be at least: float32, one per picture of all, 0 for the
    others. A FRACTION of the distance to those it resembles most without their being copies, and no less than
    SURE unless it is in a crowd.

    vectors  gives the unit vectors (B, D) of pictures by their indices

    Estimated with a sample of `chosen`, by the neighbour there that is about the COPIES-th of all.
    """
    order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(1))[:SAMPLE]
    sample = vectors(chosen[order])
    # It may find itself and a copy.
    rank = min(len(sample), 2 + math.ceil(COPIES * len(sample) / len(chosen)))
    crowd = max(COPIES + 1, CROWD * len(sample))
    limits = torch.zeros(int(chosen.max()) + 1)
    for indices in _blocks(asked):
        distance = 1 - vectors(indices) @ sample.T
        lookalikes = distance.topk(rank, dim=1, largest=False).values[:, -1]
        least = SURE * ((distance <= SURE).sum(dim=1) <= crowd)
        limits[indices] = torch.maximum(FRACTION * lookalikes, least)
    return limits

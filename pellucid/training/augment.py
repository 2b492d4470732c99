"""Augmentation: a batch of pictures in, a changed batch out, all randomness from the generator passed in.

Nothing here keeps state or touches torch's own random numbers: a generator made from (seed, epoch, step)
gives the same pictures again, even in the middle of an epoch. A whole batch is changed at once, each picture
with random numbers of its own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Generator, Tensor
from torch.nn import functional

from pellucid.errors import UsageError, did_you_mean
from pellucid.task import shares_of

Change = Callable[[Tensor, Generator], Tensor]
Mix = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]

MAX_CROP_SHIFT = 1 / 8  # of a side
MAX_SHIFT, MAX_ROTATION, MAX_SCALING = 0.1, 15.0, 0.15  # of a side; degrees; of the size
MAX_HANDWRITING = 0.07, 10.0, 0.1, 0.1  # shift, of a side; degrees; scaling, of the size; shear
MAX_COLOUR_CHANGE = 0.25  # of brightness, contrast and saturation
ERASED_AREA = (0.02, 0.2)  # of a picture's area, from and to


@dataclass(frozen=True)
class Augmentation:
    """One augmentation: exactly one of three functions, and a phrase that describes it.

    affine  (B, generator) -> (B, 3, 3): maps coordinates of the new picture to the old one, in units of half
            a picture from its centre; several matrices are multiplied, and the pictures interpolated once
    change  (images, generator) -> images, float 0..1 (B, C, H, W)
    mix     (images, targets, generator) -> both, the targets as shares (B, K)
    """

    phrase: str
    affine: Callable[[int, Generator], Tensor] | None = None
    change: Change | None = None
    mix: Mix | None = None


def apply_augmentations(
    images: Tensor, labels: Tensor, names: Sequence[str], *, classes: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Pictures changed by the named augmentations, and their targets.

    images   (B, C, H, W), float 0..1 or uint8; the result has the same type
    labels   int64 (B,), or bool (B, `classes`); returned as they are, or, of mixed pictures, as shares
             (B, `classes`)
    names    keys of AUGMENTATIONS, applied in the order of that table; of "mixup" and "cutmix" one is drawn

    The batch passed in is not changed. Raises UsageError for an unknown name.
    """
    chosen = [AUGMENTATIONS[name] for name in in_table_order(names)]
    if not chosen or not len(images):
        return images, labels
    floats = images.float() / 255 if images.dtype == torch.uint8 else images
    matrices = [each.affine(len(images), generator) for each in chosen if each.affine is not None]
    if matrices:
        floats = warped(floats, reduce(torch.matmul, matrices))
    for each in chosen:
        floats = floats if each.change is None else each.change(floats, generator)
    targets, mixes = labels, [each.mix for each in chosen if each.mix is not None]
    if mixes:
        shares = shares_of(labels, classes)  # (B, K)
        drawn = int(torch.randint(len(mixes), (), generator=generator))
        floats, targets = mixes[drawn](floats, shares, generator)
    if images.dtype == torch.uint8:
        return (floats * 255).round_().clamp_(0, 255).to(torch.uint8), targets
    return floats, targets


def in_table_order(names: Sequence[str]) -> list[str]:
    """The names in the order of AUGMENTATIONS, each once. Raises UsageError, with the nearest known name."""
    for name in names:
        if name not in AUGMENTATIONS:
            raise UsageError(f"Unknown augmentation '{name}'. {did_you_mean(name, AUGMENTATIONS)}")
    return [name for name in AUGMENTATIONS if name in names]


def parse_augmentations(text: str) -> list[str]:
    """The names in a recipe's "crop,flip"; an empty list for "none". Raises UsageError for anything else."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["none"]:
        return []
    if not words or "auto" in words or "none" in words:
        raise UsageError(
            f"Expected augment as auto, none or names joined by commas, such as 'crop,flip'; got '{text}'. "
            f"Known: {', '.join(AUGMENTATIONS)}."
        )
    return in_table_order(words)


def default_augmentations(channels: int) -> str:
    """What "auto" means for pictures of unknown origin: gray ones may be letters or X-rays, where a mirror
    image means something else, so they are not augmented."""
    return "crop,flip,colour" if channels == 3 else "none"


def crop(images: Tensor, generator: Generator) -> Tensor:
    """Each picture shifted by whole pixels, up to an eighth of a side, with mirrored edges."""
    count, _, height, width = images.shape
    rows = _shifted_indices(height, count, generator)  # (B, H)
    columns = _shifted_indices(width, count, generator)  # (B, W)
    picture = torch.arange(count)[:, None, None]
    cropped = images[picture, :, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return cropped.permute(0, 3, 1, 2)


def flip(images: Tensor, generator: Generator) -> Tensor:
    """Half of the pictures mirrored left to right."""
    mirrored = _uniform(len(images), generator) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def shift(count: int, generator: Generator) -> Tensor:
    """Matrices (B, 3, 3) that shift by up to a tenth of a side, by fractions of a pixel too."""
    matrix = torch.eye(3).repeat(count, 1, 1)
    matrix[:, :2, 2] = 2 * MAX_SHIFT * _signed((count, 2), generator)
    return matrix


def turn(count: int, generator: Generator) -> Tensor:
    """Matrices (B, 3, 3) that rotate by up to 15 degrees either way."""
    angle = math.radians(MAX_ROTATION) * _signed((count,), generator)
    matrix = torch.eye(3).repeat(count, 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 0, 1], matrix[:, 1, 0] = -angle.sin(), angle.sin()
    return matrix


def scale(count: int, generator: Generator) -> Tensor:
    """Matrices (B, 3, 3) that enlarge or shrink by up to 15 %."""
    matrix = torch.eye(3).repeat(count, 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = torch.exp(math.log1p(MAX_SCALING) * _signed((count,), generator))
    return matrix


def handwriting(count: int, generator: Generator) -> Tensor:
    """Matrices (B, 3, 3) that shift, rotate, scale and shear a little, as handwriting differs."""
    shift, degrees, scaling, shear = MAX_HANDWRITING
    drawn = _signed((5, count), generator)
    angle, size = math.radians(degrees) * drawn[0], 1 + scaling * drawn[1]
    matrix = torch.eye(3).repeat(count, 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos() * size
    matrix[:, 0, 1], matrix[:, 1, 0] = (shear * drawn[2] - angle.sin()) * size, angle.sin() * size
    matrix[:, :2, 2] = 2 * shift * drawn[3:].T
    return matrix


def colour(images: Tensor, generator: Generator) -> Tensor:
    """Brightness, contrast and, for colour pictures, saturation changed by up to a quarter."""
    factors = 1 + MAX_COLOUR_CHANGE * _signed((3, len(images), 1, 1, 1), generator)
    if images.shape[1] == 3:
        red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
        gray = 0.299 * red + 0.587 * green + 0.114 * blue  # (B, 1, H, W)
        images = gray + (images - gray) * factors[2]
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return ((mean + (images - mean) * factors[1]) * factors[0]).clamp_(0, 1)


def erase(images: Tensor, generator: Generator) -> Tensor:
    """In half of the pictures a rectangle set to the mean value (Zhong et al., arXiv:1708.04896)."""
    count = len(images)
    low, high = ERASED_AREA
    area = low + (high - low) * _uniform(count, generator)
    inside = _rectangles(images.shape, area, generator)  # (B, 1, H, W)
    hit = (_uniform(count, generator) < 0.5)[:, None, None, None]
    return torch.where(inside & hit, images.mean(dim=(1, 2, 3), keepdim=True), images)


def mixup(images: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Each picture blended with another of the batch, in any proportion (Zhang et al., arXiv:1710.09412)."""
    other = torch.randperm(len(images), generator=generator)
    share = _uniform(len(images), generator)
    weight = share[:, None, None, None]
    mixed = images * weight + images[other] * (1 - weight)
    return mixed, targets * share[:, None] + targets[other] * (1 - share[:, None])


def cutmix(images: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """In each picture a rectangle of another, of any area (Yun et al., arXiv:1905.04899)."""
    other = torch.randperm(len(images), generator=generator)
    inside = _rectangles(images.shape, _uniform(len(images), generator), generator)  # (B, 1, H, W)
    share = inside.float().mean(dim=(1, 2, 3))[:, None]  # what was covered after clipping at the edges
    return torch.where(inside, images[other], images), targets * (1 - share) + targets[other] * share


AUGMENTATIONS: dict[str, Augmentation] = {
    "shift": Augmentation("shifted by up to a tenth of a side", affine=shift),
    "turn": Augmentation("rotated by up to 15 degrees", affine=turn),
    "scale": Augmentation("enlarged or shrunk by up to 15 %", affine=scale),
    "handwriting": Augmentation("shifted, rotated, resized and slanted a little", affine=handwriting),
    "crop": Augmentation("shifted by up to an eighth of a side, edges mirrored", change=crop),
    "flip": Augmentation("half of them mirrored left to right", change=flip),
    "colour": Augmentation("brightness, contrast and saturation changed by up to a quarter", change=colour),
    "erase": Augmentation("a rectangle blanked out in half of them", change=erase),
    "mixup": Augmentation("each blended with another, the label in the same proportion", mix=mixup),
    "cutmix": Augmentation("a rectangle of another in each, the label in the same proportion", mix=cutmix),
}


def _uniform(count: int, generator: Generator) -> Tensor:
    """(B,) random numbers from 0 to 1."""
    return torch.rand(count, generator=generator)


def _signed(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Random numbers from -1 to 1."""
    return 2 * torch.rand(shape, generator=generator) - 1


def _shifted_indices(side: int, count: int, generator: Generator) -> Tensor:
    """For each of `count` pictures the source index of each row or column (B, side), mirrored at the ends."""
    most = min(side - 1, max(1, round(side * MAX_CROP_SHIFT)))
    offsets = torch.randint(-most, most + 1, (count, 1), generator=generator)
    rows = (torch.arange(side) + offsets).abs()  # (B, side)
    return torch.where(rows < side, rows, 2 * (side - 1) - rows)


def _rectangles(shape: torch.Size, area: Tensor, generator: Generator) -> Tensor:
    """Masks, bool (B, 1, H, W), of rectangles with the picture's proportions that cover `area` (B,), a share
    of it; the centre is anywhere, and what lies beyond the edge is clipped."""
    count, _, *sides = shape
    centres = torch.rand((2, count, 1), generator=generator)
    half_side = area.sqrt()[:, None] / 2
    rows, columns = (
        ((torch.arange(side) + 0.5) / side - centre).abs() < half_side
        for side, centre in zip(sides, centres, strict=True)
    )  # (B, H), (B, W)
    inside: Tensor = rows[:, :, None] & columns[:, None, :]
    return inside[:, None]


def warped(images: Tensor, matrices: Tensor) -> Tensor:
    """`images`, float (B, C, H, W), resampled by `matrices` (B, 3, 3) as in Augmentation; beyond the
    edge, its colour."""
    height, width = images.shape[2:]
    stretch = torch.tensor(
        [[1.0, height / width, 1.0], [width / height, 1.0, 1.0]]
    )  # so that rotations stay rotations
    grid = functional.affine_grid(matrices[:, :2] * stretch, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return torch.empty(images.shape, memory_format=torch.channels_last).copy_(moved)  # as `scaled` does

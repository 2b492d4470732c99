"""Augmentation: a batch of pictures in, a changed batch out, every draw from the generator that is handed in.

Nothing here keeps a state and nothing touches torch's own random numbers: who makes the generator from
(seed, epoch, step) gets the same pictures again, also in the middle of an epoch. Whole batches are changed at
once, each picture by draws of its own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Generator, Tensor
from torch.nn import functional

from pellucid.errors import UsageError, did_you_mean

Change = Callable[[Tensor, Generator], Tensor]
Mix = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]

PADDED = 1 / 8  # of a side, by which `crop` moves a picture at most
SHIFTED, TURNED, SCALED = 0.1, 15.0, 0.15  # of a side; degrees; of the size: at most
WRITTEN = 0.07, 10.0, 0.1, 0.1  # of a side; degrees; of the size; slant: at most
COLOURED = 0.25  # by which brightness, contrast and saturation change, at most
ERASED = (0.02, 0.2)  # of a picture's area


@dataclass(frozen=True)
class Augmentation:
    """One way to change pictures: exactly one of the three functions, and a phrase that says what it does.

    affine  (B, generator) -> (B, 3, 3): where each place of the new picture lies in the old one, in units
            of half a picture from its centre; several are multiplied, and the pictures interpolated once
    change  (images, generator) -> images, float 0..1 (B, C, H, W)
    mix     (images, targets, generator) -> both, the targets as shares (B, K)
    """

    phrase: str
    affine: Callable[[int, Generator], Tensor] | None = None
    change: Change | None = None
    mix: Mix | None = None


def augmented(
    images: Tensor, labels: Tensor, names: Sequence[str], *, classes: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Pictures changed by the augmentations of those names, and their targets.

    images   (B, C, H, W): float 0..1, or uint8; what comes back is of the same kind
    labels   int64 (B,); they come back as they are, or, of mixed pictures, as shares (B, `classes`)
    names    of AUGMENTATIONS; they act in the order of that table. Of "mixup" and "cutmix" one is drawn.

    The batch handed in is not changed. Raises UsageError for an unknown name.
    """
    chosen = [AUGMENTATIONS[name] for name in ordered(names)]
    if not chosen or not len(images):
        return images, labels
    floats = images.float() / 255 if images.dtype == torch.uint8 else images
    matrices = [way.affine(len(images), generator) for way in chosen if way.affine is not None]
    if matrices:
        floats = _warped(floats, reduce(torch.matmul, matrices))
    for way in chosen:
        floats = floats if way.change is None else way.change(floats, generator)
    targets, mixes = labels, [way.mix for way in chosen if way.mix is not None]
    if mixes:
        shares = functional.one_hot(labels, classes).float()  # (B, K)
        drawn = int(torch.randint(len(mixes), (), generator=generator))
        floats, targets = mixes[drawn](floats, shares, generator)
    if images.dtype == torch.uint8:
        return (floats * 255).round_().clamp_(0, 255).to(torch.uint8), targets
    return floats, targets


def ordered(names: Sequence[str]) -> list[str]:
    """The names in the order of AUGMENTATIONS, each once. Raises UsageError with the nearest name."""
    for name in names:
        if name not in AUGMENTATIONS:
            raise UsageError(f"Unknown augmentation '{name}'. {did_you_mean(name, AUGMENTATIONS)}")
    return [name for name in AUGMENTATIONS if name in names]


def named(text: str) -> list[str]:
    """The augmentations a recipe's "crop,flip" stands for; of "none" none. Raises UsageError."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["none"]:
        return []
    if not words or "auto" in words or "none" in words:
        raise UsageError(
            f"Expected augment as auto, none or names joined by commas, such as 'crop,flip'; got '{text}'. "
            f"Known: {', '.join(AUGMENTATIONS)}."
        )
    return ordered(words)


def suited(channels: int) -> str:
    """What "auto" means for pictures of unknown origin: gray ones may be letters or X-rays, where a mirrored
    picture is another thing, so they are left alone."""
    return "crop,flip,colour" if channels == 3 else "none"


def crop(images: Tensor, generator: Generator) -> Tensor:
    """Each picture moved by whole pixels, up to an eighth of a side; its edge is filled with its mirror."""
    count, _, height, width = images.shape
    rows = _moved(height, count, generator)  # (B, H)
    columns = _moved(width, count, generator)  # (B, W)
    picture = torch.arange(count)[:, None, None]
    taken = images[picture, :, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return taken.permute(0, 3, 1, 2)


def flip(images: Tensor, generator: Generator) -> Tensor:
    """Half of the pictures mirrored, left for right."""
    mirrored = _uniform(len(images), generator) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def shift(count: int, generator: Generator) -> Tensor:
    """Moved by up to a tenth of a side, between pixels too."""
    matrix = torch.eye(3).repeat(count, 1, 1)
    matrix[:, :2, 2] = 2 * SHIFTED * _signed((count, 2), generator)
    return matrix


def turn(count: int, generator: Generator) -> Tensor:
    """Turned by up to 15 degrees either way."""
    angle = math.radians(TURNED) * _signed((count,), generator)
    matrix = torch.eye(3).repeat(count, 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 0, 1], matrix[:, 1, 0] = -angle.sin(), angle.sin()
    return matrix


def scale(count: int, generator: Generator) -> Tensor:
    """Enlarged or shrunk by up to 15 %."""
    matrix = torch.eye(3).repeat(count, 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = torch.exp(math.log1p(SCALED) * _signed((count,), generator))
    return matrix


def handwriting(count: int, generator: Generator) -> Tensor:
    """Moved, turned, resized and slanted a little, as one hand writes otherwise than another."""
    far, degrees, large, slant = WRITTEN
    drawn = _signed((5, count), generator)
    angle, size = math.radians(degrees) * drawn[0], 1 + large * drawn[1]
    matrix = torch.eye(3).repeat(count, 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos() * size
    matrix[:, 0, 1], matrix[:, 1, 0] = (slant * drawn[2] - angle.sin()) * size, angle.sin() * size
    matrix[:, :2, 2] = 2 * far * drawn[3:].T
    return matrix


def colour(images: Tensor, generator: Generator) -> Tensor:
    """Brightness, contrast and, of coloured pictures, saturation changed by up to a quarter."""
    factors = 1 + COLOURED * _signed((3, len(images), 1, 1, 1), generator)
    if images.shape[1] == 3:
        red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
        gray = 0.299 * red + 0.587 * green + 0.114 * blue  # (B, 1, H, W)
        images = gray + (images - gray) * factors[2]
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return ((mean + (images - mean) * factors[1]) * factors[0]).clamp_(0, 1)


def erase(images: Tensor, generator: Generator) -> Tensor:
    """Of half of the pictures a rectangle made mean (Zhong and others, arXiv:1708.04896)."""
    count = len(images)
    least, most = ERASED
    area = least + (most - least) * _uniform(count, generator)
    inside = _rectangles(images.shape, area, generator)  # (B, 1, H, W)
    hit = (_uniform(count, generator) < 0.5)[:, None, None, None]
    return torch.where(inside & hit, images.mean(dim=(1, 2, 3), keepdim=True), images)


def mixup(images: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Each picture laid over another of the batch, by any share (Zhang and others, arXiv:1710.09412)."""
    other = torch.randperm(len(images), generator=generator)
    share = _uniform(len(images), generator)
    weight = share[:, None, None, None]
    mixed = images * weight + images[other] * (1 - weight)
    return mixed, targets * share[:, None] + targets[other] * (1 - share[:, None])


def cutmix(images: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Into each picture a rectangle of another, of any area (Yun and others, arXiv:1905.04899)."""
    other = torch.randperm(len(images), generator=generator)
    inside = _rectangles(images.shape, _uniform(len(images), generator), generator)  # (B, 1, H, W)
    share = inside.float().mean(dim=(1, 2, 3))[:, None]  # what was really covered, the edges cut off
    return torch.where(inside, images[other], images), targets * (1 - share) + targets[other] * share


AUGMENTATIONS: dict[str, Augmentation] = {
    "shift": Augmentation("moved by up to a tenth of a side, between pixels too", affine=shift),
    "turn": Augmentation("turned by up to 15 degrees", affine=turn),
    "scale": Augmentation("enlarged or shrunk by up to 15 %", affine=scale),
    "handwriting": Augmentation("moved, turned, resized and slanted a little", affine=handwriting),
    "crop": Augmentation("moved by whole pixels, up to an eighth of a side, edges mirrored", change=crop),
    "flip": Augmentation("half of them mirrored, left for right", change=flip),
    "colour": Augmentation("brightness, contrast and saturation changed by up to a quarter", change=colour),
    "erase": Augmentation("of half of them a rectangle blanked out", change=erase),
    "mixup": Augmentation("each laid over another, the answer shared alike", mix=mixup),
    "cutmix": Augmentation("a rectangle of another in each, the answer shared alike", mix=cutmix),
}


def _uniform(count: int, generator: Generator) -> Tensor:
    """(B,) numbers of 0..1."""
    return torch.rand(count, generator=generator)


def _signed(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Numbers of -1..1."""
    return 2 * torch.rand(shape, generator=generator) - 1


def _moved(side: int, count: int, generator: Generator) -> Tensor:
    """For each of `count` pictures which rows (B, side) stand where, mirrored at both ends."""
    most = min(side - 1, max(1, round(side * PADDED)))
    by = torch.randint(-most, most + 1, (count, 1), generator=generator)
    rows = (torch.arange(side) + by).abs()  # (B, side)
    return torch.where(rows < side, rows, 2 * (side - 1) - rows)


def _rectangles(shape: torch.Size, area: Tensor, generator: Generator) -> Tensor:
    """Where a rectangle of the picture's proportions and that share of its `area` (B,) lies, bool
    (B, 1, H, W); its centre is anywhere, what hangs over the edge is cut off."""
    count, _, *sides = shape
    centres = torch.rand((2, count, 1), generator=generator)
    reach = area.sqrt()[:, None] / 2
    rows, columns = (
        ((torch.arange(side) + 0.5) / side - centre).abs() < reach
        for side, centre in zip(sides, centres, strict=True)
    )  # (B, H), (B, W)
    inside: Tensor = rows[:, :, None] & columns[:, None, :]
    return inside[:, None]


def _warped(images: Tensor, matrices: Tensor) -> Tensor:
    """`images` interpolated where `matrices` (B, 3, 3) say; beyond the edge stands the edge's colour."""
    height, width = images.shape[2:]
    stretch = torch.tensor([[1.0, height / width, 1.0], [width / height, 1.0, 1.0]])  # turns stay turns
    places = functional.affine_grid(matrices[:, :2] * stretch, list(images.shape), align_corners=False)
    warped = functional.grid_sample(images, places, padding_mode="border", align_corners=False)
    return torch.empty(images.shape, memory_format=torch.channels_last).copy_(warped)  # as `scaled` lays them

"""Pictures that look a little like photographs, made in code: smooth random fields with a few shapes."""

import io
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pellucid.data.audit.findings import Audit, audit
from pellucid.data.dataset import Dataset, FileHeader, Origin, Splits, Unreadable
from pellucid.data.preprocess import Preprocess
from pellucid.language import lazy_gettext

Pixels = NDArray[np.uint8]
CHANGES = ("jpeg", "resized", "brighter", "all three")


def photographs(count: int, *, seed: int = 0, side: int = 64) -> Pixels:
    """`count` coloured pictures (N, side, side, 3), no two alike."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = 1
    return np.stack([_photograph(random, frequency) for _ in range(count)])


def changed(picture: Pixels, how: str) -> Pixels:
    """The picture as a careless copy: JPEG of quality 70, 5 % smaller and back, ten shades brighter."""
    image = Image.fromarray(picture)
    if how in ("jpeg", "all three"):
        image = Image.open(io.BytesIO(encoded(picture, "JPEG"))).convert(image.mode)
    if how in ("resized", "all three"):
        width, height = image.size
        smaller = image.resize((round(width * 0.95), round(height * 0.95)), Image.Resampling.BILINEAR)
        image = smaller.resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(image).astype(np.int16) + (10 if how in ("brighter", "all three") else 0)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def encoded(picture: Pixels, kind: Literal["JPEG", "PNG"]) -> bytes:
    """The picture as the bytes of a file; a JPEG has quality 70."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **({"quality": 70} if kind == "JPEG" else {}))
    return file.getvalue()


def _photograph(random: np.random.Generator, frequency: NDArray[np.float64]) -> Pixels:
    side = len(frequency)
    noise = np.fft.fft2(random.normal(size=(side, side)))
    field = np.real(np.fft.ifft2(noise / frequency ** random.uniform(0.9, 1.6)))
    field = (field - field.mean()) / field.std()
    colour, light = random.normal(1, 0.3, 3), random.normal(110, 20, 3)
    picture = light + random.uniform(20, 45) * field[..., None] * colour  # (side, side, 3)
    down, across = np.mgrid[:side, :side] / side
    for _ in range(random.integers(1, 4)):
        y, x, radius = random.uniform(0.1, 0.9), random.uniform(0.1, 0.9), random.uniform(0.05, 0.25)
        disc = (down - y) ** 2 + (across - x) ** 2 < radius**2
        box = (abs(down - y) < radius) & (abs(across - x) < radius * random.uniform(0.4, 1.5))
        shape = disc if random.random() < 0.5 else box
        picture[shape] = 0.35 * picture[shape] + 0.65 * random.uniform(0, 255, 3)
    return np.clip(picture, 0, 255).astype(np.uint8)


ANIMALS = ("cat", "dog", "hen", "pig")


def tensor_of(pictures: np.ndarray) -> Tensor:
    """Pictures (N, H, W, C) as (N, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))


def dataset_of(images: Tensor, name: str, labels: Tensor | None = None) -> Dataset:
    """Pictures of animals in turn, whose names do not count on."""
    labels = torch.arange(len(images)) % len(ANIMALS) if labels is None else labels
    return Dataset(images, labels, ANIMALS, [f"{name}/{index * 2}.jpg" for index in range(len(images))])


def splits_of(images: Tensor) -> Splits:
    """60 % to learn from, 20 % to choose by, 20 % to judge with, in this order."""
    train, validation = int(len(images) * 0.6), int(len(images) * 0.8)
    parts = (images[:train], images[train:validation], images[validation:])
    names = ("train", "validation", "test")
    return Splits(*(dataset_of(part, name) for part, name in zip(parts, names, strict=True)))


def as_files(splits: Splits, unreadable: tuple[Unreadable, ...] = ()) -> Splits:
    """The same pictures as read from a folder of JPEGs in which some files are broken."""
    count = sum(len(part) for _, part in splits.items())
    origin = Origin(
        "photos",
        "/photos",
        preprocess=Preprocess(3, 64, 64),
        found=count + len(unreadable),
        unreadable=unreadable,
        notes=(lazy_gettext("one folder per class"),),
        headers=(FileHeader(640, 480, "RGB", 20_000),) * count,
    )
    return replace(splits, origin=origin)


def faulty(names: tuple[str, ...] = ANIMALS) -> tuple[Audit, Splits]:
    """An audit in which every kind of finding occurs, of classes of these names."""
    pictures = photographs(300)
    pictures[240:243] = pictures[:3]
    pictures[245], pictures[20] = changed(pictures[5], CHANGES[0]), changed(pictures[6], CHANGES[0])
    pictures[31], pictures[36], pictures[40] = pictures[30], pictures[32], 90
    for frame in range(51, 55):
        pictures[frame] = np.roll(pictures[frame - 1], 3, axis=1)
    splits = splits_of(tensor_of(pictures))
    labels = torch.arange(180) % 3
    labels[:3], labels[50:55] = 3, 0
    sources = [f"{names[0]}/IMG_{number:03}.jpg" for number in range(180)]
    train = Dataset(splits.train.images, labels, names, sources)
    test = splits.test.subset(torch.nonzero(splits.test.labels != 2)[:, 0])
    others = (Dataset(part.images, part.labels, names, part.sources) for part in (splits.validation, test))
    splits = Splits(train, *others)
    broken = (Unreadable(f"{names[1]}/1.jpg", "cut off"),)
    splits = as_files(splits, broken)
    return audit(splits), splits

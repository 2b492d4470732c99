"""Pictures that look a little like photographs, made in code: smooth random fields with a few shapes."""

import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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

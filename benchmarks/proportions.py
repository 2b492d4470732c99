"""How well pictures of other proportions are told apart when they are stretched, padded or cropped.

    python benchmarks/proportions.py [SEEDS]

Three sets of 300 made-up pictures, from 3:1 to 1:3: a circle or an ellipse; a mark near one end of the longer
side, or none; a small ring or disc in the middle. The tutorial network at 32x32, 12 epochs, accuracy on the
test part.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import numpy as np
from PIL import Image, ImageDraw

from pellucid import Recipe, fit, load
from pellucid.recipe import Fitting

PICTURES = 300
FITS: tuple[Fitting, ...] = ("stretch", "pad", "crop")
Draw = Callable[[ImageDraw.ImageDraw, tuple[int, int], bool, np.random.Generator], None]


def shape(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], second: bool, chance: np.random.Generator
) -> None:
    """A circle or an ellipse of 3:1, of one area."""
    radius = chance.uniform(11, 14)
    stretched = float(3 ** chance.choice([-0.5, 0.5])) if second else 1.0
    _disc(draw, size, (radius * stretched, radius / stretched), chance)


def end(draw: ImageDraw.ImageDraw, size: tuple[int, int], second: bool, chance: np.random.Generator) -> None:
    """A disc in the middle, and a white square near one end of the longer side or none."""
    width, height = size
    short = min(size)
    _disc(draw, size, (short * 0.3, short * 0.3), chance)
    if second:
        inset = short * 0.25 + 2
        across, down = (inset, height / 2) if width > height else (width / 2, inset)
        if chance.random() < 0.5:
            across, down = width - across, height - down
        half = short * 0.17
        draw.rectangle((across - half, down - half, across + half, down + half), fill=(250, 250, 250))


def middle(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], second: bool, chance: np.random.Generator
) -> None:
    """A small disc or a ring in the middle."""
    radius = min(size) * 0.16
    _disc(draw, size, (radius, radius), chance)
    if second:
        width, height = size
        inner = radius / 2
        centre = (width / 2 - inner, height / 2 - inner, width / 2 + inner, height / 2 + inner)
        draw.ellipse(centre, fill=(10, 10, 10))


def _disc(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], radii: tuple[float, float], chance: np.random.Generator
) -> None:
    (width, height), (across, down) = size, radii
    colour = tuple(int(value) for value in chance.integers(120, 255, 3))
    draw.ellipse((width / 2 - across, height / 2 - down, width / 2 + across, height / 2 + down), fill=colour)


def write(folder: Path, draw: Draw, *, least: float) -> None:
    """PICTURES files of two classes; their sides are to each other as 3 to 1, or as `least` to 1 and more."""
    chance = np.random.default_rng(0)
    for number in range(PICTURES):
        ratio = float(np.exp(chance.uniform(np.log(least), np.log(3)))) ** float(chance.choice([-1, 1]))
        size = round(80 * ratio**0.5), round(80 / ratio**0.5)
        image = Image.fromarray(chance.integers(0, 60, (size[1], size[0], 3)).astype(np.uint8))
        draw(ImageDraw.Draw(image), size, number % 2 == 1, chance)
        path = folder / "ab"[number % 2] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


def accuracy(folder: Path, how: Fitting, seed: int) -> float:
    """On the test part, after one training."""
    splits = load(folder, size=32, fit=how, seed=seed)
    recipe = Recipe(
        model="tutorial", epochs=12, batch_size=32, optimizer="muon", schedule="linear", augment="none",
        seed=seed, threads=1,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        return fit(splits, recipe, folder=Path(place) / "run", snapshots=0).evaluate(splits.test).accuracy


def main() -> None:
    """One line per set and way to fit."""
    seeds = range(1, 1 + int(sys.argv[1] if len(sys.argv) > 1 else 3))
    draws: dict[str, tuple[Draw, float]] = {"shape": (shape, 1.0), "end": (end, 2.0), "middle": (middle, 2.0)}
    with tempfile.TemporaryDirectory() as place:
        for name, (draw, least) in draws.items():
            folder = Path(place) / name
            write(folder, draw, least=least)
            for how in FITS:
                found = [accuracy(folder, how, seed) for seed in seeds]
                print(
                    f"{name:7} {how:8} {mean(found):.3f}  ({', '.join(f'{one:.3f}' for one in found)})",
                    flush=True,
                )


if __name__ == "__main__":
    main()

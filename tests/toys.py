"""Toy pictures drawn in code: small enough to train on in a blink, clear enough to be told apart."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pellucid import inference
from pellucid.data.dataset import Dataset, Splits, split
from pellucid.evaluation.evaluation import Evaluation
from pellucid.models.kernels.build import KERNELS
from pellucid.recipe import Recipe
from pellucid.runs.session import Callback
from pellucid.training.loop import Epoch, Step

ROOT = Path(__file__).parents[1]
CLASSES = ("bar", "box", "cross", "post")
SIZE = 16

# Dropout, a second, half-filled batch, and a schedule: every source of chance and of state is in play.
QUICK = Recipe(epochs=3, batch_size=64, learning_rate=2e-3, threads=1, precision="float32")


@contextmanager
def economical() -> Iterator[None]:
    """One thread, and batches of 64 toys to judge in place of 512: what a few small pictures need."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "VALUES_PER_BATCH", 1 << 14)
        yield
    torch.set_num_threads(threads)


@contextmanager
def without_kernels() -> Iterator[None]:
    """Convolution, ReLU and pooling are torch's."""
    kept = dict(KERNELS)
    KERNELS.clear()
    try:
        yield
    finally:
        KERNELS.update(kept)


def toy_dataset(count: int = 200, *, seed: int = 0, channels: int = 1, noise: int = 90) -> Dataset:
    """`count` noisy 16x16 pictures of bars, boxes, crosses and posts, each at a place of its own."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(CLASSES)  # (N,)
    images = torch.randint(0, noise + 1, (count, channels, SIZE, SIZE), generator=generator).to(torch.uint8)
    places = torch.randint(0, SIZE - 8, (count, 2), generator=generator).tolist()
    for image, label, (top, left) in zip(images, labels.tolist(), places, strict=True):
        _draw(image[:, top : top + 8, left : left + 8], CLASSES[label])
    return Dataset(images, labels, CLASSES, [f"toys/{index}" for index in range(count)])


def toy_splits(count: int = 240, *, seed: int = 0, channels: int = 1) -> Splits:
    """Toys in three parts: 60 % to learn from, 20 % to choose by, 20 % to judge with."""
    rest, test = split(toy_dataset(count, seed=seed, channels=channels), fraction=0.2, seed=1)
    train, validation = split(rest, fraction=0.25, seed=2)
    return Splits(train, validation, test)


def given_answers(rows: list[list[float]], labels: list[int]) -> Evaluation:
    """The evaluation of these probabilities, one row a picture."""
    names = tuple("abcdefgh"[: len(rows[0])])
    return Evaluation(torch.tensor(rows), torch.tensor(labels), names, [f"{n}" for n in range(len(labels))])


def only_class(dataset: Dataset, name: str) -> Dataset:
    """The pictures of one class; the other class names stay."""
    return dataset.subset(torch.nonzero(dataset.labels == dataset.classes.index(name))[:, 0])


def write_picture(path: Path, image: Tensor) -> Path:
    """A PNG of a uint8 picture (C, H, W), with every pixel as it was."""
    pixels = image.permute(1, 2, 0).numpy()
    Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)).save(path)
    return path


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    """Whether two networks hold the same numbers, bit by bit."""
    mine, others = first.state_dict(), second.state_dict()
    return mine.keys() == others.keys() and all(torch.equal(mine[name], others[name]) for name in mine)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a table, read by the standard library alone."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pellucid(*words: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line run as a person would, with everything it prints captured."""
    command = [sys.executable, "-c", "from pellucid.cli import main; main()", *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=280, env=surroundings(**environment)
    )


def surroundings(**changes: str) -> dict[str, str]:
    """The environment of a subprocess that finds this package wherever it is started."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **changes}


def _draw(area: Tensor, name: str) -> None:
    """A figure of white strokes, two pixels wide, in an area (C, 8, 8)."""
    if name in ("bar", "cross"):
        area[:, 3:5, :] = 255
    if name in ("post", "cross"):
        area[:, :, 3:5] = 255
    if name == "box":
        area[:, [0, 1, 6, 7], :] = 255
        area[:, :, [0, 1, 6, 7]] = 255


def at(event_number: int, what: int | BaseException) -> Callback:
    """A callback that, at the event of that number (from 0), sends this process a signal or raises."""
    numbers = iter(range(1000))

    def act(_: Step | Epoch) -> None:
        if next(numbers) == event_number:
            if isinstance(what, BaseException):
                raise what
            os.kill(os.getpid(), what)

    return act


def left(folder: Path, *but: str) -> dict[str, Any]:
    """What a run left behind, but for the times it took and what depends on when and where it ran."""
    metrics = [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(folder / "metrics.csv")]
    names = ["model.safetensors", "model.json", "recipe.json", "diagnostics.csv", "snapshots.safetensors"]
    names += [
        name for name in ("margins.csv", "reference.safetensors") if (folder / name).is_file()
    ]  # not of every kind of training
    return {"metrics": metrics, **{name: (folder / name).read_bytes() for name in names if name not in but}}


class Clock:
    """Time passes only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


Call = Callable[..., tuple[int, str, str]]


HISTORY = [Epoch(n, n * 1.0, 1e-3, 1 / n, 1 - 0.3 / n, 1.1 / n, 1 - 0.4 / n, n == 3) for n in range(1, 5)]


LABELS = ("blue", "box", "post", "red")


def toys_of_several_labels(count: int = 240, *, seed: int = 0) -> Dataset:
    """`count` noisy 16x16 colour pictures of one or two figures, a box or a post each, red or blue each."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 41, (count, 3, SIZE, SIZE), generator=generator).to(torch.uint8)
    labels = torch.zeros(count, len(LABELS), dtype=torch.bool)
    for image, row in zip(images, labels, strict=True):
        drawn = torch.randint(0, 2, (2, 3), generator=generator).tolist()
        for half, (shape, colour, both) in enumerate(drawn):
            if half and not both:
                continue
            figure = torch.zeros(1, 8, 8, dtype=torch.uint8)
            _draw(figure, ("box", "post")[shape])
            channel = (0, 2)[colour]
            image[channel, 4:12, 8 * half : 8 * half + 8] |= figure[0]
            row[[LABELS.index(("box", "post")[shape]), LABELS.index(("red", "blue")[colour])]] = True
    return Dataset(images, labels, LABELS, [f"toys/{index}" for index in range(count)])


def write_several_labels(folder: Path, count: int = 240, *, seed: int = 0) -> Path:
    """Such toys as PNG files in a folder, with a table that names their labels: "blue|box"."""
    toys = toys_of_several_labels(count, seed=seed)
    (folder / "images").mkdir(parents=True)
    rows = ["file,labels"]
    for index, (image, label) in enumerate(zip(toys.images, toys.label_names, strict=True)):
        write_picture(folder / "images" / f"{index:03}.png", image)
        rows.append(f"images/{index:03}.png,{label}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder

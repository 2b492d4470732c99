"""Pictures a second in training: the tutorial network here and in a plain PyTorch loop, in turn.

    python benchmarks/bench_training.py [--repetitions 5] [--batch-size 128]

Pictures of MNIST's size that come along, so that nothing must be found or downloaded, and so many that no
epoch ends while it is measured. The peer has its pictures ready as floats in memory and no loader at all:
what is measured is the step. Prints a table for benchmarks/results.md.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from pellucid.data import load
from pellucid.data.dataset import Dataset
from pellucid.models import build
from pellucid.recipe import Recipe
from pellucid.run import processor
from pellucid.training import Step, train

PICTURES = 48_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    dataset = strokes()
    steps = max(10, 6_000 // options.batch_size)
    contenders: dict[str, Callable[[int], None]] = {
        "plain PyTorch, float32": plain(dataset, options.batch_size),
        "pellucid, float32": ours(dataset, options.batch_size, "float32"),
        "pellucid, bfloat16": ours(dataset, options.batch_size, "bfloat16"),
    }
    for advance in contenders.values():
        advance(10)
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.repetitions):
        for name, advance in contenders.items():
            started = time.perf_counter()
            advance(steps)
            speeds[name].append(steps * options.batch_size / (time.perf_counter() - started))
    show(speeds, options.batch_size)


def strokes() -> Dataset:
    """The embedded digits, enlarged to 28x28 and repeated: pooling takes many times longer on noise."""
    splits = load("digits")
    images = nn.functional.interpolate(splits.train.images.float(), (28, 28), mode="bilinear").to(torch.uint8)
    indices = torch.arange(PICTURES) % len(images)
    sources = [str(number) for number in range(PICTURES)]
    return Dataset(images[indices], splits.train.labels[indices], splits.train.classes, sources)


def ours(dataset: Dataset, batch_size: int, precision: str) -> Callable[[int], None]:
    """pellucid's own loop, to be advanced by so many steps; judging an epoch is not a step."""
    recipe = Recipe(epochs=1_000, batch_size=batch_size, precision=precision)
    events = train(build("tutorial", 1, 10, (28, 28), seed=1), dataset, dataset, recipe)
    steps = (event for event in events if isinstance(event, Step))

    def advance(number: int) -> None:
        for _ in itertools.islice(steps, number):
            pass

    return advance


def plain(dataset: Dataset, batch_size: int) -> Callable[[int], None]:
    """The loop most tutorials show."""
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1568, 80), nn.ReLU(), nn.Dropout(0.4), nn.Linear(80, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    images = dataset.images.float() / 255
    starts = itertools.cycle(range(0, PICTURES - batch_size + 1, batch_size))

    def advance(number: int) -> None:
        for start in itertools.islice(starts, number):
            batch = slice(start, start + batch_size)
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[batch]), dataset.labels[batch]).backward()
            optimizer.step()

    return advance


def show(speeds: dict[str, list[float]], batch_size: int) -> None:
    """The table: mean and standard deviation, and the ratio to the first row, repetition by repetition."""
    first = next(iter(speeds.values()))
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, batch {batch_size}, "
          f"n = {len(first)}")  # fmt: skip
    print("| | pictures a second | ratio to plain, median (least to most) |")
    print("|---|---|---|")
    for name, values in speeds.items():
        ratios = sorted(value / base for value, base in zip(values, first, strict=True))
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"| {name} | {statistics.mean(values):,.0f} ± {spread:,.0f} | "
              f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |")  # fmt: skip


if __name__ == "__main__":
    main()

"""One epoch of the tutorial network: pellucid's loop beside a plain PyTorch loop with a DataLoader, in turn.

    PELLUCID_DATA=folder python benchmarks/bench_epoch.py [--repetitions 3] [--batch-size 128] [--pictures N]

The same network, batch size, precision and pictures (MNIST's 48,000 to train on; without PELLUCID_DATA
strokes that come along, as many). An epoch is all its updates, without the judgement behind it. Also told:
which share of the processor's own matrix rate an epoch reaches. Prints a table for benchmarks/results.md.
"""

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from pictures import strokes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pellucid.data import load
from pellucid.data.dataset import Dataset
from pellucid.machine import processor
from pellucid.models import build
from pellucid.recipe import Recipe
from pellucid.training.loop import Epoch, Step, train

# Multiplications of a picture forward, and twice as many backward; the first layer has no picture to correct.
FORWARD = {"conv1": 28 * 28 * 9 * 16, "conv2": 14 * 14 * 144 * 32, "dense1": 1568 * 80, "dense2": 800}
FLOPS = 2 * (3 * sum(FORWARD.values()) - FORWARD["conv1"])
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--pictures", type=int, default=48_000)
    parser.add_argument("--workers", type=int, default=2, help="processes of the peer's DataLoader")
    options = parser.parse_args()
    whole = load("mnist", seed=1).train if os.environ.get("PELLUCID_DATA") else strokes()
    dataset = whole.subset(torch.arange(min(options.pictures, len(whole))))
    contenders = {}
    for precision in TYPES:
        contenders[f"plain PyTorch + DataLoader, {precision}"] = plain(dataset, options, precision)
        contenders[f"pellucid, {precision}"] = ours(dataset, options.batch_size, precision)
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.repetitions):
        for name, epoch in contenders.items():
            speeds[name].append(len(dataset) / epoch())
    show(speeds, options.batch_size, len(dataset))


def ours(dataset: Dataset, batch_size: int, precision: str) -> Callable[[], float]:
    """pellucid's loop and the fast recipe's optimizer; a call gives the seconds of one epoch's updates."""
    settings: dict[str, Any] = {"optimizer": "muon", "schedule": "linear", "precision": precision}
    recipe = Recipe(epochs=1_000, batch_size=batch_size, **settings)
    few = dataset.subset(torch.arange(1_000))
    events = train(build("tutorial", 1, 10, (28, 28), seed=1), dataset, few, recipe)
    for _ in itertools.islice(events, 10):
        pass
    for _ in itertools.takewhile(lambda event: not isinstance(event, Epoch), events):
        pass  # the rest of the first epoch, in which memory finds its size

    def epoch() -> float:
        started = time.perf_counter()
        for event in events:
            if isinstance(event, Step) and event.step == event.steps:
                break
        seconds = time.perf_counter() - started
        next(events)  # the judgement
        return seconds

    return epoch


def plain(dataset: Dataset, options: argparse.Namespace, precision: str) -> Callable[[], float]:
    """The loop most tutorials show; a call gives the seconds of one epoch."""
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1568, 80), nn.ReLU(), nn.Dropout(0.4), nn.Linear(80, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    pictures = TensorDataset(dataset.images.float() / 255, dataset.labels)
    loader = DataLoader(pictures, options.batch_size, shuffle=True, num_workers=options.workers)

    def epoch() -> float:
        started = time.perf_counter()
        for images, labels in loader:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss = nn.functional.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()
        return time.perf_counter() - started

    return epoch


def matrix_rate(dtype: torch.dtype) -> float:
    """Multiplications and additions a second of a large matrix product, the best of ten."""
    first, second = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        first @ second
        seconds.append(time.perf_counter() - started)
    return 2 * 2048**3 / min(seconds)


def show(speeds: dict[str, list[float]], batch_size: int, pictures: int) -> None:
    """The table: mean and standard deviation, the ratio to the peer, and the share of the matrix rate."""
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, batch {batch_size}, "
          f"{pictures:,} pictures, n = {len(next(iter(speeds.values())))}")  # fmt: skip
    print("| | pictures a second | ratio to the peer, median (least to most) | of the matrix rate |")
    print("|---|---|---|---|")
    for name, values in speeds.items():
        precision = name.rsplit(" ", 1)[-1]
        peer = speeds[f"plain PyTorch + DataLoader, {precision}"]
        ratios = sorted(value / base for value, base in zip(values, peer, strict=True))
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        share = max(values) * FLOPS / matrix_rate(TYPES[precision])
        middle = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"| {name} | {statistics.mean(values):,.0f} ± {spread:,.0f} | {middle} | {share:.0%} |")


if __name__ == "__main__":
    main()

"""Memory of a training on more pictures than it may hold: 200,000 of 3x64x64 are 2.5 GB of pixels.

    python benchmarks/bench_store.py [--pictures 200000] [--epochs 2]

Three processes, one after another: the first packs the pictures, which are made as they are asked for; the
second trains on the store with `fit`, split and all, two epochs; the third only opens the store and takes
batches, once in order and once shuffled. Each tells the most memory that was ever resident in it, the mapped
file's pages counted. The network is a small one, for what is measured is everything around it.
Prints a table for benchmarks/results.md.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.data.dataset import Dataset, split
from pellucid.data.preprocess import Preprocess
from pellucid.data.sources.listing import Listing, Picture
from pellucid.data.store.pixels import pack
from pellucid.inference import scaled
from pellucid.models import MODELS, Model
from pellucid.recipe import Recipe
from pellucid.runs.fit import fit
from pellucid.runs.run import processor
from pellucid.training.sampling import sample_order

SIZE, BATCH = 64, 128
CLASSES = tuple("abcdefghij")
LIMIT_BYTES = 1.5e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=200_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part](options) | {"peak": peak_bytes()}))
        return
    with tempfile.TemporaryDirectory(prefix="pellucid-store-") as folder:
        parts = {part: measured(part, folder, options) for part in PARTS}
    print(f"{processor()}, {os.cpu_count()} cores; {options.pictures:,} pictures of 3x{SIZE}x{SIZE}\n")
    print("| | most memory resident | time |\n|---|---|---|")
    for part, facts in parts.items():
        print(f"| {part} | {facts['peak'] / 1e9:.2f} GB | {facts['told']} |")
    sys.exit(0 if max(facts["peak"] for facts in parts.values()) < LIMIT_BYTES else 1)


def measured(part: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    """One part in a process of its own."""
    numbers = ["--pictures", str(options.pictures), "--epochs", str(options.epochs)]
    command = [sys.executable, __file__, "--part", part, "--folder", folder, *numbers]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def listing(count: int) -> Listing:
    """Arrays made from their number: a stamp that never changes stands for files that do not."""
    pictures = [Picture(f"{number:06d}", CLASSES[number % len(CLASSES)]) for number in range(count)]

    def read(number: int) -> np.ndarray:
        generator = np.random.Generator(np.random.SFC64(number))
        return np.frombuffer(generator.bytes(SIZE * SIZE * 3), np.uint8).reshape(SIZE, SIZE, 3)

    return Listing(f"generated-{count}", pictures, CLASSES, (), read, lambda number: "made")


def opened(options: argparse.Namespace) -> Tensor:
    cache = Path(options.folder) / "cache"
    return pack(listing(options.pictures), Preprocess(3, SIZE, SIZE, "stretch"), cache=cache).images


def build(options: argparse.Namespace) -> dict[str, Any]:
    started = time.perf_counter()
    opened(options)
    return {"told": f"{options.pictures / (time.perf_counter() - started):,.0f} pictures/s"}


def training(options: argparse.Namespace) -> dict[str, Any]:
    MODELS["small"] = Model(small, "a benchmark's own")
    started = time.perf_counter()
    images = opened(options)
    ready = time.perf_counter()
    labels = torch.arange(len(images)) % len(CLASSES)
    whole = Dataset(images, labels, CLASSES, [str(number) for number in range(len(images))])
    parts = split(whole)
    recipe = Recipe(model="small", epochs=options.epochs, batch_size=BATCH)
    run = fit(parts.rest, parts.held_out, recipe, folder=Path(options.folder) / "run")
    rest = time.perf_counter() - ready
    assert len(run.history) == options.epochs
    return {"told": f"opened in {ready - started:.1f} s, split and trained in {rest:.0f} s"}


def small(channels: int, classes: int, size: tuple[int, int]) -> nn.Module:
    pooled = channels * (size[0] // 16) * (size[1] // 16)
    return nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(pooled, classes))


def batches(options: argparse.Namespace) -> dict[str, Any]:
    images = opened(options)
    speeds = []
    for order in (torch.arange(len(images)), sample_order(len(images), 42, 1)):
        started = time.perf_counter()
        assert sum(len(scaled(images[batch])) for batch in torch.split(order, BATCH)) == len(images)
        speeds.append(len(images) / (time.perf_counter() - started))
    return {"told": "in order {:,.0f} pictures/s, shuffled {:,.0f}".format(*speeds)}


def peak_bytes() -> int:
    """The most memory that was resident; Linux tells it in kB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


PARTS = {"packing": build, "training, the store there": training, "batches alone": batches}

if __name__ == "__main__":
    main()

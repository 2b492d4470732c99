"""Whether cost grows with the pictures and nothing else: an epoch on 10,000, 100,000 and 1,000,000 of 28x28.

    python benchmarks/growth.py [--counts 10000 100000] [--folder DIR]

Each count is a process of its own, whose pictures lie in one file, mapped as the store maps it (strokes that
come along, repeated).
Told are the seconds of the epoch's updates for each 10,000 pictures, and the most memory held beside the
mapped file. Time should be linear, memory flat. Prints a table for benchmarks/results.md.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from pictures import strokes

from pellucid.data.dataset import Dataset
from pellucid.data.mapped import MappedFile, MappedImages
from pellucid.machine import processor
from pellucid.models import build
from pellucid.recipe import Recipe
from pellucid.training.loop import Step, train

SHAPE = (1, 28, 28)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="where a mapped file of up to 784 MB may lie for a while")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(epoch(options.folder / "pictures", options.one)))
        return
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("| pictures | seconds of an epoch | seconds for each 10,000 | memory beside the mapped file, MiB |")
    print("|---|---|---|---|")
    for count in options.counts:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            words = [sys.executable, __file__, "--one", str(count), "--folder", folder]
            made = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        seconds, memory = made["seconds"], made["mebibytes"]
        print(f"| {count:,} | {seconds:.1f} | {seconds / count * 1e4:.3f} | {memory:.0f} |", flush=True)


def epoch(path: Path, count: int) -> dict[str, float]:
    """One epoch on `count` pictures mapped from `path`, which is written first."""
    few = strokes()
    with path.open("wb") as file:
        for start in range(0, count, len(few)):
            file.write(few.images[: count - start].numpy().tobytes())
    with path.open("rb") as file:
        source = MappedFile(file, (count, *SHAPE))
    images = MappedImages(
        source, np.arange(count), np.empty((count, 16), np.uint8)
    )  # hashes nobody asks for here
    labels = few.labels[torch.arange(count) % len(few)]
    mapped = Dataset(images, labels, few.classes, [""] * count)
    recipe = Recipe(epochs=1, optimizer="muon", schedule="linear")
    events = train(
        build("tutorial", *(1, 10, (28, 28)), seed=1), mapped, few.subset(torch.arange(1000)), recipe
    )
    highest, done = [0.0], threading.Event()
    watch = threading.Thread(target=watched, args=(highest, done))
    watch.start()
    started = time.perf_counter()
    for event in events:
        if isinstance(event, Step) and event.step == event.steps:
            break
    seconds = time.perf_counter() - started
    done.set()
    watch.join()
    return {"seconds": seconds, "mebibytes": highest[0]}


def watched(highest: list[float], done: threading.Event) -> None:
    """Every 50 ms notes the most memory that is no mapped file (RssAnon of Linux)."""
    status = Path("/proc/self/status")
    while not done.wait(0.05):
        if status.exists():
            line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
            highest[0] = max(highest[0], int(line.split()[1]) / 1024)


if __name__ == "__main__":
    main()

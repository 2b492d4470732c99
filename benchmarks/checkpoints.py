"""What it costs to be able to go on: seconds that a checkpoint takes, and its share of a minute's training.

    python benchmarks/checkpoints.py

Each network is trained for three steps and its whole state (weights, best weights, optimizer, margins)
written by the function that a training calls, N times, each flushed to the disk.
"""

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from pellucid.data.dataset import Dataset
from pellucid.models import build
from pellucid.recipe import Recipe
from pellucid.runs.checkpoint import write_checkpoint
from pellucid.runs.stages import State
from pellucid.training.loop import Progress, Step, train
from pellucid.training.timer import CHECKPOINT_SECONDS, MOST_OF_THE_TIME

N = 15
CASES = {  # channels, side, pictures
    "tutorial": (1, 28, 48_000),
    "compact": (3, 64, 2_000),
    "resnet": (3, 32, 10_000),
    "lite0": (3, 64, 2_000),
}


def state_of(model: str, channels: int, side: int, pictures: int) -> State:
    """Where a training of `model` on pictures of noise stands after three steps."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (pictures, channels, side, side), generator=generator).to(torch.uint8)
    names = [f"{index}" for index in range(pictures)]
    dataset = Dataset(images, torch.arange(pictures) % 10, tuple("abcdefghij"), names)
    network, progress = build(model, channels, 10, (side, side), seed=1), Progress()
    recipe = replace(Recipe(), model=model, batch_size=16, augment="none", threads=2)
    for event in train(network, dataset, dataset.subset(range(100)), recipe, progress=progress):
        if isinstance(event, Step) and event.step == 3:
            break
    progress.best_weights = {name: tensor.clone() for name, tensor in progress.weights.items()}
    return State(progress=progress)


def main() -> None:
    print("network     MB  seconds, median (least to most)   share of the time, every so often")
    for model, case in CASES.items():
        state, seconds = state_of(model, *case), []
        with tempfile.TemporaryDirectory(dir=".") as folder:
            path = Path(folder) / "checkpoint.safetensors"
            for _ in range(N):
                begun = time.perf_counter()
                write_checkpoint(path, state, {})
                seconds.append(time.perf_counter() - begun)
            size = path.stat().st_size / 1e6
        middle = statistics.median(seconds)
        interval = max(CHECKPOINT_SECONDS, middle / MOST_OF_THE_TIME)
        print(
            f"{model:<9} {size:5.1f}  {middle:.3f} ({min(seconds):.3f} to {max(seconds):.3f})"
            f"   {100 * middle / interval:.2f} % every {interval:.0f} s   n = {N}"
        )


if __name__ == "__main__":
    main()

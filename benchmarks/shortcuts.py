"""How often a planted shortcut is warned of, and how often sets without one are.

python benchmarks/shortcuts.py [--sets 100]

Prints a table for benchmarks/results.md. No network is trained: its accuracy is given, 95 %.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset, FileHeader, Origin, Splits
from pellucid.data.preprocess import Preprocess
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.shortcuts import shortcuts

SIDE = 28
Draws = np.random.Generator
Plant = Callable[[Draws, np.ndarray, np.ndarray], None]


def pixel_by_value(draws: Draws, images: np.ndarray, labels: np.ndarray) -> None:
    """One pixel of the border has a value of its own for each class."""
    place = int(draws.integers(SIDE))
    images[:, 0, 0, place] = np.round(labels * 255 / labels.max())


def pixel_by_place(draws: Draws, images: np.ndarray, labels: np.ndarray) -> None:
    """One pixel of the border is white, at a place of its own for each class."""
    places = draws.permutation(SIDE)[: labels.max() + 1]
    images[np.arange(len(labels)), 0, SIDE - 1, places[labels]] = 255


def pixel_of_most(draws: Draws, images: np.ndarray, labels: np.ndarray) -> None:
    """As `pixel_by_place`, of nine pictures in ten."""
    places = draws.permutation(SIDE)[: labels.max() + 1]
    chosen = np.where(draws.random(len(labels)) < 0.9, labels, draws.permutation(labels))
    images[np.arange(len(labels)), 0, SIDE - 1, places[chosen]] = 255


def nothing(draws: Draws, images: np.ndarray, labels: np.ndarray) -> None:
    """No shortcut."""


def made(draws: Draws, count: int, classes: int, plant: Plant, *, heavy: bool = False) -> Splits:
    """Pictures of noise, half to learn from and half to judge; their files are of any size, unless `heavy`:
    then those of each class are larger than those of the one before."""
    labels = draws.permutation(np.arange(count) % classes)
    images = draws.integers(0, 256, size=(count, 1, SIDE, SIDE), dtype=np.uint8)
    plant(draws, images, labels)
    sources = [f"{number}.png" for number in range(count)]
    sizes = draws.normal(size=count) * 100 + 2000 + (600 * labels if heavy else 0)
    headers = tuple(
        FileHeader(SIDE, SIDE, "L", int(size), source) for size, source in zip(sizes, sources, strict=True)
    )
    names = tuple(f"class {number}" for number in range(classes))
    whole = Dataset(torch.from_numpy(images), torch.from_numpy(labels), names, sources)
    half = count // 2
    train, test = whole.subset(range(half)), whole.subset(range(half, count))
    return Splits(train, test, test, Origin(headers=headers))


def warned(draws: Draws, splits: Splits, accuracy: float) -> set[str]:
    """The cues that are warned of, beside a network of this accuracy."""
    test = splits.test
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, len(test.classes)))
    classifier = Classifier(network, test.classes, Preprocess(1, SIDE, SIDE), "tutorial")
    right = torch.from_numpy(draws.random(len(test)) < accuracy)
    answers = torch.where(right, test.labels, (test.labels + 1) % len(test.classes))
    probabilities: Tensor = torch.eye(len(test.classes))[answers]
    evaluation = Evaluation(probabilities, test.labels, test.classes, test.sources)
    return {cue.name for cue in shortcuts(classifier, splits, evaluation).suspicious}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=100)
    sets = parser.parse_args().sets
    draws = np.random.default_rng(0)
    for count in (400,):
        for classes in (2, 10):
            for plant, cue in (
                (pixel_by_value, "border"), (pixel_by_place, "border"), (pixel_of_most, "border"),
                (nothing, "files"), (nothing, ""),
            ):  # fmt: skip
                found = [
                    warned(draws, made(draws, count, classes, plant, heavy=cue == "files"), 0.95)
                    for _ in range(sets)
                ]
                share = np.mean([cue in each if cue else bool(each) for each in found])
                name = plant.__name__ if cue != "files" else "size of files"
                print(f"| {name} | {count} | {classes} | {sets} | {100 * share:.1f} % |", flush=True)


if __name__ == "__main__":
    main()

"""How often slices that mean nothing are called weak, and how often a truly weak one is found.

python benchmarks/slices.py [--sets 200]

Prints a table for benchmarks/results.md. Every set has 2,000 test pictures, 95 % of them right, and 20 slices
by columns that have nothing to do with that.
"""

import argparse

import numpy as np
import torch

from pellucid.data.dataset import Dataset
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.slices import Slices, slices

COUNT = 2000


def judged(right: np.ndarray, columns: dict[str, np.ndarray], groups: np.ndarray | None = None) -> Slices:
    """The slices of pictures all alike, by these columns."""
    count = len(right)
    labels = torch.arange(count) % 2
    images = torch.zeros(count, 1, 2, 2, dtype=torch.uint8)
    sources = [str(number) for number in range(count)]
    dataset = Dataset(images, labels, ("a", "b"), sources)
    probabilities = torch.eye(2)[torch.where(torch.tensor(right), labels, 1 - labels)]
    evaluation = Evaluation(
        probabilities, labels, ("a", "b"), sources, groups=None if groups is None else torch.tensor(groups)
    )
    named = {name: dict(zip(sources, map(str, values), strict=True)) for name, values in columns.items()}
    return slices(evaluation, dataset, columns=named)


def meaningless(draws: np.random.Generator, people: int = 0) -> tuple[bool, bool]:
    """Whether any of 20 meaningless slices is called weak, and whether one would be without correction.

    people  where above 0, pictures belong to so many, who differ in how often they are right and in which
            slice they are
    """
    of = draws.integers(people, size=COUNT) if people else np.arange(COUNT)
    _, of = np.unique(of, return_inverse=True)
    share = draws.beta(19 / 4, 1 / 4, size=of.max() + 1) if people else np.full(COUNT, 0.95)
    right = draws.random(COUNT) < share[of]
    columns = {f"column {number}": draws.integers(5, size=of.max() + 1)[of] for number in range(4)}
    found = judged(right, columns, of if people else None)
    least = min(each.p_value for each in found.slices)
    return bool(found.weak), least < 0.05 * len(found.slices)  # the least is corrected by their number


def weak(draws: np.random.Generator, share: float) -> bool:
    """Whether a slice of 200 pictures, `share` of them right, is called weak among 20, and no other is."""
    columns = {f"column {number}": draws.integers(5, size=COUNT) for number in range(3)}
    columns["camera"] = np.where(np.arange(COUNT) < 200, 9, draws.integers(5, size=COUNT))
    right = draws.random(COUNT) < np.where(np.arange(COUNT) < 200, share, 0.95)
    return [each.value for each in judged(right, columns).weak] == ["9"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=200)
    sets = parser.parse_args().sets
    draws = np.random.default_rng(0)
    for people in (0, 400, 100, 40):
        found = np.array([meaningless(draws, people) for _ in range(sets)])
        name = f"groups: {people}" if people else "pictures alone"
        corrected, uncorrected = 100 * found.mean(axis=0)
        print(f"| nothing weak, {name} | {sets} | {corrected:.1f} % | {uncorrected:.1f} % |", flush=True)
    for share in (0.9, 0.85, 0.8):
        found = np.array([weak(draws, share) for _ in range(sets)])
        print(f"| 200 of 2,000 pictures {share:.0%} right | {sets} | {100 * found.mean():.1f} % | |")


if __name__ == "__main__":
    main()

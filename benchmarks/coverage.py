"""How often the intervals hold the truth, by simulation: python benchmarks/coverage.py [--repetitions 2000].

Prints a table for benchmarks/results.md. Wilson's coverage is computed, not drawn.
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.stats import binom  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression

from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.intervals import Sampling
from pellucid.evaluation.metrics import wilson

Draws = np.random.Generator


def wilsons(count: int) -> tuple[float, float]:
    """The mean and the least coverage over 999 true shares, exactly."""
    ends = np.array([wilson(right / count, count) for right in range(count + 1)])
    covered = []
    for share in np.arange(1, 1000) / 1000:
        holds = (ends[:, 0] <= share) & (share <= ends[:, 1])
        covered.append(binom.pmf(np.arange(count + 1), count, share)[holds].sum())
    return float(np.mean(covered)), float(np.min(covered))


def identities(draws: Draws, people: int, of_each: int) -> tuple[bool, int] | None:
    """A set in which only who is shown decides the label: a classifier learns people, and knows no new one.

    Whether the interval on the test people holds one half, and how many there were; None below ten.
    """
    faces = draws.normal(size=(people, 64))
    labels = draws.permutation(np.arange(people) % 2)
    person = np.repeat(np.arange(people), of_each)
    pictures = faces[person] + 0.3 * draws.normal(size=(len(person), 64))
    test = draws.random(people) < 0.2
    if test.sum() < 10:
        return None
    model = LogisticRegression(max_iter=300).fit(pictures[~test[person]], labels[person][~test[person]])
    judged = test[person]
    _, groups = np.unique(person[judged], return_inverse=True)
    found = Evaluation(
        torch.tensor(model.predict_proba(pictures[judged]), dtype=torch.float32),
        torch.tensor(labels[person][judged]),
        ("a", "b"),
        [str(number) for number in range(judged.sum())],
        groups=torch.tensor(groups),
    )
    assert found.interval is not None
    return found.interval[0] <= 0.5 <= found.interval[1], int(test.sum())


def copies(draws: Draws, count: int, share: float) -> list[bool]:
    """Whether the interval of `count` pictures, three copies of each, holds the share."""
    right = torch.tensor(np.repeat(draws.random(count) < share, 3))
    groups = torch.arange(count).repeat_interleave(3)
    (found,) = Sampling(3 * count, groups).shares(torch.zeros(3 * count, dtype=torch.int64), right)
    assert found.interval is not None
    return [found.interval[0] <= share <= found.interval[1]]


def table_of(draws: Draws, classes: int, accuracy: float) -> np.ndarray:
    """A true table of confusion (K, K): classes about as common, some confused more than others."""
    elsewhere = draws.dirichlet(np.full(classes - 1, 0.5), size=classes)
    table = np.zeros((classes, classes))
    for k in range(classes):
        own = np.clip(draws.normal(accuracy, (1 - accuracy) / 2), 0.01, 1 - (1 - accuracy) / 5)
        table[k] = np.insert(elsewhere[k] * (1 - own), k, own)
    return table / classes


def of_classes(draws: Draws, count: int, classes: int, accuracy: float) -> dict[str, list[bool]]:
    """Whether the intervals of F1 by class, macro F1, weighted F1 and balanced accuracy hold the truth."""
    table = table_of(draws, classes, accuracy)
    cells = torch.tensor(draws.choice(classes**2, size=count, p=table.flatten()))
    probabilities = torch.nn.functional.one_hot(cells % classes, classes).float()
    names = tuple(str(k) for k in range(classes))
    found = Evaluation(probabilities, cells // classes, names, [str(n) for n in range(count)])
    support, hits = table.sum(1), table.diagonal()
    f1 = 2 * hits / (support + table.sum(0))
    truths = {
        "macro_f1": f1.mean(), "weighted_f1": f1 @ support, "balanced_accuracy": (hits / support).mean(),
    }  # fmt: skip
    held: dict[str, list[bool]] = {
        "F1 of a class": [
            score.f1_interval[0] <= truth <= score.f1_interval[1]
            for score, truth in zip(found.per_class, f1, strict=True)
            if score.f1_interval is not None
        ]
    }
    for name, truth in truths.items():
        interval = found.scores[name].interval
        held[name] = [] if interval is None else [interval[0] <= truth <= interval[1]]
    return held


def loss(draws: Draws, count: int, confidence: float) -> list[bool]:
    """Whether the interval of the loss of answers of about that confidence holds the truth, where there is
    one; the truth is the mean over 400,000."""
    sizes = (400_000, count)
    margins = [draws.normal(confidence, 2, size) for size in sizes]
    right = [
        draws.random(size) < 1 / (1 + np.exp(-margin)) for size, margin in zip(sizes, margins, strict=True)
    ]
    losses = [np.logaddexp(0, np.where(hit, -m, m)) for hit, m in zip(right, margins, strict=True)]
    wrong = int(((margins[1] > 0) != right[1]).sum())
    interval = Sampling(count).loss(torch.tensor(losses[1]), wrong).interval
    return [] if interval is None else [bool(interval[0] <= losses[0].mean() <= interval[1])]


def repeated(times: int, once: Callable[[Draws], list[bool]]) -> str:
    draws = np.random.default_rng(0)
    held = [holds for _ in range(times) for holds in once(draws)]
    return f"{np.mean(held) * 100:.1f} % of {len(held):,}" if held else "no interval"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    times = parser.parse_args().repetitions
    print("Wilson, over true shares 0.001 to 0.999, exact:")
    for count in (20, 50, 100, 360, 1000, 2000):
        mean, least = wilsons(count)
        print(f"  {count:>5} pictures: mean {mean * 100:.1f} %, least {least * 100:.1f} %")
    print("Identity-only labels, truth one half, ten test people or more:")
    for people, of_each in ((60, 20), (100, 8), (250, 5)):
        draws, sets = np.random.default_rng(0), []
        while len(sets) < 200:
            sets += [found] if (found := identities(draws, people, of_each)) else []
        held, tested = np.mean([holds for holds, _ in sets]), [number for _, number in sets]
        print(
            f"  {people} people with {of_each} pictures, {min(tested)} to {max(tested)} in the test set: "
            f"{held * 100:.1f} % of {len(sets)}"
        )
    print("Three copies of each of n pictures:")
    for count, share in ((50, 0.8), (200, 0.9), (200, 0.98)):
        print(
            f"  n = {count}, {share:.0%} right: {repeated(times, partial(copies, count=count, share=share))}"
        )
    print("Scores over classes:")
    for classes in (2, 10):
        for accuracy in (0.7, 0.9, 0.98):
            for count in (100, 300, 1000):
                draws, held = np.random.default_rng(0), {}
                for _ in range(times // 2):
                    for name, holds in of_classes(draws, count, classes, accuracy).items():
                        held.setdefault(name, []).extend(holds)
                words = ", ".join(
                    f"{name} {np.mean(holds) * 100:.1f} %" if holds else f"{name} too few"
                    for name, holds in held.items()
                )
                print(f"  {classes} classes, {accuracy:.0%} right, n = {count}: {words}", flush=True)
    print("Log loss, where there are ten mistakes or more:")
    for confidence in (0.5, 2.0, 4.0):
        for count in (100, 300, 1000):
            found = repeated(max(50, times // 5), partial(loss, count=count, confidence=confidence))
            print(f"  mean margin {confidence}, n = {count}: {found}", flush=True)


if __name__ == "__main__":
    main()

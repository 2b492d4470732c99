"""How often the forecast of twice and four times as many pictures holds what they bring.

    python benchmarks/forecast.py [--pools 25]

Each pool draws pictures to learn from and others to judge on, of the embedded digits (497 to judge on) and
of MNIST's training part (4,000). From its first 300 and 600 digits, 400 and 1,600 of MNIST, a forecast is
made as `pellucid forecast` makes it, judged on a quarter as many test pictures, drawn with replacement from
those to judge on, three times. The truth is a training on twice and, where there are so many, four times as
many pictures, judged on all of them. Tutorial network, Muon, one thread, 200 updates or four epochs.
"""

import argparse
from collections import defaultdict

import numpy as np
import torch
from numpy.typing import NDArray

import pellucid
from pellucid.data.dataset import Dataset, joined
from pellucid.evaluation.learning_curve import AHEAD, LearningCurve
from pellucid.models import build
from pellucid.recipe import Recipe
from pellucid.runs.forecast import REPEATS, SHARES, stratified_order
from pellucid.training.loop import Progress, train

DRAWS = 3
SIZES = {"digits": (300, 600), "mnist": (400, 1_600)}
JUDGED, WATCHED = {"digits": 497, "mnist": 4_000}, {"digits": 100, "mnist": 200}
MOST = 1_600  # pictures of the training that tells the truth of four times as many


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pools", type=int, default=25)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = np.random.default_rng(1)
    held: dict[tuple[str, int, int], list[tuple[bool, bool, float]]] = defaultdict(list)
    wholes = {}
    for name in SIZES:
        splits = pellucid.load(name)
        parts = [splits.train, splits.validation] + ([splits.test] if name == "digits" else [])
        wholes[name] = joined(parts)
    for pool in range(options.pools):
        for name, whole in wholes.items():
            for count in SIZES[name]:
                found = trial(whole, name, count, pool=pool, generator=generator)
                for times, figures in found:
                    held[name, count, times].append(figures)
    for times in AHEAD:
        rows = {key: np.array(each) for key, each in held.items() if key[2] == times}
        for (name, count, _), each in rows.items():
            accuracy, gain, width = each.mean(axis=0)
            print(
                f"{name} {count}, {times} times: {accuracy:.3f} of {len(each)}, gain {gain:.3f}, "
                f"width {width:.3f}"
            )
        everything = np.concatenate(list(rows.values()))
        accuracy, gain = everything[:, :2].mean(axis=0)
        print(f"{times} times: accuracy {accuracy:.3f} of {len(everything)}, gain {gain:.3f}")


def trial(
    whole: Dataset, name: str, count: int, *, pool: int, generator: np.random.Generator
) -> list[tuple[int, tuple[bool, bool, float]]]:
    """Whether the intervals of the accuracy and of the gain hold the truth, and how wide the first is, for
    each of AHEAD that there are pictures for."""
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(pool))
    first, second = JUDGED[name], JUDGED[name] + WATCHED[name]
    judged, watched = whole.subset(order[:first]), whole.subset(order[first:second])
    source = whole.subset(order[second:])
    pictures = source.subset(stratified_order(source, seed=1_000 * pool + count)[: 4 * count])
    once = pictures.subset(torch.arange(count))
    right = []
    for share in SHARES:
        rows = []
        for repeat in range(REPEATS):
            part = once.subset(stratified_order(once, seed=repeat + 7)[: count // share])
            rows.append(trained(part, watched, judged, 100 * repeat + share))
        right.append(np.stack(rows))
    now = float(right[-1].mean())
    truths = {
        times: float(trained(pictures.subset(torch.arange(times * count)), watched, judged, times).mean())
        for times in AHEAD
        if times * count <= len(source) and (times == 2 or times * count <= MOST)
    }
    found = []
    for _ in range(DRAWS):
        drawn = generator.choice(len(judged), count // 4)
        labels = judged.labels.numpy()[drawn]
        counts = tuple(count // share for share in SHARES)
        curve = LearningCurve(tuple(each[:, drawn] for each in right), counts, labels, judged.classes)
        for outlook in curve.ahead:
            if outlook.times in truths:
                (low, high), (least, most) = outlook.interval, outlook.gain_interval
                truth = truths[outlook.times]
                figures = (low <= truth <= high, least <= truth - now <= most, high - low)
                found.append((outlook.times, figures))
    return found


def trained(part: Dataset, watched: Dataset, judged: Dataset, seed: int) -> NDArray[np.bool_]:
    """Which pictures a network of this seed predicts correctly, (N,)."""
    recipe = Recipe(
        epochs=min(60, max(4, round(6_400 / len(part)))), batch_size=32, optimizer="muon", schedule="linear",
        label_smoothing=0.05, augment="none", precision="float32", threads=1, seed=seed,
    )  # fmt: skip
    network = build("tutorial", part.channels, len(part.classes), part.size, seed=seed)
    for _ in train(network, part, watched, recipe, progress=Progress()):
        pass
    preprocess = pellucid.Preprocess(part.channels, *part.size)
    classifier = pellucid.Classifier(network, part.classes, preprocess, "tutorial")
    return np.asarray((classifier.predict(judged.images).argmax(dim=1) == judged.labels).numpy())


if __name__ == "__main__":
    main()

"""Is any wrong kind of map believed, and is the verdict on a right one the same on another sample?

    python benchmarks/wrong_maps.py [wrong|right] [SAMPLES] [MNIST_FOLDER]

Twenty networks: three models with several seeds on the embedded digits and on pictures with a planted
pattern, and, with MNIST_FOLDER, on 4,000 pictures of MNIST in place of some. Each kind of map is tested on
SAMPLES samples (20 unless given) of pictures that were not learned from. One line a sample of a network, then
the counts. Run in a checkout: the wrong kinds are those of the tests.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from pellucid.classifier import Classifier
from pellucid.data import load
from pellucid.data.dataset import Dataset
from pellucid.data.preprocess import Preprocess
from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.faithfulness import Method, evaluate_maps
from pellucid.models import build

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.networks import PATTERNS, learned, planted
from tests.wrong_methods import WRONG, class_average_of

FIRST = 48  # pictures of a sample at first


class Subject(NamedTuple):
    """A network with the pictures that it is tested on, and wrong kinds of map for it."""

    name: str
    classifier: Classifier
    test: Dataset
    wrong: dict[str, Method]


def pictures(kind: str, folder: str | None) -> tuple[Dataset, Dataset]:
    """Pictures to learn from and to test on."""
    if kind == "planted":
        parts = []
        for seed, count in ((1, 1500), (2, 1000)):
            images, labels, _ = planted(count, seed=seed)
            names = tuple(str(k) for k in range(len(PATTERNS)))
            bytes_ = (images.clamp(0, 1) * 255).round().to(torch.uint8)
            parts.append(Dataset(bytes_, labels, names, [f"{seed}/{n}" for n in range(count)]))
        return parts[0], parts[1]
    splits = load(kind) if folder is None else load(kind, data_dir=folder)
    return splits.train.subset(torch.arange(min(4000, len(splits.train)))), splits.test


def subjects(folder: str | None) -> Iterator[Subject]:
    """Twenty trained networks."""
    kinds = (
        [("digits", 4), ("planted", 3)] if folder is None else [("digits", 3), ("planted", 2), ("mnist", 2)]
    )
    made = 0
    for kind, seeds in kinds:
        learn, test = pictures(kind, folder if kind == "mnist" else None)
        inputs = learn.images.float() / 255
        for model in ("tutorial", "compact", "resnet"):
            for seed in range(seeds):
                if made == 20:
                    return
                made += 1
                network = build(model, learn.channels, len(learn.classes), learn.size, seed=seed)
                torch.manual_seed(seed)
                steps = 120 if model == "resnet" else 300
                learned(network, inputs, learn.labels, steps=steps, rate=3e-3)
                size = Preprocess(learn.channels, *learn.size)
                classifier = Classifier(network.eval(), learn.classes, size, "own:benchmark")
                wrong = {**WRONG, "class average": class_average_of(inputs[:200])}
                yield Subject(f"{kind} {model} {seed}", classifier, test, wrong)


def main() -> None:
    """Sample by sample, each on every network."""
    right = sys.argv[1:2] == ["right"]
    samples = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    made = list(subjects(sys.argv[3] if len(sys.argv) > 3 else None))
    outcomes: dict[tuple[str, str], Counter[str]] = {}
    for seed in range(samples):
        for subject in made:
            methods = dict(EXPLAINERS) if right else subject.wrong
            told = evaluate_maps(subject.classifier, subject.test, methods, pictures=FIRST, seed=seed)
            for test in told.tests:
                outcomes.setdefault((subject.name, test.method), Counter())[test.outcome] += 1
            said = {test.method: f"{test.outcome} {test.pictures}" for test in told.tests}
            print(f"{subject.name} sample {seed}: accuracy {told.accuracy:.3f}; {said}", flush=True)
        print(summary(outcomes), flush=True)


def summary(outcomes: dict[tuple[str, str], Counter[str]]) -> str:
    """How often each method had each outcome, and on how many networks passed and failed both occurred."""
    by_method: dict[str, Counter[str]] = {}
    mixed: Counter[str] = Counter()
    for (_, method), counts in outcomes.items():
        by_method.setdefault(method, Counter()).update(counts)
        mixed[method] += min(counts["passed"], counts["failed"]) > 1
    lines = [
        f"  {name}: {dict(counts)}; unsteady networks {mixed[name]}" for name, counts in by_method.items()
    ]
    return "\n".join(["so far:", *lines])


if __name__ == "__main__":
    main()

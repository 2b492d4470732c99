"""How often two networks, or two recipes of five seeds each, are said to differ: equal ones and unequal ones.

    python benchmarks/seeds.py [--data digits] [--seeds 40] [--pictures 300]

Tutorial network, recipe fast: `--seeds` trainings on all pictures, or on `--pictures` of them, 20 on a
quarter of them (drawn by the split, another for each seed), all judged on the same test pictures. Told are

- of up to 20 pairs of seeds that share none, and of all pairs, those in which McNemar's test shows a
  difference;
- of the 20 on a quarter, each beside one on all pictures, those in which the difference is shown;
- of 40 and of 4,000 pairs of five seeds each, drawn from these without overlap within a pair, those said to
  be of different recipes.
"""

import argparse
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

import pellucid
from pellucid.data.dataset import Dataset, split
from pellucid.evaluation.paired import PairedDifference
from pellucid.evaluation.repeated import SeedScores, compare_recipes
from pellucid.models import build
from pellucid.recipe import Recipe
from pellucid.training.loop import Progress, train
from pellucid.training.sampling import stratified_order

FIVE, PAIRS = 5, (40, 4_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits", choices=("digits", "mnist"))
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--pictures", type=int, help="train on so many, every class in its share")
    options = parser.parse_args()
    torch.set_num_threads(1)
    splits = pellucid.load(options.data)
    taught = splits.train
    if options.pictures:
        taught = taught.subset(stratified_order(taught, seed=0)[: options.pictures])
    right = np.stack([trained(taught, splits, seed) for seed in range(options.seeds)])
    few = [split(taught, fraction=0.25, seed=seed).held_out for seed in range(20)]
    quarter = np.stack([trained(part, splits, seed) for seed, part in enumerate(few)])
    print(f"accuracy: {right.mean():.4f}, over seeds {right.mean(1).std(ddof=1):.4f}")
    print(f"from a quarter: {quarter.mean():.4f}, over seeds {quarter.mean(1).std(ddof=1):.4f}")
    pairs = range(min(20, len(right) // 2))
    apart = [shown(right[2 * pair], right[2 * pair + 1]) for pair in pairs]
    print(f"two seeds: a difference shown in {sum(apart)} of {len(pairs)} pairs")
    everyone = [shown(right[one], right[other]) for one, other in combinations(range(len(right)), 2)]
    print(f"all pairs: in {sum(everyone)} of {len(everyone)}")
    found = [shown(quarter[seed], right[seed]) for seed in range(20)]
    print(f"a quarter of the data: found in {sum(found)} of 20")
    generator = np.random.default_rng(0)
    for number in PAIRS:
        for what, source in (("equal recipes", right), ("a quarter beside all", quarter)):
            said = 0
            for _ in range(number):
                drawn = generator.permutation(len(source))
                first, second = source[drawn[:FIVE]], right[drawn[FIVE : 2 * FIVE]]
                said += compare_recipes(scores(first), scores(second)).shown
            print(f"five seeds each, {what}: a difference shown in {said} of {number}")


def trained(train_set: Dataset, splits: pellucid.Splits, seed: int) -> NDArray[np.bool_]:
    """Which test pictures a network of this seed predicts correctly, (N,)."""
    settings = {"model": "tutorial", "augment": "none", "precision": "float32", "threads": 1, "seed": seed}
    recipe = Recipe.named("fast", **settings).resolve(len(train_set))
    shape = train_set.channels, *train_set.size
    network = build("tutorial", shape[0], len(train_set.classes), train_set.size, seed=seed)
    for _ in train(network, train_set, splits.validation, recipe, progress=Progress()):
        pass
    classifier = pellucid.Classifier(network, train_set.classes, pellucid.Preprocess(*shape), "tutorial")
    answers = classifier.predict(splits.test.images).argmax(dim=1)
    return np.asarray((answers == splits.test.labels).numpy())


def shown(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> bool:
    """Whether McNemar's exact test tells the two apart."""
    return PairedDifference(len(first), int((first & ~second).sum()), int((second & ~first).sum())).shown


def scores(right: NDArray[np.bool_]) -> SeedScores:
    """Rows of trainings as the scores of seeds."""
    return SeedScores(right, tuple(range(len(right))))


if __name__ == "__main__":
    main()

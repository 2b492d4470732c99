"""How accurate lite0 becomes with 5, 10, 25, 50 or 100 pictures per class of a folder.

    python benchmarks/pictures_per_class.py FOLDER [--counts 10 25 50 100] [--tested 100] [--draws 5]

Of every class `--tested` pictures are kept aside, the same throughout, and judge; from the others, `--draws`
times, as many are drawn as `--counts` says. Features are computed once; the last layer is solved as in
`pellucid train FOLDER --model lite0`, its penalty chosen by folds, but without the fifth of the pictures that
this command keeps for its test. Prints a row for each count: the mean accuracy, the least and the most of
the draws, and the interval that so many test pictures allow.
"""

import argparse
from pathlib import Path
from statistics import mean
from typing import cast

import torch
from torch import Tensor

import pellucid
from pellucid.evaluation.metrics import wilson
from pellucid.models import PretrainedNetwork, build
from pellucid.training.logistic import chosen_penalty, solved
from pellucid.training.transfer import embeddings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 25, 50, 100])
    parser.add_argument("--tested", type=int, default=100)
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    features, labels, classes = embedded(options.folder)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    places = [order[labels[order] == number] for number in range(classes)]
    aside = torch.cat([place[: options.tested] for place in places])
    print(f"{options.folder.name}: {classes} classes, {len(aside)} test pictures")
    print("| pictures per class | accuracy, mean | least to most of the draws | 95 % interval |")
    print("|---|---|---|---|")
    left = [place[options.tested :] for place in places]
    judged = features[aside], labels[aside]
    for count in options.counts:
        draws = []
        for draw in range(options.draws):
            generator = torch.Generator().manual_seed(draw)
            drawn = torch.cat([rest[torch.randperm(len(rest), generator=generator)[:count]] for rest in left])
            draws.append(accuracy((features[drawn], labels[drawn]), judged, classes))
        middle, (low, high) = mean(draws), wilson(mean(draws), len(aside))
        spread = f"{min(draws):.1%} to {max(draws):.1%}"
        print(f"| {count} | {middle:.1%} | {spread} | {low:.1%} to {high:.1%} |", flush=True)


def embedded(folder: Path) -> tuple[Tensor, Tensor, int]:
    """Features (N, D) and labels (N,) of all pictures below `folder`, and how many classes there are."""
    splits = pellucid.load(str(folder))
    classes = len(splits.train.classes)
    network = build("lite0", splits.train.channels, classes, splits.train.size, seed=0)
    parts = [part for _, part in splits.items()]
    features = [embeddings(cast(PretrainedNetwork, network), part) for part in parts]
    return torch.cat(features), torch.cat([part.labels for part in parts]), classes


def accuracy(learned: tuple[Tensor, Tensor], judged: tuple[Tensor, Tensor], classes: int) -> float:
    """Of a last layer solved on features (N, D) and labels (N,), on others."""
    std, middle = torch.std_mean(learned[0], dim=0, correction=0)
    std = torch.where(std > 1e-6, std, 1.0)
    seen, unseen = (learned[0] - middle) / std, ((judged[0] - middle) / std).double()
    # No validation pictures: folds choose the penalty.
    penalty = chosen_penalty((seen, seen[:0]), (learned[1], learned[1][:0]), classes, seed=0, balanced=False)
    weights = solved(seen, learned[1], classes, penalty, balanced=False)
    answers = (unseen @ weights[:, :-1].T + weights[:, -1]).argmax(dim=1)
    return float((answers == judged[1]).double().mean())


if __name__ == "__main__":
    main()

"""All pictures in one part, and divided into folds of which each is held out once."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

from pellucid.data.dataset import Dataset, Splits, content_hashes, joined
from pellucid.data.split_by_content import connected
from pellucid.errors import UsageError


def everything(splits: Splits) -> Splits:
    """Every picture both to learn from and to be judged: the parts of a run by folds.

    None is in the validation part. The order is that of the sources, however the pictures were split before.
    """
    if splits.train is splits.test:
        return splits
    whole = in_order([part for _, part in splits.items()])
    return Splits(whole, whole.subset([]), whole, splits.origin)


def in_order(datasets: list[Dataset]) -> Dataset:
    """The pictures of several data sets, by their sources."""
    whole = joined([each for each in datasets if len(each)])
    return whole.subset(sorted(range(len(whole)), key=lambda index: whole.sources[index]))


def assign_folds(dataset: Dataset, folds: int, *, seed: int, groups: Mapping[str, str]) -> Tensor:
    """The fold of each picture, int64 (N,) from 0: each class is spread evenly, and the sizes are alike.

    groups  a name of the pictures that stay together, by source; identical pictures stay together, too

    It depends on the pictures and the seed, not on their order. Raises UsageError when there are fewer
    pictures or groups that stand alone than folds.
    """
    digests = content_hashes(dataset)
    units: dict[int, list[int]] = defaultdict(list)
    keys = ((digest, groups.get(source, "")) for digest, source in zip(digests, dataset.sources, strict=True))
    for index, root in enumerate(connected(keys)):
        units[root].append(index)
    if len(units) < folds:
        raise UsageError(
            f"Expected at least {folds} different pictures or groups for `folds={folds}`; got {len(units)}."
        )
    labels = dataset.labels.tolist()
    totals = torch.bincount(dataset.labels, minlength=len(dataset.classes)).clamp_min(1).double()
    key = seed.to_bytes(8, "little", signed=True)

    def rank(indices: list[int]) -> tuple[int, int, bytes]:
        """The large first, as the small can still even them out; of one class in an order of the seed's."""
        digest = hashlib.blake2b(min(digests[index] for index in indices), digest_size=8, key=key).digest()
        return -len(indices), min(labels[index] for index in indices), digest

    assigned = torch.empty(len(dataset), dtype=torch.int64)
    counts = torch.zeros(folds, len(dataset.classes), dtype=torch.float64)
    for indices in sorted(units.values(), key=rank):
        own = torch.bincount(dataset.labels[indices], minlength=len(dataset.classes)).double()
        crowding = (counts @ (own / totals)).tolist()
        sizes = counts.sum(dim=1).tolist()
        fold = min(range(folds), key=lambda number: (crowding[number], sizes[number]))
        counts[fold] += own
        assigned[indices] = fold
    return assigned

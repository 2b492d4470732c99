"""The order of pictures and every random draw: functions of (seed, epoch, step) alone."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError

NO_SAMPLER = (
    "`balance=sampler` shows pictures of rare classes more often, and these pictures have several labels "
    "each. Expected `balance=weights`, which counts a rare label more."
)


def sample_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order, int64 (N,), in which an epoch sees the pictures: a function of (seed, epoch) alone."""
    return torch.randperm(count, generator=generator_for(seed, "order", epoch))


def balanced_order(labels: Tensor, seed: int, epoch: int) -> Tensor:
    """Shuffled indices, int64 (N,), in which every class of `labels` (N,) occurs equally often.

    Pictures of a rare class are repeated in turn; of a common class some wait for another epoch. A function
    of the labels, seed and epoch alone. Raises UsageError for pictures with several labels.
    """
    if labels.dim() == 2:
        raise UsageError(NO_SAMPLER)
    generator = generator_for(seed, "balanced", epoch)
    present = torch.bincount(labels).nonzero()[:, 0].tolist()
    chosen: list[Tensor] = []
    for place in torch.randperm(len(present), generator=generator).tolist():
        indices = torch.nonzero(labels == present[place])[:, 0]  # (n,)
        count = (len(labels) + len(chosen)) // len(present)  # they add up to N and differ by one at most
        rounds = -(-count // len(indices))
        shuffled = [indices[torch.randperm(len(indices), generator=generator)] for _ in range(rounds)]
        chosen.append(torch.cat(shuffled)[:count])
    balanced = torch.cat(chosen)
    return balanced[torch.randperm(len(balanced), generator=generator)]


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """The weight of a picture of each class, float32 (K,): all classes count the same, pictures 1 on average.

    `labels` int64 (N,); 0 for a class without pictures. Of several labels, bool (N, K), the weight of each
    where it is present beside 1 where it is not: both count the same.
    """
    if labels.dim() == 2:
        present = labels.sum(dim=0)
        return (len(labels) - present).clamp_min(1) / present.clamp_min(1)
    counts = torch.bincount(labels, minlength=classes)
    weights = len(labels) / (counts.count_nonzero() * counts.clamp_min(1))
    return torch.where(counts > 0, weights, 0.0)


@contextmanager
def seeded_random_numbers(*numbers: int) -> Iterator[None]:
    """Inside the block torch's random numbers depend on `numbers` alone; afterwards they go on as before."""
    before = torch.random.get_rng_state()
    torch.default_generator.manual_seed(mixed_seed(*numbers))
    try:
        yield
    finally:
        torch.random.set_rng_state(before)


def generator_for(seed: int, *purpose: int | str) -> torch.Generator:
    """A generator whose draws are a function of the seed and the purpose alone."""
    return torch.Generator().manual_seed(mixed_seed(seed, *purpose))


def mixed_seed(*parts: int | str) -> int:
    """One 63-bit seed out of several numbers, each bit of which depends on all of them."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def stratified_order(dataset: Dataset, *, seed: int) -> Tensor:
    """All indices in an order drawn at random in which every part has its share of each class, int64 (N,).

    Of pictures with several labels the order is random alone.
    """
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    if dataset.multi_label:
        return order
    labels = dataset.labels[order]
    share = torch.empty(len(dataset), dtype=torch.float64)  # of its class that comes before each picture
    for label in range(len(dataset.classes)):
        places = torch.nonzero(labels == label)[:, 0]
        share[places] = (torch.arange(len(places), dtype=torch.float64) + 0.5) / len(places)
    return order[share.argsort(stable=True)]

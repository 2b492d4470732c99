"""The order of pictures and every random draw: functions of (seed, epoch, step) alone."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def sample_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order (int64, N) in which an epoch sees the pictures: a function of (seed, epoch), nothing else."""
    return torch.randperm(count, generator=generator_for(seed, "order", epoch))


def balanced_order(labels: Tensor, seed: int, epoch: int) -> Tensor:
    """As many indices as there are `labels` (N,), of every class as many, in an order to train in.

    A rare class's pictures come again in turn, of a common one some wait for another epoch. A function of
    the labels, seed and epoch, nothing else.
    """
    generator = generator_for(seed, "balanced", epoch)
    shown = torch.bincount(labels).nonzero()[:, 0].tolist()
    chosen: list[Tensor] = []
    for place in torch.randperm(len(shown), generator=generator).tolist():
        mine = torch.nonzero(labels == shown[place])[:, 0]  # (n,)
        share = (len(labels) + len(chosen)) // len(shown)  # shares of N that differ by one at most
        rounds = [mine[torch.randperm(len(mine), generator=generator)] for _ in range(-(-share // len(mine)))]
        chosen.append(torch.cat(rounds)[:share])
    together = torch.cat(chosen)
    return together[torch.randperm(len(together), generator=generator)]


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """What a picture of each class counts (K,), so that all classes count alike and a picture 1 on average;
    0 for a class that is not there."""
    counts = torch.bincount(labels, minlength=classes)
    even = len(labels) / (counts.count_nonzero() * counts.clamp_min(1))
    return torch.where(counts > 0, even, 0.0)


@contextmanager
def drawing_from(*numbers: int) -> Iterator[None]:
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

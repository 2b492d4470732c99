"""Bursts: pictures with consecutive names that are more alike than is usual in their class."""

import re
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.data.audit.near_duplicates import distances

MIN_LENGTH = 3  # pictures of a burst
SAMPLED_PAIRS = 2_000  # of a class, to estimate how alike its pictures usually are
RARE = 0.001  # at most this fraction of them is as alike as two neighbours of a burst
# Of a file only: the position in an array does not say when a picture was taken.
LAST_NUMBER = re.compile(r"(\d{1,18})(\D*)\Z")


def bursts(thumbnails: Tensor, sources: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """Runs of at least MIN_LENGTH pictures by number, each in the order of its names.

    thumbnails  float32 (N, D), as `near_duplicates.thumbnails` returns them
    sources     N; `frame-007.jpg` follows `frame-006.jpg` of the same folder
    labels      N; a burst has a single label

    Two neighbours belong to a burst if at most a fraction RARE of the distant pairs of their class is as
    alike. A class with too few pairs to estimate this has no bursts.
    """
    by_class: dict[str, list[list[int]]] = defaultdict(list)
    for sequence in _consecutive(sources, labels):
        by_class[labels[sequence[0]]].append(sequence)
    return [run for sequences in by_class.values() for run in _runs(thumbnails, sequences)]


def _consecutive(sources: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """Indices of pictures with consecutive names, one list per sequence without gaps."""
    numbered: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    for index, (source, label) in enumerate(zip(sources, labels, strict=True)):
        match = LAST_NUMBER.search(source)
        if match and "." in match[2]:
            numbered[source[: match.start()], match[2], label].append((int(match[1]), index))
    sequences: list[list[int]] = []
    for _, members in sorted(numbered.items()):
        last: int | None = None
        for number, index in sorted(members):
            if last is None or number > last + 1:
                sequences.append([])
            sequences[-1].append(index)
            last = number
    return sequences


def _runs(thumbnails: Tensor, sequences: list[list[int]]) -> list[list[int]]:
    members = torch.tensor([index for sequence in sequences for index in sequence])  # one class
    number = len(members)
    sequences = [sequence for sequence in sequences if len(sequence) >= MIN_LENGTH]
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randint(0, number, (2, SAMPLED_PAIRS), generator=generator)
    apart = (first - second).abs() > min(200, number // 4)
    if not sequences or int(apart.sum()) < 1 / RARE:
        return []
    usual = distances(thumbnails, members[first[apart]], members[second[apart]])
    limit = float(torch.quantile(usual, RARE))
    runs = []
    for sequence in sequences:
        indices = torch.tensor(sequence)
        near = (distances(thumbnails, indices[:-1], indices[1:]) < limit).tolist()
        runs += _split_where_apart(sequence, near)
    return runs


def _split_where_apart(sequence: list[int], near: list[bool]) -> list[list[int]]:
    runs, run = [], [sequence[0]]
    for index, connected in zip(sequence[1:], near, strict=True):
        if not connected:
            runs.append(run)
            run = []
        run.append(index)
    return [run for run in [*runs, run] if len(run) >= MIN_LENGTH]

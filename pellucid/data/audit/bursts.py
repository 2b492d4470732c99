"""Pictures taken one right after another: consecutive names, and more alike than their class otherwise is."""

import re
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.data.audit.near_duplicates import distances

SHORTEST = 3  # pictures that make a burst
DRAWS = 2_000  # pairs of a class that tell how alike its pictures are anyway
RARE = 0.001  # share of such pairs that are as alike as two neighbours of a burst, at most
# A file's name: the place in an array says nothing of when a picture was taken.
NUMBERED = re.compile(r"(.*?)(\d{1,18})(\D*\.\D*)", re.DOTALL)


def bursts(thumbnails: Tensor, sources: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """Runs of at least SHORTEST pictures by number, each in the order of its names.

    thumbnails  float32 (N, D), as `likeness.thumbnails` gives them
    sources     N names; `frame-007.jpg` follows `frame-006.jpg` of the same folder
    labels      N class names: a burst shows one class

    Two neighbours belong to one burst when no more than RARE of the pairs of their class that stand far
    apart are as alike. A class of too few pairs to tell has none.
    """
    by_class: dict[str, list[list[int]]] = defaultdict(list)
    for line in _lines(sources, labels):
        by_class[labels[line[0]]].append(line)
    return [run for mine in by_class.values() for run in _runs(thumbnails, mine)]


def _lines(sources: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """Pictures whose names count on, one line for each stretch without a gap."""
    numbered: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    for index, (source, label) in enumerate(zip(sources, labels, strict=True)):
        found = NUMBERED.fullmatch(source)
        if found:
            numbered[found[1], found[3], label].append((int(found[2]), index))
    lines: list[list[int]] = []
    for _, members in sorted(numbered.items()):
        last: int | None = None
        for number, index in sorted(members):
            if last is None or number > last + 1:
                lines.append([])
            lines[-1].append(index)
            last = number
    return lines


def _runs(thumbnails: Tensor, lines: list[list[int]]) -> list[list[int]]:
    members = torch.tensor([index for line in lines for index in line])  # of one class, in the order of names
    number = len(members)
    lines = [line for line in lines if len(line) >= SHORTEST]
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randint(0, number, (2, DRAWS), generator=generator)
    apart = (one - other).abs() > min(200, number // 4)
    if not lines or int(apart.sum()) < 1 / RARE:
        return []
    usual = distances(thumbnails, members[one[apart]], members[other[apart]])
    limit = float(torch.quantile(usual, RARE))
    found = []
    for line in lines:
        ahead = torch.tensor(line)
        near = (distances(thumbnails, ahead[:-1], ahead[1:]) < limit).tolist()
        found += _stretches(line, near)
    return found


def _stretches(line: list[int], near: list[bool]) -> list[list[int]]:
    runs, run = [], [line[0]]
    for index, connected in zip(line[1:], near, strict=True):
        if not connected:
            runs.append(run)
            run = []
        run.append(index)
    return [run for run in [*runs, run] if len(run) >= SHORTEST]

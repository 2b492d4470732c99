"""A burst has consecutive names, one label, and pictures more alike than is usual in its class."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.data.audit.bursts import bursts
from pellucid.data.audit.near_duplicates import thumbnails
from tests.photographs import photographs, tensor_of

COUNT = 160
BURST = list(range(20, 26))


@pytest.fixture(scope="module")
def vectors() -> Tensor:
    """Pictures of which six in a row move on a little each."""
    pictures = photographs(COUNT, seed=6, side=32)
    for frame in BURST[1:]:
        pictures[frame] = np.roll(pictures[frame - 1], 1, axis=1)
    return thumbnails([tensor_of(pictures)])


def named(pattern: str = "cat/IMG_{:04}.jpg") -> list[str]:
    return [pattern.format(number) for number in range(COUNT)]


def test_it_is_found_in_the_order_of_its_names(vectors: Tensor) -> None:
    assert bursts(vectors, named(), ["cat"] * COUNT) == [BURST]
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1)).tolist()
    sources = [named()[n] for n in order]
    (found,) = bursts(vectors[order], sources, ["cat"] * COUNT)
    assert [order[place] for place in found] == BURST


def test_a_gap_in_the_numbers_ends_it(vectors: Tensor) -> None:
    sources = [f"cat/{number + (number > 22)}.jpg" for number in range(COUNT)]
    assert bursts(vectors, sources, ["cat"] * COUNT) == [[20, 21, 22], [23, 24, 25]]


def test_another_label_or_another_folder_ends_it(vectors: Tensor) -> None:
    labels = ["dog" if number in (23, 24) else "cat" for number in range(COUNT)]
    assert bursts(vectors, named(), labels) == [[20, 21, 22]]
    sources = [f"{'a' if number < 23 else 'b'}/{number}.jpg" for number in range(COUNT)]
    assert bursts(vectors, sources, ["cat"] * COUNT) == [[20, 21, 22], [23, 24, 25]]


def test_names_without_a_number_and_positions_in_an_array_are_none(vectors: Tensor) -> None:
    letters = [f"cat/{'a' * (number + 1)}.jpg" for number in range(COUNT)]
    assert bursts(vectors, letters, ["cat"] * COUNT) == []
    assert bursts(vectors, named("train/{}"), ["cat"] * COUNT) == []


def test_two_pictures_are_not_a_burst(vectors: Tensor) -> None:
    sources = [f"cat/{number * 2 + (number == 21)}.jpg" for number in range(COUNT)]
    sources[20] = "cat/42.jpg"
    sources[21] = "cat/43.jpg"
    sources = [
        f"x{number}/{source}" if number not in (20, 21) else source for number, source in enumerate(sources)
    ]
    assert bursts(vectors, sources, ["cat"] * COUNT) == []


def test_of_too_few_pictures_nothing_usual_is_known() -> None:
    few = thumbnails([tensor_of(photographs(3, seed=1, side=32))])
    assert bursts(few, ["1.jpg", "2.jpg", "3.jpg"], ["cat"] * 3) == []
    assert bursts(few[:0], [], []) == []


def test_a_name_of_many_numbers_takes_no_time() -> None:
    """A pattern that may divide it anywhere would take hours: n stands for the name's length, cubed."""
    names = [f"{'1.' * 30_000}{'.' * 30_000}{end}" for end in ("x1", "x2", "x3.png")]
    assert bursts(torch.rand(3, 4), names, ["cat"] * 3) == []

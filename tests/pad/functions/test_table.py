"""Each function of torch stands in one table, with the arguments that it understands."""

import pytest

from pellucid.pad.functions import LOWERED
from pellucid.pad.functions.table import Table, dims_of, register_in, sides


def test_a_conversion_is_found_under_every_name_of_its_function() -> None:
    table: Table = {}

    @register_in(table)("amax", "max", takes="self dim")
    def convert(graph, given):
        return None

    assert table == {"amax": (convert, ("self", "dim")), "max": (convert, ("self", "dim"))}


def test_every_function_says_which_arguments_it_understands() -> None:
    assert len(LOWERED) > 90
    assert all(takes for _, takes in LOWERED.values())
    assert "rounding_mode" not in LOWERED["div"][1]


@pytest.mark.parametrize(("given", "found"), [(3, [3, 3]), ([2], [2, 2]), ([1, 2], [1, 2])])
def test_one_number_stands_for_both_sides(given: int | list[int], found: list[int]) -> None:
    assert sides(given, 2) == found


@pytest.mark.parametrize(
    ("given", "rank", "found"), [(None, 3, [0, 1, 2]), (-1, 3, [2]), ([1, -3], 3, [0, 1]), (None, 0, [])]
)
def test_dimensions_are_counted_from_the_front(given: object, rank: int, found: list[int]) -> None:
    assert dims_of(given, rank) == found

"""Every kind of operation is in a network that the tests lower and run."""

import pytest
import torch

from pellucid.pad.operations import KINDS, Operation, multiply_adds, run
from pellucid.pad.program import lower
from tests.networks import SHAPES, network


def test_all_kinds_of_operation_are_tested() -> None:
    used = {op.kind for name in SHAPES for op in lower(network(name), SHAPES[name]).operations}
    assert set(KINDS) == used | {"softmax"}  # that at the end of a network is not lowered


def test_an_operation_on_maps_runs_on_several_of_them_one_by_one() -> None:
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    how = {"kernel": [3, 3], "stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
    one = Operation("conv2d", "conv", (0,), (4, 5, 6), (0,), how)
    several = Operation("conv2d", "conv", (0,), (2, 4, 5, 6), (0,), {**how, "slices": 2})
    maps = torch.rand(3, 2, 3, 5, 6, generator=torch.Generator().manual_seed(2))
    found = run(several, [maps], [weight])
    for place in range(2):
        assert torch.allclose(found[:, place], run(one, [maps[:, place]], [weight]), atol=1e-6)


@pytest.mark.parametrize(
    ("operation", "shapes", "count"),
    [
        (Operation("linear", "", (0,), (7, 4)), [(7, 5)], 7 * 4 * 5),
        (Operation("matmul", "", (0, 0), (2, 3, 3), attributes={"first": [2, 3, 8]}), [(2, 3, 8)], 144),
        (Operation("conv2d", "", (0,), (4, 5, 5), attributes={"kernel": [3, 3], "groups": 2}), [(6, 7, 7)],
         4 * 5 * 5 * 3 * 9),
        (Operation("mul", "", (0, 0), (9,)), [(9,)], 0),
    ],
)  # fmt: skip
def test_products_that_are_summed_are_counted(operation: Operation, shapes: list, count: int) -> None:
    assert multiply_adds(operation, shapes) == count

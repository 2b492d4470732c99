"""Weights in few bytes, and what they are when they come out again."""

import base64

import pytest
import torch

from pellucid.pad.packing import pack_weights

WEIGHTS = [
    torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(1)),
    torch.randn(5, generator=torch.Generator().manual_seed(2)),
]


@pytest.mark.parametrize(
    ("precision", "size"), [("f32", 29 * 4), ("f16", 29 * 2), ("i8", 4 * 4 + 24 + 5 * 2)]
)
def test_weights_take_so_many_bytes(precision: str, size: int) -> None:
    packed, _ = pack_weights(WEIGHTS, precision)
    assert (packed.precision, len(base64.b64decode(packed.data))) == (precision, size)


def test_rounded_to_eight_bits_a_weight_moves_by_half_a_step_of_its_row() -> None:
    matrix, vector = pack_weights(WEIGHTS, "i8")[1]
    steps = WEIGHTS[0].flatten(1).abs().amax(dim=1)[:, None, None] / 127
    assert bool(((matrix - WEIGHTS[0]).abs() <= steps / 2 + 1e-7).all())
    assert torch.equal(vector, WEIGHTS[1].half().float())


def test_weights_that_sixteen_bits_cannot_hold_are_kept_in_thirty_two() -> None:
    large = [torch.tensor([1e6, 1.0])]
    packed, rounded = pack_weights(large, "f16")
    assert packed.precision == "f32"
    assert torch.equal(rounded[0], large[0])

"""Inference scales exactly, in batches of one shape, and gives every module its mode back."""

import itertools

import pytest
import torch

from pellucid.inference import (
    VALUES_PER_BATCH,
    batch_size,
    evaluation_mode,
    fixed_batches,
    passes_affordable,
    restored_modes,
    scaled,
)
from pellucid.models import build, lite0


def test_passes_are_counted_by_the_multiply_adds_of_a_network_in_any_precision() -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(256, 3)
    )
    images = torch.zeros(5, 1, 8, 8, dtype=torch.uint8)
    once = 4 * 9 * 64 + 256 * 3
    for precise in (network, network.double()):
        assert passes_affordable(precise, images, 7 * once) == 7
        assert passes_affordable(precise, images, 7 * once - 1) == 6
    state = torch.get_rng_state()
    assert passes_affordable(torch.nn.Dropout(), images, 12) == 12  # nothing is multiplied: as if one were
    assert torch.equal(torch.get_rng_state(), state)


def test_modes_come_back_whatever_happens_inside() -> None:
    network = build("tutorial", 1, 4, (16, 16)).train()
    network.dropout.eval()  # type: ignore[operator, union-attr]
    modes = [module.training for module in network.modules()]
    with pytest.raises(ValueError, match="x"), restored_modes(network):
        network.train()
        raise ValueError("x")
    with evaluation_mode(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == modes


def test_pictures_are_scaled_to_one_exactly() -> None:
    values = torch.arange(256).reshape(1, 1, 16, 16)
    found = scaled(values.to(torch.uint8)).flatten()
    assert torch.equal(found, values.flatten() / 255)
    assert (float(found[0]), float(found[255])) == (0.0, 1.0)


@pytest.mark.parametrize("count", [0, 1, 5, 7])  # of 300 a side five go into a batch
@pytest.mark.parametrize("side", [4, 300, 900])
def test_batches_have_one_shape_and_miss_no_picture(count: int, side: int) -> None:
    images = torch.randint(0, 256, (count, 1, side, side)).to(torch.uint8)
    batches = list(fixed_batches(images))
    assert len({(batch.shape, batch.stride()) for _, batch, _ in batches}) <= 1
    assert not count or {len(batch) for _, batch, _ in batches} == {batch_size(None, images)}
    assert all(batch.numel() <= VALUES_PER_BATCH or len(batch) == 1 for _, batch, _ in batches)
    found = torch.cat([torch.empty(0, 1, side, side), *(batch[:filled] for _, batch, filled in batches)])
    assert torch.equal(found, images / 255)
    assert [start for start, _, _ in batches] == list(
        itertools.accumulate([f for *_, f in batches], initial=0)
    )[: len(batches)]


def test_batches_are_smaller_for_a_network_that_enlarges_its_pictures() -> None:
    images = torch.zeros(200, 3, 32, 32)
    enlarging = lite0.Lite0(3, 4, (32, 32))
    assert batch_size(None, images) == 128
    assert batch_size(enlarging, images) == VALUES_PER_BATCH // (160 * 160)
    assert {len(batch) for _, batch, _ in fixed_batches(images, network=enlarging)} == {20}

"""The quick pooling is torch's own pooling, value for value and gradient for gradient."""

import pytest
import torch
from torch.nn import functional

from pellucid.models.pooling import HalfPool


@pytest.mark.parametrize("shape", [(3, 5, 8, 6), (2, 3, 7, 9), (1, 1, 2, 2), (4, 16, 28, 28)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_values_and_gradients_equal_max_pool2d(
    shape: tuple[int, ...], layout: torch.memory_format, precision: torch.dtype
) -> None:
    # every value once, so that the largest of a block is never in doubt
    values = torch.randperm(torch.Size(shape).numel(), generator=torch.Generator().manual_seed(1)).reshape(
        shape
    )
    maps = (values % 251 - 125).to(precision) if precision == torch.bfloat16 else values.float()
    ours = maps.clone(memory_format=layout).requires_grad_()
    theirs = maps.clone().requires_grad_()
    pooled, expected = HalfPool()(ours), functional.max_pool2d(theirs, 2)
    assert torch.equal(pooled, expected)
    gradient = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)).to(precision)
    pooled.backward(gradient)
    expected.backward(gradient)
    if precision == torch.float32:
        assert torch.equal(ours.grad, theirs.grad)
    else:  # equal values in a block: the gradient goes to one of them, so only sums must agree
        torch.testing.assert_close(
            functional.avg_pool2d(ours.grad.float(), 2), functional.avg_pool2d(theirs.grad.float(), 2)
        )


def test_of_equal_values_one_gets_the_gradient() -> None:
    maps = torch.zeros(1, 1, 4, 4, requires_grad=True)
    HalfPool()(maps).sum().backward()
    assert functional.avg_pool2d(maps.grad, 2).flatten().tolist() == [0.25] * 4
    assert int((maps.grad > 0).sum()) == 4


def test_without_gradients_it_is_torch_itself() -> None:
    maps = torch.randn(2, 3, 5, 5)
    with torch.no_grad():
        assert torch.equal(HalfPool()(maps), functional.max_pool2d(maps, 2))

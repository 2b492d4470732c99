"""Every kind of operation is in a network that the tests lower and run."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import UsageError
from pellucid.pad.operations import KINDS
from pellucid.pad.program import lower
from tests.networks import SHAPES, network


def test_all_kinds_of_operation_are_tested() -> None:
    used = {op.kind for name in SHAPES for op in lower(network(name), SHAPES[name]).operations}
    assert set(KINDS) == used


class Padded(nn.Module):
    """Pads as TensorFlow does, the larger half at the end, or in a way that no page can."""

    def __init__(self, kernel: int, stride: int, value: float = 0.0, mode: str = "constant") -> None:
        super().__init__()
        self.value, self.mode = value, mode
        self.conv = nn.Conv2d(2, 3, kernel, stride)

    def forward(self, images: Tensor) -> Tensor:
        padded = functional.pad(images, (0, 1, 1, 2), mode=self.mode, value=self.value or None)
        return self.conv(padded).mean(dim=(2, 3))


@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("side", [7, 8])
def test_padding_on_one_side_becomes_the_convolutions_own(kernel: int, stride: int, side: int) -> None:
    made = Padded(kernel, stride).eval()
    program = lower(made, (2, side, side))
    assert [op.kind for op in program.operations] == ["conv2d", "adaptive_avg_pool2d"]
    images = torch.rand(3, 2, side, side, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        found = program.run(images, program.weights(made.state_dict()))[-1]
        assert torch.allclose(found, made(images), atol=1e-6)


@pytest.mark.parametrize("how", [{"value": 0.5}, {"mode": "reflect"}])
def test_other_padding_is_refused_in_words(how: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="The page's engine"):
        lower(Padded(3, 1, **how).eval(), (2, 8, 8))  # type: ignore[arg-type]

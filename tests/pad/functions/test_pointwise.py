"""Functions of one number or two: torch's numbers, or a refusal in words."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import UsageError
from pellucid.pad.program import lower

SIXTHS = torch.linspace(-1, 1, 6)


class Numbers(nn.Module):
    """Functions of six numbers, what they give side by side."""

    def __init__(self, *functions: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.functions = functions
        self.modules_among = nn.ModuleList(each for each in functions if isinstance(each, nn.Module))

    def forward(self, images: Tensor) -> Tensor:
        numbers = images.flatten(1) * 4 - 2
        return torch.cat([function(numbers) for function in self.functions], dim=1)


FUNCTIONS: list[Callable[[Tensor], Tensor]] = [
    nn.ELU(0.5),
    nn.SELU(),
    nn.CELU(2.0),
    nn.PReLU(),
    nn.Softplus(3.0, 2.0),
    nn.Mish(),
    nn.Hardtanh(-0.3, 0.8),
    nn.ReLU6(),
    nn.LogSigmoid(),
    nn.Softsign(),
    nn.Tanhshrink(),
    nn.Hardshrink(),
    nn.Softshrink(),
    nn.GLU(),
    nn.GELU("tanh"),
    nn.Threshold(0.1, 2.0),
    lambda x: x.abs().sqrt() + (x + 3).rsqrt() + x.exp() + (x + 3).log() + x.square() + x.neg(),
    lambda x: x.sin() * x.cos() - torch.erf(x) + (x + 3).reciprocal() + x.sigmoid(),
    lambda x: x**3 + 2**x + (x + 3) ** SIXTHS,
    lambda x: 1 - x / SIXTHS + SIXTHS / (x + 3) - SIXTHS,
    lambda x: torch.add(x, x, alpha=3) - torch.sub(x, SIXTHS, alpha=0.5),
    lambda x: torch.maximum(x, SIXTHS) + torch.minimum(x, -x),
    lambda x: x.clamp(min=SIXTHS) + x.clamp(max=0.5) + x.clamp(torch.tensor(-0.1), torch.tensor(0.1)),
    lambda x: (
        torch.where(x > 0, x, SIXTHS) + x.masked_fill(SIXTHS > 0, 7.0) + (x <= 0.3) * 2.0 + (x < 0).float()
    ),
    lambda x: x.double().float() + x.to(torch.float64).float(),
]


def test_what_is_computed_is_torchs() -> None:
    network = Numbers(*FUNCTIONS).eval()
    program = lower(network, (1, 2, 3))
    images = torch.rand(4, 1, 2, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = program.run(images, program.weights(network.state_dict()))[-1]
        assert torch.allclose(found, network(images), atol=1e-5)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: torch.div(x, 0.25, rounding_mode="floor"), "rounding_mode=floor"),
        (lambda x: (x * 4).int().float(), "'to_copy' gives int32"),
        (lambda x: x.bfloat16() + 1, "gives bfloat16"),
        (lambda x: torch.complex(x, x).abs(), "'complex'"),
        (lambda x: x.cumsum(1), "cannot run 'cumsum'"),
        (lambda x: x.prelu(x[0, :1]), "needs a fixed slope"),
        (lambda x: x / 0, "infinite or NaN"),
        (lambda x: functional.gumbel_softmax(x), "cannot run|random"),
    ],
)
def test_what_is_not_is_refused_in_words(function: Callable[[Tensor], Tensor], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        lower(Numbers(function).eval(), (1, 2, 3))

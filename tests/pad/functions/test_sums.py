"""Products, norms and what is taken over dimensions: torch's numbers, or a refusal in words."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import UsageError
from pellucid.pad.program import lower

SQUARE = torch.randn(5, 5, generator=torch.Generator().manual_seed(2))


class Sums(nn.Module):
    """Functions of maps (B, 3, 4, 5), what they give side by side."""

    def __init__(self, *functions: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.functions = functions
        self.modules_among = nn.ModuleList(each for each in functions if isinstance(each, nn.Module))

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([function(images).flatten(1) for function in self.functions], dim=1)


FUNCTIONS: list[Callable[[Tensor], Tensor]] = [
    nn.Linear(5, 2),
    lambda maps: maps @ SQUARE,
    lambda maps: SQUARE @ maps.mT,
    lambda maps: torch.einsum("bchw,bchv->bhwv", maps, maps),
    lambda maps: torch.einsum("bchw,vw->bcv", maps, SQUARE),
    lambda maps: functional.scaled_dot_product_attention(maps, maps, maps, scale=0.3),
    lambda maps: functional.scaled_dot_product_attention(maps, maps, maps, is_causal=True),
    lambda maps: functional.scaled_dot_product_attention(maps, maps, maps, torch.eye(4).bool()),
    lambda maps: functional.scaled_dot_product_attention(maps, maps, maps, maps @ maps.mT),
    nn.LayerNorm((4, 5)),
    lambda maps: functional.layer_norm(maps, (5,), bias=torch.ones(5)),
    nn.GroupNorm(1, 3),
    nn.InstanceNorm2d(3, affine=True),
    nn.RMSNorm(5),
    lambda maps: maps.softmax(dim=1).log_softmax(dim=2),
    lambda maps: maps.mean((1, 3)) + maps.sum((1, 3)) + maps.amax((1, 3)) - maps.amin((1, 3)),
    lambda maps: maps.max(dim=2).values.min(dim=1, keepdim=True)[0],
    lambda maps: maps.var(dim=1, unbiased=False) + maps.std((1,)),
    lambda maps: functional.normalize(maps, dim=1) + maps.norm(p=1, dim=2, keepdim=True),
    lambda maps: maps.flatten(1).logsumexp(1, keepdim=True),
]


def test_what_is_summed_is_torchs() -> None:
    network = Sums(*FUNCTIONS).eval()
    program = lower(network, (3, 4, 5))
    images = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = program.run(images, program.weights(network.state_dict()))[-1]
        assert torch.allclose(found, network(images), atol=1e-5)


def test_attention_is_there_to_be_seen() -> None:
    made = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    network = Sums(lambda maps: made(maps[:, 0], maps[:, 0], maps[:, 0])[0])
    shares = [each for each in lower(network, (1, 6, 8)).operations if each.kind == "softmax"]
    assert [each.shape for each in shares] == [(2, 6, 6)]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (
            nn.BatchNorm2d(3, track_running_stats=False),
            "needs a batch norm with running statistics|cannot run",
        ),
        (lambda maps: functional.linear(maps, maps[0, 0]), "needs fixed weights of a linear layer"),
        (lambda maps: maps.norm(p=3, dim=1), "orders? of? ?1 and 2|order 1 and 2, not 3"),
        (
            lambda maps: functional.scaled_dot_product_attention(maps, maps, maps, dropout_p=0.5),
            "without dropout",
        ),
    ],
)
def test_what_is_not_is_refused_in_words(function: Callable[[Tensor], Tensor], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        lower(Sums(function).eval(), (3, 4, 5))

"""Functions that move numbers become operations that move the same ones, or are refused in words."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.pad.program import lower


class Moves(nn.Module):
    """Functions of maps (B, 3, 4, 5), what they give side by side."""

    def __init__(self, *functions: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([function(images).flatten(1) for function in self.functions], dim=1)


ORDER = torch.tensor([2, 0, 1, 1])


FUNCTIONS: list[Callable[[Tensor], Tensor]] = [
    lambda maps: maps[:, 1:, ::2, -3:],
    lambda maps: maps[:, -1],
    lambda maps: maps.permute(2, 0, 3, 1).transpose(0, 1),
    lambda maps: torch.cat(maps.split((1, 2), dim=1)[::-1], dim=1),
    lambda maps: torch.stack(maps.unbind(2), dim=1),
    lambda maps: torch.cat([part + at for at, part in enumerate(maps.chunk(3, dim=3))], dim=3),
    lambda maps: maps[:, :, None].expand(-1, -1, 2, -1, -1) + 1,
    lambda maps: maps.repeat(1, 2, 1, 3),
    lambda maps: maps.repeat_interleave(2, dim=2),
    lambda maps: maps.roll((1, -2), dims=(2, 3)).flip(1, 3),
    lambda maps: maps.flatten(1).roll(7),
    lambda maps: maps[:, ORDER],
    lambda maps: maps[:, :, ORDER[:, None], ORDER],
    lambda maps: maps.index_select(3, ORDER),
    lambda maps: maps.unfold(2, 2, 1),
    lambda maps: torch.cat([torch.zeros_like(maps), torch.ones(1, 3, 4, 5), maps], dim=1),
]


def test_what_is_moved_is_where_torch_moves_it() -> None:
    network = Moves(*FUNCTIONS)
    program = lower(network, (3, 4, 5))
    image = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    found = program.run(image, program.weights(network.state_dict()))[-1]
    assert torch.equal(found, network(image))


def test_numbers_that_do_not_move_cost_nothing() -> None:
    network = Moves(lambda maps: maps.mean((2, 3), keepdim=True).permute(0, 2, 3, 1).squeeze(1) + 0)
    kinds = [operation.kind for operation in lower(network, (3, 4, 5)).operations]
    assert "permute" not in kinds


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda maps: maps[:, :, maps[0, 0, 0].argsort()[:2] % 4], "cannot run 'sort'|int64"),
        (lambda maps: torch.nn.functional.dropout(maps), "draws no random numbers"),
        (lambda maps: maps + torch.rand(5), "draws no random numbers; 'rand' does"),
        (lambda maps: maps[:, ORDER, :, ORDER].movedim(1, 0), "that follow each other"),
    ],
)
def test_what_cannot_be_moved_is_refused_in_words(function: Callable[[Tensor], Tensor], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        lower(Moves(function), (3, 4, 5))

"""What is done around a network that someone else made."""

import pytest
import torch
from torch import nn

from pellucid.errors import UsageError
from pellucid.models.adapted import Adaptation, adaptation_of, adapted


class Handwritten(nn.Module):
    """A sigmoid that torch does not know as one."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 1 / (1 + torch.exp(-images.mean((1, 2, 3))))


def test_a_network_that_needs_nothing_stays_itself() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    assert adaptation_of(network, (1, 4, 4), 3, Adaptation()) == Adaptation()
    assert adapted(network, (1, 4, 4), 3, Adaptation()) is network


def test_a_unit_that_may_be_a_score_or_a_probability_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be told"):
        adaptation_of(Handwritten(), (1, 4, 4), 2, Adaptation())


@pytest.mark.parametrize(
    "values", [{"mean": [0.5], "std": [], "unit": ""}, {"mean": [], "std": [], "unit": "x"}]
)
def test_a_damaged_description_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"channels|not known"):
        Adaptation.from_json(values)

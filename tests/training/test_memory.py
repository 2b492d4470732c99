"""A training that does not fit in memory is refused with numbers; one that surely fits costs nothing."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.models import build
from pellucid.recipe import Recipe
from pellucid.training import memory
from pellucid.training.loop import Step, train
from pellucid.training.memory import check_memory, pictures_at_once, step_memory
from tests.toys import CLASSES, toy_splits

SPLITS = toy_splits(120, channels=3)


def network() -> nn.Module:
    return build("compact", 3, len(CLASSES), (16, 16), seed=0)


def test_a_step_stores_what_its_layers_need_for_the_backward_pass() -> None:
    layer = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 256, 3))
    fixed, per_picture = step_memory(layer, SPLITS.train.images[:4])
    picture, maps = 3 * 256 * 4, 8 * 256 * 4
    assert fixed == 5 * 4 * sum(parameter.numel() for parameter in layer.parameters())
    assert picture + 4 * maps <= per_picture <= picture + 4 * maps + 200  # channels last: `Flatten` copies


def test_measuring_changes_neither_the_network_nor_random_numbers() -> None:
    model = network().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    step_memory(model, SPLITS.train.images[:2], bfloat16=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_batch_too_large_is_refused_with_the_size_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    fixed, per_picture = step_memory(model, SPLITS.train.images[:2])
    monkeypatch.setattr(memory, "available_memory", lambda: fixed + 40 * per_picture)
    recipe = Recipe(batch_size=64, precision="float32")
    with pytest.raises(UsageError, match=r"on 64 pictures of 3x16x16 .*up to `batch_size=40` fits"):
        check_memory(model, SPLITS.train, recipe)
    check_memory(model, SPLITS.train, Recipe(batch_size=40, precision="float32"))
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    with pytest.raises(UsageError, match="not even one picture fits"):
        check_memory(model, SPLITS.train, recipe)


def test_what_surely_fits_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> tuple[int, int]:
        raise AssertionError("measured")

    monkeypatch.setattr(memory, "step_memory", never)
    for available in (None, 1 << 40):
        monkeypatch.setattr(memory, "available_memory", lambda available=available: available)
        check_memory(network(), SPLITS.train, Recipe())


class Watched(nn.Module):
    """A network without batch norm or dropout that notes how many pictures go through it at once."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 4)
            )
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():
            self.seen.append(len(images))
        scores: Tensor = self.layers(images)
        return scores


@pytest.mark.parametrize(
    "settings", [{}, {"balance": "weights"}, {"augment": "mixup"}, {"label_smoothing": 0.1}]
)
def test_a_batch_whose_step_would_store_too_much_is_worked_through_in_parts_to_the_same_update(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    recipe = Recipe(batch_size=30, epochs=1, precision="float32", optimizer="adam", threads=1, augment="none")
    recipe = replace(recipe, **settings)
    whole, parted = Watched(), Watched()
    sets = SPLITS.train, SPLITS.validation
    losses = [[event.loss for event in train(whole, *sets, recipe) if isinstance(event, Step)]]
    _, per_picture = step_memory(Watched(), SPLITS.train.images[:2])
    for name in ("STEP_BYTES", "PART_BYTES"):
        monkeypatch.setattr(memory, name, 8 * per_picture)
    losses.append([event.loss for event in train(parted, *sets, recipe) if isinstance(event, Step)])
    seen = [count for count in parted.seen if count > 2]  # two were measured
    assert max(whole.seen) == 30
    assert max(seen) == 8
    assert sum(seen) == len(SPLITS.train)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    for name, tensor in whole.state_dict().items():
        assert torch.allclose(parted.state_dict()[name], tensor, atol=1e-4), name


def test_how_a_batch_is_parted_does_not_depend_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    _, per_picture = step_memory(model, SPLITS.train.images[:2])
    monkeypatch.setattr(memory, "STEP_BYTES", 12 * per_picture)
    monkeypatch.setattr(memory, "PART_BYTES", 10 * per_picture + 1)
    for available in (None, 1 << 20, 1 << 40):
        monkeypatch.setattr(memory, "available_memory", lambda available=available: available)
        assert pictures_at_once(model, SPLITS.train.images, 64, bfloat16=False) == 10
        assert pictures_at_once(model, SPLITS.train.images, 12, bfloat16=False) == 12
    for name in ("STEP_BYTES", "PART_BYTES"):
        monkeypatch.setattr(memory, name, 1)
    assert pictures_at_once(model, SPLITS.train.images, 64, bfloat16=False) == 2

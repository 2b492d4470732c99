"""Damage is what its name says, the same every time, and what it costs is told only beyond chance."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.data.preprocess import Preprocess
from pellucid.evaluation import stress as module
from pellucid.evaluation.metrics import wilson
from pellucid.evaluation.stress import (
    DAMAGES,
    Stress,
    affordable_pictures,
    blurred,
    covered,
    paled,
    rotated,
    shifted,
)
from pellucid.evaluation.stress import stress as damage
from pellucid.formatting import percent

SIDE = 16


class Bright(nn.Module):
    """Says "left" or "right" by which half of a picture is brighter, whatever happens in each half."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Conv2d(1, 2, (SIDE, SIDE), bias=False)
        with torch.no_grad():
            self.weight.weight.zero_()
            self.weight.weight[0, :, :, : SIDE // 2] = 1
            self.weight.weight[1, :, :, SIDE // 2 :] = 1

    def forward(self, images: Tensor) -> Tensor:
        return self.weight(images).flatten(1)


def halves(count: int = 240) -> Dataset:
    """A white square in the left or the right half of a black picture, at the middle line."""
    images = torch.zeros(count, 1, SIDE, SIDE, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    for number, label in enumerate(labels.tolist()):
        images[number, :, 5:11, 3 + 5 * label : 8 + 5 * label] = 200
    images += torch.randint(0, 20, images.shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return Dataset(images, labels, ("left", "right"), [f"halves/{number}" for number in range(count)])


CLASSIFIER = Classifier(Bright().eval(), ("left", "right"), Preprocess(1, SIDE, SIDE), "bright")


@pytest.fixture(scope="module")
def found() -> Stress:
    return damage(CLASSIFIER, halves(), seed=3)


def test_only_what_moves_or_hides_the_half_costs_accuracy(found: Stress) -> None:
    assert found.undamaged.value == 1
    assert (found.count, found.available) == (240, 240)
    curves = {curve.damage: curve for curve in found.curves}
    assert list(curves) == list(DAMAGES)
    for name in ("rotation", "smaller", "contrast"):
        assert curves[name].first_loss is None, name
        assert curves[name].points[-1].accuracy.value > 0.98
    assert curves["shift"].first_loss is not None
    for curve in found.curves:
        for point in curve.points:
            share = point.correct / 240
            assert point.accuracy.value == share
            assert point.accuracy.interval == pytest.approx(wilson(share, 240))
            assert point.lower == (point.p_value < 0.05)
            assert len(point.turned) == min(6, 240 - point.correct)
            assert all(
                not picture.correct and picture.prediction != picture.label for picture in point.turned
            )
    assert "shifted by" in found.verdict
    worst = min(point.accuracy.value for curve in found.curves for point in curve.points if point.lower)
    assert f"; {percent(worst, count=found.count)} right against " in found.remark
    assert found.to_json()["curves"]["contrast"][0]["accuracy"] == 1


def test_the_same_seed_damages_the_same_pictures_in_the_same_way(found: Stress) -> None:
    again = damage(CLASSIFIER, halves(), seed=3)
    assert again.to_json() == found.to_json()
    for curve, other in zip(found.curves, again.curves, strict=True):
        for point, same in zip(curve.points, other.points, strict=True):
            assert torch.equal(point.example.image, same.example.image)
    other = damage(CLASSIFIER, halves(), seed=4)
    assert [c.points[-1].correct for c in other.curves] != [c.points[-1].correct for c in found.curves]


def test_a_sample_is_drawn_once_and_has_each_class_in_its_share() -> None:
    found = damage(CLASSIFIER, halves(), pictures=60)
    examples = {point.example.index for curve in found.curves for point in curve.points}
    assert found.count == 60
    assert len(examples) == 1
    assert all(len(curve.points) == 2 for curve in found.curves)  # few pictures, every second strength


def test_the_count_follows_from_the_network_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert affordable_pictures(CLASSIFIER, halves(4)) == 1000
    passes = sum(len(each.strengths) for each in DAMAGES.values())
    monkeypatch.setattr(module, "MAX_MULTIPLY_ADDS", 300 * passes * 2 * SIDE * SIDE)
    assert affordable_pictures(CLASSIFIER, halves(4)) == 300
    monkeypatch.setattr(module, "MAX_MULTIPLY_ADDS", 40 * passes * 2 * SIDE * SIDE)
    found = damage(CLASSIFIER, halves())  # too large for 50 pictures at two strengths: one
    assert found.count == 50
    assert [len(curve.points) for curve in found.curves] == [1] * len(DAMAGES)


def test_groups_that_lose_together_count_once() -> None:
    dataset = halves(240)
    grouped = replace(dataset, groups=[f"{number // 60}" for number in range(240)])
    unharmed = damage(CLASSIFIER, grouped)
    assert unharmed.verdict == "No damage that was tried is shown to lower accuracy."
    assert unharmed.remark == ""


def test_each_damage_does_what_it_is_called() -> None:
    draws = torch.Generator().manual_seed(0)
    dot = torch.zeros(8, 1, 20, 20)
    dot[:, :, 10, 10] = 1
    moved = shifted(dot, 20, draws)
    assert moved.flatten(1).sum(dim=1).tolist() == pytest.approx([1] * 8)
    for picture in moved:
        _, row, column = torch.nonzero(picture > 0.9)[0].tolist()
        assert 3 <= ((row - 10) ** 2 + (column - 10) ** 2) ** 0.5 <= 5
    quarter = rotated(dot, 90, draws)
    assert ((quarter > 0.9).flatten(1).sum(dim=1) == 1).all()
    soft = blurred(dot, 10, draws)
    assert soft.sum().item() == pytest.approx(8, rel=1e-3)
    assert soft.max() < 0.1
    picture = torch.rand(3, 3, 20, 20, generator=draws)
    assert paled(picture, 100, draws).flatten(1).std(dim=1).max() < 1e-5
    hidden = (covered(picture, 25, draws) != picture).any(dim=1).double().mean(dim=(1, 2))
    assert hidden.tolist() == pytest.approx([0.25] * 3, abs=0.06)

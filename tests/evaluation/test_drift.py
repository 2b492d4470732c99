"""Samples of one kind are rarely called different; those that differ are, and in words that are so."""

import math
from dataclasses import fields, replace

import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import chi2_contingency
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.evaluation.drift import Drift, drift, energy_p_value
from pellucid.evaluation.novelty import PictureSample, Reference

CLASSES = ("bar", "box", "cross")


def pictures(count: int, generator: torch.Generator) -> PictureSample:
    """A sample as a network might see it, its pictures independent of each other."""
    return PictureSample(
        torch.randn(count, 6, generator=generator).half(),
        torch.rand(count, generator=generator),
        torch.randint(0, 3, (count,), generator=generator).int(),
        torch.rand(count, generator=generator),
        torch.rand(count, 3, generator=generator) * 100,
    )


def compared(known: PictureSample, new: PictureSample) -> Drift:
    return drift(Reference(torch.zeros(1, 2), torch.zeros(2), torch.zeros(2, 6), known), new, CLASSES)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.slow
def test_samples_of_one_kind_are_called_different_in_at_most_5_of_100_cases(
    generator: torch.Generator,
) -> None:
    count = sum(compared(pictures(150, generator), pictures(60, generator)).found for _ in range(200))
    assert count <= 10 + 3 * math.sqrt(200 * 0.05 * 0.95)


def test_one_kind_shows_no_difference_and_says_so(generator: torch.Generator) -> None:
    found = compared(pictures(200, generator), pictures(100, generator))
    assert not found.found
    assert found.sentence == "No difference shown: 100 pictures, compared with 200 held out of training."
    assert found.interval[0] <= found.unlike / 100 <= found.interval[1]
    assert [test.name for test in found.tests if test.p < 0.01] == []
    assert compared(pictures(50, generator), pictures(50, generator)).to_json()["level"] == 0.05


def changed(new: PictureSample, name: str) -> PictureSample:
    values: dict[str, Tensor] = {each.name: getattr(new, each.name) for each in fields(new)}
    appearance = new.appearance.clone()
    if name == "features":
        return replace(new, components=new.components + 0.6)
    if name == "unlike":
        return replace(new, distances=torch.where(torch.arange(len(new)) < 20, 2.0, values["distances"]))
    if name == "predictions":
        return replace(new, predictions=torch.where(new.predictions == 0, 1, new.predictions))
    if name == "confidence":
        return replace(new, confidence=new.confidence / 2)
    appearance[:, ("brightness", "contrast", "sharpness").index(name)] *= 0.6
    return replace(new, appearance=appearance)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("features", "In the last hidden layer they lie elsewhere"),
        ("unlike", "More of them are unlike anything taught: 2"),
        ("predictions", "It predicts 'box' more often"),
        ("confidence", "It is less confident: 2"),
        ("brightness", "They are darker: mean brightness "),
        ("contrast", "They have less contrast: "),
        ("sharpness", "They are blurred: "),
    ],
)
def test_each_way_to_differ_is_found_and_named(name: str, words: str, generator: torch.Generator) -> None:
    known, new = pictures(400, generator), changed(pictures(100, generator), name)
    found = compared(known, new)
    assert [test.name for test in found.differences] == [name]
    assert found.differences[0].sentence.startswith(words)
    assert found.sentence.startswith("These pictures differ in one way from those it was taught on: 100")
    again = compared(known, new)
    assert again == found


def test_p_values_are_corrected_as_holm_did(generator: torch.Generator) -> None:
    found = compared(pictures(100, generator), changed(pictures(80, generator), "brightness"))
    values = [test.p for test in found.tests]
    assert values == sorted(values)
    steps = [min(1.0, (7 - place) * p) for place, p in enumerate(values)]
    expected = [max(steps[: place + 1]) for place in range(7)]
    assert [test.adjusted for test in found.tests] == pytest.approx(expected)
    assert [test.found for test in found.tests] == [p <= 0.05 for p in expected]


def test_the_energy_distance_is_the_sum_of_its_definition() -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randn(30, 4, generator=generator), torch.randn(20, 4, generator=generator) + 0.25

    def energy(one: Tensor, other: Tensor) -> float:
        return float(2 * cdist(one, other).mean() - cdist(one, one).mean() - cdist(other, other).mean())

    pooled, draws = torch.cat([first, second]), torch.Generator().manual_seed(2)
    orders = [torch.randperm(50, generator=draws) for _ in range(2000)]
    beyond = sum(energy(pooled[order[:30]], pooled[order[30:]]) >= energy(first, second) for order in orders)
    expected = (1 + beyond) / 2001
    spread = math.sqrt(expected * (1 - expected) * (1 / 2000 + 1 / 999))
    assert 0.01 < expected < 0.9
    assert energy_p_value(first, second) == pytest.approx(expected, abs=4 * spread)


def test_predictions_are_judged_by_chi_square(generator: torch.Generator) -> None:
    known, new = pictures(500, generator), pictures(300, generator)
    moved = torch.rand(300, generator=generator) < 0.1
    new = replace(new, predictions=torch.where(moved, 2, new.predictions).int())
    counts = [torch.bincount(sample.predictions.long(), minlength=3).tolist() for sample in (known, new)]
    (ours,) = (test.p for test in compared(known, new).tests if test.name == "predictions")
    assert ours == pytest.approx(float(chi2_contingency(counts).pvalue), abs=0.04)


def test_too_few_pictures_are_refused(generator: torch.Generator) -> None:
    with pytest.raises(UsageError, match=r"Expected at least 10 pictures to compare .* got 9"):
        compared(pictures(100, generator), pictures(9, generator))

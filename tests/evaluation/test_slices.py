"""A slice counts as weak only beyond chance among all slices, and a truly weak one is found."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import fisher_exact
from torch import Tensor

from pellucid.data.dataset import Dataset, FileHeader, Origin
from pellucid.errors import UsageError
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.metrics import wilson
from pellucid.evaluation.slices import MIN_PICTURES, folder_of, measures, slices

Judged = tuple[Evaluation, Dataset]


def judged(right: Tensor, *, images: Tensor | None = None, sources: list[str] | None = None) -> Judged:
    """Pictures of two classes, of which these (N,) are predicted correctly."""
    count = len(right)
    labels = torch.arange(count) % 2
    images = torch.zeros(count, 1, 4, 4, dtype=torch.uint8) if images is None else images
    sources = sources or [str(number) for number in range(count)]
    probabilities = torch.eye(2)[torch.where(right, labels, 1 - labels)]
    return (
        Evaluation(probabilities, labels, ("a", "b"), sources),
        Dataset(images, labels, ("a", "b"), sources),
    )


def column(values: object, sources: object) -> dict[str, str]:
    return dict(zip(sources, map(str, values), strict=True))  # type: ignore[call-overload]


@pytest.mark.parametrize("people", [0, 60])
def test_slices_that_mean_nothing_are_not_called_weak(people: int) -> None:
    draws = np.random.default_rng(5)
    sets, called, uncorrected = 40, 0, 0
    for _ in range(sets):
        of = draws.integers(people, size=600) if people else np.arange(600)
        _, of = np.unique(of, return_inverse=True)
        share = draws.beta(9 / 4, 1 / 4, size=of.max() + 1) if people else np.full(600, 0.9)
        evaluation, dataset = judged(torch.tensor(draws.random(600) < share[of]))
        if people:
            evaluation = replace(evaluation, groups=torch.tensor(of))
        columns = {
            f"{number}": column(draws.integers(5, size=of.max() + 1)[of], dataset.sources)
            for number in range(4)
        }
        found = slices(evaluation, dataset, columns=columns)
        assert len(found) == 20
        called += bool(found.weak)
        uncorrected += min(each.p_value for each in found.slices) < 0.05 * 20
    assert called <= 0.1 * sets
    assert people or uncorrected > 0.3 * sets  # so that there was something to correct


def test_a_weak_slice_is_found_named_and_counted() -> None:
    draws = np.random.default_rng(1)
    night = np.arange(800) < 120
    right = torch.tensor(draws.random(800) < np.where(night, 0.75, 0.96))
    images = torch.randint(0, 40, (800, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    images[~night] += 180
    evaluation, dataset = judged(
        right,
        images=images.to(torch.uint8),
        sources=[f"{'night' if dark else 'day'}/{number}.png" for number, dark in enumerate(night)],
    )
    found = slices(evaluation, dataset)
    weak = {each.title: each for each in found.weak}
    each = weak["folder: night"]
    assert (each.count, each.correct) == (120, int(right[:120].sum()))
    assert each.indices.tolist() == list(range(120))
    assert each.accuracy.interval == pytest.approx(wilson(each.correct / 120, 120))
    assert each.rest == pytest.approx(float(right[120:].double().mean()))
    assert any(title.startswith("brightness ") for title in weak)
    assert "folder: night" in found.verdict
    assert found.remark.startswith(f"Worse than the rest beyond chance: {found.weak[0].title}, ")
    assert found.to_json()["remark"] == found.remark
    table = [[each.correct, 120 - each.correct], [int(right[120:].sum()), int((~right[120:]).sum())]]
    assert each.p_value == pytest.approx(
        min(1, fisher_exact(table, "less").pvalue * len(found)), rel=1e-6
    ) or each.p_value <= fisher_exact(table, "less").pvalue * len(found)
    assert not any(other.weak for other in found.slices if other.value == "day")
    told = found.to_json()
    assert {row["value"] for row in told["slices"] if row["weak"] and row["measure"] == "folder"} == {"night"}


def test_of_one_patient_nothing_is_said_of_others() -> None:
    right = torch.ones(400, dtype=torch.bool)
    right[:40] = False  # all pictures of one of 20 patients
    evaluation, dataset = judged(right)
    hospital = {"hospital": column(np.arange(400) // 40, dataset.sources)}
    assert [each.value for each in slices(evaluation, dataset, columns=hospital).weak] == ["0"]
    grouped = replace(evaluation, groups=torch.arange(400) // 20)
    grouped.groups[:40] = 0  # type: ignore[index]
    grouped = replace(evaluation, groups=torch.unique(grouped.groups, return_inverse=True)[1])
    assert slices(grouped, dataset, columns=hospital).weak == []
    few = replace(evaluation, groups=torch.arange(400) // 80)
    assert slices(few, dataset, columns=hospital).weak == []


def test_measures_are_what_they_are_called() -> None:
    flat = torch.full((1, 1, 10, 10), 100, dtype=torch.uint8)
    drawn = torch.zeros(1, 1, 10, 10, dtype=torch.uint8)
    drawn[:, :, 3:7, 3:8] = 200
    soft = torch.nn.functional.avg_pool2d(drawn.float(), 3, 1, 1).to(torch.uint8)
    found = measures(torch.cat([flat, drawn, 255 - drawn, soft]))
    assert found["brightness"].tolist()[:3] == [100, 40, 215]
    assert found["contrast"][0] == 0
    assert found["contrast"][1] == pytest.approx(drawn.double().std(correction=0).item())
    assert found["ink"].tolist()[:3] == [0, 20, 20]
    assert found["sharpness"][0] == 0 < found["sharpness"][3] < found["sharpness"][1]
    colour = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    colour[:, 1] = 255
    assert measures(colour)["brightness"].item() == pytest.approx(255 * 0.587, rel=1e-5)


def test_folders_are_those_below_the_class_or_the_parent() -> None:
    assert folder_of("train/cat/night/1.jpg", "cat") == "night"
    assert folder_of("cat/1.jpg", "cat") == ""
    assert folder_of("hospital_a/1.png", "cat") == "hospital_a"
    assert folder_of("hospital_a/1.png#1,2,3,4", "cat") == "hospital_a"
    assert folder_of("1.png", "cat") == ""


def test_numbers_are_cut_into_equal_parts_and_what_is_unknown_is_left_out() -> None:
    evaluation, dataset = judged(torch.ones(500, dtype=torch.bool))
    ages = {source: "" if number < 100 else str(number % 90) for number, source in enumerate(dataset.sources)}
    sizes = tuple(
        FileHeader(100 + number % 50, 10, "L", 1000, source) for number, source in enumerate(dataset.sources)
    )
    names = {source: str(number) for number, source in enumerate(dataset.sources) if number < 30}
    columns = {"age": ages, "name": {source: f"of {name}" for source, name in names.items()}}
    found = slices(evaluation, dataset, Origin(headers=sizes, columns={"age": ages}), columns=columns)
    by_age = [each for each in found.slices if each.measure == "age"]
    assert len(by_age) == 5
    assert sum(each.count for each in by_age) == 400
    assert max(each.count for each in by_age) - min(each.count for each in by_age) <= 10
    assert by_age[0].title.startswith("age 0 to ")
    assert by_age[0].value[0] == 0
    by_size = [each for each in found.slices if each.measure == "size"]
    assert [each.count for each in by_size] == [100] * 5
    assert by_size[0].title == "size of the original 1,000 to 1,090 pixels"
    assert found.too_few == ("name",)
    assert "brightness" not in {each.measure for each in found.slices}  # all pictures are alike


def test_a_folder_that_is_the_class_is_left_to_the_class_scores() -> None:
    right = torch.ones(100, dtype=torch.bool)
    evaluation, dataset = judged(right, sources=[f"{'xy'[number % 2]}/{number}.png" for number in range(100)])
    assert {each.measure for each in slices(evaluation, dataset).slices} == set()
    assert str(slices(evaluation, dataset).verdict) == "Too few test pictures to compare slices of them."
    assert slices(evaluation, dataset).remark == ""


def test_few_pictures_and_other_pictures_are_refused_in_words() -> None:
    evaluation, dataset = judged(torch.ones(MIN_PICTURES, dtype=torch.bool))
    assert len(slices(evaluation, dataset)) == 0
    with pytest.raises(UsageError, match="these 5 are others"):
        slices(evaluation, dataset[:5])

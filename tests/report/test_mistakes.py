"""Mistakes are shown whole, however many or few there are."""

import json
import re
from pathlib import Path

import pytest
import torch

from pellucid.data.dataset import Dataset, Origin, Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.recipe import Recipe
from pellucid.report import report
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from tests.pages import Elements


def invented(made: tuple[Run, Splits, Evaluation], count: int, *, right: float = 0.5) -> report.ReportContext:
    """`count` test pictures of noise with invented answers, about a share `right` of them correct."""
    run, splits, _ = made
    generator = torch.Generator().manual_seed(1)
    number = len(splits.test.classes)
    labels = torch.randint(0, number, (count,), generator=generator)
    images = torch.randint(
        0, 256, (count, *splits.test.images.shape[1:]), dtype=torch.uint8, generator=generator
    )
    test = Dataset(images, labels, splits.test.classes, [f"noise/{n}" for n in range(count)])
    answers = torch.where(torch.rand(count, generator=generator) < right, labels, (labels + 1) % number)
    scores = torch.rand(count, number, generator=generator)
    scores[torch.arange(count), answers] += 2
    evaluation = Evaluation(scores.softmax(dim=1), labels, test.classes, test.sources)
    return report.ReportContext(run, Splits(splits.train, splits.validation, test), evaluation)


def test_ten_thousand_pictures_and_many_mistakes_stay_under_five_megabytes(
    made: tuple[Run, Splits, Evaluation],
) -> None:
    page = report.render(invented(made, 10_000))
    assert "could not be made" not in page
    assert len(page.encode()) < 5_000_000
    listed = re.search(r'<script type="application/json" id="listed">(.*?)</script>', page)
    assert listed is not None
    facts = json.loads(listed[1])
    assert len(facts["index"]) == len(facts["position"]) == len(facts["source"]) > 4_000
    assert facts["label"] != facts["prediction"]


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_nothing_right_and_nothing_wrong_can_be_shown(
    made: tuple[Run, Splits, Evaluation], right: float
) -> None:
    page = report.render(invented(made, 40, right=right))
    assert "could not be made" not in page
    assert ("no mistakes</a>" in page) == (right == 1.0)
    assert ('id="listed"' in page) == (right == 0.0)


def test_many_classes_become_a_list_of_pairs_and_colour_is_shown(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(2)
    classes = tuple(f"class {n}" for n in range(40))
    labels = torch.arange(120) % 40
    parts = [
        Dataset(
            torch.randint(0, 256, (120, 3, 12, 10), dtype=torch.uint8, generator=generator),
            labels, classes, [f"{part}/{n}" for n in range(120)],
        )
        for part in ("train", "validation", "test")
    ]  # fmt: skip
    splits = Splits(*parts)
    run = fit(
        splits.train, splits.validation, Recipe(epochs=1), folder=tmp_path / "run", origin=Origin("many")
    )
    page = report.render(report.ReportContext(run, splits, run.evaluate(splits.test)))
    assert "could not be made" not in page
    assert '<table class="matrix' not in page
    assert '<ol class="pairs">' in page
    assert "10 × 12 pixels, colour, 40 classes" in " ".join(Elements(page).text.split())

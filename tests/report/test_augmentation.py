"""The report shows what augmentation made of pictures, and macro scores where classes are uneven."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.data.dataset import Origin, Splits
from pellucid.evaluation.evaluation import Evaluation, evaluate
from pellucid.report.augmentation import MAX_PICTURES, preview
from pellucid.report.context import ReportContext
from pellucid.report.report import render
from pellucid.runs.fit import fit
from pellucid.training.loop import first_batch
from tests.pages import Elements
from tests.toys import CLASSES, QUICK, economical, toy_splits


@pytest.fixture(autouse=True)
def cheaply() -> Iterator[None]:
    with economical():
        yield


def context(folder: Path, augment: str, splits: Splits | None = None) -> ReportContext:
    splits = splits or toy_splits(120, channels=3)
    recipe = replace(QUICK, epochs=1, augment=augment)
    run = fit(splits.train, splits.validation, recipe, folder=folder, origin=Origin("toys"))
    return ReportContext(run, splits, run.evaluate(splits.test))


def test_the_first_pictures_are_shown_as_they_are_and_as_they_were_trained_on(tmp_path: Path) -> None:
    made = context(tmp_path / "run", "shift,cutmix")
    shown = preview(made)
    assert shown is not None
    batch, images, targets = first_batch(made.splits.train, made.run.recipe)
    assert len(shown.before) == len(shown.after) == MAX_PICTURES
    labels = made.splits.train.labels[batch[:MAX_PICTURES]].tolist()
    assert [picture.labels for picture in shown.before] == [[CLASSES[label]] for label in labels]
    for picture, target in zip(shown.after, targets, strict=False):
        shares = {words.split(" % ")[1]: int(words.split(" % ")[0]) for words in picture.labels}
        assert shares == {
            c: round(s * 100) for c, s in zip(CLASSES, target.tolist(), strict=True) if s > 0.005
        }
    assert not torch.equal(
        images[:MAX_PICTURES] * 255, made.splits.train.images[batch[:MAX_PICTURES]].float()
    )
    assert [name for name, _ in shown.descriptions] == ["shift", "cutmix"]


def test_without_augmentation_there_is_nothing_to_show(tmp_path: Path) -> None:
    assert preview(context(tmp_path / "run", "none")) is None


def test_the_page_shows_the_preview_with_names_as_text(tmp_path: Path) -> None:
    splits = toy_splits(120, channels=3)
    hostile = ("<b>bar", *CLASSES[1:])
    splits = Splits(*(replace(part, classes=hostile) for _, part in splits.items()))
    page = render(context(tmp_path / "run", "flip,colour", splits))
    assert "before and after augmentation" in page
    assert page.count("px a-augmented") == 2 * MAX_PICTURES
    assert "<b>bar" not in page
    assert "could not be made" not in page


def test_scores_that_count_classes_alike_stand_in_the_verdict_where_they_are_uneven(tmp_path: Path) -> None:
    made = context(tmp_path / "run", "none")
    assert "Counting every class equally:" not in render(made)
    kept = [n for n, label in enumerate(made.splits.test.labels.tolist()) if label or n % 3 == 0]
    fewer = made.splits.test.subset(torch.tensor(kept))
    uneven: Evaluation = evaluate(made.run.classifier, fewer)
    assert uneven.uneven
    page = render(ReportContext(made.run, Splits(made.splits.train, made.splits.validation, fewer), uneven))
    assert f"macro F1 {uneven.macro_f1:.3f}" in page
    assert "Counting every class equally:" in page
    assert ". Counting every class equally:" in " ".join(Elements(page).text.split())

"""A classifier that was just trained gets the temperature of its held-out pictures, or stays at 1."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.evaluation.calibration import fit_temperature
from pellucid.evaluation.precision_recall import chosen_thresholds
from pellucid.models import build
from pellucid.runs.calibrate import calibrated
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from pellucid.task import SeveralLabels
from tests.toys import CLASSES, QUICK, toy_dataset, toy_splits

GIVEN = Classifier(build("tutorial", 1, 4, (16, 16), seed=0), CLASSES, Preprocess(1, 16, 16), "tutorial")


def scores_of(dataset: Dataset, spread: float = 4.0) -> torch.Tensor:
    noise = torch.randn(len(dataset), 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.one_hot(dataset.labels, 4) * spread + noise * spread / 2


def test_the_loss_falls_and_no_answer_changes() -> None:
    pictures = toy_dataset(400)
    logits = scores_of(pictures, 0.4)
    found = calibrated(GIVEN, logits, pictures, held_out="validation")
    assert found.classifier.temperature == fit_temperature(logits, pictures.labels) < 0.5
    assert found.fit.loss_after < found.fit.loss_before
    assert found.fit.error_after < found.fit.error_before
    assert (found.fit.held_out, found.fit.pictures, found.fit.reason) == ("validation", 400, "")
    assert torch.equal(found.evaluation.predictions, logits.argmax(dim=1))
    assert found.fit.loss_after == found.evaluation.loss


def test_with_too_few_pictures_it_stays_1_and_says_so() -> None:
    pictures = toy_dataset(49)
    found = calibrated(GIVEN, scores_of(pictures), pictures, held_out="validation")
    assert found.classifier.temperature == 1
    assert (found.fit.pictures, found.fit.reason) == (49, "too few pictures")
    assert found.fit.loss_before == found.fit.loss_after > 0


def test_scores_that_are_not_finite_leave_it_at_1() -> None:
    pictures = toy_dataset(200)
    logits = scores_of(pictures)
    logits[7, 2] = torch.nan
    found = calibrated(GIVEN, logits, pictures, held_out="validation")
    assert (found.classifier.temperature, found.fit.reason) == (1, "scores are not finite")


def test_each_fold_is_judged_at_the_temperature_of_the_others() -> None:
    pictures = toy_dataset(300)
    folds, logits = torch.arange(300) % 3, scores_of(pictures)
    logits[folds == 1] *= 5  # would be found out by its own pictures
    found = calibrated(GIVEN, logits, pictures, held_out="folds", folds=folds)
    for fold in range(3):
        own = fit_temperature(logits[folds != fold], pictures.labels[folds != fold])
        expected = (logits[folds == fold] / own).softmax(dim=1)
        assert torch.equal(found.evaluation.probabilities[folds == fold], expected)
    assert found.classifier.temperature == fit_temperature(logits, pictures.labels)


def test_several_labels_keep_their_decisions() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 4, generator=generator)
    labels = torch.rand(300, 4, generator=generator) < (logits * 3).sigmoid()
    pictures = Dataset(toy_dataset(300).images, labels, CLASSES, [f"{n}" for n in range(300)])
    several = replace(GIVEN, task=SeveralLabels((0.5,) * 4))
    found = calibrated(several, logits, pictures, held_out="validation")
    assert 0.2 < found.classifier.temperature < 0.5
    plain = chosen_thresholds(logits.sigmoid(), labels).predictions(logits.sigmoid())
    assert torch.equal(found.evaluation.predictions, plain)
    assert found.fit.loss_after < found.fit.loss_before


def test_a_run_keeps_its_temperature_and_answers_by_it(tmp_path: Path) -> None:
    splits = toy_splits(400)
    run = fit(splits.train, splits.validation, replace(QUICK, label_smoothing=0.1), folder=tmp_path / "run")
    again = Run.open(tmp_path / "run")
    logits = run.classifier.logits(splits.validation.images)
    assert run.classifier.temperature == fit_temperature(logits, splits.validation.labels) != 1
    assert again.classifier.temperature == run.classifier.temperature
    assert again.calibration == run.calibration
    assert (run.calibration.held_out, run.calibration.pictures) == ("validation", len(splits.validation))
    held_out = again.held_out()
    probabilities = run.classifier.predict(splits.validation.images)
    assert torch.equal(held_out.confidence, probabilities.amax(dim=1))
    assert torch.equal(held_out.right, probabilities.argmax(dim=1) == splits.validation.labels)
    threshold = again.threshold(coverage=0.5)
    assert threshold.answered >= len(splits.validation) / 2
    assert again.prediction_sets(0.9).pictures == len(splits.validation)
    for words in ({}, {"coverage": 0.5, "max_error": 0.1}):
        with pytest.raises(UsageError, match="Expected either a coverage or a largest error"):
            again.threshold(**words)
    (tmp_path / "run" / "held_out.csv").unlink()
    with pytest.raises(PellucidError, match=r"held_out\.csv"):
        again.threshold(coverage=0.5)


def test_the_temperature_of_a_second_training_is_that_of_the_first(tmp_path: Path) -> None:
    splits = toy_splits(400)
    first = fit(splits.train, splits.validation, QUICK, folder=tmp_path / "first")
    both = fit(splits.train, splits.validation, replace(QUICK, use_all=True), folder=tmp_path / "both")
    assert both.classifier.temperature == first.classifier.temperature != 1
    assert both.calibration == replace(first.calibration, held_out="first training")
    for name in ("right", "confidence", "label_probability"):
        assert torch.equal(getattr(both.held_out(), name), getattr(first.held_out(), name))

"""The temperature of a classifier that has just been trained, from the pictures held out of its training."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.evaluation.calibration import (
    LEAST_PICTURES,
    NOT_FINITE,
    TOO_FEW,
    TemperatureFit,
    fit_temperature,
)
from pellucid.evaluation.evaluation import AnyEvaluation, Evaluation
from pellucid.evaluation.intervals import groups_of
from pellucid.evaluation.multi_label import MultiLabelEvaluation
from pellucid.evaluation.precision_recall import chosen_thresholds
from pellucid.task import SeveralLabels


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A classifier with its temperature and, of several labels, their thresholds; how it came to them; and
    what it predicts of the pictures held out, those of each fold at the temperature of the other folds."""

    classifier: Classifier
    fit: TemperatureFit
    evaluation: AnyEvaluation


def calibrated(
    classifier: Classifier, logits: Tensor, dataset: Dataset, *, held_out: str, folds: Tensor | None = None
) -> Calibrated:
    """`classifier` at the temperature that suits pictures it did not learn from.

    logits    its scores of those pictures, or those of networks trained in the same way, float32 (N, K)
    held_out  what the pictures are, as in TemperatureFit
    folds     the fold of each, int64 (N,)

    Of fewer than LEAST_PICTURES, and of scores that are not finite, the temperature stays 1.
    """
    count, labels = len(dataset), dataset.labels
    if not bool(logits.isfinite().all()):
        before = _judged(classifier, classifier.task.probabilities(logits), dataset, folds)
        return Calibrated(classifier, TemperatureFit(held_out, count, NOT_FINITE), before)
    plain = _thresholded(classifier, logits, labels)
    before = _judged(plain, plain.task.probabilities(logits), dataset, folds)
    figures = before.loss, before.calibration_error
    if count < LEAST_PICTURES:
        fit = TemperatureFit(held_out, count, TOO_FEW, *(figure for figure in figures for _ in range(2)))
        return Calibrated(plain, fit, before)
    scaled = replace(classifier, temperature=fit_temperature(logits, labels))
    scaled = _thresholded(scaled, logits, labels)
    own = torch.full((count, 1), scaled.temperature)  # (N, 1): by what the scores of each picture are divided
    for fold in [] if folds is None else folds.unique().tolist():  # type: ignore[no-untyped-call]
        own[folds == fold] = fit_temperature(logits[folds != fold], labels[folds != fold])
    after = _judged(scaled, scaled.task.probabilities(logits / own), dataset, folds)
    fit = TemperatureFit(
        held_out, count, "", before.loss, after.loss, before.calibration_error, after.calibration_error
    )
    return Calibrated(scaled, fit, after)


def _thresholded(classifier: Classifier, logits: Tensor, labels: Tensor) -> Classifier:
    """With the best threshold of each label at the classifier's temperature, where there are several."""
    if not classifier.multi_label:
        return classifier
    return replace(classifier, task=chosen_thresholds(classifier.probabilities(logits), labels))


def _judged(
    classifier: Classifier, probabilities: Tensor, dataset: Dataset, folds: Tensor | None
) -> AnyEvaluation:
    facts, task = (probabilities, dataset.labels, classifier.classes, dataset.sources), classifier.task
    groups = groups_of(dataset)
    if isinstance(task, SeveralLabels):
        return MultiLabelEvaluation(*facts, task, groups)
    return Evaluation(*facts, folds, groups)

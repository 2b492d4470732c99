"""The labels of a run's pictures as its network judges them, and the table of those that look wrong."""

import math

import torch

from pellucid.data.dataset import Dataset, Splits
from pellucid.errors import UsageError
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.label_errors import (
    HELD_OUT,
    LEFT_OUT,
    OUT_OF_FOLD,
    JudgedPart,
    LabelErrors,
    judged_by_probabilities,
)
from pellucid.language import translate
from pellucid.models import PretrainedNetwork
from pellucid.recipe import refuse_unknown_keywords
from pellucid.runs.run import Run
from pellucid.runs.tables import read_margins
from pellucid.training.transfer import left_out_probabilities

MOST_LEFT_OUT = 5_000  # training pictures for which last layers are solved without them


@refuse_unknown_keywords
def label_errors(run: Run, splits: Splits | None = None) -> LabelErrors:
    """The labels that look wrong in a run's pictures: suspects to look at, none of them changed.

    splits  the run's pictures; loaded again when omitted

    Training pictures are judged by the margins kept while the network learned from them; where only the last
    layer of a pretrained network was solved, by layers solved without them. Others are judged by what the
    network says of them, and with `folds` all pictures are. The test part is judged by the evaluation that
    was saved: it is not opened for this.

    Raises UsageError where pictures can have several labels.
    """
    if run.classifier.multi_label:
        raise UsageError(
            "Labels are judged where each picture has one, and here it can have several. The report shows "
            "the mistakes of each label."
        )
    splits = run.known_parts(splits or run.splits())
    evaluation = run.evaluation()
    accuracy: float | None = run.best.val_accuracy if run.best else math.nan
    unjudged, parts = list[str](), list[JudgedPart]()
    if run.folds:
        if isinstance(evaluation, Evaluation):
            accuracy = evaluation.accuracy
            parts.append(_of_evaluation("train", OUT_OF_FOLD, evaluation))
    else:
        kept = read_margins(run.folder, run.classifier.classes) or _left_out(run, splits.train)
        parts += [part for part in kept if len(part.order)]
        if run.recipe is None:
            if len(splits.train):
                unjudged.append(
                    translate(
                        "The labels of the training pictures are not judged: the network was trained "
                        "elsewhere."
                    )
                )
        elif not parts:
            unjudged.append(
                translate(
                    "The labels of the training pictures are not judged: the network learned from them in "
                    "one step or from mixed pictures, so that no margins over epochs were kept."
                )
            )
        if run.all_pictures is None and len(splits.validation):
            probabilities = run.classifier.predict(splits.validation.images)
            held_out = splits.validation
            parts.append(
                judged_by_probabilities(
                    "validation", HELD_OUT, held_out.sources, held_out.labels, probabilities
                )
            )
        if isinstance(evaluation, Evaluation):
            parts.append(_of_evaluation("test", HELD_OUT, evaluation))
        else:
            unjudged.append(translate("The labels of the test part are not judged before it is evaluated."))
    if accuracy is not None and math.isnan(accuracy):
        accuracy = evaluation.accuracy if evaluation is not None else None
    return LabelErrors(run.classifier.classes, parts, accuracy, unjudged)


def _of_evaluation(part: str, judged_by: str, evaluation: Evaluation) -> JudgedPart:
    return judged_by_probabilities(
        part, judged_by, evaluation.sources, evaluation.labels, evaluation.probabilities
    )


def _left_out(run: Run, train: Dataset) -> list[JudgedPart]:
    """Of a pretrained network whose last layer alone was solved; none where that would take long."""
    network, settings = run.classifier.network, run.head
    if (
        not isinstance(network, PretrainedNetwork)
        or settings is None
        or (run.recipe and run.recipe.fine_tune)
    ):
        return []
    if len(train) > MOST_LEFT_OUT or int(torch.bincount(train.labels).count_nonzero()) < 2:
        return []
    probabilities = left_out_probabilities(network, train, settings, run.seed)
    return [judged_by_probabilities("train", LEFT_OUT, train.sources, train.labels, probabilities)]

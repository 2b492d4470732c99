"""The section on mistakes: what was confused with what, each beside its picture."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.metrics import Confusion
from pellucid.formatting import times
from pellucid.language import translate
from pellucid.plots.images import Atlas, zoom
from pellucid.report.context import (
    MAX_MATRIX_CLASSES,
    MAX_PICTURES_PER_CONFUSION,
    JudgedPicture,
    ReportContext,
    judged_picture,
)

MAX_SOURCE_BYTES = 300_000  # of the sources of all mistakes
MAX_MISTAKES = 200  # shown one by one
MAX_PAIRS = 200  # confusions whose pictures can be opened


@dataclass(frozen=True)
class ConfusionPictures:
    """Pictures of one label and one prediction, which a cell of the matrix opens.

    id        the HTML id of their block on the page
    count     the number of such test pictures; `pictures` are the first of them
    correct   whether label and prediction are equal
    """

    id: str
    label: str
    prediction: str
    count: int
    correct: bool
    pictures: list[JudgedPicture]


@dataclass(frozen=True)
class MatrixCell:
    """A cell of the confusion matrix.

    shade     strength of its colour, 0..1
    id        the HTML id of the block with its pictures; None where there is none
    diagonal  whether label and prediction are equal
    """

    count: int
    shade: float
    id: str | None
    diagonal: bool
    description: str


@dataclass(frozen=True)
class MistakeTable:
    """Every mistake that has a picture, as columns for report.js to sort and filter.

    columns            of the atlas that holds the pictures
    index              in the test set
    position           in the atlas, row by row
    label, prediction  indices into `classes`
    source             "" once all sources together exceed MAX_SOURCE_BYTES
    """

    classes: tuple[str, ...]
    columns: int
    index: list[int]
    position: list[int]
    label: list[int]
    prediction: list[int]
    confidence: list[float]
    label_probability: list[float]
    source: list[str]

    def to_json(self) -> dict[str, Any]:
        """The columns as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class MistakesSection:
    """What was confused with what: the matrix, its pictures, every mistake.

    zoom                    of the pictures shown one by one: pixels on the page per pixel of the atlas
    small_zoom, large_zoom  of the pictures of a confusion, and of a picture opened alone
    tile_width              of a picture in the atlas, in pixels
    mistakes                number of mistakes among the `count` test pictures
    confusions              the pairs of label and prediction confused, the commonest first
    most_confused           the pair confused most, or the two or three of which one is; none where it could
                            be any
    matrix                  rows of labels by columns of predictions; None for more than MAX_MATRIX_CLASSES
    confusion_pictures      the pictures that the cells of the matrix open
    pictures                the worst mistakes, shown without JavaScript
    table                   all mistakes, for report.js
    remark                  how the atlas was reduced; "" where it was not
    """

    atlases: Mapping[str, Atlas]
    zoom: int
    small_zoom: int
    large_zoom: int
    tile_width: int
    mistakes: int
    count: int
    confusions: list[Confusion]
    most_confused: list[Confusion]
    classes: tuple[str, ...]
    matrix: list[list[MatrixCell]] | None
    confusion_pictures: list[ConfusionPictures]
    pictures: list[JudgedPicture]
    table: MistakeTable
    remark: str

    def id_of(self, pair: Confusion) -> str:
        """The HTML id of the block with the pictures of a pair; of this section where it has none."""
        ids = {(each.label, each.prediction): each.id for each in self.confusion_pictures}
        return ids.get((pair.label, pair.prediction), "mistakes")


def gather(context: ReportContext) -> MistakesSection:
    """Compute the section from the evaluation; pictures that did not fit into the atlas are left out."""
    evaluation, pictures = context.one_class, context.pictures
    mistakes = evaluation.mistakes.tolist()  # the worst first
    opened = _confusion_pictures(context)
    return MistakesSection(
        atlases={"test": pictures.atlas},
        zoom=zoom(pictures.atlas, 84),
        small_zoom=zoom(pictures.atlas, 56),
        large_zoom=zoom(pictures.atlas, 280),
        tile_width=pictures.atlas.width,
        mistakes=len(mistakes),
        count=evaluation.count,
        confusions=evaluation.confusions,
        most_confused=evaluation.most_confused,
        classes=evaluation.classes,
        matrix=_matrix(evaluation, {confusion.id for confusion in opened}),
        confusion_pictures=opened,
        pictures=[judged_picture(context, i) for i in mistakes[:MAX_MISTAKES] if i in pictures.positions],
        table=_table(context, mistakes),
        remark=pictures.atlas.remark,
    )


def _confusion_pictures(context: ReportContext) -> list[ConfusionPictures]:
    """The commonest confusions with their worst pictures, then each class with its hardest correct ones."""
    evaluation = context.one_class
    label_of = {name: label for label, name in enumerate(evaluation.classes)}
    mistakes: dict[tuple[int, int], list[int]] = {}
    for index in evaluation.mistakes.tolist():
        mistakes.setdefault((int(evaluation.labels[index]), int(evaluation.predictions[index])), []).append(
            index
        )
    keys = [(label_of[pair.label], label_of[pair.prediction]) for pair in evaluation.confusions[:MAX_PAIRS]]
    groups = [(key, mistakes[key], len(mistakes[key])) for key in keys]
    correct = evaluation.confusion.diagonal().tolist()
    groups += [((k, k), indices, correct[k]) for k, indices in sorted(context.correct_by_class.items())]
    return [
        ConfusionPictures(
            id=pair_id(label, prediction),
            label=evaluation.classes[label],
            prediction=evaluation.classes[prediction],
            count=count,
            correct=label == prediction,
            pictures=[
                judged_picture(context, index)
                for index in indices[:MAX_PICTURES_PER_CONFUSION]
                if index in context.pictures.positions
            ],
        )
        for (label, prediction), indices, count in groups
    ]


def pair_id(label: int, prediction: int) -> str:
    """The HTML id of the block with the pictures of a label that were predicted as a class."""
    return f"pair-{label}-{prediction}"


def _matrix(evaluation: Evaluation, opened: set[str]) -> list[list[MatrixCell]] | None:
    """Counts by label (row) and prediction; None for more than MAX_MATRIX_CLASSES."""
    if len(evaluation.classes) > MAX_MATRIX_CLASSES:
        return None
    support = evaluation.confusion.sum(dim=1).clamp_min(1).tolist()
    return [
        [
            MatrixCell(
                count=count,
                shade=math.sqrt(count / support[label]),
                id=pair_id(label, prediction) if pair_id(label, prediction) in opened else None,
                diagonal=label == prediction,
                description=_description(evaluation.classes[label], evaluation.classes[prediction], count),
            )
            for prediction, count in enumerate(row)
        ]
        for label, row in enumerate(evaluation.confusion.tolist())
    ]


def _description(label: str, prediction: str, count: int) -> str:
    if label == prediction:
        return translate("%(label)s predicted correctly %(times)s", label=label, times=times(count))
    return translate(
        "%(label)s predicted as %(prediction)s %(times)s",
        label=label, prediction=prediction, times=times(count),
    )  # fmt: skip


def _table(context: ReportContext, mistakes: list[int]) -> MistakeTable:
    """Every mistake that has a picture, for the page to sort and filter; sources up to MAX_SOURCE_BYTES."""
    evaluation, pictures = context.one_class, context.pictures
    indices = [index for index in mistakes if index in pictures.positions]
    rows = torch.tensor(indices, dtype=torch.int64)
    labels = evaluation.labels[rows]
    sources, bytes_left = [], MAX_SOURCE_BYTES
    for index in indices:
        bytes_left -= len(evaluation.sources[index].encode()) + 3  # quotes and comma
        sources.append(evaluation.sources[index] if bytes_left > 0 else "")
    label_probabilities = evaluation.probabilities[rows, labels].tolist()
    return MistakeTable(
        classes=evaluation.classes,
        columns=pictures.atlas.columns,
        index=indices,
        position=[pictures.positions[index] for index in indices],
        label=labels.tolist(),
        prediction=evaluation.predictions[rows].tolist(),
        confidence=[float(f"{value:.6g}") for value in evaluation.confidence[rows].tolist()],
        label_probability=[float(f"{value:.6g}") for value in label_probabilities],
        source=sources,
    )

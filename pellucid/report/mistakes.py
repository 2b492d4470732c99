"""The section on mistakes: what was confused with what, each beside its picture."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.metrics import ClassScore, Confusion
from pellucid.formatting import times
from pellucid.language import translate
from pellucid.plots.images import Atlas, zoom
from pellucid.report.context import MATRIX, PICTURES_A_PAIR, JudgedPicture, ReportContext, judged_picture

SOURCES_BUDGET = 300_000  # bytes of the mistakes' sources, at most
WORST = 200  # mistakes shown one by one
PAIRS = 200  # confusions that open


@dataclass(frozen=True)
class Pair:
    """Pictures of one label and one prediction, opened by their cell of the matrix.

    id     the address that opens them
    count  how many there are, of which `pictures` are shown
    """

    id: str
    label: str
    prediction: str
    count: int
    right: bool
    pictures: list[JudgedPicture]


@dataclass(frozen=True)
class MatrixCell:
    """A cell of the confusion matrix; `id` is the address of its pictures, None where there are none."""

    count: int
    shade: float
    id: str | None
    diagonal: bool
    description: str


@dataclass(frozen=True)
class MistakeTable:
    """Every mistake that has a picture, as columns for report.js to sort and filter.

    position             where each stands in the atlas of `columns`
    label, prediction    places in `classes`
    source               empty where there was no room
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
    """What was confused with what: the matrix, its pictures, every mistake, and the scores by class.

    matrix      rows of labels by columns of predictions; None for more classes than can be read
    axis_start  where the axis of precision and recall begins, 0..1
    """

    atlases: Mapping[str, Atlas]
    zoom: int
    small: int
    large: int
    width: int
    wrong: int
    count: int
    confusions: list[Confusion]
    classes: tuple[str, ...]
    matrix: list[list[MatrixCell]] | None
    pairs: list[Pair]
    pictures: list[JudgedPicture]
    table: MistakeTable
    scores: list[ClassScore]
    axis_start: float
    macro_f1: float
    remark: str


def gather(context: ReportContext) -> MistakesSection:
    """What was confused with what: the matrix, its pictures, every mistake, and the scores by class."""
    evaluation, pictures = context.evaluation, context.pictures
    worst = evaluation.mistakes.tolist()
    pairs = _pairs(context)
    scored = [score for score in evaluation.per_class if score.support]
    lowest = min([1.0, *(min(score.precision, score.recall) for score in scored)])
    return MistakesSection(
        atlases={"test": pictures.atlas},
        zoom=zoom(pictures.atlas, 84),
        small=zoom(pictures.atlas, 56),
        large=zoom(pictures.atlas, 280),
        width=pictures.atlas.width,
        wrong=len(worst),
        count=evaluation.count,
        confusions=evaluation.confusions,
        classes=evaluation.classes,
        matrix=_matrix(evaluation, {pair.id for pair in pairs}),
        pairs=pairs,
        pictures=[judged_picture(context, i) for i in worst[:WORST] if i in pictures.positions],
        table=_table(context, worst),
        scores=evaluation.per_class,
        axis_start=max(0.0, min(0.9, math.floor(lowest * 20) / 20)),
        macro_f1=evaluation.macro_f1,
        remark=pictures.atlas.remark,
    )


def _pairs(context: ReportContext) -> list[Pair]:
    """The commonest confusions with their worst pictures, then each class with its hardest ones got right."""
    evaluation = context.evaluation
    number = {name: label for label, name in enumerate(evaluation.classes)}
    wrong: dict[tuple[int, int], list[int]] = {}
    for index in evaluation.mistakes.tolist():
        wrong.setdefault((int(evaluation.labels[index]), int(evaluation.predictions[index])), []).append(
            index
        )
    keys = [(number[pair.label], number[pair.prediction]) for pair in evaluation.confusions[:PAIRS]]
    opened = [(key, wrong[key], len(wrong[key])) for key in keys]
    hits = evaluation.confusion.diagonal().tolist()
    opened += [((k, k), mine, hits[k]) for k, mine in sorted(context.right_by_class.items())]
    return [
        Pair(
            id=_pair_id(label, prediction),
            label=evaluation.classes[label],
            prediction=evaluation.classes[prediction],
            count=count,
            right=label == prediction,
            pictures=[
                judged_picture(context, index)
                for index in indices[:PICTURES_A_PAIR]
                if index in context.pictures.positions
            ],
        )
        for (label, prediction), indices, count in opened
    ]


def _pair_id(label: int, prediction: int) -> str:
    return f"pair-{label}-{prediction}"


def _matrix(evaluation: Evaluation, opened: set[str]) -> list[list[MatrixCell]] | None:
    """Counts by label (row) and prediction; None for more classes than can be read."""
    if len(evaluation.classes) > MATRIX:
        return None
    support = evaluation.confusion.sum(dim=1).clamp_min(1).tolist()
    return [
        [
            MatrixCell(
                count=count,
                shade=math.sqrt(count / support[label]),
                id=_pair_id(label, prediction) if _pair_id(label, prediction) in opened else None,
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


def _table(context: ReportContext, worst: list[int]) -> MistakeTable:
    """Every mistake that has a picture, for the page to sort and filter; sources as long as there is room."""
    evaluation, pictures = context.evaluation, context.pictures
    indices = [index for index in worst if index in pictures.positions]
    rows = torch.tensor(indices, dtype=torch.int64)
    labels = evaluation.labels[rows]
    sources, room = [], SOURCES_BUDGET
    for index in indices:
        room -= len(evaluation.sources[index].encode()) + 3
        sources.append(evaluation.sources[index] if room > 0 else "")
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

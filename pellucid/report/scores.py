"""The section on the scores: every one with its 95 % interval, over all test pictures and class by class."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.intervals import Estimate
from pellucid.evaluation.metrics import AverageScore, ClassScore
from pellucid.evaluation.score_names import figure_of, interval_of, title_of
from pellucid.plots.images import Atlas, zoom
from pellucid.report.context import (
    MAX_MATRIX_CLASSES,
    MAX_PICTURES_PER_CONFUSION,
    JudgedPicture,
    ReportContext,
    judged_picture,
)
from pellucid.report.mistakes import pair_id


@dataclass(frozen=True)
class WholeScore:
    """A score over all test pictures; `link` leads to the pictures that it is made of."""

    title: str
    value: str
    interval: str
    link: str


@dataclass(frozen=True)
class ScoredPictures:
    """Pictures that keep a score below 1, the least probable label first, which its figure opens.

    id        the HTML id of their block on the page
    kind      "missed": of class `name`, predicted as another; "mistaken": the other way round; "beyond": the
              label is not among the `name` likeliest classes
    count     how many there are; `pictures` are the first of them
    """

    id: str
    kind: str
    name: str
    count: int
    pictures: list[JudgedPicture]


@dataclass(frozen=True)
class ClassRow:
    """One class, and where each of its figures leads: to the pictures of it that were predicted as another,
    to others predicted as it, to those that are right."""

    score: ClassScore
    missed: str
    mistaken: str
    right: str


@dataclass(frozen=True)
class ScoresSection:
    """Every score with its 95 % interval.

    count, groups     of test pictures, and of groups that belong together; None where each stands alone
    balanced, macro, among  balanced accuracy, macro F1, and how often the label is among the two likeliest
                      classes; None of two classes
    whole             the scores over all test pictures
    rows, averages    class by class, and over classes; none where pictures can have several labels
    axis_start        where the axis of precision and recall begins, 0..1
    opened            the pictures that figures open
    """

    atlases: Mapping[str, Atlas]
    small_zoom: int
    tile_width: int
    count: int
    groups: int | None
    too_few: str
    balanced: WholeScore | None
    macro: WholeScore
    among: WholeScore | None
    whole: list[WholeScore]
    rows: list[ClassRow]
    averages: list[AverageScore]
    axis_start: float
    opened: list[ScoredPictures]


def gather(context: ReportContext) -> ScoresSection:
    """Compute the section from the evaluation."""
    evaluation, atlas = context.evaluation, context.pictures.atlas
    single = evaluation if isinstance(evaluation, Evaluation) else None
    opened = list(_opened(context, single)) if single is not None else []
    ids = {each.id for each in opened}
    wrong = "mistakes" if single is not None else "labels"
    whole = {
        name: _whole(name, score, evaluation.count, ids, wrong) for name, score in evaluation.scores.items()
    }
    scored = [score for score in single.per_class if score.support] if single is not None else []
    lowest = min([1.0, *(min(score.precision, score.recall) for score in scored)])
    return ScoresSection(
        atlases={"test": atlas},
        small_zoom=zoom(atlas, 56),
        tile_width=atlas.width,
        count=evaluation.count,
        groups=None if evaluation.groups is None else evaluation.sampling.units,
        too_few=str(evaluation.sampling.too_few or ""),
        balanced=whole.get("balanced_accuracy"),
        macro=whole["macro_f1"],
        among=whole.get("top_2"),
        whole=list(whole.values()),
        rows=_rows(context, single, ids) if single is not None else [],
        averages=single.averages if single is not None else [],
        axis_start=max(0.0, min(0.9, math.floor(lowest * 20) / 20)),
        opened=opened,
    )


def _whole(name: str, score: Estimate, count: int, ids: set[str], wrong: str) -> WholeScore:
    link = {"accuracy": "predictions", "calibration_error": "calibration"}.get(name, wrong)
    number = name.removeprefix("top_")
    return WholeScore(
        title=str(title_of(name)),
        value=figure_of(name, score.value, count),
        interval=interval_of(name, score, count),
        link=f"beyond-{number}" if f"beyond-{number}" in ids else link,
    )


def _rows(context: ReportContext, evaluation: Evaluation, ids: set[str]) -> list[ClassRow]:
    rows = []
    for k, score in enumerate(evaluation.per_class):
        right = pair_id(k, k) if k in context.correct_by_class else "mistakes"
        missed, mistaken = (name if name in ids else right for name in (f"missed-{k}", f"mistaken-{k}"))
        rows.append(ClassRow(score, missed, mistaken, right))
    return rows


def _opened(context: ReportContext, evaluation: Evaluation) -> Iterable[ScoredPictures]:
    """The pictures that a score's figure opens: of every class, where they are not too many to show."""
    worst = evaluation.mistakes
    labels, predictions = evaluation.labels[worst], evaluation.predictions[worst]
    if len(evaluation.classes) <= MAX_MATRIX_CLASSES:
        for k, name in enumerate(evaluation.classes):
            yield from _block(context, f"missed-{k}", name, worst[labels == k])
            yield from _block(context, f"mistaken-{k}", name, worst[predictions == k])
    for name in evaluation.scores:
        if name.startswith("top_"):
            number = int(name.removeprefix("top_"))
            beyond = worst[evaluation.label_rank[worst] >= number]
            yield from _block(context, f"beyond-{number}", str(number), beyond)


def _block(context: ReportContext, name: str, of: str, indices: Tensor) -> Iterable[ScoredPictures]:
    if not len(indices):
        return
    shown = [index for index in indices.tolist() if index in context.pictures.positions]
    pictures = [judged_picture(context, index) for index in shown[:MAX_PICTURES_PER_CONFUSION]]
    yield ScoredPictures(name, name.split("-")[0], of, len(indices), pictures)

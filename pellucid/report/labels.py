"""The section on labels, where a picture can have several: the scores and the mistakes of each."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.evaluation.metrics import Confusion, LabelScore
from pellucid.evaluation.multi_label import MultiLabelEvaluation
from pellucid.language import translate
from pellucid.plots.images import Atlas, zoom
from pellucid.report.context import (
    MAX_MATRIX_CLASSES,
    MAX_PICTURES_PER_CONFUSION,
    JudgedPicture,
    ReportContext,
    judged_picture,
)
from pellucid.report.opened import Counted, Opened, open_figures

MAX_MISTAKES = 48  # pictures with a mistake shown one by one
MAX_PAIRS = 40  # of labels that go together, the commonest, whose pictures can be opened


@dataclass(frozen=True)
class LabelMistakes:
    """Pictures on which one label was missed, or given without being there; the least expected first.

    id     the HTML id of their block on the page
    count  how many there are; `pictures` are the first of them
    """

    id: str
    label: str
    missed: bool
    count: int
    pictures: list[JudgedPicture]


@dataclass(frozen=True)
class LabelRow:
    """One label's scores, and the blocks with its pictures and its mistakes; "" where it has none."""

    score: LabelScore
    id: str
    missed_id: str
    mistaken_id: str


@dataclass(frozen=True)
class PairCell:
    """How many test pictures have both labels, how many were given both; shade 0..1.

    id  the HTML id of the block with their pictures, where the page has it
    """

    id: str
    present: int
    given: int
    shade: float
    description: str


@dataclass(frozen=True)
class LabelsSection:
    """The scores of every label, the pictures that were given wrong ones, and which labels go together.

    zoom, small_zoom  of the pictures shown one by one, and of those a label's mistakes open
    mistakes          how many of the `count` test pictures were not given exactly their labels
    wrong             the share of all decisions that are wrong, 0..1
    rows              every label, those with the lowest average precision first
    together          rows and columns in the order of `classes`; None for more than MAX_MATRIX_CLASSES
    counted           pictures of a label, of two that go together, and of two that were confused
    """

    atlases: Mapping[str, Atlas]
    zoom: int
    small_zoom: int
    count: int
    mistakes: int
    wrong: float
    mean_average_precision: float
    macro_f1: float
    micro_f1: float
    rows: list[LabelRow]
    opened: list[LabelMistakes]
    pictures: list[JudgedPicture]
    confusions: list[Confusion]
    classes: tuple[str, ...]
    together: list[list[PairCell]] | None
    counted: Opened
    remark: str

    def id_of(self, pair: Confusion) -> str:
        """The HTML id of the block with the pictures of a pair that was confused."""
        return f"instead-{self.classes.index(pair.label)}-{self.classes.index(pair.prediction)}"


def gather(context: ReportContext) -> LabelsSection:
    """The scores of every label, the pictures that were given wrong ones, and which labels go together."""
    evaluation, pictures = context.several_labels, context.pictures
    mistakes = evaluation.mistakes.tolist()
    opened = [
        *_opened(context, evaluation.labels & ~evaluation.predictions, missed=True),
        *_opened(context, evaluation.predictions & ~evaluation.labels, missed=False),
    ]
    ids = {each.id for each in opened}
    rows = [
        LabelRow(
            score,
            _pair_id(k, k),
            *(name if (name := _id(k, missed=missed)) in ids else "" for missed in (True, False)),
        )
        for k, score in enumerate(evaluation.per_label)
    ]
    rows.sort(key=lambda row: 2.0 if row.score.average_precision is None else row.score.average_precision)
    confused = evaluation.most_confused if len(evaluation.confusions) > 3 else evaluation.confusions
    counted = open_figures(context, "labels", _counted(evaluation, confused))
    return LabelsSection(
        atlases={"test": pictures.atlas, "labels": counted.atlas},
        zoom=zoom(pictures.atlas, 84),
        small_zoom=zoom(pictures.atlas, 56),
        count=evaluation.count,
        mistakes=len(mistakes),
        wrong=evaluation.hamming_loss,
        mean_average_precision=evaluation.mean_average_precision,
        macro_f1=evaluation.macro_f1,
        micro_f1=evaluation.micro_f1,
        rows=rows,
        opened=opened,
        pictures=[judged_picture(context, i) for i in mistakes[:MAX_MISTAKES] if i in pictures.positions],
        confusions=confused,
        classes=evaluation.classes,
        together=_together(evaluation),
        counted=counted,
        remark=pictures.atlas.remark,
    )


def _id(label: int, *, missed: bool) -> str:
    return f"{'missed' if missed else 'mistaken'}-{label}"


def _pair_id(first: int, second: int) -> str:
    return f"together-{min(first, second)}-{max(first, second)}"


def _counted(evaluation: MultiLabelEvaluation, confused: list[Confusion]) -> list[Counted]:
    """What other figures count: pictures of a label, of two that go together, and of two confused; those
    first of which the least was expected."""
    names, labels, given = evaluation.classes, evaluation.labels, evaluation.predictions
    order = evaluation.label_probability.argsort(stable=True)

    def those(chosen: Tensor) -> Tensor:
        return order[chosen[order]]

    counted = [Counted(_pair_id(k, k), name, those(labels[:, k])) for k, name in enumerate(names)]
    common = evaluation.together.triu(1).flatten().sort(descending=True, stable=True).indices[:MAX_PAIRS]
    for first, second in (divmod(place, len(names)) for place in common.tolist()):
        title = translate("%(first)s with %(second)s", first=names[first], second=names[second])
        both = those(labels[:, first] & labels[:, second])
        counted.append(Counted(_pair_id(first, second), title, both))
    for pair in confused:
        missed, instead = names.index(pair.label), names.index(pair.prediction)
        chosen = labels[:, missed] & ~given[:, missed] & ~labels[:, instead] & given[:, instead]
        title = f"{pair.label} → {pair.prediction}"
        counted.append(Counted(f"instead-{missed}-{instead}", title, those(chosen)))
    return counted


def _opened(context: ReportContext, wrong: Tensor, *, missed: bool) -> list[LabelMistakes]:
    """The pictures (N, K) on which each label is wrong in this way, the least expected first."""
    evaluation = context.several_labels
    blocks = []
    for k, name in enumerate(evaluation.classes):
        probabilities = evaluation.probabilities[:, k]
        indices = torch.nonzero(wrong[:, k])[:, 0]
        order = probabilities[indices].sort(descending=not missed, stable=True).indices
        ordered = indices[order].tolist()
        if ordered:
            shown = [index for index in ordered if index in context.pictures.positions]
            found = [judged_picture(context, index) for index in shown[:MAX_PICTURES_PER_CONFUSION]]
            blocks.append(LabelMistakes(_id(k, missed=missed), name, missed, len(ordered), found))
    return blocks


def _together(evaluation: MultiLabelEvaluation) -> list[list[PairCell]] | None:
    """How often two labels go together; a row's shade is by the share of the label's pictures."""
    if len(evaluation.classes) > MAX_MATRIX_CLASSES:
        return None
    present, given = evaluation.together.tolist(), evaluation.given_together.tolist()
    return [
        [
            PairCell(
                id=_pair_id(row, column),
                present=count,
                given=given[row][column],
                shade=count / max(1, counts[row]),
                description=translate(
                    "%(first)s with %(second)s: %(present)s pictures have both, %(given)s were given both",
                    first=evaluation.classes[row], second=evaluation.classes[column],
                    present=count, given=given[row][column],
                ),
            )
            for column, count in enumerate(counts)
        ]
        for row, counts in enumerate(present)
    ]  # fmt: skip

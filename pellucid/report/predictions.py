"""The section with the first test pictures, in the order of the test set."""

from collections.abc import Mapping
from dataclasses import dataclass

from pellucid.plots.images import Atlas, zoom
from pellucid.report.context import FIRST_PICTURES, JudgedPicture, ReportContext, judged_picture


@dataclass(frozen=True)
class PredictionsSection:
    """The first test pictures with their predictions; `correct` of them were predicted correctly."""

    atlases: Mapping[str, Atlas]
    zoom: int
    pictures: list[JudgedPicture]
    correct: int
    several_labels: bool


def gather(context: ReportContext) -> PredictionsSection:
    """The first test pictures with their predictions."""
    atlas = context.pictures.atlas
    pictures = [
        judged_picture(context, index) for index in range(min(FIRST_PICTURES, context.evaluation.count))
    ]
    return PredictionsSection(
        atlases={"test": atlas},
        zoom=zoom(atlas, 84),
        pictures=[picture for picture in pictures if picture.cell],
        correct=sum(picture.correct for picture in pictures),
        several_labels=context.splits.test.multi_label,
    )

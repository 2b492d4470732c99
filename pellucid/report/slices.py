"""The section on slices: for which test pictures the network does worse, beyond chance."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from pellucid.evaluation.slices import MEASURES, Slice
from pellucid.plots.images import Atlas, zoom
from pellucid.report.context import JudgedPicture, ReportContext, judged_picture

PICTURES_PER_SLICE = 10


@dataclass(frozen=True)
class SliceRow:
    """One slice.

    id        the HTML id of the block with its pictures; "" where none is on the page
    mistakes  how many of its pictures are predicted wrongly
    pictures  some of them: mistakes, the worst first, then such as are right
    low, high ends of the 95 % interval, 0..1; None where there is none
    p_value   in words
    """

    id: str
    title: str
    count: int
    mistakes: int
    share: float
    low: float | None
    high: float | None
    rest: float
    p_value: str
    weak: bool
    pictures: list[JudgedPicture]


@dataclass(frozen=True)
class MeasureRows:
    """The slices by one measure."""

    title: str
    rows: list[SliceRow]


@dataclass(frozen=True)
class SlicesSection:
    """Accuracy by slices of the test pictures.

    count       test pictures, `share` of them right
    tested      how many slices there are
    weak        those that are worse than the rest beyond chance, the least accurate first
    axis_start  where the axis of accuracy begins, 0..1
    too_few     what no slice of has enough pictures
    groups      whether some pictures belong together
    """

    atlases: Mapping[str, Atlas]
    zoom: int
    tile_width: int
    count: int
    share: float
    tested: int
    weak: list[SliceRow]
    measures: list[MeasureRows]
    axis_start: float
    too_few: list[str]
    groups: bool


def gather(context: ReportContext) -> SlicesSection:
    """Compute the slices and find some mistakes of each."""
    found, evaluation, atlas = context.slices, context.evaluation, context.pictures.atlas
    rows = {id(each): _row(context, number, each) for number, each in enumerate(found.slices)}
    ends = [row.share if row.low is None else row.low for row in rows.values()]
    lowest = min([evaluation.accuracy, *ends])
    return SlicesSection(
        atlases={"test": atlas},
        zoom=zoom(atlas, 56),
        tile_width=atlas.width,
        count=evaluation.count,
        share=evaluation.accuracy,
        tested=len(found),
        weak=[rows[id(each)] for each in found.weak],
        measures=[
            MeasureRows(_titled(measure), [rows[id(each)] for each in slices])
            for measure, slices in groupby(found.slices, key=lambda each: each.measure)
        ],
        axis_start=max(0.0, min(0.9, math.floor(lowest * 20) / 20)),
        too_few=[_titled(measure) for measure in found.too_few],
        groups=evaluation.groups is not None,
    )


def _titled(measure: str) -> str:
    return str(MEASURES.get(measure, measure))


def _row(context: ReportContext, number: int, each: Slice) -> SliceRow:
    pictures = [judged_picture(context, index) for index in _shown(context, each)]
    low, high = each.accuracy.interval or (None, None)
    return SliceRow(
        id=f"slice-{number}" if pictures else "",
        title=each.title,
        count=each.count,
        mistakes=each.count - each.correct,
        share=each.accuracy.value,
        low=low,
        high=high,
        rest=each.rest,
        p_value="< 0.001" if each.p_value < 0.001 else f"{each.p_value:.3f}",
        weak=each.weak,
        pictures=pictures,
    )


def _shown(context: ReportContext, each: Slice) -> list[int]:
    """Its worst mistakes that are in the image of the page, then pictures there that are right."""
    inside = set(each.indices.tolist())
    mistakes = context.evaluation.mistakes.tolist()
    order = dict.fromkeys([*mistakes, *context.pictures.positions])
    shown = [index for index in order if index in inside and index in context.pictures.positions]
    return shown[:PICTURES_PER_SLICE]

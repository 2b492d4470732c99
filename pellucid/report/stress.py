"""The section on stress: how accuracy falls as test pictures are damaged."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from markupsafe import Markup

from pellucid.evaluation.evaluation import AnyEvaluation
from pellucid.evaluation.stress import DAMAGES, DamagedPicture, StressCurve
from pellucid.formatting import percent
from pellucid.language import translate
from pellucid.plots import charts, images
from pellucid.plots.images import Atlas, Cell, zoom
from pellucid.report.context import ReportContext

MAX_ATLAS_CHARACTERS = 600_000  # of the data URL that holds the damaged pictures


@dataclass(frozen=True)
class DamagedTile:
    """A damaged test picture; `cell` is None where it did not fit into the image of the section."""

    cell: Cell | None
    label: str
    prediction: str
    correct: bool
    source: str
    description: str


@dataclass(frozen=True)
class PointRow:
    """One strength of a damage: its figures, and pictures that it turned wrong.

    id       the HTML id of their block; "" where there are none
    words    the damage with its strength
    example  the same picture at every strength
    low, high  ends of the 95 % interval, 0..1; None where there is none
    """

    id: str
    strength: str
    words: str
    share: float
    low: float | None
    high: float | None
    lower: bool
    example: DamagedTile
    turned: list[DamagedTile]


@dataclass(frozen=True)
class CurveRow:
    """One damage, and the weakest strength that lowers accuracy beyond chance; None where none does."""

    title: str
    chart: Markup
    points: list[PointRow]
    first: PointRow | None


@dataclass(frozen=True)
class StressSection:
    """Accuracy on damaged pictures.

    count, available  test pictures damaged, and how many there are
    undamaged         accuracy on them as they are, in percent; `low` and `high` are "" without an interval
    first             the weakest strength of each damage that lowers accuracy beyond chance
    unharmed          titles of the damages of which no strength does
    """

    atlases: Mapping[str, Atlas]
    zoom: int
    small_zoom: int
    tile_width: int
    count: int
    available: int
    undamaged: str
    low: str
    high: str
    first: list[PointRow]
    unharmed: list[str]
    curves: list[CurveRow]


def gather(context: ReportContext) -> StressSection:
    """Damage the pictures, and show some that it turned wrong."""
    found = context.stress
    shown = [
        picture
        for curve in found.curves
        for point in curve.points
        for picture in (point.example, *point.turned)
    ]
    # Examples first, then round by round, so that what does not fit is the last of every point.
    ranks = _ranks(found.curves)
    order = sorted(range(len(shown)), key=ranks.__getitem__)
    atlas = images.fitted_atlas(
        torch.stack([shown[number].image for number in order]), budget=MAX_ATLAS_CHARACTERS
    )
    cells = {
        id(shown[number].image): atlas.cell(place) if place < atlas.count else None
        for place, number in enumerate(order)
    }
    curves = [_curve(context.evaluation, curve, found.undamaged.value, cells) for curve in found.curves]
    ends = found.undamaged.interval
    return StressSection(
        atlases={"stress": atlas},
        zoom=zoom(atlas, 56),
        small_zoom=zoom(atlas, 40),
        tile_width=atlas.width,
        count=found.count,
        available=found.available,
        undamaged=percent(found.undamaged.value, count=found.count),
        low=percent(ends[0], count=found.count) if ends else "",
        high=percent(ends[1], count=found.count) if ends else "",
        first=[curve.first for curve in curves if curve.first],
        unharmed=[curve.title for curve in curves if curve.first is None],
        curves=curves,
    )


def _ranks(curves: tuple[StressCurve, ...]) -> list[int]:
    """For each picture, in the order of the curves, how many of its point come before it."""
    return [rank for curve in curves for point in curve.points for rank in range(1 + len(point.turned))]


def _curve(
    evaluation: AnyEvaluation, curve: StressCurve, undamaged: float, cells: Mapping[int, Cell | None]
) -> CurveRow:
    points = [_point(evaluation, curve, number, cells) for number in range(len(curve.points))]
    title = str(DAMAGES[curve.damage].title)
    return CurveRow(
        title=title,
        chart=Markup(
            charts.stress_chart(
                title,
                [point.strength for point in points],
                [point.accuracy for point in curve.points],
                undamaged,
            )
        ),
        points=points,
        first=next((point for point in points if point.lower), None),
    )


def _point(
    evaluation: AnyEvaluation, curve: StressCurve, number: int, cells: Mapping[int, Cell | None]
) -> PointRow:
    point, damage = curve.points[number], DAMAGES[curve.damage]
    words = damage.in_words(point.strength)
    low, high = point.accuracy.interval or (None, None)
    turned = [_tile(evaluation, picture, words, cells) for picture in point.turned]
    turned = [tile for tile in turned if tile.cell is not None]
    return PointRow(
        id=f"stress-{curve.damage}-{number}" if turned else "",
        strength=f"{point.strength:g}{damage.unit}",
        words=words,
        share=point.accuracy.value,
        low=low,
        high=high,
        lower=point.lower,
        example=_tile(evaluation, point.example, words, cells),
        turned=turned,
    )


def _tile(
    evaluation: AnyEvaluation, picture: DamagedPicture, words: str, cells: Mapping[int, Cell | None]
) -> DamagedTile:
    source = evaluation.sources[picture.index]
    return DamagedTile(
        cell=cells[id(picture.image)],
        label=picture.label,
        prediction=picture.prediction,
        correct=picture.correct,
        source=source,
        description=translate(
            "%(source)s, %(damage)s: labelled %(label)s, predicted %(prediction)s",
            source=source, damage=words, label=picture.label, prediction=picture.prediction,
        ),
    )  # fmt: skip

"""The section on causes of mistakes: how many have each, some of them, and what would mend them."""

from collections.abc import Mapping
from dataclasses import dataclass

from pellucid.explanation.causes import CAUSES
from pellucid.language import translate
from pellucid.plots.images import Atlas, zoom
from pellucid.report.context import JudgedPicture, ReportContext, judged_picture

PICTURES_PER_CAUSE = 12


@dataclass(frozen=True)
class CauseRow:
    """One cause: how many mistakes have it, their share of those examined 0..1, and the worst of them.

    id  the HTML id of its block
    """

    id: str
    title: str
    rule: str
    remedy: str
    count: int
    share: float
    pictures: list[JudgedPicture]


@dataclass(frozen=True)
class CausesSection:
    """The causes of the mistakes, in the order in which the rules are tried.

    examined  how many of the `mistakes` were, the worst first
    gone      titles of the rules that could not be tried, as the networks that judged the folds are gone
    too_weak  whether labels were not suspected, as the network is right too rarely to doubt them
    """

    atlases: Mapping[str, Atlas]
    zoom: int
    tile_width: int
    mistakes: int
    examined: int
    rows: list[CauseRow]
    gone: list[str]
    too_weak: bool


def gather(context: ReportContext) -> CausesSection:
    """Count the causes of the mistakes, and show some of each."""
    found, pictures = context.causes, context.pictures
    rows = []
    for name, cause in CAUSES.items():
        if name in found.gone or (name == "label" and found.too_weak):
            continue
        indices = [each.index for each in found.examined if each.cause == name]
        shown = [index for index in indices if index in pictures.positions][:PICTURES_PER_CAUSE]
        rows.append(
            CauseRow(
                f"cause-{name}",
                translate(cause.title),
                translate(cause.rule),
                translate(cause.remedy),
                len(indices),
                len(indices) / max(1, len(found.examined)),
                [judged_picture(context, index) for index in shown],
            )
        )
    return CausesSection(
        atlases={"test": pictures.atlas},
        zoom=zoom(pictures.atlas, 56),
        tile_width=pictures.atlas.width,
        mistakes=found.mistakes,
        examined=len(found.examined),
        rows=rows,
        gone=[translate(CAUSES[name].title) for name in found.gone],
        too_weak=found.too_weak,
    )

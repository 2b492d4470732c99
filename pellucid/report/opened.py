"""Test pictures that a figure counts, in a block that its link opens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from torch import Tensor

from pellucid.plots.images import Atlas, fitted_atlas, zoom
from pellucid.report.context import JudgedPicture, ReportContext, judged_picture

PICTURES_PER_FIGURE = 8
MAX_ATLAS_CHARACTERS = 150_000  # of the data URL that holds the pictures of one section


@dataclass(frozen=True, eq=False)
class Counted:
    """What a figure counts.

    id       the HTML id of its block
    title    what its pictures have in common
    indices  of the pictures in the test set, int64 (n,), those to be shown first in front
    flag     the option that it is about; "" for none
    note     what stands below a picture, by its index; "" for nothing
    """

    id: str
    title: str
    indices: Tensor
    flag: str = ""
    note: Callable[[int], str] = lambda index: ""


@dataclass(frozen=True)
class OpenedBlock:
    """A block of the page: the first of `count` pictures, each with what stands below it."""

    id: str
    title: str
    flag: str
    count: int
    pictures: list[tuple[JudgedPicture, str]]


@dataclass(frozen=True)
class Opened:
    """The blocks of one section, and the image that holds their pictures; `name` is that of the section."""

    name: str
    atlas: Atlas
    zoom: int
    blocks: list[OpenedBlock]

    @property
    def ids(self) -> set[str]:
        """The HTML ids that a figure can lead to."""
        return {block.id for block in self.blocks}


def open_figures(context: ReportContext, name: str, figures: Sequence[Counted]) -> Opened:
    """The blocks of the figures that count any picture, in the section of that name."""
    firsts = [figure.indices[:PICTURES_PER_FIGURE].tolist() for figure in figures]
    # The first of each, then the second: what does not fit into the image is the last of every block.
    rounds = chain.from_iterable(zip_longest(*firsts))
    order = list(dict.fromkeys(index for index in rounds if index is not None))
    atlas = fitted_atlas(context.splits.test.subset(order).images, budget=MAX_ATLAS_CHARACTERS)
    pictures = {
        index: judged_picture(context, index, cell=atlas.cell(place))
        for place, index in enumerate(order[: atlas.count])
    }
    blocks = [
        OpenedBlock(
            figure.id,
            figure.title,
            figure.flag,
            len(figure.indices),
            [(pictures[index], figure.note(index)) for index in first if index in pictures],
        )
        for figure, first in zip(figures, firsts, strict=True)
        if first
    ]
    return Opened(name, atlas, zoom(atlas, 56), blocks)

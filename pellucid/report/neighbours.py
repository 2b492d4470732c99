"""The section on the training pictures most similar to some test pictures, as the network sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pellucid.explanation.neighbours import CAVEAT, index_sample, nearest, novelty
from pellucid.language import translate
from pellucid.plots.images import Atlas, Cell, fitted_atlas, zoom
from pellucid.report.context import JudgedPicture, ReportContext, judged_picture, named

NEIGHBOURS_PER_PICTURE = 8
MAX_ATLAS_CHARACTERS = 130_000  # of the data URL of the neighbours


@dataclass(frozen=True)
class NeighbourTile:
    """A training picture with its similarity, and whether its label is the prediction."""

    cell: Cell
    label: str
    similarity: str
    source: str
    agrees: bool


@dataclass(frozen=True)
class PictureNeighbours:
    """A test picture and the training pictures most similar to it.

    novelty          percentile 0..100 of its distance to its nearest training pictures
    same_label       number of neighbours with its label
    same_prediction  number of neighbours whose label is its prediction
    """

    kind: str
    picture: JudgedPicture
    novelty: int
    same_label: int
    same_prediction: int
    neighbours: list[NeighbourTile]


@dataclass(frozen=True)
class NeighboursSection:
    """Some test pictures with the training pictures most similar to them.

    highest_novelty  of the pictures shown, a percentile 0..100
    searched_count   number of training pictures searched, of `training_count`
    held_out         whether the distances to compare with are those of pictures held out of training
    several_labels   whether pictures can have several labels; then all must be the same to agree
    """

    atlases: Mapping[str, Atlas]
    large_zoom: int
    test_zoom: int
    rows: list[PictureNeighbours]
    searched_count: int
    training_count: int
    highest_novelty: int
    held_out: bool
    caveat: str
    several_labels: bool


def gather(context: ReportContext) -> NeighboursSection:
    """Some test pictures with the training pictures most similar to them."""
    classifier, splits = context.run.classifier, context.splits
    chosen = context.further_examples
    # In a run by folds the pictures are among those learned from: they are no neighbours of themselves.
    among, held_out = splits.train is splits.test, None if context.run.all_pictures else splits.validation
    index = index_sample(classifier, splits.train, held_out)
    images = splits.test.images[[example.index for example in chosen]]
    novelties = novelty(index, images, leave_out_self=among)
    found = [
        [each for each in row if not among or each.source != splits.test.sources[example.index]]
        for example, row in zip(chosen, nearest(index, images, NEIGHBOURS_PER_PICTURE + among), strict=True)
    ]
    if splits.train.multi_label:
        found = [
            [replace(near, label=named(filter(None, near.label.split("|")))) for near in row] for row in found
        ]
    positions = [neighbour.index for row in found for neighbour in row]
    atlas = fitted_atlas(index.dataset.images[positions], budget=MAX_ATLAS_CHARACTERS, side=64)
    rows = []
    for number, (example, row) in enumerate(zip(chosen, found, strict=True)):
        picture = judged_picture(context, example.index)
        tiles = [
            NeighbourTile(
                cell=atlas.cell(number * len(row) + rank),
                label=neighbour.label,
                similarity=f"{neighbour.similarity:.3f}",
                source=neighbour.source,
                agrees=neighbour.label == picture.prediction,
            )
            for rank, neighbour in enumerate(row)
            if number * len(row) + rank < atlas.count
        ]
        rows.append(
            PictureNeighbours(
                kind=example.kind,
                picture=picture,
                novelty=round(float(novelties[number])),
                same_label=sum(neighbour.label == picture.label for neighbour in row),
                same_prediction=sum(neighbour.label == picture.prediction for neighbour in row),
                neighbours=tiles,
            )
        )
    return NeighboursSection(
        atlases={"test": context.pictures.atlas, "neighbours": atlas},
        large_zoom=zoom(atlas, 64),
        test_zoom=zoom(context.pictures.atlas, 64),
        rows=[row for row in rows if row.picture.cell],
        searched_count=len(index.dataset),
        training_count=len(splits.train),
        highest_novelty=max((row.novelty for row in rows), default=0),
        held_out=index.held_out,
        caveat=translate(CAVEAT),
        several_labels=splits.train.multi_label,
    )

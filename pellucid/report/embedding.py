"""The section that lays test pictures out on a plane, similar ones together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pellucid.explanation.embedding import METHODS, project
from pellucid.explanation.neighbours import features_of, hidden_features
from pellucid.models import PretrainedNetwork
from pellucid.plots import images
from pellucid.plots.images import Atlas, Cell
from pellucid.report.context import JudgedPicture, ReportContext, judged_picture
from pellucid.report.novelty import MOST_PRETRAINED

MAX_PICTURES = 400  # test pictures on the map
MAX_MISTAKES = 120  # among them
MAX_ATLAS_CHARACTERS = 220_000  # of the data URL of the thumbnails
THUMBNAIL_SIDE = 28
MAP_STEPS = 1_000  # along a side of a map

TITLES = {"pca": "PCA", "t-sne": "t-SNE"}


@dataclass(frozen=True)
class Thumbnail:
    """A test picture on the maps, and where it stands in the atlas of thumbnails."""

    cell: Cell
    picture: JudgedPicture


@dataclass(frozen=True)
class EmbeddingMap:
    """All thumbnails layouts out on a plane in one way.

    preserved  share of each picture's ten nearest neighbours that are among the ten nearest on the map, 0..1
    chance     that share for a random layout
    positions  x and y of each thumbnail in thousandths, from the top left
    """

    title: str
    preserved: float
    chance: float
    positions: list[tuple[int, int]]


@dataclass(frozen=True)
class EmbeddingSection:
    """A sample of test pictures by the last hidden layer, layouts out in two ways, mistakes marked.

    pixel_zoom      of a selected thumbnail
    count           number of pictures shown, of `total` test pictures
    mistakes        number of mistakes shown, of `total_mistakes`
    several_labels  whether pictures can have several labels; the report then has no gallery of mistakes
    """

    atlases: Mapping[str, Atlas]
    pixel_zoom: int
    thumbnails: list[Thumbnail]
    maps: list[EmbeddingMap]
    count: int
    mistakes: int
    total: int
    total_mistakes: int
    remark: str
    several_labels: bool

    def to_json(self) -> dict[str, Any]:
        """What why.js needs of each thumbnail, as columns."""
        pictures = [thumbnail.picture for thumbnail in self.thumbnails]
        return {
            "index": [picture.index for picture in pictures],
            "label": [picture.label for picture in pictures],
            "wrong": [not picture.correct for picture in pictures],
            "description": [picture.description for picture in pictures],
        }


def gather(context: ReportContext) -> EmbeddingSection:
    """A sample of test pictures by the last hidden layer, layouts out in two ways, mistakes marked."""
    evaluation, test, seed = context.evaluation, context.splits.test, context.run.seed
    mistakes = evaluation.mistakes.tolist()[:MAX_MISTAKES]
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(evaluation.count, generator=generator)[:MAX_PICTURES].tolist()
    chosen = sorted(dict.fromkeys([*mistakes, *drawn][:MAX_PICTURES]))
    atlas = images.fitted_atlas(test.subset(chosen).images, budget=MAX_ATLAS_CHARACTERS, side=THUMBNAIL_SIDE)
    chosen = chosen[: atlas.count]
    features = _features(context, chosen)  # (N, F)
    layouts = [project(features, method=method, seed=seed) for method in METHODS] if len(chosen) > 2 else []
    thumbnails = [
        Thumbnail(atlas.cell(number), judged_picture(context, index)) for number, index in enumerate(chosen)
    ]
    maps = [
        EmbeddingMap(
            title=TITLES[layout.method],
            preserved=layout.preserved,
            chance=layout.chance,
            positions=[
                (round((x + 1) / 2 * MAP_STEPS), round((1 - y) / 2 * MAP_STEPS))
                for x, y in layout.points.tolist()
            ],
        )
        for layout in layouts
    ]
    return EmbeddingSection(
        atlases={"test": context.pictures.atlas, "map": atlas},
        pixel_zoom=THUMBNAIL_SIDE * 2 // max(atlas.width, atlas.height) or 1,
        thumbnails=thumbnails,
        maps=maps,
        count=len(chosen),
        mistakes=sum(not thumbnail.picture.correct for thumbnail in thumbnails),
        total=evaluation.count,
        total_mistakes=len(evaluation.mistakes),
        remark=atlas.remark,
        several_labels=test.multi_label,
    )


def _features(context: ReportContext, chosen: list[int]) -> torch.Tensor:
    """The last hidden layer of test pictures, float32 (N, F). A pretrained network, where that takes long,
    has computed all of them for the section on pictures unlike any other."""
    classifier, test = context.run.classifier, context.splits.test
    if isinstance(classifier.network, PretrainedNetwork) and len(test) <= MOST_PRETRAINED:
        return features_of(classifier, test)[chosen]
    return hidden_features(classifier, test.subset(chosen).images)

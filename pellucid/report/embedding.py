"""The section that lays test pictures out on a plane, alike ones together."""

from typing import Any

import torch

from pellucid.explanation.embedding import METHODS, project
from pellucid.explanation.neighbours import hidden_features
from pellucid.formatting import chance
from pellucid.language import translate
from pellucid.plots import images
from pellucid.report.context import Material, cell, shown

LAID_OUT = 400  # test pictures, at most
MISTAKES = 120  # of those, mistakes at most
MAP_BUDGET = 220_000  # characters of the address that holds the thumbnails, at most
THUMBNAIL = 28
PLACES = 1_000  # a map's places are told in thousandths of its side

TITLES = {"pca": "PCA", "t-sne": "t-SNE"}


def map_of_pictures(material: Material) -> dict[str, Any]:
    """A sample of test pictures by the last hidden layer, project in two ways, mistakes marked."""
    evaluation, test = material.evaluation, material.splits.test
    chosen = _chosen(material)
    atlas = images.fitted_atlas(test.images[chosen], budget=MAP_BUDGET, side=THUMBNAIL)
    chosen = chosen[: atlas.count]
    features = hidden_features(material.run.classifier, test.images[chosen])
    wrong = set(evaluation.mistakes.tolist())
    pictures = [
        {
            "index": index,
            "place": cell(atlas, number),
            "wrong": index in wrong,
            "true": evaluation.classes[int(evaluation.labels[index])],
            "predicted": evaluation.classes[int(evaluation.predictions[index])],
            "says": _says(material, index),
        }
        for number, index in enumerate(chosen)
    ]
    seed = material.run.recipe.seed
    laid = [project(features, method=method, seed=seed) for method in METHODS] if len(chosen) > 2 else []
    return {
        **shown(material),
        "atlases": {"test": material.album.atlas, "map": atlas},
        "enlarged": THUMBNAIL * 2 // max(atlas.width, atlas.height) or 1,
        "pictures": pictures,
        "maps": [
            {
                "title": TITLES[one.method],
                "kept": one.preserved,
                "chance": one.chance,
                "places": [
                    (round((x + 1) / 2 * PLACES), round((1 - y) / 2 * PLACES)) for x, y in one.points.tolist()
                ],
            }
            for one in laid
        ],
        "count": len(chosen),
        "wrong": sum(picture["wrong"] for picture in pictures),
        "all": evaluation.count,
        "all_wrong": len(wrong),
        "remark": atlas.remark,
    }


def _chosen(material: Material) -> list[int]:
    """The worst mistakes, filled up with pictures drawn at random, in the order of the test set."""
    evaluation = material.evaluation
    mistakes = evaluation.mistakes.tolist()[:MISTAKES]
    generator = torch.Generator().manual_seed(material.run.recipe.seed)
    drawn = torch.randperm(evaluation.count, generator=generator)[:LAID_OUT].tolist()
    return sorted(dict.fromkeys([*mistakes, *drawn][:LAID_OUT]))


def _says(material: Material, index: int) -> str:
    """A picture in words."""
    evaluation = material.evaluation
    true = evaluation.classes[int(evaluation.labels[index])]
    predicted = evaluation.classes[int(evaluation.predictions[index])]
    sure = chance(float(evaluation.confidence[index]))
    return translate(
        "%(source)s: labelled %(true)s, predicted %(predicted)s (%(sure)s)",
        source=evaluation.sources[index], true=true, predicted=predicted, sure=sure,
    )  # fmt: skip

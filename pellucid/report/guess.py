"""The section in which a reader guesses an answer before and after seeing its map."""

from typing import Any

import torch
from torch import Tensor

from pellucid.explanation.explanation import DEFAULT_METHODS, explain
from pellucid.language import translate
from pellucid.plots.images import zoom
from pellucid.report.context import Material, shown, tile
from pellucid.report.evidence import drawn_map

GUESSED = 10
CHOICES = 10  # classes a reader can choose from


def guess(material: Material) -> dict[str, Any]:
    """Some test pictures whose answer a reader guesses, before and after seeing a map of its evidence."""
    classifier, test, evaluation = material.run.classifier, material.splits.test, material.evaluation
    mistakes = [i for i in evaluation.mistakes[: GUESSED // 2].tolist() if i in material.album.places]
    right = [i for i in material.hardest_right if i in material.album.places][: GUESSED - len(mistakes)]
    generator = torch.Generator().manual_seed(material.run.recipe.seed)
    drawn = [*mistakes, *right]
    order = [drawn[place] for place in torch.randperm(len(drawn), generator=generator).tolist()]
    method = DEFAULT_METHODS[0]
    questions = []
    for index in order:
        told = tile(material, index)
        heat = explain(classifier, test.images[index], methods=[method]).heatmaps[method]
        classes = [evaluation.classes[k] for k in _choices(evaluation.probabilities[index])]
        questions.append(
            {"tile": told, "map": drawn_map(heat, translate("evidence for its answer")), "choices": classes}
        )
    tested = {one["name"]: one["supported"] for one in material.tested["methods"]}
    return {
        **shown(material),
        "large": zoom(material.album.atlas, 168),
        "questions": questions,
        "method": translate(method),
        "supported": tested.get(method, False),
        "mistakes": len(mistakes),
    }


def _choices(probabilities: Tensor) -> list[int]:
    """The classes a reader can choose from, in their order: all, or the likeliest of many."""
    chosen: list[int] = probabilities.argsort(descending=True)[:CHOICES].sort().values.tolist()
    return chosen

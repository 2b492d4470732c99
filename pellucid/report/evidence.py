"""Maps of the evidence by every method, and what their tests say of them: what a reader may believe."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.explanation import explain
from pellucid.explanation.faithfulness import PICTURES, Method, evaluate_maps
from pellucid.explanation.layer_stats import multiply_adds
from pellucid.formatting import figure
from pellucid.inference import scaled
from pellucid.language import translate
from pellucid.plots import images

FEWEST = 8  # pictures the maps are tested on, however large the network
MULTIPLY_ADDS = 600_000_000  # of one pass over them, at most; every method takes some hundred such passes
LARGE, SMALL = 168, 112  # about how many pixels wide a map is drawn, beside its picture and in a row


def evidence(classifier: Classifier, dataset: Dataset, examples: Sequence[int]) -> dict[str, Any]:
    """For every method of EXPLAINERS its verdict and its maps of the pictures at `examples`, for a page.

    `dataset` holds pictures that were not learned from; the class explained is the one answered.
    """
    methods = cast("Mapping[str, Method]", EXPLAINERS)  # each can be called as one
    tested = evaluate_maps(classifier, dataset, methods, pictures=affordable(classifier, dataset))
    explained = [explain(classifier, dataset.images[index], methods=EXPLAINERS) for index in examples]
    shown = [
        {
            "name": test.method,
            "title": translate(test.method),
            "supported": test.supported,
            "says": test.sentence.partition(": ")[2],
            "deletion": test.deletion,
            "insertion": test.insertion,
            "alike": test.correlation,
            "leads": [(translate(lead.rival), lead.mean) for lead in test.leads],
            "caveat": translate(EXPLAINERS[test.method].caveat),
            "paper": translate(EXPLAINERS[test.method].paper),
            "maps": [
                drawn_map(
                    e.heatmaps[test.method],
                    translate(
                        "%(method)s for %(name)s", method=translate(test.method), name=e.classes[e.target]
                    ),
                )
                for e in explained
            ],
        }
        for test in tested.tests
    ]
    return {
        "verdict": tested.verdict,
        "caveat": translate(tested.caveat),
        "pictures": tested.pictures,
        "methods": shown,
    }


def affordable(classifier: Classifier, dataset: Dataset) -> int:
    """How many pictures the tests may take for a report to be written soon: fewer for a large network."""
    work = sum(multiply_adds(classifier.network, scaled(dataset.images[:1])).values())
    return max(FEWEST, min(PICTURES, MULTIPLY_ADDS // max(1, work)))


def drawn_map(heat: Tensor, says: str) -> dict[str, Any]:
    """One signed map (h, w) on its own symmetric scale, whose end is told, for a page."""
    reach = float(heat.abs().max())
    pixels = images.coloured(heat, -reach, reach, colours=images.SIGNED)
    end = figure(reach)
    return {
        "address": images.coloured_address(pixels),
        "width": heat.shape[1],
        "height": heat.shape[0],
        "large": max(1, round(LARGE / max(heat.shape))),
        "small": max(1, round(SMALL / max(heat.shape))),
        "reach": end,
        "sum": figure(float(heat.sum())),
        "empty": reach == 0 or not math.isfinite(reach),
        "says": translate(
            "Evidence by %(says)s, from −%(end)s (against) to %(end)s (for)", says=says, end=end
        ),
    }

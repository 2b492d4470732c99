"""Evidence maps by every method, and the results of their faithfulness tests."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.explanation import DEFAULT_METHODS, explain
from pellucid.explanation.faithfulness import (
    MOST_PICTURES,
    PICTURES,
    TEST_PASSES,
    Faithfulness,
    Method,
    evaluate_maps,
)
from pellucid.explanation.outcomes import Outcome
from pellucid.formatting import figure
from pellucid.inference import passes_affordable
from pellucid.language import translate
from pellucid.plots import images
from pellucid.runs.verdicts import Verdict, none_passed, remark, shown_method

MIN_PICTURES = 8  # with fewer a test shows nothing: a method that takes too long for them is left out
MAX_MULTIPLY_ADDS = 130_000_000_000  # of one method's tests
LARGE_WIDTH, SMALL_WIDTH = 168, 112  # pixels of a map beside its picture and in a row, roughly


@dataclass(frozen=True)
class EvidenceMap:
    """One signed map as a page draws it, on its own symmetric scale.

    address                 the image as "data:image/png;base64,..."
    width, height           of the map in cells
    large_zoom, small_zoom  pixels per cell on the page, beside its picture and in a row
    scale_limit             the value at the end of the scale, to three digits
    sum                     of all cells, to three digits
    empty                   whether there is no evidence to draw
    """

    address: str
    width: int
    height: int
    large_zoom: int
    small_zoom: int
    scale_limit: str
    sum: str
    empty: bool
    description: str


@dataclass(frozen=True)
class MethodEvidence:
    """The test results of one method, and its map of each example.

    pictures  on how many it was tested
    finding  why it passed, failed or is undecided, in words
    margins  the name of each rival map, and by how much the method beats it, in mean probability
    """

    name: str
    title: str
    outcome: Outcome
    pictures: int
    finding: str
    deletion: float
    insertion: float
    rank_correlation: float
    class_correlation: float
    sign_correlation: float
    margins: tuple[tuple[str, float], ...]
    caveat: str
    paper: str
    maps: tuple[EvidenceMap, ...]


@dataclass(frozen=True)
class Evidence:
    """The test results of the methods of EXPLAINERS that could be tested, and their maps."""

    faithfulness: Faithfulness
    caveat: str
    methods: tuple[MethodEvidence, ...]

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """How each method fared, as it is kept in the run's folder."""
        return {each.name: Verdict(each.outcome, each.insertion - each.deletion) for each in self.methods}

    @property
    def preferred(self) -> MethodEvidence | None:
        """The evidence by the method that is shown where none is asked for; None where none passed."""
        name = shown_method(self.verdicts)
        return next((method for method in self.methods if method.name == name), None)

    @property
    def remark(self) -> str:
        """What a reader of the preferred maps must know of their tests, or why there are none."""
        shown = self.preferred
        return remark(shown.name, self.verdicts) if shown else none_passed(self.verdicts)


def gather_evidence(classifier: Classifier, dataset: Dataset, examples: Sequence[int]) -> Evidence:
    """The test results of every method of EXPLAINERS, and its maps of the pictures at `examples`.

    dataset  pictures that the network was not trained on; the class explained is the one predicted
    """
    methods = cast("Mapping[str, Method]", EXPLAINERS)  # every Explainer has Method's signature
    affordable = count_affordable_pictures(classifier, dataset)
    first = {name: min(PICTURES, count) for name, count in affordable.items()}
    tested = evaluate_maps(classifier, dataset, methods, pictures=first, most=affordable)
    names = [test.method for test in tested.tests]
    explained = [explain(classifier, dataset.images[index], methods=names) for index in examples]
    found = []
    for test in tested.tests:
        title = translate(test.method)
        maps = [
            evidence_map(
                each.heatmaps[test.method],
                translate("%(method)s for %(name)s", method=title, name=each.classes[each.target]),
            )
            for each in explained
        ]
        found.append(
            MethodEvidence(
                name=test.method,
                title=title,
                outcome=test.outcome,
                pictures=test.pictures,
                finding=test.sentence.partition(": ")[2],
                deletion=test.deletion,
                insertion=test.insertion,
                rank_correlation=test.correlation,
                class_correlation=test.class_correlation,
                sign_correlation=test.sign_correlation,
                margins=tuple((translate(lead.rival), lead.mean) for lead in test.leads),
                caveat=translate(EXPLAINERS[test.method].caveat),
                paper=translate(EXPLAINERS[test.method].paper),
                maps=tuple(maps),
            )
        )
    return Evidence(tested, translate(tested.caveat), tuple(found))


def count_affordable_pictures(classifier: Classifier, dataset: Dataset) -> dict[str, int]:
    """By method, the number of pictures that its maps can be tested on within the work allowed, of which more
    than the first 128 are drawn only while it is undecided: fewer for a large network, and 0 where that would
    be too few. The default method is always tested."""
    passes = passes_affordable(classifier.network, dataset.images, MAX_MULTIPLY_ADDS)
    counts = {
        name: min(MOST_PICTURES, passes // (method.passes + TEST_PASSES))
        for name, method in EXPLAINERS.items()
    }
    default = DEFAULT_METHODS[0]
    counts[default] = max(MIN_PICTURES, counts[default])
    return {name: min(count, len(dataset)) if count >= MIN_PICTURES else 0 for name, count in counts.items()}


def evidence_map(heat: Tensor, title: str) -> EvidenceMap:
    """One signed map (h, w) on its own symmetric scale, whose end is printed; `title` says what it shows."""
    limit = float(heat.abs().max())
    pixels = images.coloured(heat, -limit, limit, colours=images.SIGNED)
    end = figure(limit)
    return EvidenceMap(
        address=images.coloured_address(pixels),
        width=heat.shape[1],
        height=heat.shape[0],
        large_zoom=max(1, round(LARGE_WIDTH / max(heat.shape))),
        small_zoom=max(1, round(SMALL_WIDTH / max(heat.shape))),
        scale_limit=end,
        sum=figure(float(heat.sum())),
        empty=limit == 0 or not math.isfinite(limit),
        description=translate(
            "Evidence by %(title)s, from −%(end)s (against) to %(end)s (for)", title=title, end=end
        ),
    )

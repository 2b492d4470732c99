"""What the report is made from, and the one image that holds every test picture it shows."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from pellucid.data.dataset import Splits
from pellucid.errors import PellucidError
from pellucid.evaluation.evaluation import Evaluation
from pellucid.formatting import chance
from pellucid.language import translate
from pellucid.plots import images
from pellucid.plots.images import Atlas, zoom
from pellucid.report.evidence import evidence
from pellucid.runs.run import Run

TEST_BUDGET = 2_400_000  # characters of the address that holds the test pictures, at most
FIRST = 20  # test pictures shown as they come
A_PAIR = 10  # pictures of each confusion
MATRIX = 30  # classes a matrix can hold; more become a list of pairs


@dataclass(frozen=True, eq=False)
class Material:
    """All that the page is made from."""

    run: Run
    splits: Splits
    evaluation: Evaluation
    language: str = "en"

    @cached_property
    def tested(self) -> dict[str, Any]:
        """The evidence by every method, and what its tests say: two sections show it."""
        indices = [index for _, index in self.examples]
        return evidence(self.run.classifier, self.splits.test, indices)

    @cached_property
    def examples(self) -> list[tuple[str, int]]:
        """Three pictures that tell most: a typical one, the hardest one got right, the worst mistake."""
        right = self.hardest_right
        wrong = self.evaluation.mistakes[:1].tolist()
        examples = [(translate("worst mistake"), index) for index in wrong]
        if right:
            examples = [
                (translate("typical"), right[len(right) // 2]),
                (translate("hardest got right"), right[0]),
                *examples,
            ]
        return examples

    @cached_property
    def hardest_right(self) -> list[int]:
        """Test pictures recognised, the least probable first."""
        evaluation = self.evaluation
        right = torch.nonzero(evaluation.predictions == evaluation.labels)[:, 0]
        order: list[int] = right[evaluation.confidence[right].sort(stable=True).indices].tolist()
        return order

    @cached_property
    def right_by_class(self) -> dict[int, list[int]]:
        """The hardest pictures got right of each class, as its cell of the matrix opens them."""
        opened: dict[int, list[int]] = {}
        for index in self.hardest_right if len(self.evaluation.classes) <= MATRIX else []:
            mine = opened.setdefault(int(self.evaluation.labels[index]), [])
            if len(mine) < A_PAIR:
                mine.append(index)
        return opened

    @cached_property
    def album(self) -> "Album":
        """Every test picture the page shows, in one image: first what it cannot do without, then mistakes."""
        evaluation, test = self.evaluation, self.splits.test
        if list(evaluation.sources) != list(test.sources):
            raise PellucidError("The evaluation speaks of other pictures than the test set holds.")
        shown = [*range(min(FIRST, len(test))), *(index for _, index in self.examples)]
        shown += [index for mine in self.right_by_class.values() for index in mine]
        order = list(dict.fromkeys([*shown, *evaluation.mistakes.tolist()]))
        atlas = images.fitted_atlas(test.images[order], budget=TEST_BUDGET)
        return Album(atlas, {index: place for place, index in enumerate(order[: atlas.count])})


@dataclass(frozen=True)
class Album:
    """Where each test picture stands in the image that holds them all."""

    atlas: Atlas
    places: dict[int, int]


def shown(material: Material) -> dict[str, Any]:
    """What a section needs to show test pictures: the image that holds them, and how far to enlarge it."""
    atlas = material.album.atlas
    return {
        "atlases": {"test": atlas},
        "zoom": zoom(atlas, 84),
        "small": zoom(atlas, 56),
        "large": zoom(atlas, 280),
        "width": atlas.width,
    }


def cell(atlas: Atlas, place: int) -> tuple[int, int]:
    """Column and row of a picture in its atlas."""
    return place % atlas.columns, place // atlas.columns


def tile(material: Material, index: int) -> dict[str, Any]:
    """One test picture with what was said of it; `place` is None where there was no room for the picture."""
    evaluation, album = material.evaluation, material.album
    true = evaluation.classes[int(evaluation.labels[index])]
    top = evaluation.top(index)
    predicted, sure = top[0]
    given = float(evaluation.probabilities[index, evaluation.labels[index]])
    right = predicted == true
    source = evaluation.sources[index]
    return {
        "index": index,
        "place": cell(album.atlas, album.places[index]) if index in album.places else None,
        "right": right,
        "true": true,
        "predicted": predicted,
        "sure": sure,
        "given": given,
        "top": top,
        "source": source,
        "says": _says(source, true, predicted, chance(sure), chance(given)),
    }


def _says(source: str, true: str, predicted: str, sure: str, given: str) -> str:
    told = {"source": source, "true": true, "predicted": predicted, "sure": sure, "given": given}
    if true == predicted:
        return translate("%(source)s: labelled %(true)s, predicted %(predicted)s (%(sure)s)", **told)
    return translate(
        "%(source)s: labelled %(true)s, predicted %(predicted)s (%(sure)s), %(true)s had %(given)s", **told
    )


CHANGED = 6  # pictures changed: the three examples, then the worst mistakes; fewer for a large network


def telling_pictures(material: Material) -> list[tuple[str, int]]:
    """The three examples of the page, then further mistakes, the worst first."""
    known = [index for _, index in material.examples]
    rest = [index for index in material.evaluation.mistakes.tolist()[:CHANGED] if index not in known]
    return [*material.examples, *((translate("mistake"), index) for index in rest)]

"""What a report is made from, and the one image that holds every test picture it shows."""

from dataclasses import dataclass
from functools import cached_property

import torch

from pellucid.data.dataset import Splits
from pellucid.errors import PellucidError
from pellucid.evaluation.evaluation import Evaluation
from pellucid.formatting import chance
from pellucid.language import translate
from pellucid.plots import images
from pellucid.plots.images import Atlas, Cell
from pellucid.report.evidence import Evidence, gather_evidence
from pellucid.runs.run import Run

TEST_BUDGET = 2_400_000  # characters of the address that holds the test pictures, at most
FIRST = 20  # test pictures shown in the order of the test set
PICTURES_A_PAIR = 10  # pictures of each confusion
MATRIX = 30  # classes a matrix can hold; more become a list of pairs
CHANGED = 6  # pictures changed: the three examples, then the worst mistakes; fewer for a large network


@dataclass(frozen=True)
class Example:
    """A test picture that was chosen for the page, and what it is an example of."""

    kind: str
    index: int


@dataclass(frozen=True)
class PictureAtlas:
    """The image that holds the test pictures, and where each of them stands in it."""

    atlas: Atlas
    positions: dict[int, int]

    def cell(self, index: int) -> Cell | None:
        """Column and row of a test picture; None where there was no room for it."""
        return self.atlas.cell(self.positions[index]) if index in self.positions else None


@dataclass(frozen=True)
class JudgedPicture:
    """One test picture with its label and its prediction.

    cell               where it stands in the atlas; None where there was no room for it
    confidence         the probability of the prediction, and `label_probability` that of the label
    top                the likeliest classes with their probabilities
    """

    index: int
    cell: Cell | None
    right: bool
    label: str
    prediction: str
    confidence: float
    label_probability: float
    top: list[tuple[str, float]]
    source: str
    description: str


@dataclass(frozen=True, eq=False)
class ReportContext:
    """All that the page is made from."""

    run: Run
    splits: Splits
    evaluation: Evaluation
    language: str = "en"

    @cached_property
    def evidence(self) -> Evidence:
        """The evidence by every method, and what its tests say: several sections show it."""
        indices = [example.index for example in self.examples]
        return gather_evidence(self.run.classifier, self.splits.test, indices)

    @cached_property
    def examples(self) -> list[Example]:
        """Three pictures that tell most: a typical one, the hardest one got right, the worst mistake."""
        right = self.hardest_right
        examples = [
            Example(translate("worst mistake"), index) for index in self.evaluation.mistakes[:1].tolist()
        ]
        if right:
            examples = [
                Example(translate("typical"), right[len(right) // 2]),
                Example(translate("hardest got right"), right[0]),
                *examples,
            ]
        return examples

    @cached_property
    def further_examples(self) -> list[Example]:
        """The three examples of the page, then further mistakes, the worst first."""
        known = [example.index for example in self.examples]
        rest = [index for index in self.evaluation.mistakes.tolist()[:CHANGED] if index not in known]
        return [*self.examples, *(Example(translate("mistake"), index) for index in rest)]

    @cached_property
    def hardest_right(self) -> list[int]:
        """Test pictures predicted correctly, the least confident first."""
        evaluation = self.evaluation
        right = torch.nonzero(evaluation.predictions == evaluation.labels)[:, 0]
        order: list[int] = right[evaluation.confidence[right].sort(stable=True).indices].tolist()
        return order

    @cached_property
    def right_by_class(self) -> dict[int, list[int]]:
        """The hardest pictures got right of each class, which its cell of the matrix opens."""
        opened: dict[int, list[int]] = {}
        for index in self.hardest_right if len(self.evaluation.classes) <= MATRIX else []:
            mine = opened.setdefault(int(self.evaluation.labels[index]), [])
            if len(mine) < PICTURES_A_PAIR:
                mine.append(index)
        return opened

    @cached_property
    def pictures(self) -> PictureAtlas:
        """Every test picture the page shows, in one image: first what it cannot do without, then mistakes."""
        evaluation, test = self.evaluation, self.splits.test
        if list(evaluation.sources) != list(test.sources):
            raise PellucidError("The evaluation is of other pictures than the test set holds.")
        needed = [*range(min(FIRST, len(test))), *(example.index for example in self.examples)]
        needed += [index for mine in self.right_by_class.values() for index in mine]
        order = list(dict.fromkeys([*needed, *evaluation.mistakes.tolist()]))
        atlas = images.fitted_atlas(test.images[order], budget=TEST_BUDGET)
        return PictureAtlas(atlas, {index: place for place, index in enumerate(order[: atlas.count])})


def judged_picture(context: ReportContext, index: int) -> JudgedPicture:
    """The test picture at `index` with its label, prediction and probabilities, for a page."""
    evaluation = context.evaluation
    label = evaluation.classes[int(evaluation.labels[index])]
    top = evaluation.top(index)
    prediction, confidence = top[0]
    label_probability = float(evaluation.probabilities[index, evaluation.labels[index]])
    values = {
        "source": evaluation.sources[index],
        "label": label,
        "prediction": prediction,
        "confidence": chance(confidence),
    }
    if label == prediction:
        description = translate(
            "%(source)s: labelled %(label)s, predicted %(prediction)s (%(confidence)s)", **values
        )
    else:
        description = translate(
            "%(source)s: labelled %(label)s, predicted %(prediction)s (%(confidence)s), "
            "%(label)s had %(label_probability)s",
            **values,
            label_probability=chance(label_probability),
        )
    return JudgedPicture(
        index=index,
        cell=context.pictures.cell(index),
        right=prediction == label,
        label=label,
        prediction=prediction,
        confidence=confidence,
        label_probability=label_probability,
        top=top,
        source=evaluation.sources[index],
        description=description,
    )

"""What a report is made from, and the one image that holds every test picture it shows."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch

from pellucid.data.dataset import Splits
from pellucid.errors import PellucidError
from pellucid.evaluation.evaluation import AnyEvaluation, Evaluation
from pellucid.evaluation.multi_label import MultiLabelEvaluation
from pellucid.evaluation.shortcuts import Shortcuts, shortcuts
from pellucid.evaluation.slices import Slices, slices
from pellucid.evaluation.stress import Stress, stress
from pellucid.explanation.causes import MistakeCauses, causes_of_mistakes
from pellucid.explanation.layer_stats import NetworkStats, layer_statistics
from pellucid.formatting import chance
from pellucid.inference import passes_affordable
from pellucid.language import translate
from pellucid.plots import images
from pellucid.plots.images import Atlas, Cell
from pellucid.report.evidence import Evidence, gather_evidence
from pellucid.runs.basis import Basis, without_copies
from pellucid.runs.initial import InitialNetwork, initial_network
from pellucid.runs.run import Run

MAX_ATLAS_CHARACTERS = 2_400_000  # of the data URL that holds the test pictures
FIRST_PICTURES = 20  # test pictures shown in the order of the test set
MAX_PICTURES_PER_CONFUSION = 10
MIN_DECISIONS = 4  # labels shown of a picture with several, at least
MAX_MATRIX_CLASSES = 30  # more classes become a list of confusions
MAX_STATISTICS_PICTURES, MIN_STATISTICS_PICTURES = 512, 60  # that layers are measured on
MAX_STATISTICS_WORK = 16_000_000_000  # multiply-adds of the network over these pictures
MAX_FURTHER_EXAMPLES = 6  # the three examples, then the worst mistakes; fewer for a large network


@dataclass(frozen=True)
class Example:
    """A test picture that was chosen for the page, and what it is an example of."""

    kind: str
    index: int


@dataclass(frozen=True)
class PictureAtlas:
    """The image that holds the test pictures, and the position of each in it by index."""

    atlas: Atlas
    positions: dict[int, int]

    def cell(self, index: int) -> Cell | None:
        """Column and row of a test picture; None where it did not fit."""
        return self.atlas.cell(self.positions[index]) if index in self.positions else None


@dataclass(frozen=True)
class Decision:
    """One label of a picture: its probability, whether the picture has it, and whether it was given it."""

    name: str
    probability: float
    present: bool
    given: bool


@dataclass(frozen=True)
class JudgedPicture:
    """One test picture with its label and its prediction.

    cell               column and row in the atlas; None where it did not fit
    label, prediction  by name; of several labels all of them: "cat, red"
    confidence         the probability of the prediction; of several labels, of the least certain decision
    label_probability  the probability of the label; of several, of what was least expected of them
    top                the likeliest classes with their probabilities
    decisions          of several labels: those that it has, that it was given, and the likeliest others
    """

    index: int
    cell: Cell | None
    correct: bool
    label: str
    prediction: str
    confidence: float
    label_probability: float
    top: list[tuple[str, float]]
    source: str
    description: str
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True, eq=False)
class ReportContext:
    """The run, its pictures and its evaluation, with what several sections compute from them.

    all_splits       the run's pictures
    full_evaluation  of all of its test pictures
    """

    run: Run
    all_splits: Splits
    full_evaluation: AnyEvaluation
    language: str = "en"

    @cached_property
    def basis(self) -> Basis:
        """What the score rests on."""
        return self.run.basis(None if self.run.folds else self.all_splits.test)

    @cached_property
    def judged(self) -> AnyEvaluation:
        """The evaluation that the score at the top is of: without copies of pictures that were learned from,
        or of all where no picture would be left."""
        return self.basis.clean(self.full_evaluation) or self.full_evaluation

    @property
    def evaluation(self) -> AnyEvaluation:
        """The one that sections show: that of the score at the top; of a run by folds, whose test pictures
        are its training pictures, of all."""
        return self._shown[0]

    @property
    def splits(self) -> Splits:
        """The pictures that sections show: without test pictures that `evaluation` leaves out."""
        return self._shown[1]

    @cached_property
    def _shown(self) -> tuple[AnyEvaluation, Splits]:
        given = self.full_evaluation, self.all_splits
        return given if self.run.folds else without_copies(self.basis, *given)

    @property
    def one_class(self) -> Evaluation:
        """The evaluation, of pictures that show one class each. Raises PellucidError where they do not."""
        if isinstance(self.evaluation, MultiLabelEvaluation):
            raise PellucidError("This part is for pictures of one class each; these have several labels.")
        return self.evaluation

    @property
    def several_labels(self) -> MultiLabelEvaluation:
        """The evaluation, of pictures with several labels. Raises PellucidError where they have one class."""
        if isinstance(self.evaluation, Evaluation):
            raise PellucidError("This part is for pictures with several labels; these show one class each.")
        return self.evaluation

    @cached_property
    def evidence(self) -> Evidence:
        """The evidence maps of the examples by every method, with test results; for several sections."""
        indices = [example.index for example in self.examples]
        return gather_evidence(self.run.classifier, self.splits.test, indices)

    @cached_property
    def slices(self) -> Slices:
        """Accuracy by slices of the test pictures."""
        return slices(self.evaluation, self.splits.test, self.splits.origin)

    @cached_property
    def stress(self) -> Stress:
        """Accuracy on damaged test pictures."""
        return stress(self.run.classifier, self.splits.test, seed=self.run.seed)

    @cached_property
    def shortcuts(self) -> Shortcuts:
        """What simple cues alone tell of the class."""
        return shortcuts(self.run.classifier, self.splits, self.one_class, seed=self.run.seed)

    @cached_property
    def initial_network(self) -> InitialNetwork | None:
        """The network before its first step; None where its weights are not at hand, such as the published
        ones of a network whose package is no longer installed."""
        try:
            return initial_network(self.run)
        except PellucidError:
            return None

    @cached_property
    def layer_statistics(self) -> NetworkStats:
        """The statistics of every layer on test pictures drawn at random, each class in its share; for
        several sections."""
        run, test, initial = self.run, self.splits.test, self.initial_network
        affordable = passes_affordable(run.classifier.network, test.images, MAX_STATISTICS_WORK)
        return layer_statistics(
            run.classifier,
            test,
            pictures=max(MIN_STATISTICS_PICTURES, min(MAX_STATISTICS_PICTURES, affordable)),
            seed=run.seed,
            untrained=None if initial is None else initial.network,
        )

    @cached_property
    def causes(self) -> MistakeCauses:
        """What may lie behind each mistake."""
        validated = self.run.all_pictures is None
        return causes_of_mistakes(self.run.classifier, self.splits, self.one_class, validated=validated)

    @cached_property
    def examples(self) -> list[Example]:
        """Up to three pictures: a typical one, the least confident correct one, the worst mistake."""
        right = self.hardest_correct
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
        rest = [
            index for index in self.evaluation.mistakes.tolist()[:MAX_FURTHER_EXAMPLES] if index not in known
        ]
        return [*self.examples, *(Example(translate("mistake"), index) for index in rest)]

    @cached_property
    def hardest_correct(self) -> list[int]:
        """Test pictures predicted correctly, the least confident first."""
        evaluation = self.evaluation
        right = torch.nonzero(evaluation.right)[:, 0]
        order: list[int] = right[evaluation.confidence[right].sort(stable=True).indices].tolist()
        return order

    @cached_property
    def correct_by_class(self) -> dict[int, list[int]]:
        """The least confident correct pictures of each class, which the diagonal of the matrix opens."""
        hardest: dict[int, list[int]] = {}
        if isinstance(self.evaluation, MultiLabelEvaluation):
            return hardest
        for index in self.hardest_correct if len(self.evaluation.classes) <= MAX_MATRIX_CLASSES else []:
            indices = hardest.setdefault(int(self.evaluation.labels[index]), [])
            if len(indices) < MAX_PICTURES_PER_CONFUSION:
                indices.append(index)
        return hardest

    @cached_property
    def pictures(self) -> PictureAtlas:
        """Every test picture the page shows, in one image: those every section needs first, then mistakes."""
        evaluation, test = self.evaluation, self.splits.test
        if list(evaluation.sources) != list(test.sources):
            raise PellucidError("The evaluation is of other pictures than the test set holds.")
        needed = [*range(min(FIRST_PICTURES, len(test))), *(example.index for example in self.examples)]
        needed += [index for indices in self.correct_by_class.values() for index in indices]
        order = list(dict.fromkeys([*needed, *evaluation.mistakes.tolist()]))
        atlas = images.fitted_atlas(test.subset(order).images, budget=MAX_ATLAS_CHARACTERS)
        return PictureAtlas(atlas, {index: place for place, index in enumerate(order[: atlas.count])})


def judged_picture(context: ReportContext, index: int, *, cell: Cell | None = None) -> JudgedPicture:
    """The test picture at `index` with its label, prediction and probabilities, for a page.

    cell  column and row in a section's own image; in the one that several sections share where it is omitted
    """
    cell = context.pictures.cell(index) if cell is None else cell
    evaluation = context.evaluation
    if isinstance(evaluation, MultiLabelEvaluation):
        return _picture_of_several_labels(evaluation, index, cell)
    label = evaluation.classes[int(evaluation.labels[index])]
    top = evaluation.top(index)
    prediction, confidence = top[0]
    label_probability = float(evaluation.label_probability[index])
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
        cell=cell,
        correct=prediction == label,
        label=label,
        prediction=prediction,
        confidence=confidence,
        label_probability=label_probability,
        top=top,
        source=evaluation.sources[index],
        description=description,
    )


def _picture_of_several_labels(
    evaluation: MultiLabelEvaluation, index: int, cell: Cell | None
) -> JudgedPicture:
    probabilities = evaluation.probabilities[index].tolist()
    present, given = evaluation.labels[index].tolist(), evaluation.predictions[index].tolist()
    every = [
        Decision(*values) for values in zip(evaluation.classes, probabilities, present, given, strict=True)
    ]
    every.sort(key=lambda decision: -decision.probability)
    needed = [decision for decision in every if decision.present or decision.given]
    others = [decision for decision in every if decision not in needed][: max(0, MIN_DECISIONS - len(needed))]
    label, prediction = (
        named(evaluation.classes[k] for k, chosen in enumerate(flags) if chosen) for flags in (present, given)
    )
    return JudgedPicture(
        index=index,
        cell=cell,
        correct=present == given,
        label=label,
        prediction=prediction,
        confidence=float(evaluation.confidence[index]),
        label_probability=float(evaluation.label_probability[index]),
        top=evaluation.top(index),
        source=evaluation.sources[index],
        description=translate(
            "%(source)s: labelled %(label)s, predicted %(prediction)s",
            source=evaluation.sources[index], label=label, prediction=prediction,
        ),
        decisions=tuple(decision for decision in every if decision in needed or decision in others),
    )  # fmt: skip


def named(labels: Iterable[str]) -> str:
    """Several labels as a page names them: "cat, red"."""
    return ", ".join(labels) or translate("no label")

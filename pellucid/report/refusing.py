"""The section on pictures that are better left unanswered, and on answers of several classes."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from markupsafe import Markup

from pellucid.errors import UsageError
from pellucid.evaluation.calibration import NOT_GIVEN, STOPPED
from pellucid.evaluation.conformal import PredictionSets, SetScores, prediction_sets, set_scores
from pellucid.evaluation.evaluation import AnyEvaluation, Evaluation
from pellucid.evaluation.intervals import effective_count
from pellucid.evaluation.metrics import Bounds, wilson
from pellucid.evaluation.selective import (
    Threshold,
    risk_coverage,
    threshold_for_coverage,
    threshold_for_error,
)
from pellucid.formatting import brief
from pellucid.language import translate
from pellucid.plots import charts
from pellucid.plots.images import Atlas
from pellucid.report.context import ReportContext
from pellucid.report.opened import Counted, Opened, open_figures

COVERAGES = (0.99, 0.95, 0.9, 0.8)
ERRORS = (0.05, 0.02, 0.01, 0.005, 0.001)
SET_COVERAGES = (0.9, 0.95, 0.99, 0.999)
NAMED = 0.95  # the coverage that the first sentence speaks of
CLASSES_NAMED = 4  # of a set, below a picture


@dataclass(frozen=True)
class Refusal:
    """What a threshold chosen on held-out pictures does on the test pictures.

    id         the HTML ids of its blocks begin with "answered-", "refused-" and "wrong-", and end with this
    coverage   the share asked for, 0..1; None where an error was asked for
    max_error  the largest error asked for, 0..1; None where a coverage was
    answered   how many test pictures reach the threshold
    wrong      how many of these are predicted wrongly
    error      their share
    interval   of the error, 95 %; 0 to 1 where none is answered, None where test pictures come from too few
               groups
    """

    id: int
    coverage: float | None
    max_error: float | None
    threshold: Threshold
    answered: int
    wrong: int
    error: float
    interval: Bounds | None

    @property
    def flag(self) -> str:
        """The option that asks for it."""
        return f"--max-error {self.max_error}" if self.coverage is None else f"--coverage {self.coverage}"


@dataclass(frozen=True)
class SetRow:
    """Sets of one promised coverage, 0..1, on the test pictures.

    id  the HTML ids of its blocks begin with "missed-", "one-", "two-" and "more-", and end with "set-" and
        this
    """

    id: int
    coverage: float
    scores: SetScores


@dataclass(frozen=True)
class RefusingSection:
    """The error by the share of pictures answered, what thresholds do, and sets of classes.

    held_out  what the thresholds were chosen on, as in TemperatureFit; "" where that is not known
    sets      how the sets of each promised coverage do on the test pictures; none of several labels
    area      the mean error over all coverages
    opened    the pictures that figures open
    """

    atlases: Mapping[str, Atlas]

    chart: Markup
    held_out: str
    chosen_on: int
    count: int
    wrong: int
    error: float
    refusals: list[Refusal]
    named: Refusal | None
    sets: list[SetRow]
    area: float
    opened: Opened


def gather(context: ReportContext) -> RefusingSection:
    """When it is better not to answer, and which classes then come into question."""
    evaluation, run = context.evaluation, context.run
    curve = risk_coverage(evaluation.confidence, evaluation.right, evaluation.groups)
    refusals: list[Refusal] = []
    sets: list[SetRow] = []
    figures: list[Counted] = []
    if run.calibration.reason not in (NOT_GIVEN, STOPPED):
        held_out = run.held_out()
        chosen: list[tuple[Threshold, float | None, float | None]]
        chosen = [(threshold_for_coverage(held_out, coverage), coverage, None) for coverage in COVERAGES]
        for error in ERRORS:
            with suppress(UsageError):  # the pictures held out cannot show it
                chosen.append((threshold_for_error(held_out, error), None, error))
        refusals = [_refusal(evaluation, number, *each) for number, each in enumerate(chosen)]
        for refusal in refusals:
            figures += _of_refusal(evaluation, refusal)
        for number, coverage in enumerate(SET_COVERAGES if isinstance(evaluation, Evaluation) else ()):
            found = prediction_sets(held_out, coverage)
            one = context.one_class
            scores = set_scores(found, one.probabilities, one.labels, one.groups)
            sets.append(SetRow(number, coverage, scores))
            figures += _of_sets(context.one_class, number, found)
    opened = open_figures(context, "refusing", figures)
    return RefusingSection(
        atlases={"refusing": opened.atlas},
        chart=Markup(charts.risk_chart(curve)),
        held_out=run.calibration.held_out if refusals else "",
        chosen_on=run.calibration.pictures,
        count=evaluation.count,
        wrong=evaluation.count - evaluation.correct,
        error=1 - evaluation.accuracy,
        refusals=refusals,
        named=next((each for each in refusals if each.coverage == NAMED), None),
        sets=sets,
        area=curve.area,
        opened=opened,
    )


def _refusal(
    evaluation: AnyEvaluation,
    number: int,
    threshold: Threshold,
    coverage: float | None,
    max_error: float | None,
) -> Refusal:
    reached = evaluation.confidence >= threshold.confidence
    answered, wrong = int(reached.sum()), int((reached & ~evaluation.right).sum())
    error, interval = wrong / max(1, answered), None
    if not answered:
        interval = (0.0, 1.0)
    elif evaluation.sampling.too_few is None:
        groups = evaluation.groups
        interval = wilson(error, answered if groups is None else effective_count(groups[reached]))
    return Refusal(number, coverage, max_error, threshold, answered, wrong, error, interval)


def _of_refusal(evaluation: AnyEvaluation, refusal: Refusal) -> list[Counted]:
    """What its figures count. Wrong answers of one class each are in the gallery of mistakes."""
    order = evaluation.confidence.argsort(stable=True)
    reached = (evaluation.confidence >= refusal.threshold.confidence)[order]
    answered, refused = order[reached], order[~reached].flip(0)
    figures = [
        Counted(
            f"answered-{refusal.id}", translate("Answered, the least confident first"), answered, refusal.flag
        ),
        Counted(
            f"refused-{refusal.id}",
            translate("Not answered, the most confident first"),
            refused,
            refusal.flag,
        ),
    ]
    if isinstance(evaluation, Evaluation):
        return figures
    wrong = answered[~evaluation.right[answered]].flip(0)
    title = translate("Answered and wrong, the most confident first")
    return [*figures, Counted(f"wrong-{refusal.id}", title, wrong, refusal.flag)]


def _of_sets(evaluation: Evaluation, number: int, sets: PredictionSets) -> list[Counted]:
    """What the figures of these sets count, each picture with its set."""
    inside = sets.of(evaluation.probabilities)
    sizes = inside.sum(dim=1)
    order = evaluation.confidence.argsort(stable=True)
    missed = ~inside.gather(1, evaluation.labels[:, None])[:, 0]
    flag = f"--sets {sets.coverage}"
    kinds = {
        "missed": (missed, translate("The label is not in the set")),
        "one": (sizes == 1, translate("Sets of one class")),
        "two": (sizes == 2, translate("Sets of two classes")),
        "more": (sizes > 2, translate("Sets of more than two classes")),
    }

    def named(index: int) -> str:
        names = [brief(name, 24) for name in sets.names(evaluation.probabilities[index], evaluation.classes)]
        first, more = ", ".join(names[:CLASSES_NAMED]), len(names) - CLASSES_NAMED
        if more > 0:
            first = translate("%(names)s and %(count)s more", names=first, count=more)
        return f"{{{first}}}"

    return [
        Counted(f"{kind}-set-{number}", title, order[of_kind[order]], flag, named)
        for kind, (of_kind, title) in kinds.items()
    ]

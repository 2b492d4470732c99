"""The section on pictures that are better left unanswered, and on answers of several classes."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from markupsafe import Markup

from pellucid.errors import UsageError
from pellucid.evaluation.calibration import STOPPED
from pellucid.evaluation.conformal import SetScores, prediction_sets, set_scores
from pellucid.evaluation.evaluation import AnyEvaluation, Evaluation
from pellucid.evaluation.metrics import wilson
from pellucid.evaluation.selective import (
    Threshold,
    risk_coverage,
    threshold_for_coverage,
    threshold_for_error,
)
from pellucid.plots import charts
from pellucid.plots.images import Atlas
from pellucid.report.context import ReportContext

COVERAGES = (0.99, 0.95, 0.9, 0.8)
ERRORS = (0.05, 0.02, 0.01, 0.005, 0.001)
SET_COVERAGES = (0.9, 0.95, 0.99, 0.999)
NAMED = 0.95  # the coverage that the first sentence speaks of


@dataclass(frozen=True)
class Refusal:
    """What a threshold chosen on held-out pictures does on the test pictures.

    coverage   the share asked for, 0..1; None where an error was asked for
    max_error  the largest error asked for, 0..1; None where a coverage was
    answered   how many test pictures reach the threshold
    wrong      how many of these are predicted wrongly
    error      their share, with its 95 % interval; 0 to 1 where none is answered
    """

    coverage: float | None
    max_error: float | None
    threshold: Threshold
    answered: int
    wrong: int
    error: float
    low: float
    high: float


@dataclass(frozen=True)
class RefusingSection:
    """The error by the share of pictures answered, what thresholds do, and sets of classes.

    held_out  what the thresholds were chosen on, as in TemperatureFit; "" where that is not known
    sets      for each promised coverage, how the sets do on the test pictures; none of several labels
    area      the mean error over all coverages
    """

    chart: Markup
    held_out: str
    chosen_on: int
    count: int
    wrong: int
    error: float
    refusals: list[Refusal]
    named: Refusal | None
    sets: list[tuple[float, SetScores]]
    area: float
    atlases: Mapping[str, Atlas] = field(default_factory=dict)


def gather(context: ReportContext) -> RefusingSection:
    """When it is better not to answer, and which classes then come into question."""
    evaluation, run = context.evaluation, context.run
    curve = risk_coverage(evaluation.confidence, evaluation.right)
    refusals: list[Refusal] = []
    sets: list[tuple[float, SetScores]] = []
    if run.calibration.reason != STOPPED:
        held_out = run.held_out()
        for coverage in COVERAGES:
            threshold = threshold_for_coverage(held_out, coverage)
            refusals.append(_refusal(evaluation, threshold, coverage=coverage))
        for error in ERRORS:
            with suppress(UsageError):  # the pictures held out cannot show it
                refusals.append(_refusal(evaluation, threshold_for_error(held_out, error), max_error=error))
        if isinstance(evaluation, Evaluation):
            for coverage in SET_COVERAGES:
                found = prediction_sets(held_out, coverage)
                sets.append((coverage, set_scores(found, evaluation.probabilities, evaluation.labels)))
    return RefusingSection(
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
    )


def _refusal(
    evaluation: AnyEvaluation,
    threshold: Threshold,
    *,
    coverage: float | None = None,
    max_error: float | None = None,
) -> Refusal:
    reached = evaluation.confidence >= threshold.confidence
    answered, wrong = int(reached.sum()), int((reached & ~evaluation.right).sum())
    error = wrong / max(1, answered)
    low, high = wilson(error, answered) if answered else (0.0, 1.0)
    return Refusal(coverage, max_error, threshold, answered, wrong, error, low, high)

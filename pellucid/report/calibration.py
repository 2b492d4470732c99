"""The section on whether it is right as often as it is confident."""

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup
from torch import Tensor

from pellucid.evaluation.calibration import (
    BINS,
    LEAST_PICTURES,
    Calibration,
    TemperatureFit,
    at_temperature_one,
    isotonic_reliability,
)
from pellucid.evaluation.evaluation import AnyEvaluation, Evaluation
from pellucid.evaluation.metrics import Bin
from pellucid.evaluation.multi_label import MultiLabelEvaluation
from pellucid.formatting import chance
from pellucid.language import translate
from pellucid.plots import charts
from pellucid.plots.images import Atlas
from pellucid.report.context import ReportContext
from pellucid.report.opened import Counted, Opened, open_figures


@dataclass(frozen=True)
class BeforeAndAfter:
    """The loss in nats and the calibration error, 0..1, without the temperature and with it.

    pictures  on which they were measured; `fitted` where the temperature was fitted on these
    """

    pictures: int
    fitted: bool
    loss_before: float
    loss_after: float
    error_before: float
    error_after: float


@dataclass(frozen=True)
class CalibrationSection:
    """Confidence against accuracy, by groups of like confidence and overall.

    decisions    where pictures can have several labels: how many probabilities there are, one a picture and
                 label; then accuracy is the share of them of which the label was there. None for one class
    temperature  what scores are divided by; how it came about is in `fit`
    measured     what the temperature changed, on the pictures it was fitted on and on the test pictures
    opened       some pictures of each bin, in blocks of which the ids are "bin-0" and so on
    """

    atlases: Mapping[str, Atlas]

    chart: Markup
    bins: list[Bin]
    calibration: Calibration
    loss: float
    temperature: float
    fit: TemperatureFit
    measured: list[BeforeAndAfter]
    decisions: int | None
    opened: Opened
    least: int = LEAST_PICTURES


def gather(context: ReportContext) -> CalibrationSection:
    """Whether it is right as often as it is confident."""
    evaluation, run = context.evaluation, context.run
    if isinstance(evaluation, MultiLabelEvaluation):
        confidence, right = evaluation.probabilities.flatten(), evaluation.labels.flatten()
    else:
        confidence, right = evaluation.confidence, evaluation.right
    several = evaluation.task.multi_label if isinstance(evaluation, MultiLabelEvaluation) else False
    groups = evaluation.sampling.groups
    if groups is not None and several:
        groups = groups.repeat_interleave(len(evaluation.classes))
    isotonic = isotonic_reliability(confidence, right, groups)
    chart = charts.reliability_chart(evaluation.reliability, isotonic, several_labels=several)
    fit, measured = run.calibration, []
    if not fit.reason:
        figures = fit.loss_before, fit.loss_after, fit.error_before, fit.error_after
        measured.append(BeforeAndAfter(fit.pictures, True, *figures))
        if not evaluation.fold_scores:  # folds are judged on the pictures that it was fitted on
            measured.append(_on_test(evaluation, run.classifier.temperature))
    opened = open_figures(context, "calibration", _of_bins(evaluation, confidence))
    return CalibrationSection(
        atlases={"calibration": opened.atlas},
        chart=Markup(chart),
        bins=evaluation.reliability,
        calibration=evaluation.calibration,
        loss=evaluation.loss,
        temperature=run.classifier.temperature,
        fit=fit,
        measured=measured,
        decisions=evaluation.labels.numel() if several else None,
        opened=opened,
    )


def _of_bins(evaluation: AnyEvaluation, confidence: Tensor) -> list[Counted]:
    """What the bins of `evaluation.reliability` count, wrong predictions first; of several labels, pictures
    with such a probability, those first that were decided wrongly by it."""
    wrong = ~evaluation.right
    per_picture = 1
    if isinstance(evaluation, MultiLabelEvaluation):
        wrong = (evaluation.predictions != evaluation.labels).flatten()
        per_picture = len(evaluation.classes)
    order = confidence.sort(stable=True).indices
    figures = []
    for number, (part, members) in enumerate(
        zip(evaluation.reliability, order.tensor_split(min(BINS, len(order))), strict=True)
    ):
        low, high = chance(part.low), chance(part.high)
        ends = low if low == high else translate("%(low)s to %(high)s", low=low, high=high)
        title = translate("Confidence: %(ends)s", ends=ends)
        if per_picture > 1:
            title = translate("Probability: %(ends)s", ends=ends)
        members = members[wrong[members].logical_not().sort(stable=True).indices] // per_picture
        pictures = list(dict.fromkeys(members.tolist()))
        figures.append(Counted(f"bin-{number}", title, order.new_tensor(pictures)))
    return figures


def _on_test(evaluation: AnyEvaluation, temperature: float) -> BeforeAndAfter:
    """What the temperature changed on the test pictures."""
    several = isinstance(evaluation, MultiLabelEvaluation)
    plain = at_temperature_one(evaluation.probabilities, temperature, several_labels=several)
    facts = plain, evaluation.labels, evaluation.classes, evaluation.sources
    before: AnyEvaluation = (
        MultiLabelEvaluation(*facts, evaluation.task)
        if isinstance(evaluation, MultiLabelEvaluation)
        else Evaluation(*facts)
    )
    return BeforeAndAfter(
        evaluation.count, False,
        before.loss, evaluation.loss, before.calibration_error, evaluation.calibration_error,
    )  # fmt: skip

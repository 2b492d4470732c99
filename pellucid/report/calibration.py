"""The section on whether it is right as often as it is confident."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from markupsafe import Markup

from pellucid.evaluation.metrics import Bin
from pellucid.evaluation.multi_label import MultiLabelEvaluation
from pellucid.plots import charts
from pellucid.plots.images import Atlas
from pellucid.report.context import ReportContext


@dataclass(frozen=True)
class CalibrationSection:
    """Confidence against accuracy, by groups of like confidence and overall.

    decisions  where pictures can have several labels: how many probabilities there are, one a picture and
               label; then accuracy is the share of them of which the label was there. None for one class
    """

    chart: Markup
    bins: list[Bin]
    error: float
    confidence: float
    accuracy: float
    loss: float
    decisions: int | None = None
    atlases: Mapping[str, Atlas] = field(default_factory=dict)


def gather(context: ReportContext) -> CalibrationSection:
    """Whether it is right as often as it is confident."""
    evaluation = context.evaluation
    if isinstance(evaluation, MultiLabelEvaluation):
        return CalibrationSection(
            chart=Markup(charts.reliability_chart(evaluation.reliability, several_labels=True)),
            bins=evaluation.reliability,
            error=evaluation.calibration_error,
            confidence=float(evaluation.probabilities.mean()),
            accuracy=float(evaluation.labels.double().mean()),
            loss=evaluation.loss,
            decisions=evaluation.labels.numel(),
        )
    return CalibrationSection(
        chart=Markup(charts.reliability_chart(evaluation.reliability)),
        bins=evaluation.reliability,
        error=evaluation.calibration_error,
        confidence=float(evaluation.confidence.mean()),
        accuracy=evaluation.accuracy,
        loss=evaluation.loss,
    )

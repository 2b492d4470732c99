"""The section on whether it is right as often as it is confident."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from markupsafe import Markup

from pellucid.evaluation.metrics import Bin
from pellucid.plots import charts
from pellucid.plots.images import Atlas
from pellucid.report.context import ReportContext


@dataclass(frozen=True)
class CalibrationSection:
    """Confidence against accuracy, by groups of like confidence and overall."""

    chart: Markup
    bins: list[Bin]
    error: float
    confidence: float
    accuracy: float
    loss: float
    atlases: Mapping[str, Atlas] = field(default_factory=dict)


def gather(context: ReportContext) -> CalibrationSection:
    """Whether it is right as often as it is confident."""
    evaluation = context.evaluation
    return CalibrationSection(
        chart=Markup(charts.reliability_chart(evaluation.reliability)),
        bins=evaluation.reliability,
        error=evaluation.calibration_error,
        confidence=float(evaluation.confidence.mean()),
        accuracy=evaluation.accuracy,
        loss=evaluation.loss,
    )

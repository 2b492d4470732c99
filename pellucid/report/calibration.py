"""The section on whether it is right as often as it is confident."""

from typing import Any

from markupsafe import Markup

from pellucid.plots import charts
from pellucid.report.context import Material


def calibration(material: Material) -> dict[str, Any]:
    """Whether it is right as often as it is sure."""
    evaluation = material.evaluation
    return {
        "chart": Markup(charts.reliability_chart(evaluation.reliability)),
        "bins": evaluation.reliability,
        "error": evaluation.calibration_error,
        "mean": float(evaluation.confidence.mean()),
        "accuracy": evaluation.accuracy,
        "loss": evaluation.loss,
        "count": evaluation.count,
    }

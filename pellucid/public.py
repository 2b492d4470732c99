"""The public names and where they live, so that `import pellucid` is quick and loads torch only at need."""

from importlib import import_module
from typing import Any

HOMES = {
    "Calibration": "evaluation.calibration",
    "Classifier": "classifier",
    "Dataset": "data.dataset",
    "Drift": "evaluation.drift",
    "Epoch": "training.loop",
    "Evaluation": "evaluation.evaluation",
    "Explanation": "explanation.explanation",
    "Forecast": "runs.forecast",
    "HeldOut": "evaluation.held_out",
    "History": "runs.history",
    "LabelErrors": "evaluation.label_errors",
    "MultiLabelEvaluation": "evaluation.multi_label",
    "Novelty": "evaluation.novelty",
    "Origin": "data.dataset",
    "PellucidError": "errors",
    "PictureSample": "evaluation.novelty",
    "PredictionSets": "evaluation.conformal",
    "Preprocess": "data.preprocess",
    "Recipe": "recipe",
    "Reference": "evaluation.novelty",
    "Repetition": "runs.repeat",
    "Run": "runs.run",
    "Shortcuts": "evaluation.shortcuts",
    "Slice": "evaluation.slices",
    "Slices": "evaluation.slices",
    "Splits": "data.dataset",
    "Step": "training.loop",
    "StopTraining": "runs.stopping",
    "Stopped": "runs.stopping",
    "Stress": "evaluation.stress",
    "StressCurve": "evaluation.stress",
    "StressPoint": "evaluation.stress",
    "TemperatureFit": "evaluation.calibration",
    "Threshold": "evaluation.selective",
    "UsageError": "errors",
    "audit": "data.audit.findings",
    "build": "models",
    "check": "report.check_page",
    "compare": "report.compare_page",
    "evaluate": "evaluation.evaluation",
    "explain": "explanation.explanation",
    "explain_each": "explanation.explanation",
    "export": "exporters",
    "fit": "runs.fit",
    "forecast": "runs.forecast",
    "label_errors": "runs.labels",
    "load": "data",
    "open_module": "runs.opened",
    "predict_files": "prediction",
    "record": "explanation.activations",
    "repeat": "runs.repeat",
    "resume": "runs.fit",
    "shortcuts": "evaluation.shortcuts",
    "slices": "evaluation.slices",
    "split": "data.dataset",
    "stress": "evaluation.stress",
    "train": "training.loop",
    "write_report": "report.report",
}


def public(name: str) -> Any:
    """The public object of that name, its module loaded now.

    A handle on a lower floor finds by this what a higher floor adds to it, as `Run.report` does, without
    importing upwards. Raises KeyError for a name that is not public.
    """
    return getattr(import_module(f"pellucid.{HOMES[name]}"), name)

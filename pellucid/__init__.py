"""pellucid: image learning you can see through.

    import pellucid

    splits = pellucid.load("digits")
    run = pellucid.fit(splits)
    print(run.evaluate(splits.test).verdict)
    run.report(splits)

Names are imported when first used, so that `import pellucid` is quick and torch is loaded only at need.
Import it before torch: how torch's threads wait for each other can be set only before torch is loaded.
"""

import os
import sys
from typing import TYPE_CHECKING, Any

from pellucid.public import HOMES, public

# A thread that waits for the others soon goes to sleep. Spinning, OpenMP's default, takes ten times as long
# as soon as another program wants a core.
if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"

__all__ = [
    "Calibration",
    "Classifier",
    "Dataset",
    "Drift",
    "Epoch",
    "Evaluation",
    "Explanation",
    "Forecast",
    "HeldOut",
    "History",
    "LabelErrors",
    "MultiLabelEvaluation",
    "Novelty",
    "Origin",
    "PellucidError",
    "PictureSample",
    "PredictionSets",
    "Preprocess",
    "Recipe",
    "Reference",
    "Repetition",
    "Run",
    "Shortcuts",
    "Slice",
    "Slices",
    "Splits",
    "Step",
    "StopTraining",
    "Stopped",
    "Stress",
    "StressCurve",
    "StressPoint",
    "TemperatureFit",
    "Threshold",
    "UsageError",
    "audit",
    "build",
    "check",
    "compare",
    "evaluate",
    "explain",
    "explain_each",
    "export",
    "fit",
    "forecast",
    "label_errors",
    "load",
    "open_module",
    "predict_files",
    "record",
    "repeat",
    "resume",
    "shortcuts",
    "slices",
    "split",
    "stress",
    "train",
    "write_report",
]

if TYPE_CHECKING:
    from pellucid.classifier import Classifier
    from pellucid.data import load
    from pellucid.data.audit.findings import audit
    from pellucid.data.dataset import Dataset, Origin, Splits, split
    from pellucid.data.preprocess import Preprocess
    from pellucid.errors import PellucidError, UsageError
    from pellucid.evaluation.calibration import Calibration, TemperatureFit
    from pellucid.evaluation.conformal import PredictionSets
    from pellucid.evaluation.drift import Drift
    from pellucid.evaluation.evaluation import Evaluation, evaluate
    from pellucid.evaluation.held_out import HeldOut
    from pellucid.evaluation.label_errors import LabelErrors
    from pellucid.evaluation.multi_label import MultiLabelEvaluation
    from pellucid.evaluation.novelty import Novelty, PictureSample, Reference
    from pellucid.evaluation.selective import Threshold
    from pellucid.evaluation.shortcuts import Shortcuts, shortcuts
    from pellucid.evaluation.slices import Slice, Slices, slices
    from pellucid.evaluation.stress import Stress, StressCurve, StressPoint, stress
    from pellucid.explanation.activations import record
    from pellucid.explanation.explanation import Explanation, explain, explain_each
    from pellucid.exporters import export
    from pellucid.models import build
    from pellucid.prediction import predict_files
    from pellucid.recipe import Recipe
    from pellucid.report.check_page import check
    from pellucid.report.compare_page import compare
    from pellucid.report.report import write_report
    from pellucid.runs.fit import fit, resume
    from pellucid.runs.forecast import Forecast, forecast
    from pellucid.runs.history import History
    from pellucid.runs.labels import label_errors
    from pellucid.runs.opened import open_module
    from pellucid.runs.repeat import Repetition, repeat
    from pellucid.runs.run import Run
    from pellucid.runs.stopping import Stopped, StopTraining
    from pellucid.training.loop import Epoch, Step, train


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'pellucid' has no attribute '{name}'")
    value = public(name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])

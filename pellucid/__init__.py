"""pellucid: image learning you can see through.

    import pellucid

    splits = pellucid.load("digits")
    run = pellucid.fit(splits.train, splits.validation)
    run.evaluate(splits.test)

Names are imported when first used, so that `import pellucid` is quick and torch is loaded only at need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "Dataset",
    "Epoch",
    "Evaluation",
    "Explanation",
    "PellucidError",
    "Preprocess",
    "Recipe",
    "Run",
    "Splits",
    "Step",
    "UsageError",
    "audit",
    "build",
    "evaluate",
    "explain",
    "explain_each",
    "fit",
    "load",
    "record",
    "resume",
    "split",
    "train",
    "write_check",
    "write_report",
]

_HOMES = {
    "Classifier": "classifier",
    "Dataset": "data.dataset",
    "Epoch": "training.loop",
    "Evaluation": "evaluation.evaluation",
    "Explanation": "explanation.explanation",
    "PellucidError": "errors",
    "Preprocess": "data.preprocess",
    "Recipe": "recipe",
    "Run": "runs.run",
    "Splits": "data.dataset",
    "Step": "training.loop",
    "UsageError": "errors",
    "audit": "data.audit.findings",
    "build": "models",
    "evaluate": "evaluation.evaluation",
    "explain": "explanation.explanation",
    "explain_each": "explanation.explanation",
    "fit": "runs.fit",
    "load": "data",
    "record": "explanation.activations",
    "resume": "runs.fit",
    "split": "data.dataset",
    "train": "training.loop",
    "write_check": "report.check_page",
    "write_report": "report.report",
}

if TYPE_CHECKING:
    from pellucid.classifier import Classifier
    from pellucid.data import load
    from pellucid.data.audit.findings import audit
    from pellucid.data.dataset import Dataset, Splits, split
    from pellucid.data.preprocess import Preprocess
    from pellucid.errors import PellucidError, UsageError
    from pellucid.evaluation.evaluation import Evaluation, evaluate
    from pellucid.explanation.activations import record
    from pellucid.explanation.explanation import Explanation, explain, explain_each
    from pellucid.models import build
    from pellucid.recipe import Recipe
    from pellucid.report.check_page import write_check
    from pellucid.report.report import write_report
    from pellucid.runs.fit import fit, resume
    from pellucid.runs.run import Run
    from pellucid.training.loop import Epoch, Step, train


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pellucid' has no attribute '{name}'")
    value = getattr(import_module(f"pellucid.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

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
    "Epoch": "training",
    "Evaluation": "evaluation",
    "Explanation": "explanation",
    "PellucidError": "errors",
    "Preprocess": "data.picture",
    "Recipe": "recipe",
    "Run": "run",
    "Splits": "data.dataset",
    "Step": "training",
    "UsageError": "errors",
    "audit": "data.audit",
    "build": "models",
    "evaluate": "evaluation",
    "explain": "explanation",
    "explain_each": "explanation",
    "fit": "run",
    "load": "data",
    "record": "explanation",
    "resume": "run",
    "split": "data.dataset",
    "train": "training",
    "write_check": "report.checked",
    "write_report": "report",
}

if TYPE_CHECKING:
    from pellucid.classifier import Classifier
    from pellucid.data import load
    from pellucid.data.audit import audit
    from pellucid.data.dataset import Dataset, Splits, split
    from pellucid.data.picture import Preprocess
    from pellucid.errors import PellucidError, UsageError
    from pellucid.evaluation import Evaluation, evaluate
    from pellucid.explanation import Explanation, explain, explain_each, record
    from pellucid.models import build
    from pellucid.recipe import Recipe
    from pellucid.report import write_report
    from pellucid.report.checked import write_check
    from pellucid.run import Run, fit, resume
    from pellucid.training import Epoch, Step, train


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pellucid' has no attribute '{name}'")
    value = getattr(import_module(f"pellucid.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

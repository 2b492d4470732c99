"""What `explain` and `compare` are asked in tests, and what they leave."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pellucid.classifier import Classifier


def classifiers(place: Path) -> tuple[Classifier, Classifier]:
    return Classifier.load(place / "one"), Classifier.load(place / "two")


@dataclass
class Done:
    """What a command left: its exit code and what it printed."""

    returncode: int
    stdout: str
    stderr: str


Ran = Callable[..., Done]

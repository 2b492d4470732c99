"""What model.json in a run's folder holds of the training that the weights came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pellucid.classifier import MANIFEST
from pellucid.evaluation.calibration import TemperatureFit
from pellucid.evaluation.novelty import ReferenceFit
from pellucid.files import read_object
from pellucid.manifest import damage
from pellucid.models.head import HeadSettings
from pellucid.records import ABSENT, Count, record_from


@dataclass(frozen=True)
class AllPictures:
    """The training that gave a run its weights, where nothing was held out of it.

    pictures  how many it learned from
    epochs    after which it ended
    loss, accuracy  on those pictures, which says nothing about others
    """

    pictures: int
    epochs: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Trained:
    """How the weights of a run came about.

    why     these weights and no others, in words
    epochs  how many were judged; of two trainings those of the first
    best    the figures of the best of them
    ended   why training ended before its last epoch; None where it did not
    """

    why: str
    epochs: Count
    best: Mapping[str, float | bool]
    calibration: TemperatureFit
    reference: ReferenceFit
    head: Annotated[HeadSettings | None, ABSENT]
    all_pictures: Annotated[AllPictures | None, ABSENT]
    ended: Annotated[str | None, ABSENT]


def trained_in(folder: Path) -> Trained:
    """What model.json in a run's folder holds of its training.

    Raises DamagedFile when a key is missing, not known or of another kind.
    """
    try:
        return record_from(Trained, read_object(folder / MANIFEST)["training"], within="training.")
    except ValueError as error:
        raise damage(folder / MANIFEST, str(error)) from error

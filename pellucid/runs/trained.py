"""What model.json in a run's folder holds of the training that the weights came from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pellucid.classifier import MANIFEST
from pellucid.evaluation.calibration import TemperatureFit
from pellucid.evaluation.novelty import ReferenceFit
from pellucid.files import read_object
from pellucid.formatting import plural
from pellucid.manifest import damage
from pellucid.models.head import HeadSettings
from pellucid.recipe import Recipe
from pellucid.records import ABSENT, Count, record_from
from pellucid.runs.history import History
from pellucid.training.loop import Epoch


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


def summary_of(
    recipe: Recipe | None, history: History, best: Epoch | None, again: AllPictures | None, epochs: int
) -> str:
    """A training in one sentence, as `Run` has its parts."""
    if recipe is None:
        return "trained elsewhere, so that nothing is known of its training"
    if epochs and not history:
        return "its history by epoch is lost"
    if best is None:
        return "stopped before its first epoch was judged"
    if recipe.folds and again:
        pictures = f"{again.pictures:,} pictures"
        return f"trained on all {pictures} after {recipe.folds} folds, nothing held out"
    if math.isnan(best.val_loss):
        return "stopped before its folds were done"
    then = ""
    if again:
        counts = again
        then = (
            f", in a first training; then on all {counts.pictures:,} pictures, "
            f"{plural(counts.epochs, 'epoch', 'epochs')}"
        )
    judged = "the only epoch" if len(history) == 1 else f"best of {len(history)} epochs"
    number = "" if len(history) == 1 else f" is {best.epoch}"
    return (
        f"{judged}{number}: validation loss {best.val_loss:.4f}, "
        f"accuracy {best.val_accuracy:.4f}, after {best.seconds:.1f} s{then}"
    )

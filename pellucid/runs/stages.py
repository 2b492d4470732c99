"""The trainings of a run: one; or two, the second on all pictures; or one for each fold, and one on all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pellucid.data.dataset import Dataset, joined
from pellucid.models import is_pretrained
from pellucid.recipe import Recipe
from pellucid.training.loop import Progress


@dataclass(frozen=True, eq=False)
class Stage:
    """One training of a run, from the first weights on.

    name        what events call it, such as "fold 2 of 5"; "" for the only training
    validation  pictures held out to choose by; None: nothing is held out, and the last weights are kept
    held_out    int64, the positions among all pictures of those that it predicts afterwards; empty for none
    """

    name: str
    train: Dataset
    validation: Dataset | None
    held_out: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))


def stages_of(
    recipe: Recipe, train: Dataset, validation: Dataset, folds: Tensor | None = None
) -> list[Stage]:
    """The trainings that a recipe asks for, in order.

    train  of a recipe with folds every picture
    folds  the fold of each of them, int64 (N,) from 0
    """
    if folds is not None:
        parts = [
            Stage(
                f"fold {number + 1} of {recipe.folds}",
                train.subset(folds != number),
                None,
                torch.nonzero(folds == number)[:, 0],
            )
            for number in range(recipe.folds)
        ]
        return [*parts, Stage("all pictures", train, None)]
    if recipe.use_all:
        both = joined([train, validation])
        return [Stage("first training", train, validation), Stage("all pictures", both, None)]
    return [Stage("", train, validation)]


def rounds(recipe: Recipe, train: int, validation: int) -> float:
    """How many times as long all trainings of a recipe take as one on `train` pictures.

    validation  held out of them, which a second training learns from, too
    """
    if is_pretrained(recipe.model) and not recipe.fine_tune:
        return 1.0  # the features, which take the time, are computed once
    if recipe.folds:
        return float(recipe.folds)  # each with all but one of them, and once with all
    return 2.0 + validation / train if recipe.use_all else 1.0


@dataclass
class State:
    """Where a run of one or several trainings stands: all that a resumed one needs.

    stage          the position of the training at hand
    progress       of that training
    first          of `use_all`, the first training once it is done, with its best weights alone
    logits         float32 (N, K), of several trainings: the scores of the pictures held out so far
    initial        the weights that every training begins from, where they cannot be drawn again
    """

    stage: int = 0
    progress: Progress = field(default_factory=Progress)
    first: Progress | None = None
    logits: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    initial: dict[str, Tensor] = field(default_factory=dict)

    def to_tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything as named tensors and plain values, for a file."""
        tensors = {f"initial/{name}": tensor for name, tensor in self.initial.items()}
        if len(self.logits):
            tensors["logits"] = self.logits
        values: dict[str, Any] = {"stage": self.stage}
        for name, progress in (("progress", self.progress), ("first", self.first)):
            if progress is not None:
                own, values[name] = progress.to_tensors()
                tensors |= {f"{name}/{key}": tensor for key, tensor in own.items()}
        return tensors, values

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> "State":
        """What `to_tensors` took apart. Raises KeyError or TypeError when a piece is missing."""

        def group(name: str) -> dict[str, Tensor]:
            start = f"{name}/"
            return {
                key.removeprefix(start): tensor for key, tensor in tensors.items() if key.startswith(start)
            }

        first = Progress.from_tensors(group("first"), values["first"]) if "first" in values else None
        progress = Progress.from_tensors(group("progress"), values["progress"])
        logits = tensors.get("logits", torch.empty(0, 0))
        return State(values["stage"], progress, first, logits, group("initial"))

    def advance(self, stages: Sequence[Stage]) -> None:
        """Go on to the next training; what the one at hand has chosen decides a second."""
        done = self.progress
        self.stage += 1
        if stages[0].validation is None or done.best is None:
            self.progress = Progress()
            return
        done.weights, done.optimizer = {}, {}
        self.first = done
        self.progress = Progress(until=done.best.epoch, head=done.head)

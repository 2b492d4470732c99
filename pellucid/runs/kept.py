"""Trainings that were tried to choose a network, kept in the cache: their result, and their weights until
another was chosen, so that none of them is done twice.

A training depends on nothing but its pictures, recipe, versions and machine, which name its files. What is
taken from here is therefore what training again would give, byte for byte; only the clock differs.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pellucid.cache import computed_folder
from pellucid.data.dataset import Dataset
from pellucid.errors import PellucidError
from pellucid.files import make_folder, read_object, remove, sha256, write_json
from pellucid.recipe import Recipe
from pellucid.runs.checkpoint import read_checkpoint, write_checkpoint
from pellucid.runs.environment import environment_of
from pellucid.runs.stages import State
from pellucid.training.loop import Progress

FOLDER = "candidates"


@dataclass(frozen=True)
class KeptTraining:
    """Where a training of these pictures by this recipe is kept; nothing need be there yet."""

    stem: Path

    @staticmethod
    def of(recipe: Recipe, train_set: Dataset, validation_set: Dataset) -> "KeptTraining":
        """By all that the training depends on; its first weights are drawn, or those published."""
        environment = environment_of(train_set, validation_set, recipe)
        # Whether it is trained once more afterwards, on all pictures, plays no role.
        first = replace(recipe, use_all=False).to_json()
        depends = [first, *(environment[name] for name in ("machine", "versions", "fingerprints"))]
        digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:40]
        return KeptTraining(computed_folder() / FOLDER / digest)

    @property
    def snapshots(self) -> Path:
        """The file of its snapshots, as a run has one; there is none of a large network."""
        return self.stem.with_suffix(".snapshots.safetensors")

    @property
    def _result(self) -> Path:
        return self.stem.with_suffix(".json")

    @property
    def _training(self) -> Path:
        return self.stem.with_suffix(".training.safetensors")

    def result(self) -> dict[str, Any] | None:
        """What `keep_result` was given; None where there is none, or it is damaged."""
        with suppress(PellucidError):
            return read_object(self._result)
        return None

    def keep_result(self, result: dict[str, Any]) -> None:
        """Keeps plain values. A cache that cannot be written costs only time."""
        with suppress(PellucidError):
            make_folder(self.stem.parent)
            write_json(self._result, result)

    def keep_training(self, progress: Progress) -> None:
        """Keeps a training that is complete, with the snapshots that were written to `snapshots`."""
        finished = replace(progress, weights={}, optimizer={})  # to go on with, which nobody will
        with suppress(PellucidError):
            make_folder(self.stem.parent)
            taken = sha256(self.snapshots) if self.snapshots.is_file() else ""
            write_checkpoint(self._training, State(progress=finished), {"snapshots": taken})

    def training(self) -> Progress | None:
        """The training, complete; None where there is none, or a file of it is damaged."""
        if not self._training.is_file():
            return None
        with suppress(PellucidError):
            state, manifest = read_checkpoint(self._training)
            taken = sha256(self.snapshots) if self.snapshots.is_file() else ""
            return state.progress if taken == manifest.get("snapshots") else None
        return None

    def forget_training(self) -> None:
        """Removes all but the result."""
        for path in (self._training, self.snapshots):
            with suppress(PellucidError):
                if path.exists():
                    remove(path)

"""Short runs on toy pictures, started and resumed alike by every test of runs."""

from dataclasses import replace
from pathlib import Path

from pellucid.data.dataset import Origin
from pellucid.recipe import Recipe
from pellucid.runs.fit import fit, resume
from pellucid.runs.run import Run
from pellucid.runs.session import Callback
from tests.toys import QUICK, toy_splits

SPLITS = toy_splits()
TOYS = Origin("toys", augmentation="crop")
SHORT = replace(QUICK, epochs=2)
EVENTS = 2 * 4  # an epoch of SHORT has three steps and a judgement


def started(folder: Path, *callbacks: Callback, recipe: Recipe = SHORT) -> Run:
    return fit(SPLITS.train, SPLITS.validation, recipe, folder=folder, callbacks=callbacks, origin=TOYS)


def resumed(folder: Path, *callbacks: Callback) -> Run:
    return resume(folder, SPLITS.train, SPLITS.validation, callbacks=callbacks)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}

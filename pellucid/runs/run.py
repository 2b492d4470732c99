"""The folder a training leaves behind: fit() fills it, Run reads it, and either can go on with it."""

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from pellucid.classifier import MANIFEST, Classifier
from pellucid.data.dataset import Dataset, Splits
from pellucid.errors import PellucidError, UsageError
from pellucid.evaluation.evaluation import EVALUATION, PREDICTIONS, Evaluation, evaluate
from pellucid.files import read_csv, read_object, write_csv
from pellucid.recipe import Recipe, read_recipe
from pellucid.runs.checkpoint import CHECKPOINT
from pellucid.runs.tables import DIAGNOSTICS, SPLIT, SPLIT_HEADER, read_history, read_split, split_rows
from pellucid.training.diagnostics import LayerDiagnostics
from pellucid.training.loop import Epoch
from pellucid.training.snapshots import SNAPSHOTS, Snapshot, read_snapshots

RECIPE, ENVIRONMENT = "recipe.json", "environment.json"


@dataclass(frozen=True, eq=False)
class Run:
    """A training that was done: its classifier, the choices that led to it, and how it went.

    folder       where it lies
    classifier   with the weights of the best epoch
    recipe       every choice, with nothing left at "auto"
    history      one Epoch each
    environment  versions, machine, threads, fingerprints of the data, the command
    """

    folder: Path
    classifier: Classifier
    recipe: Recipe
    history: list[Epoch]
    environment: dict[str, Any]

    def __repr__(self) -> str:
        return f"Run('{self.folder}', {self.summary})"

    def _repr_html_(self) -> str:
        return f"<p><b>{escape(str(self.folder))}</b><br>{escape(self.summary)}</p>"

    @staticmethod
    def open(folder: Path) -> "Run":
        """The run in `folder`. Raises UsageError when there is none, PellucidError when it is damaged."""
        if not folder.is_dir():
            raise UsageError(f"'{folder}' is no folder. Expected a run's folder, such as 'runs/latest'.")
        if not (folder / MANIFEST).is_file() and (folder / CHECKPOINT).is_file():
            raise UsageError(
                f"'{folder}' was cut off before its model was saved. "
                f"Go on with: pellucid train --resume {shlex.quote(str(folder))}"
            )
        classifier = Classifier.load(folder)
        recipe = read_recipe(folder / RECIPE)
        return Run(folder, classifier, recipe, read_history(folder), read_object(folder / ENVIRONMENT))

    @property
    def data(self) -> str:
        """What was trained on, as `load` takes it: "mnist"."""
        return str(self.environment.get("data", ""))

    @property
    def best(self) -> Epoch | None:
        """The epoch whose weights the classifier has: the one with the lowest validation loss."""
        return next((epoch for epoch in reversed(self.history) if epoch.best), None)

    @property
    def diagnostics(self) -> list[LayerDiagnostics]:
        """How long each layer's gradient was halfway through each epoch, and how far a step moved it.

        Empty for a run that left no diagnostics.csv. Raises PellucidError when that is damaged.
        """
        if not (self.folder / DIAGNOSTICS).is_file():
            return []
        try:
            return [
                LayerDiagnostics(
                    int(row["epoch"]), row["layer"], float(row["gradient"]), float(row["update"])
                )
                for row in read_csv(self.folder / DIAGNOSTICS)
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise PellucidError(f"'{self.folder / DIAGNOSTICS}' is damaged: {error!r}. Delete it.") from error

    @property
    def snapshots(self) -> list[Snapshot]:
        """The weights as they were on the way to those kept, oldest first; read anew each time.

        Raises PellucidError when snapshots.safetensors is damaged.
        """
        steps = math.ceil(sum(self.environment["pictures"]["train"].values()) / self.recipe.batch_size)
        before = self.best.epoch * steps if self.best else None
        return read_snapshots(self.folder / SNAPSHOTS, self.classifier.network, before=before)

    @property
    def summary(self) -> str:
        """The training in one sentence."""
        if self.best is None:
            return "stopped before its first epoch was judged"
        return (
            f"best of {len(self.history)} epochs is {self.best.epoch}: "
            f"validation loss {self.best.val_loss:.4f}, accuracy {self.best.val_accuracy:.4f}, "
            f"after {self.best.seconds:.1f} s"
        )

    def plot(self) -> Any:
        """Loss and accuracy by epoch as a matplotlib figure."""
        from pellucid.plots.figures import plot_history

        return plot_history(self.history)

    def evaluation(self) -> Evaluation | None:
        """What `evaluate` found and wrote down, or None when the test set has not been opened.

        Raises PellucidError when evaluation.json or predictions.csv is damaged.
        """
        if not self._was_opened:
            return None
        facts = read_object(self.folder / EVALUATION)
        if facts.get("weights") != self._weights:
            return None
        evaluation = Evaluation.load(self.folder, self.classifier.classes)
        if (facts.get("count"), facts.get("correct")) != (evaluation.count, evaluation.correct):
            raise PellucidError(
                f"'{self.folder / PREDICTIONS}' has {evaluation.correct} of {evaluation.count} right, "
                f"'{EVALUATION}' {facts.get('correct')} of {facts.get('count')}: one of them is damaged. "
                "Run 'pellucid evaluate --again' on the run."
            )
        return evaluation

    def evaluate(self, test_set: Dataset) -> Evaluation:
        """Open the test set: judge the classifier on it, note the result and that it was opened once more.

        Test pictures that were trained on or chosen by are named as "leaking" in evaluation.json, and what
        the others give stands in "without_leaking".
        """
        kept = [row for row in read_split(self.folder / SPLIT) if row[2] != "test"]
        seen = {row[3] for row in kept}
        rows = list(split_rows("test", test_set))
        leaks = [row[0] for row in rows if row[3] in seen]
        evaluation = evaluate(self.classifier, test_set)
        write_csv(self.folder / SPLIT, SPLIT_HEADER, [*kept, *rows])
        evaluation.save(
            self.folder,
            opened=self._times_opened + 1,
            leaking=leaks,
            without_leaking=_figures(evaluation.without(leaks)) if leaks else None,
            weights=self._weights,
            fingerprint=test_set.fingerprint,
        )
        return evaluation

    def without_leaking(self) -> str:
        """The verdict on the test pictures that were neither trained on nor chosen by; empty when all were so
        or the test set has not been opened."""
        if not self._was_opened:
            return ""
        figures = read_object(self.folder / EVALUATION).get("without_leaking")
        return str(figures.get("verdict", "")) if isinstance(figures, dict) else ""

    @property
    def _was_opened(self) -> bool:
        return (self.folder / EVALUATION).is_file()

    @property
    def _times_opened(self) -> int:
        if not self._was_opened:
            return 0
        try:
            return int(read_object(self.folder / EVALUATION)["opened"])
        except (PellucidError, KeyError, TypeError, ValueError):
            return 1  # damaged, but there: it was opened at least once

    @property
    def _weights(self) -> str:
        return str(read_object(self.folder / MANIFEST).get("sha256"))


def find_splits(run: Run, load: Callable[[], Splits]) -> Splits:
    """The pictures of a run, loaded again. Raises UsageError when they are not those it was trained on."""
    splits = load()
    found = {"train": splits.train.fingerprint, "validation": splits.validation.fingerprint}
    if found != run.environment.get("fingerprints"):
        raise UsageError(
            f"'{run.data}' is no longer what '{run.folder}' was trained on: its fingerprint has changed. "
            "Bring the pictures back as they were, or train again."
        )
    return splits


def _figures(evaluation: Evaluation | None) -> dict[str, Any] | None:
    if evaluation is None:
        return None
    figures = evaluation.to_json()
    return {name: figures[name] for name in ("verdict", "count", "correct", "accuracy", "interval")}

"""The folder a training leaves behind: fit() fills it, Run reads it, and either can go on with it."""

import hashlib
import json
import math
import platform
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from html import escape
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pellucid.classifier import MANIFEST, Classifier
from pellucid.data import DATASETS
from pellucid.data.dataset import Dataset, Splits, content_hashes
from pellucid.data.picture import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.evaluation import EVALUATION, PREDICTIONS, Evaluation, evaluate
from pellucid.files import (
    claim_empty_folder,
    claim_numbered_folder,
    point,
    read_csv,
    read_object,
    remove,
    write_bytes,
    write_csv,
    write_json,
)
from pellucid.machine import cores, keep_memory, multiplies_bfloat16, processor
from pellucid.models import build, description_of
from pellucid.moments import MOMENTS, MOST, Moment, Recorder, read_moments
from pellucid.native import prepare
from pellucid.pulse import Pulse
from pellucid.recipe import Recipe, fast, read_recipe
from pellucid.training import (
    Epoch,
    Progress,
    Step,
    refuse_untrainable,
    resolved_augment,
    resolved_precision,
)
from pellucid.transfer import learn

RECIPE, METRICS, SPLIT, ENVIRONMENT = "recipe.json", "metrics.csv", "split.csv", "environment.json"
CHECKPOINT, HEALTH = "checkpoint.safetensors", "health.csv"
SPLIT_HEADER = ("source", "label", "split", "content")
METRICS_HEADER = ("epoch", "seconds", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy")
HEALTH_HEADER = ("epoch", "layer", "gradient", "update")

Callback = Callable[[Step | Epoch], None]


class Stopped(PellucidError):
    """Training was asked to stop (Ctrl-C or SIGTERM), finished its step and saved what it had."""

    def __init__(self, folder: Path, signal_number: int) -> None:
        place = shlex.quote(str(folder))
        unfinished = (folder / CHECKPOINT).is_file()
        rest = f" Go on with: pellucid train --resume {place};" if unfinished else ""
        super().__init__(
            f"Stopped and saved in '{folder}'.{rest} Judge what was reached with: pellucid evaluate {place}"
        )
        self.exit_code = 128 + signal_number


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
        return Run(folder, classifier, recipe, _read_history(folder), read_object(folder / ENVIRONMENT))

    @property
    def data(self) -> str:
        """What was trained on, as `load` takes it: "mnist"."""
        return str(self.environment.get("data", ""))

    @property
    def best(self) -> Epoch | None:
        """The epoch whose weights the classifier has: the one with the lowest validation loss."""
        return next((epoch for epoch in reversed(self.history) if epoch.best), None)

    @property
    def pulses(self) -> list[Pulse]:
        """How long each layer's gradient was halfway through each epoch, and how far a step moved it.

        Empty for a run that left no health.csv. Raises PellucidError when that is damaged.
        """
        if not (self.folder / HEALTH).is_file():
            return []
        try:
            return [
                Pulse(int(row["epoch"]), row["layer"], float(row["gradient"]), float(row["update"]))
                for row in read_csv(self.folder / HEALTH)
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise PellucidError(f"'{self.folder / HEALTH}' is damaged: {error!r}. Delete it.") from error

    @property
    def moments(self) -> list[Moment]:
        """The weights as they were on the way to those kept, oldest first; read anew each time.

        Raises PellucidError when moments.safetensors is damaged.
        """
        steps = math.ceil(sum(self.environment["pictures"]["train"].values()) / self.recipe.batch_size)
        before = self.best.epoch * steps if self.best else None
        return read_moments(self.folder / MOMENTS, self.classifier.network, before=before)

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
        from pellucid.drawing import plot_history  # matplotlib is slow to load: only who plots needs it

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
        kept = [row for row in _read_split(self.folder / SPLIT) if row[2] != "test"]
        seen = {row[3] for row in kept}
        rows = list(_split_rows("test", test_set))
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


def fit(
    train_set: Dataset,
    validation_set: Dataset,
    recipe: Recipe | None = None,
    *,
    folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
    data: str = "",
    preprocess: Preprocess | None = None,
    moments: int = MOST,
    about: Mapping[str, Any] | None = None,
) -> Run:
    """Train to the end and leave a run's folder behind.

    recipe      without one, `recipe.fast` for so many pictures of their shape
    folder      new or empty; without one, the next free `runs/<data>-<model>-<n>` under the current folder
    callbacks   called with every Step and Epoch
    data        what the pictures are called, as `load` takes it, so that a report finds them again
    preprocess  how further pictures are to be read; without it, as exactly the kind trained on
    moments     how often, at most, the weights are kept along the way for pages that show how it formed;
                a network of more than moments.MOST_WEIGHTS keeps none
    about       what else environment.json is to tell of the pictures, as "reading": where they lie, what was
                unreadable, and with which choices they are found again

    Ctrl-C or SIGTERM ends it after the step at hand, saves, and raises Stopped. Raises UsageError for
    pictures that cannot be trained on, PellucidError when the loss is no longer finite or a file cannot be
    written; what was reached before is saved.
    """
    refuse_untrainable(train_set, validation_set)
    recipe = resolved(recipe or fast(len(train_set), (train_set.channels, *train_set.size)), train_set, data)
    shape = (train_set.channels, len(train_set.classes), train_set.size)
    network = build(recipe.model, *shape, seed=recipe.seed)
    preprocess = preprocess or Preprocess(train_set.channels, *train_set.size)
    classifier = Classifier(network, train_set.classes, preprocess, recipe.model)
    if folder is None:
        called = Path(data).resolve().name if data else ""
        folder = claim_numbered_folder(Path("runs"), f"{called or 'data'}-{_short(recipe.model)}")
        point(folder.parent / "latest", folder)
    else:
        claim_empty_folder(folder)
    environment = {"data": data, **_environment(train_set, validation_set, recipe)}
    if about is not None:
        environment["reading"] = dict(about)
    write_json(folder / RECIPE, recipe.to_json())
    write_json(folder / ENVIRONMENT, environment)
    rows = [*_split_rows("train", train_set), *_split_rows("validation", validation_set)]
    write_csv(folder / SPLIT, SPLIT_HEADER, rows)
    steps = math.ceil(len(train_set) / recipe.batch_size)
    past = Recorder.beginning(folder / MOMENTS, network, recipe.epochs, steps, moments)
    return _trained(
        folder, classifier, recipe, environment, train_set, validation_set, Progress(), past, callbacks
    )


def resolved(recipe: Recipe, train_set: Dataset, data: str = "") -> Recipe:
    """`recipe` with nothing left at "auto": what it means for these pictures on this machine.

    Raises UsageError for an unknown augmentation, and when there is nothing to fine-tune.
    """
    if recipe.fine_tune and not recipe.model.startswith("hf:"):
        raise UsageError(
            f"--fine-tune goes on with a pretrained network, such as --model hf:NAME; '{recipe.model}' is "
            "trained as a whole from the start."
        )
    if recipe.augment == "auto" and data in DATASETS:
        recipe = replace(recipe, augment=DATASETS[data].augment)
    return replace(
        recipe,
        augment=resolved_augment(recipe, train_set, own=bool(data)),
        precision=resolved_precision(recipe),
        threads=recipe.threads or cores(),
    )


def resume(
    folder: Path, train_set: Dataset, validation_set: Dataset, *, callbacks: Sequence[Callback] = ()
) -> Run:
    """Go on with a run that was stopped or killed; its end is byte for byte that of one never stopped.

    Raises UsageError when the run is finished or the data are not those it began with, PellucidError when
    its checkpoint is damaged.
    """
    if not (folder / CHECKPOINT).is_file():
        raise UsageError(
            f"'{folder}' has nothing to resume: it is no run's folder, or its training is finished."
        )
    recipe = read_recipe(folder / RECIPE)
    environment = read_object(folder / ENVIRONMENT)
    now = _environment(train_set, validation_set, recipe)
    for name in ("fingerprints", "versions"):
        if environment.get(name) != now[name]:
            raise UsageError(
                f"'{folder}' was begun with other {name}: {environment.get(name)}; now {now[name]}. "
                "Its end would not be that of an uninterrupted run. Train anew, or bring the old ones back."
            )
    progress, manifest = _read_checkpoint(folder / CHECKPOINT)
    if manifest.get("recipe") != recipe.to_json() or manifest.get("data") != now["fingerprints"]:
        raise PellucidError(
            f"'{folder / CHECKPOINT}' belongs to another run, or '{RECIPE}' was changed. "
            "Bring the right file back, or train anew."
        )
    preprocess = Preprocess(**manifest["preprocess"])
    whole = any(
        name.startswith("backbone.") for name in progress.weights
    )  # else only its last layer is there
    network = build(
        recipe.model,
        train_set.channels,
        len(train_set.classes),
        train_set.size,
        seed=recipe.seed,
        description=manifest.get("network") if whole else None,
    )
    classifier = Classifier(network, train_set.classes, preprocess, recipe.model)
    done = (progress.epoch - 1) * math.ceil(len(train_set) / recipe.batch_size) + progress.step
    past = Recorder.going_on(folder / MOMENTS, network, done)
    return _trained(
        folder, classifier, recipe, environment, train_set, validation_set, progress, past, callbacks
    )


def _short(model: str) -> str:
    """What a folder can be called: of "hf:google/vit-base" the last word."""
    return model.removeprefix("hf:").rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1] or "pretrained"


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


def _trained(
    folder: Path,
    classifier: Classifier,
    recipe: Recipe,
    environment: dict[str, Any],
    train_set: Dataset,
    validation_set: Dataset,
    progress: Progress,
    past: Recorder,
    callbacks: Sequence[Callback],
) -> Run:
    manifest = {
        "preprocess": classifier.preprocess.to_json(),
        "recipe": recipe.to_json(),
        "data": environment["fingerprints"],
        "network": description_of(classifier.network),
    }
    events = learn(classifier.network, train_set, validation_set, recipe, progress=progress)
    with _threads(recipe.threads), stop_requests() as requests:
        try:
            for event in events:
                past.note(event)
                if isinstance(event, Epoch):
                    _write_history(folder, progress.history)
                    _write_pulses(folder, progress.pulses)
                    past.write()  # before the checkpoint, so that no moment before it can be lost
                    if not progress.finished(recipe):
                        _write_checkpoint(folder / CHECKPOINT, progress, manifest)
                for callback in callbacks:
                    callback(event)
                if requests and not progress.finished(recipe):
                    past.write()
                    _write_checkpoint(folder / CHECKPOINT, progress, manifest)
                    raise Stopped(folder, requests[0])
        except PellucidError:
            events.close()  # type: ignore[attr-defined]  # puts the best weights into the network
            _save(folder, classifier, progress)
            raise
        _save(folder, classifier, progress)
        remove(folder / CHECKPOINT)
        if requests:
            raise Stopped(folder, requests[0])
    return Run(folder, classifier, recipe, list(progress.history), environment)


def _save(folder: Path, classifier: Classifier, progress: Progress) -> None:
    best = progress.best
    why = "lowest validation loss" if best else "training stopped before its first epoch was judged"
    figures = {name: value for name, value in asdict(best).items() if name != "seconds"} if best else {}
    _write_history(folder, progress.history)
    _write_pulses(folder, progress.pulses)
    classifier.save(folder, training={"why": why, "epochs": len(progress.history), "best": figures})


def _figures(evaluation: Evaluation | None) -> dict[str, Any] | None:
    if evaluation is None:
        return None
    figures = evaluation.to_json()
    return {name: figures[name] for name in ("verdict", "count", "correct", "accuracy", "interval")}


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """A list that holds the number of the first SIGINT or SIGTERM received inside the block.

    A second one acts at once. Outside the main thread, where Python takes no signals, it stays empty.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _split_rows(name: str, dataset: Dataset) -> Iterator[tuple[str, str, str, str]]:
    labels = dataset.labels.tolist()
    for source, label, digest in zip(dataset.sources, labels, content_hashes(dataset), strict=True):
        yield source, dataset.classes[label], name, digest.hex()


def _read_split(path: Path) -> list[tuple[str, ...]]:
    try:
        return [tuple(row[name] for name in SPLIT_HEADER) for row in read_csv(path)]
    except KeyError as error:
        raise PellucidError(f"'{path}' is damaged: no column {error}. Restore it or train again.") from error


def _write_history(folder: Path, history: list[Epoch]) -> None:
    rows = [[getattr(epoch, name) for name in METRICS_HEADER] for epoch in history]
    write_csv(folder / METRICS, METRICS_HEADER, rows)


def _write_pulses(folder: Path, pulses: list[Pulse]) -> None:
    rows = [[getattr(pulse, name) for name in HEALTH_HEADER] for pulse in pulses]
    write_csv(folder / HEALTH, HEALTH_HEADER, rows)


def _read_history(folder: Path) -> list[Epoch]:
    history: list[Epoch] = []
    lowest = float("inf")
    try:
        for row in read_csv(folder / METRICS):
            figures = {name: float(row[name]) for name in METRICS_HEADER[1:]}
            history.append(Epoch(int(row["epoch"]), best=figures["val_loss"] < lowest, **figures))
            lowest = min(lowest, figures["val_loss"])
        if len(history) < read_object(folder / MANIFEST)["training"]["epochs"]:
            raise ValueError(f"only {len(history)} epochs are left")
    except (KeyError, TypeError, ValueError) as error:
        raise PellucidError(
            f"'{folder / METRICS}' is damaged: {error!r}. Restore it or train again."
        ) from error
    return history


def _write_checkpoint(path: Path, progress: Progress, manifest: dict[str, Any]) -> None:
    tensors, facts = progress.to_tensors()
    whole = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    texts = {"progress": json.dumps(facts), "manifest": json.dumps(manifest)}
    write_bytes(path, save(whole, {**texts, "sha256": _digest(whole, texts)}))


def _read_checkpoint(path: Path) -> tuple[Progress, dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _digest(tensors, facts) != facts["sha256"]:
            raise ValueError("its SHA-256 is not the one it was written with")
        return Progress.from_tensors(tensors, json.loads(facts["progress"])), json.loads(facts["manifest"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise PellucidError(f"'{path}' is damaged: {error!r}. Train again.") from error


def _digest(tensors: dict[str, Tensor], texts: dict[str, str]) -> str:
    digest = hashlib.sha256(f"{texts['progress']}\n{texts['manifest']}".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _environment(train_set: Dataset, validation_set: Dataset, recipe: Recipe) -> dict[str, Any]:
    names = ["pellucid", "torch", "numpy", "pillow", "safetensors", "scikit-learn"]
    names += ["transformers"] if recipe.model.startswith("hf:") else []
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "begun": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "system": platform.platform(terse=True),
            "processor": processor(),
            "cores": cores(),
            "threads": recipe.threads,
            "precision": recipe.precision,
            "bfloat16": "native" if multiplies_bfloat16() else "emulated",
            "memory": "kept" if keep_memory() else "given back",
            "convolution": prepare(),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in names}},
        "fingerprints": {"train": train_set.fingerprint, "validation": validation_set.fingerprint},
        "pictures": {"train": train_set.counts, "validation": validation_set.counts},
    }

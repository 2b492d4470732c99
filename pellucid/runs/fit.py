"""Train to the end and leave a run's folder behind; go on with one that was stopped."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from pellucid.classifier import Classifier
from pellucid.data import DATASETS
from pellucid.data.dataset import Dataset
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.files import (
    claim_empty_folder,
    claim_numbered_folder,
    point,
    read_object,
    remove,
    write_csv,
    write_json,
)
from pellucid.machine import cores
from pellucid.models import build, description_of
from pellucid.recipe import Recipe, fast, read_recipe
from pellucid.runs.checkpoint import CHECKPOINT, read_checkpoint, write_checkpoint
from pellucid.runs.environment import environment_of
from pellucid.runs.run import ENVIRONMENT, RECIPE, Run
from pellucid.runs.stopping import Stopped, stop_requests
from pellucid.runs.tables import SPLIT, SPLIT_HEADER, split_rows, write_diagnostics, write_history
from pellucid.training.loop import (
    Epoch,
    Progress,
    Step,
    refuse_untrainable,
    resolved_augment,
    resolved_precision,
)
from pellucid.training.snapshots import MAX_SNAPSHOTS, SNAPSHOTS, Recorder
from pellucid.training.transfer import learn

Callback = Callable[[Step | Epoch], None]


def fit(
    train_set: Dataset,
    validation_set: Dataset,
    recipe: Recipe | None = None,
    *,
    folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
    data: str = "",
    preprocess: Preprocess | None = None,
    snapshots: int = MAX_SNAPSHOTS,
    about: Mapping[str, Any] | None = None,
) -> Run:
    """Train to the end and leave a run's folder behind.

    recipe      without one, `recipe.fast` for so many pictures of their shape
    folder      new or empty; without one, the next free `runs/<data>-<model>-<n>` under the current folder
    callbacks   called with every Step and Epoch
    data        what the pictures are called, as `load` takes it, so that a report finds them again
    preprocess  how further pictures are to be read; without it, as exactly the kind trained on
    snapshots     how often, at most, the weights are kept along the way for pages that show how it formed;
                a network of more than snapshots.MOST_WEIGHTS keeps none
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
    environment = {"data": data, **environment_of(train_set, validation_set, recipe)}
    if about is not None:
        environment["reading"] = dict(about)
    write_json(folder / RECIPE, recipe.to_json())
    write_json(folder / ENVIRONMENT, environment)
    rows = [*split_rows("train", train_set), *split_rows("validation", validation_set)]
    write_csv(folder / SPLIT, SPLIT_HEADER, rows)
    steps = math.ceil(len(train_set) / recipe.batch_size)
    past = Recorder.beginning(folder / SNAPSHOTS, network, recipe.epochs, steps, snapshots)
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
    now = environment_of(train_set, validation_set, recipe)
    for name in ("fingerprints", "versions"):
        if environment.get(name) != now[name]:
            raise UsageError(
                f"'{folder}' was begun with other {name}: {environment.get(name)}; now {now[name]}. "
                "Its end would not be that of an uninterrupted run. Train anew, or bring the old ones back."
            )
    progress, manifest = read_checkpoint(folder / CHECKPOINT)
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
    past = Recorder.going_on(folder / SNAPSHOTS, network, done)
    return _trained(
        folder, classifier, recipe, environment, train_set, validation_set, progress, past, callbacks
    )


def _short(model: str) -> str:
    """What a folder can be called: of "hf:google/vit-base" the last word."""
    return model.removeprefix("hf:").rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1] or "pretrained"


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
                    write_history(folder, progress.history)
                    write_diagnostics(folder, progress.diagnostics)
                    past.write()  # before the checkpoint, so that no snapshot before it can be lost
                    if not progress.finished(recipe):
                        write_checkpoint(folder / CHECKPOINT, progress, manifest)
                for callback in callbacks:
                    callback(event)
                if requests and not progress.finished(recipe):
                    past.write()
                    write_checkpoint(folder / CHECKPOINT, progress, manifest)
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
    write_history(folder, progress.history)
    write_diagnostics(folder, progress.diagnostics)
    classifier.save(folder, training={"why": why, "epochs": len(progress.history), "best": figures})


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

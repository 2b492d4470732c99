"""Train to the end and leave a run's folder behind; go on with one that was stopped."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pellucid.classifier import Classifier
from pellucid.data import load_again, load_by
from pellucid.data.dataset import Choices, Dataset, Origin, Splits
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.evaluation.precision_recall import chosen_thresholds
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
from pellucid.models import (
    OWN,
    PRETRAINED,
    Build,
    PretrainedNetwork,
    build,
    description_of,
    is_pretrained,
    own_name,
    own_network,
)
from pellucid.models.kernels.build import compile_failure, prepare
from pellucid.recipe import AUTO, NamedRecipe, Recipe, read_recipe, refuse_unknown_keywords
from pellucid.runs.checkpoint import CHECKPOINT, read_checkpoint, write_checkpoint
from pellucid.runs.choose import Candidate, choose, leaves_open
from pellucid.runs.environment import environment_of
from pellucid.runs.history import History
from pellucid.runs.run import ENVIRONMENT, RECIPE, Run, origin_in
from pellucid.runs.stopping import Stopped, StopTraining, stop_requests
from pellucid.runs.tables import (
    SPLIT,
    SPLIT_HEADER,
    split_rows,
    write_diagnostics,
    write_history,
)
from pellucid.task import task_of
from pellucid.training.augment import default_augmentations
from pellucid.training.loop import (
    Epoch,
    Progress,
    Step,
    check_trainable,
    resolved_augment,
    resolved_precision,
)
from pellucid.training.memory import check_memory
from pellucid.training.sampling import NO_SAMPLER
from pellucid.training.snapshots import MAX_SNAPSHOTS, SNAPSHOTS, SnapshotRecorder
from pellucid.training.transfer import train_network

Callback = Callable[[Step | Epoch], None]
Activity = Callable[[str, int, int], None]
AnyRecipe = Recipe | NamedRecipe | str


@refuse_unknown_keywords
def fit(
    pictures: Any,
    validation: "Dataset | AnyRecipe | None" = None,
    recipe: AnyRecipe | None = None,
    *,
    folder: str | Path | None = None,
    model: nn.Module | Build | str | None = None,
    budget: float | None = None,
    callbacks: Sequence[Callback] = (),
    snapshots: int = MAX_SNAPSHOTS,
    candidates: Sequence[Candidate] = (),
    origin: Origin | None = None,
    data_dir: str | Path | None = None,
    progress: Activity | None = None,
) -> Run:
    """Train to the end and leave a run's folder behind: `fit(splits)`, `fit(splits, "accurate")`.

    pictures    Splits as `load` gives them; or a training Dataset, followed by the validation Dataset; or
                anything `load` takes, such as "mnist" or "./photos", split by the recipe's own settings
    recipe      a Recipe, a name of RECIPES or `Recipe.named("fast", epochs=20)`; "fast" without one, which
                tries several networks on your own pictures and keeps the best on the validation pictures
    folder      new or empty; without one, the next free `runs/<name>-<model>-<n>` in the working folder
    model       the name of a network, or "auto" to have several tried; or a network of your own: a module
                that turns float 0..1 (B, C, H, W) into scores (B, K), trained in place, or a function
                (channels, num_classes, (height, width)) that builds one
    budget      seconds that trying several networks may take; without one, as much work as an ordinary
                machine does in two minutes, whatever the clock says
    callbacks   called with every Step and Epoch; one that raises StopTraining ends the training there
    snapshots   how often, at most, the weights are kept on the way, for pages that show how they formed;
                none are kept of a network of more than snapshots.MAX_WEIGHTS weights
    candidates  what `choose` tried before it gave the recipe: kept in environment.json, for the report
    origin      of two Datasets: where they come from, so that a report finds them again
    data_dir    a folder of known data sets, where `pictures` is a name
    progress    called with the activity, the number of pictures so far and of all, while a pretrained network
                computes their features, which comes before the first event

    Ctrl-C or SIGTERM ends it after the step at hand, saves, and raises Stopped. Raises UsageError for
    pictures that cannot be trained on, PellucidError when the loss is no longer finite or a file cannot be
    written. Whatever is raised, by a callback too, what was reached before is saved.
    """
    if not isinstance(pictures, Dataset):
        if validation is not None and recipe is not None:
            raise UsageError("Splits bring their own validation pictures: expected fit(splits, recipe).")
        recipe = recipe if validation is None else validation  # type: ignore[assignment]
        validation = None
    chosen = _chosen(recipe, model)
    if isinstance(pictures, Dataset):
        if not isinstance(validation, Dataset):
            raise UsageError(
                f"Expected validation pictures as a Dataset after the training pictures; got {validation!r}. "
                "Or give both at once: fit(splits, recipe)."
            )
        train, held_out = pictures, validation
    else:
        splits = pictures if isinstance(pictures, Splits) else _loaded(pictures, chosen, data_dir)
        train, held_out, origin = splits.train, splits.validation, origin or splits.origin
    check_trainable(train, held_out)
    origin = origin or Origin(augmentation=default_augmentations(train.channels))
    if isinstance(chosen, NamedRecipe) and leaves_open(chosen, origin):
        resolve = partial(resolved, train=train, origin=origin)
        choice = choose(train, held_out, chosen.settings, budget=budget, resolve=resolve)
        chosen, candidates = choice.recipe, choice.candidates
    elif budget is not None:
        raise UsageError("`budget` is for trying several networks. Leave it out, or ask for `model=auto`.")
    elif isinstance(chosen, NamedRecipe):
        chosen = chosen.resolve(len(train), (train.channels, *train.size))
    resolved_recipe = resolved(chosen, train, origin)
    network = _network(resolved_recipe, train, None if isinstance(model, str) else model)
    preprocess = origin.preprocess or Preprocess(train.channels, *train.size)
    classifier = Classifier(network, train.classes, preprocess, resolved_recipe.model, task_of(train.labels))
    _check_machine(network, train, resolved_recipe)
    place = _claimed(folder, origin, resolved_recipe)
    environment = {"origin": origin.to_json(), **environment_of(train, held_out, resolved_recipe)}
    if candidates:
        environment["candidates"] = [candidate.to_json() for candidate in candidates]
    write_json(place / RECIPE, resolved_recipe.to_json())
    write_json(place / ENVIRONMENT, environment)
    rows = [*split_rows("train", train), *split_rows("validation", held_out)]
    write_csv(place / SPLIT, SPLIT_HEADER, rows)
    steps = math.ceil(len(train) / resolved_recipe.batch_size)
    recorder = SnapshotRecorder.start(place / SNAPSHOTS, network, resolved_recipe.epochs, steps, snapshots)
    session = _Session(
        place, classifier, resolved_recipe, environment, origin, train, held_out, Progress(), recorder
    )
    return _trained(session, callbacks, progress)


@refuse_unknown_keywords
def resume(
    folder: str | Path,
    pictures: Splits | Dataset | None = None,
    validation: Dataset | None = None,
    *,
    model: nn.Module | Build | None = None,
    callbacks: Sequence[Callback] = (),
    data_dir: str | Path | None = None,
    progress: Activity | None = None,
) -> Run:
    """Go on with a run that was stopped or killed; its end is byte for byte that of one never stopped.

    pictures  the run's Splits, or its training and validation Dataset; without them they are loaded again
    model, data_dir, progress  as `fit` takes them

    Raises UsageError when the run is finished or the data are not those it began with, PellucidError when
    its checkpoint is damaged.
    """
    folder = Path(folder)
    if not (folder / CHECKPOINT).is_file():
        raise UsageError(
            f"'{folder}' has nothing to resume: it is not a run's folder, or its training is finished."
        )
    recipe = read_recipe(folder / RECIPE)
    environment = read_object(folder / ENVIRONMENT)
    origin = origin_in(environment, folder)
    if pictures is None:
        pictures = load_again(origin, data_dir=data_dir, split_file=folder / SPLIT)
    if isinstance(pictures, Splits):
        train, held_out = pictures.train, pictures.validation
    elif isinstance(validation, Dataset):
        train, held_out = pictures, validation
    else:
        raise UsageError("Expected both training and validation pictures, or the run's Splits.")
    now = environment_of(train, held_out, recipe)
    for name in ("fingerprints", "versions"):
        if environment.get(name) != now[name]:
            raise UsageError(
                f"'{folder}' was begun with other {name}: {environment.get(name)}; now {now[name]}. "
                "Its end would not be that of an uninterrupted run. Train anew, or bring the old ones back."
            )
    reached, manifest = read_checkpoint(folder / CHECKPOINT)
    if manifest.get("recipe") != recipe.to_json() or manifest.get("data") != now["fingerprints"]:
        raise PellucidError(
            f"'{folder / CHECKPOINT}' belongs to another run, or '{RECIPE}' was changed. "
            "Bring the right file back, or train anew."
        )
    # Of a pretrained network whose last layer alone has been trained, the checkpoint holds no other.
    whole = any(name.startswith("backbone.") for name in reached.weights)
    network = _network(recipe, train, model, description=manifest.get("network") if whole else None)
    preprocess = Preprocess(**manifest["preprocess"])
    classifier = Classifier(network, train.classes, preprocess, recipe.model, task_of(train.labels))
    done = (reached.epoch - 1) * math.ceil(len(train) / recipe.batch_size) + reached.step
    recorder = SnapshotRecorder.resume(folder / SNAPSHOTS, network, done)
    session = _Session(folder, classifier, recipe, environment, origin, train, held_out, reached, recorder)
    return _trained(session, callbacks, progress)


def resolved(recipe: Recipe, train: Dataset, origin: Origin) -> Recipe:
    """`recipe` with nothing left at "auto": what it means for these pictures on this machine.

    Settings that decide how pictures are read and split are those by which they were.

    Raises UsageError for an unknown augmentation, and when there is nothing to fine-tune.
    """
    if recipe.fine_tune and not is_pretrained(recipe.model):
        raise UsageError(
            f"`fine_tune` goes on with a pretrained network, such as lite0 or hf:NAME; '{recipe.model}' is "
            "trained as a whole from the start."
        )
    if train.multi_label and recipe.balance == "sampler":
        raise UsageError(NO_SAMPLER)
    if recipe.model in PRETRAINED:  # its last layer is solved at once, on the pictures as they are
        recipe = replace(recipe, epochs=1, augment=recipe.augment if recipe.fine_tune else "none")
    if recipe.augment == "auto":
        recipe = replace(recipe, augment=origin.augmentation)
    if origin.found:
        stretched = origin.preprocess is not None and origin.preprocess.scaling == "stretch"
        size = origin.preprocess.height if origin.preprocess and stretched else origin.choices.size
        recipe = replace(
            recipe,
            validation=origin.choices.validation,
            size=size,
            group_by=origin.choices.group_by,
            label_from=origin.choices.label_from,
        )
    return replace(
        recipe,
        augment=resolved_augment(recipe, train),
        precision=resolved_precision(recipe),
        threads=recipe.threads or cores(),
    )


def _check_machine(network: nn.Module, train: Dataset, recipe: Recipe) -> None:
    """Warns of more threads than cores, and of kernels that failed to compile. Raises UsageError when a step
    does not fit in memory."""
    if not isinstance(network, PretrainedNetwork) or recipe.fine_tune:  # else the last layer alone is trained
        check_memory(network, train, recipe)
    if recipe.threads > cores():
        warnings.warn(
            f"{recipe.threads} threads slow each other down on {cores()} cores. Expected up to "
            f"`threads={cores()}`.",
            stacklevel=4,
        )
    prepare()
    if failure := compile_failure():
        warnings.warn(
            f"The convolution kernels could not be compiled, so training is slower, and the same seed gives "
            f"other weights than where they compile: {failure}. PELLUCID_KERNELS=off asks for torch's "
            "convolution without this warning.",
            stacklevel=4,
        )


@dataclass(frozen=True, eq=False)
class _Session:
    """All that a training works on: its folder, its network, its pictures and where it stands."""

    folder: Path
    classifier: Classifier
    recipe: Recipe
    environment: dict[str, Any]
    origin: Origin
    train: Dataset
    validation: Dataset
    progress: Progress
    recorder: SnapshotRecorder


def _chosen(recipe: AnyRecipe | None, model: nn.Module | Build | str | None) -> Recipe | NamedRecipe:
    """The recipe, by name where it was named, with the network that was given, one's own under its name."""
    chosen = recipe if recipe is not None else "fast"
    if isinstance(chosen, str):
        chosen = Recipe.named(chosen)
    if not isinstance(chosen, Recipe | NamedRecipe):
        raise UsageError(f"Expected a Recipe or the name of one, such as 'fast'; got {chosen!r}.")
    if model is None:
        return chosen
    name = model if isinstance(model, str) else own_name(model)
    if name == AUTO and not (isinstance(chosen, NamedRecipe) and chosen.name == "fast"):
        raise UsageError(
            f"`model=auto` chooses a recipe itself; got {recipe!r} beside it. Leave one of them out."
        )
    if isinstance(chosen, NamedRecipe):
        return NamedRecipe(chosen.name, {**chosen.settings, "model": name})
    return replace(chosen, model=name)


def _loaded(data: Any, recipe: Recipe | NamedRecipe, data_dir: str | Path | None) -> Splits:
    """The pictures, read and split as the recipe says: what `pellucid train` does."""
    settings = recipe if isinstance(recipe, Recipe) else recipe.resolve(1)
    own = {"group_by": settings.group_by, "label_from": settings.label_from}
    choices = Choices(settings.seed, settings.validation, settings.size, **own)
    return load_by(data, choices, data_dir=data_dir)


def _network(
    recipe: Recipe,
    train: Dataset,
    model: nn.Module | Build | None,
    *,
    description: dict[str, Any] | None = None,
) -> nn.Module:
    shape = (train.channels, len(train.classes), train.size)
    if model is not None:
        return own_network(model, *shape, seed=recipe.seed)
    if recipe.model.startswith(OWN):
        raise UsageError(
            f"This run trains your own network '{recipe.model.removeprefix(OWN)}': give it as model=..."
        )
    return build(recipe.model, *shape, seed=recipe.seed, description=description)


def _claimed(folder: str | Path | None, origin: Origin, recipe: Recipe) -> Path:
    """The run's folder, new or empty; without a wish, a numbered one that `runs/latest` points to."""
    if folder is not None:
        claim_empty_folder(Path(folder))
        return Path(folder)
    model = recipe.model.removeprefix("hf:").removeprefix(OWN).rstrip("/\\").replace("\\", "/")
    name = f"{origin.name}-{model.rsplit('/', 1)[-1] or 'pretrained'}"
    claimed = claim_numbered_folder(Path("runs"), name)
    point(claimed.parent / "latest", claimed)
    return claimed


def _trained(session: _Session, callbacks: Sequence[Callback], activity: Activity | None) -> Run:
    folder, classifier, recipe, progress = (
        session.folder, session.classifier, session.recipe, session.progress,
    )  # fmt: skip
    manifest = {
        "preprocess": classifier.preprocess.to_json(),
        "recipe": recipe.to_json(),
        "data": session.environment["fingerprints"],
        "network": description_of(classifier.network),
    }
    ended = ""
    with _threads(recipe.threads), stop_requests() as requests:

        def on_features(done: int, count: int) -> None:
            if activity is not None:
                activity("features", done, count)
            if requests:
                write_checkpoint(folder / CHECKPOINT, progress, manifest)
                raise Stopped(folder, requests[0], judged=False)

        events = train_network(
            classifier.network, session.train, session.validation, recipe,
            progress=progress, on_features=on_features,
        )  # fmt: skip
        try:
            for event in events:
                session.recorder.on_event(event)
                if isinstance(event, Epoch):
                    write_history(folder, progress.history)
                    # Before the checkpoint, so that no snapshot older than it can be lost.
                    _write_optional(session)
                    if not progress.finished(recipe):
                        write_checkpoint(folder / CHECKPOINT, progress, manifest)
                for callback in callbacks:
                    callback(event)
                if requests and not progress.finished(recipe):
                    _write_optional(session)
                    write_checkpoint(folder / CHECKPOINT, progress, manifest)
                    raise Stopped(folder, requests[0])
        except StopTraining as wish:
            events.close()  # type: ignore[attr-defined]  # puts the best weights into the network
            ended = str(wish) or "a callback ended it"
        except Exception as error:
            events.close()  # type: ignore[attr-defined]
            _save(session, ended=str(error) or type(error).__name__)
            raise
        except Stopped:
            events.close()  # type: ignore[attr-defined]
            _save(session)
            raise
        classifier = _save(session, ended=ended)
        remove(folder / CHECKPOINT)
        if requests:
            raise Stopped(folder, requests[0])
    return Run(
        folder, classifier, recipe, History(progress.history), session.environment, session.origin, ended
    )


def _write_optional(session: _Session) -> None:
    """Diagnostics and snapshots; where one cannot be written, training goes on without it."""
    writers: tuple[Callable[[], None], ...] = (
        partial(write_diagnostics, session.folder, session.progress.diagnostics),
        session.recorder.write,
    )
    for write in writers:
        try:
            write()
        except PellucidError as error:
            warnings.warn(f"Training goes on, but what pages show of it is incomplete: {error}", stacklevel=3)


def _save(session: _Session, *, ended: str = "") -> Classifier:
    """The classifier, with the thresholds of its labels chosen on validation pictures, and its files."""
    classifier = session.classifier
    if classifier.multi_label:
        thresholds = chosen_thresholds(classifier.predict(session.validation), session.validation.labels)
        classifier = replace(classifier, task=thresholds)
    best = session.progress.best
    why = "lowest validation loss" if best else "training stopped before its first epoch was judged"
    figures = {name: value for name, value in asdict(best).items() if name != "seconds"} if best else {}
    write_history(session.folder, session.progress.history)
    training = {"why": why, "epochs": len(session.progress.history), "best": figures}
    classifier.save(session.folder, training={**training, **({"ended": ended} if ended else {})})
    return classifier


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

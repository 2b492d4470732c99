"""Train to the end and leave a run's folder behind; go on with one that was stopped."""

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import nn

from pellucid.classifier import Classifier
from pellucid.data import load_again, load_by
from pellucid.data.audit.findings import Audit, audit
from pellucid.data.audit.record import record_of, record_of_folds
from pellucid.data.dataset import Choices, Dataset, Origin, Splits
from pellucid.data.folds import assign_folds, everything
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.files import (
    claim,
    claim_empty_folder,
    claim_numbered_folder,
    point,
    read_object,
    seal,
    write_csv,
    write_json,
)
from pellucid.machine import cores
from pellucid.models import (
    OWN,
    Build,
    PretrainedNetwork,
    build,
    is_pretrained,
    own_name,
    own_network,
)
from pellucid.models.kernels.build import compile_failure, prepare
from pellucid.recipe import (
    AUTO,
    READING,
    Fitting,
    NamedRecipe,
    Recipe,
    read_recipe,
    refuse_unknown_keywords,
    with_model,
)
from pellucid.records import record_from
from pellucid.runs import BEGINNING
from pellucid.runs.checkpoint import CHECKPOINT, read_checkpoint
from pellucid.runs.choose import Candidate, choose, leaves_open
from pellucid.runs.environment import (
    ENVIRONMENT,
    changes,
    environment_of,
    in_words,
    origin_in,
    with_resumption,
)
from pellucid.runs.run import RECIPE, Run
from pellucid.runs.session import (
    Activity,
    Callback,
    Session,
    complete,
    copied_weights,
    save_checkpoint,
    take_kept_training,
)
from pellucid.runs.stages import State, stages_of
from pellucid.runs.tables import (
    SEEN,
    SPLIT,
    read_folds,
    seen_contents,
    write_corrections,
    write_split,
)
from pellucid.runs.warm_start import (
    WarmStart,
    learned_in_validation,
    preprocess_of,
    recipe_from,
    refuse_other_pictures,
    take_weights,
)
from pellucid.task import task_of
from pellucid.training.augment import default_augmentations
from pellucid.training.loop import (
    check_trainable,
    resolved_augment,
    resolved_precision,
)
from pellucid.training.memory import check_memory
from pellucid.training.sampling import NO_SAMPLER
from pellucid.training.snapshots import MAX_SNAPSHOTS
from pellucid.training.timer import CHECKPOINT_SECONDS, CheckpointTimer

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
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    candidates: Sequence[Candidate] = (),
    found: Audit | None = None,
    origin: Origin | None = None,
    warm_start: Run | str | Path | None = None,
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
    callbacks   called with every Step and Epoch, of a training that `choose` has done already with the Epochs
                alone; one that raises StopTraining ends the training there
    snapshots   how often, at most, the weights are kept on the way, for pages that show how they formed;
                none are kept of a network of more than snapshots.MAX_WEIGHTS weights
    checkpoint_seconds  after how long, at most, what was reached is saved again, to be gone on with should
                the process be killed; 0: after each epoch alone. Longer where saving would take more than
                one hundredth of the time. It changes no byte of the run
    candidates  what `choose` tried before it gave the recipe: kept in environment.json, for the report
    found       what `audit` found in these splits, where it was asked already; else it is asked now. It is
                kept in findings.json, with the test pictures that are copies of others: nothing else of the
                test pictures plays a role before `evaluate`
    origin      of two Datasets: where they come from, so that a report finds them again
    warm_start  a run, or its folder, from whose weights training begins: those of the last layer are kept for
                classes with the same names and new for others; pictures are read as that run read them
    data_dir    a folder of known data sets, where `pictures` is a name
    progress    called with the activity, the number of pictures so far and of all, while a pretrained network
                computes their features, which comes before the first event

    Ctrl-C, SIGTERM or SIGHUP ends it after the step at hand, saves, and raises Stopped. Raises UsageError for
    pictures that cannot be trained on, PellucidError when the loss is no longer finite, a file cannot be
    written or another process writes into the folder. Whatever is raised, by a callback too, what was reached
    before is saved.
    """
    if not isinstance(pictures, Dataset):
        if validation is not None and recipe is not None:
            raise UsageError("Splits bring their own validation pictures: expected fit(splits, recipe).")
        recipe = recipe if validation is None else validation  # type: ignore[assignment]
        validation = None
    with ExitStack() as claims:
        if folder is not None:  # before anything is tried that takes minutes
            claims.enter_context(claim_empty_folder(Path(folder), BEGINNING))
        source = warm_start if isinstance(warm_start, Run) or warm_start is None else Run.open(warm_start)
        chosen = _chosen(recipe, model, source)
        splits = _splits_of(pictures, validation, chosen, source, data_dir=data_dir)
        splits = replace(splits, origin=origin or splits.origin)
        folded = _settings(chosen).folds > 0
        splits = everything(splits) if folded else splits
        check_trainable(splits.train, None if folded else splits.validation)
        if isinstance(chosen, NamedRecipe) and not folded and leaves_open(chosen, splits.origin):
            resolve = partial(resolved, train=splits.train, origin=splits.origin)
            choice = choose(splits.train, splits.validation, chosen.settings, budget=budget, resolve=resolve)
            chosen, candidates = choice.recipe, choice.candidates
        elif budget is not None:
            raise UsageError(
                "`budget` is for trying several networks. Leave it out, or ask for `model=auto`."
            )
        elif isinstance(chosen, NamedRecipe):
            shape = (splits.train.channels, *splits.train.size)
            chosen = chosen.resolve(len(splits.train), shape, several_labels=splits.train.multi_label)
        own = None if isinstance(model, str) else model
        session = _begun(splits, resolved(chosen, splits.train, splits.origin), own, source, folder=folder)
        claims.enter_context(claim(session.folder))
        if candidates:
            session.environment["candidates"] = [candidate.to_json() for candidate in candidates]
        session.snapshots = snapshots
        session.timer = CheckpointTimer(checkpoint_seconds)
        _write_beginning(session, splits, found, source)
        return complete(session, callbacks, progress)


def _splits_of(
    pictures: Any,
    validation: Any,
    recipe: Recipe | NamedRecipe,
    source: Run | None,
    *,
    data_dir: str | Path | None,
) -> Splits:
    """What `fit` was given to train on, in parts."""
    if not isinstance(pictures, Dataset):
        return pictures if isinstance(pictures, Splits) else _loaded(pictures, recipe, data_dir, source)
    if not isinstance(validation, Dataset):
        raise UsageError(
            f"Expected validation pictures as a Dataset after the training pictures; got {validation!r}. "
            "Or give both at once: fit(splits, recipe)."
        )
    origin = Origin(augmentation=default_augmentations(pictures.channels))
    return Splits(pictures, validation, validation.subset([]), origin)


def _write_beginning(session: Session, splits: Splits, found: Audit | None, source: Run | None) -> None:
    """The files of a run that are known before it is trained. A folder that has the last of them, its
    checkpoint, can be gone on with."""
    seal(session.folder)
    write_json(session.folder / RECIPE, session.recipe.to_json())
    write_json(session.folder / ENVIRONMENT, session.environment)
    if "candidates" in session.environment:
        take_kept_training(session)
    write_split(session.folder, splits.train, splits.validation, session.folds)
    write_corrections(session.folder, splits.origin.choices.corrections)
    if session.folds is not None:
        record_of_folds(splits.train, splits.origin, session.folds).write(session.folder)
    else:
        record_of(found or audit(splits), splits).write(session.folder)
    if source is not None:
        seen = sorted(seen_contents(source.folder).items())
        write_csv(session.folder / SEEN, ("content", "split"), seen)
    save_checkpoint(session)


def _begun(
    splits: Splits,
    recipe: Recipe,
    model: nn.Module | Build | None,
    source: Run | None,
    *,
    folder: str | Path | None,
) -> Session:
    """All that a new training works on; its folder is claimed once nothing can be refused any more."""
    train, validation, origin = splits.train, splits.validation, splits.origin
    folds = None
    if recipe.folds:
        folds = assign_folds(train, recipe.folds, seed=recipe.seed, groups=origin.groups)
    stages = stages_of(recipe, train, validation, folds)
    for stage in stages[1:]:
        check_trainable(stage.train, stage.validation)
    network = _network(recipe, train, model, fetch=source is None)
    preprocess = origin.preprocess or Preprocess(train.channels, *train.size)
    warm = _warm(network, splits, source, preprocess) if source is not None else None
    classifier = Classifier(network, train.classes, preprocess, recipe.model, task_of(train.labels))
    _check_machine(network, train, recipe)
    place = Path(folder) if folder is not None else _numbered_folder(origin, recipe)
    environment = {"origin": origin.to_json(), **environment_of(train, validation, recipe)}
    if warm is not None:
        environment["warm_start"] = warm.to_json()
    drawn_again = warm is None and not isinstance(model, nn.Module)
    initial = copied_weights(network) if len(stages) > 1 or not drawn_again else {}
    state = State(initial={} if drawn_again else initial)
    return Session(
        place, classifier, recipe, environment, origin, stages, state, folds=folds, initial=initial
    )


def _warm(network: nn.Module, splits: Splits, source: Run, preprocess: Preprocess) -> WarmStart:
    """Puts the weights of a run into the network. Warns where validation pictures are no longer new to it.

    Raises UsageError where pictures have several labels, and what `refuse_other_pictures` raises.
    """
    if splits.train.multi_label or source.classifier.multi_label:
        raise UsageError(
            "Training begins from a run only where each picture has one label, in that run and now; one of "
            "the two has several labels. Leave `warm_start` out."
        )
    refuse_other_pictures(source, splits.train, preprocess)
    seen = learned_in_validation(source, splits)
    if seen:
        warnings.warn(
            f"'{source.folder}' has learned from {seen:,} of {len(splits.validation):,} validation pictures: "
            "validation figures will be too good. The test pictures are new to it.",
            stacklevel=4,
        )
    return replace(take_weights(network, splits.train.classes, source), learned_in_validation=seen)


@refuse_unknown_keywords
def resume(
    folder: str | Path,
    pictures: Splits | Dataset | None = None,
    validation: Dataset | None = None,
    *,
    model: nn.Module | Build | None = None,
    callbacks: Sequence[Callback] = (),
    data_dir: str | Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    allow_changed_environment: bool = False,
    progress: Activity | None = None,
) -> Run:
    """Go on with a run that was stopped or killed; its end is byte for byte that of one never stopped.

    pictures  the run's Splits, or its training and validation Dataset; without them they are loaded again
    model, data_dir, checkpoint_seconds, progress  as `fit` takes them
    allow_changed_environment  whether to go on with other versions, another processor or other kernels, so
              with other bytes at the end: environment.json, the evaluation and the report then say so

    Raises UsageError when the run is finished, the data are not those it began with, or the environment is
    another and that is not allowed; PellucidError when its checkpoint is damaged or another process writes
    into its folder.
    """
    folder = Path(folder)
    refuse_finished(folder)
    with claim(folder):
        refuse_finished(folder)  # by now it may be: another process had it
        session = _gone_on(
            folder, pictures, validation, model, data_dir=data_dir, changed=allow_changed_environment
        )
        session.timer = CheckpointTimer(checkpoint_seconds)
        return complete(session, callbacks, progress)


def refuse_finished(folder: Path) -> None:
    """Nothing where a run's training can be gone on with. Raises UsageError elsewhere."""
    if not (folder / CHECKPOINT).is_file():
        raise UsageError(
            f"'{folder}' has nothing to resume: it is not a run's folder, or its training is finished."
        )


def _gone_on(
    folder: Path,
    pictures: Splits | Dataset | None,
    validation: Dataset | None,
    model: nn.Module | Build | None,
    *,
    data_dir: str | Path | None,
    changed: bool,
) -> Session:
    """All that a training which is gone on with works on. Raises what `resume` raises."""
    recipe = read_recipe(folder / RECIPE)
    environment = read_object(folder / ENVIRONMENT)
    origin = origin_in(environment, folder)
    if pictures is None:
        pictures = load_again(origin, data_dir=data_dir, split_file=folder / SPLIT)
    if isinstance(pictures, Dataset):
        if not isinstance(validation, Dataset):
            raise UsageError("Expected both training and validation pictures, or the run's Splits.")
        pictures = Splits(pictures, validation, validation.subset([]))
    if recipe.folds:
        pictures = everything(pictures)
    train, held_out = pictures.train, pictures.validation
    now = environment_of(train, held_out, recipe)
    if environment.get("fingerprints") != now["fingerprints"]:
        raise UsageError(
            f"'{folder}' was begun with other pictures, by their fingerprints: "
            f"{environment.get('fingerprints')}; now {now['fingerprints']}. Bring the old ones back, or "
            "train anew."
        )
    found = changes(environment, now)
    if found and not changed:
        raise UsageError(
            f"'{folder}' was begun in another environment: {in_words(found)}. Its end would not be, byte for "
            "byte, that of an uninterrupted run. Bring the old one back, train anew, or go on all the same "
            "with `allow_changed_environment`."
        )
    state, manifest = read_checkpoint(folder / CHECKPOINT)
    if manifest.get("recipe") != recipe.to_json() or manifest.get("data") != now["fingerprints"]:
        raise PellucidError(
            f"'{folder / CHECKPOINT}' belongs to another run, or '{RECIPE}' was changed. "
            "Bring the right file back, or train anew."
        )
    folds = read_folds(folder) if recipe.folds else None
    stages = stages_of(recipe, train, held_out, folds)
    # Of a pretrained network whose last layer alone has been trained, the checkpoint holds no other.
    whole = any(name.startswith("backbone.") for name in (*state.progress.weights, *state.initial))
    description = manifest.get("network") if whole and state.stage == len(stages) - 1 else None
    network = _network(recipe, train, model, description=description, fetch=False)
    try:
        preprocess = record_from(Preprocess, manifest["preprocess"])
    except (KeyError, ValueError) as error:
        raise PellucidError(f"'{folder / CHECKPOINT}' is damaged: {error}. Train again.") from error
    classifier = Classifier(network, train.classes, preprocess, recipe.model, task_of(train.labels))
    initial = state.initial or (copied_weights(network) if len(stages) > 1 else {})
    session = Session(
        folder, classifier, recipe, environment, origin, stages, state, folds=folds, initial=initial
    )
    session.snapshots = manifest["snapshots"]
    if found:
        at = state.progress.epoch, state.progress.step
        session.environment = with_resumption(environment, now, at)
        write_json(folder / ENVIRONMENT, session.environment)
    return session


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
    if train.multi_label and (recipe.folds or recipe.use_all):
        raise UsageError(
            "Pictures with several labels need validation pictures, by which the threshold of each label is "
            "chosen: leave `folds` and `use_all` out."
        )
    if is_pretrained(recipe.model):  # its last layer is solved at once, on the pictures as they are
        recipe = replace(recipe, epochs=1, augment=recipe.augment if recipe.fine_tune else "none")
    elif recipe.balance == "auto":
        recipe = replace(recipe, balance="none")
    if recipe.augment == "auto":
        recipe = replace(recipe, augment=origin.augmentation)
    if origin.found:
        choices, read = origin.choices, origin.preprocess
        recipe = replace(
            recipe,
            validation=choices.validation,
            size=(read.height, read.width) if read and read.fit != "none" else choices.size,
            fit=cast(Fitting, choices.fit),
            group_by=choices.group_by,
            label_from=choices.label_from,
            crop_boxes=choices.crop_boxes,
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


def _chosen(
    recipe: AnyRecipe | None, model: nn.Module | Build | str | None, source: Run | None
) -> Recipe | NamedRecipe:
    """The recipe, by name where it was named, with the network that was given, one's own under its name, or
    that of the run it begins from."""
    chosen = recipe if recipe is not None else "fast"
    if isinstance(chosen, str):
        chosen = Recipe.named(chosen)
    if not isinstance(chosen, Recipe | NamedRecipe):
        raise UsageError(f"Expected a Recipe or the name of one, such as 'fast'; got {chosen!r}.")
    if model is not None:
        name = model if isinstance(model, str) else own_name(model)
        if name == AUTO and not (isinstance(chosen, NamedRecipe) and chosen.name == "fast"):
            raise UsageError(
                f"`model=auto` chooses a recipe itself; got {recipe!r} beside it. Leave one of them out."
            )
        chosen = with_model(chosen, name)
    if _settings(chosen).folds and _settings(chosen).model == AUTO:
        raise UsageError("`folds` holds no pictures out to choose a network by. Name one instead of auto.")
    return chosen if source is None else recipe_from(chosen, source)


def _settings(recipe: Recipe | NamedRecipe) -> Recipe:
    """What a recipe says before it is known how many pictures there are."""
    return recipe if isinstance(recipe, Recipe) else recipe.resolve(1)


def _loaded(
    data: Any, recipe: Recipe | NamedRecipe, data_dir: str | Path | None, source: Run | None
) -> Splits:
    """The pictures, read and split as the recipe says: what `pellucid train` does."""
    settings = _settings(recipe)
    choices = Choices(**{name: getattr(settings, name) for name in READING})
    preprocess = preprocess_of(source, settings.size) if source is not None else None
    return load_by(data, choices, data_dir=data_dir, preprocess=preprocess)


def _network(
    recipe: Recipe,
    train: Dataset,
    model: nn.Module | Build | None,
    *,
    description: dict[str, Any] | None = None,
    fetch: bool,
) -> nn.Module:
    shape = (train.channels, len(train.classes), train.size)
    if model is not None:
        return own_network(model, *shape, seed=recipe.seed)
    if recipe.model.startswith(OWN):
        raise UsageError(
            f"This run trains your own network '{recipe.model.removeprefix(OWN)}': give it as model=..."
        )
    return build(recipe.model, *shape, seed=recipe.seed, description=description, fetch=fetch)


def _numbered_folder(origin: Origin, recipe: Recipe) -> Path:
    """A new folder for a run, numbered, that `runs/latest` points to."""
    model = recipe.model.removeprefix("hf:").removeprefix(OWN).rstrip("/\\").replace("\\", "/")
    name = f"{origin.name}-{model.rsplit('/', 1)[-1] or 'pretrained'}"
    folder = claim_numbered_folder(Path("runs"), name)
    point(folder.parent / "latest", folder)
    return folder

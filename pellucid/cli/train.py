"""The command that trains: train."""

import re
import shlex
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pellucid.cli import completion
from pellucid.cli.options import (
    AsJson,
    CropBoxes,
    DataDir,
    Exclude,
    Fit,
    GroupBy,
    LabelFrom,
    Language,
    OnUnreadable,
    Quiet,
    Relabel,
    Size,
    SplitTable,
    choice,
    recipe_named,
    refuse_streams_and_addresses,
    requested_language,
    writing_into,
)
from pellucid.cli.output import Output, duration
from pellucid.cli.pictures import load, progress
from pellucid.cli.report import write_and_name
from pellucid.errors import Interrupted, UsageError
from pellucid.files import claim_empty_folder
from pellucid.recipe import (
    AUTO,
    READING,
    RECIPES,
    NamedRecipe,
    Recipe,
    checked_size,
    read_recipe,
)
from pellucid.runs import BEGINNING

if TYPE_CHECKING:
    from pellucid.data.dataset import Corrections, Splits
    from pellucid.runs.choose import Candidate
    from pellucid.runs.run import Run

EXAMPLES = """\
Examples:
  pellucid train digits              1,797 small digits that come with it: seconds
  pellucid train mnist               70,000 handwritten digits, found or downloaded once
  pellucid train ./photos            your own: one folder per class, a table, an archive
  pellucid train mnist --recipe accurate --seed 7
  pellucid train ./photos --folds 5  few pictures: each judged by a network that did not see it
"""


def train(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="Your folder of pictures, or digits, mnist ...",
            autocompletion=completion.data,
        ),
    ] = None,
    *,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help=f"Settings to start from: {', '.join(RECIPES)}, or a run's recipe.json to repeat that run. "
            "Default: fast.",
            autocompletion=completion.one_of(RECIPES),
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Go on with a run that was stopped.",
            autocompletion=completion.stopped_run,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The run's folder, exactly; new or empty.")
    ] = None,
    data_dir: DataDir = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The network (see: pellucid models), hf:NAME_OR_FOLDER, or auto: several are tried and the "
            "best on validation pictures is kept, as is done for your own pictures.",
            autocompletion=completion.one_of(completion.MODELS),
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How long trying several networks may take: 90s, 10m, 1h. Unless given, what takes about "
            "two minutes on two cores.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="How often all training pictures are seen, at most.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures per step.")] = None,
    optimizer: Annotated[str | None, choice("adam|adamw|muon", "What moves the weights.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Its constant value, or the peak of the schedule.")
    ] = None,
    schedule: Annotated[
        str | None, choice("constant|one-cycle|linear", "How the learning rate changes.")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Decoupled weight decay.")] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Share of each label that is spread over all classes.")
    ] = None,
    fine_tune: Annotated[
        int | None, typer.Option(help="Epochs for all of a pretrained network, after its last layer.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without a better validation loss; 0: never.")
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="auto, none, or names such as crop,flip (see the guide)."),
    ] = None,
    balance: Annotated[
        str | None, choice("auto|none|weights|sampler", "What to do about uneven classes.")
    ] = None,
    validation: Annotated[
        float | None, typer.Option(help="Share of the training pictures held out to choose the best epoch.")
    ] = None,
    use_all: Annotated[
        bool | None,
        typer.Option(
            "--use-all/--no-use-all",
            help="After the choice by validation pictures, train once more on these too; done anyway "
            "where only a last layer is solved.",
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Hold nothing out: divide all pictures into so many parts, and judge each by a network that "
            "learned from the others."
        ),
    ] = None,
    warm_start: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Begin from the weights of a run, its classes or others."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Decides everything random; 42 unless given.")] = None,
    precision: Annotated[
        str | None, choice("auto|float32|bfloat16", "Of the arithmetic in training.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads; 0: one per core.")] = None,
    snapshots: Annotated[
        int | None,
        typer.Option(
            min=0, max=16, help="How often to keep the weights on the way, for the pages; 16 unless given."
        ),
    ] = None,
    checkpoint_seconds: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Save what was reached so often, should the process be killed; 60 unless given, 0: after "
            "each epoch alone. It changes no byte of the run.",
        ),
    ] = None,
    allow_changed_environment: Annotated[
        bool,
        typer.Option(
            "--allow-changed-environment",
            help="With --resume: go on though versions, processor or kernels are others than before. "
            "The run then says that its bytes cannot be repeated.",
        ),
    ] = False,
    lang: Language = None,
    size: Size = None,
    fit: Fit = None,
    group_by: GroupBy = None,
    label_from: LabelFrom = None,
    crop_boxes: CropBoxes = False,
    split: SplitTable = None,
    on_unreadable: OnUnreadable = None,
    exclude: Exclude = None,
    relabel: Relabel = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train on DATA, judge the result once on the test set, and write the report."""
    flags = {name: value for name, value in locals().items() if name in asdict(Recipe())}
    if data is None and resume is None:
        raise UsageError(f"Train on which pictures?\n\n{EXAMPLES}".rstrip())
    given = {name: value for name, value in flags.items() if value is not None}
    if not crop_boxes:
        del given["crop_boxes"]
    if size is not None:
        given["size"] = checked_size(size)
    others = (data, recipe, out, snapshots, split, on_unreadable, budget, warm_start, exclude, relabel)
    if resume is not None and (given or any(word is not None for word in others)):
        raise UsageError(
            "--resume goes on with a run as it was begun: its data, settings and folder cannot be changed. "
            "Leave them out, or train anew."
        )

    if allow_changed_environment and resume is None:
        raise UsageError("--allow-changed-environment is for --resume. Leave it out.")
    language = requested_language(lang)
    refuse_streams_and_addresses(data or "")
    if given.get("model") == AUTO and recipe not in (None, "fast"):
        raise UsageError(
            f"--model auto chooses a recipe itself; got --recipe {recipe}. Leave one of them out."
        )
    if folds and given.get("model") == AUTO:
        raise UsageError("--folds holds no pictures out to choose a network by. Name one instead of auto.")
    start = recipe_named(recipe or "fast", **given)
    place = claim_empty_folder(out, BEGINNING) if out is not None else writing_into(resume)
    with place:
        from pellucid.training.timer import CHECKPOINT_SECONDS

        every = CHECKPOINT_SECONDS if checkpoint_seconds is None else checkpoint_seconds
        output = Output(quiet, as_json)
        if resume is not None:
            run, splits = _resumed(
                resume, data_dir, output, checkpoint_seconds=every,
                allow_changed_environment=allow_changed_environment,
            )  # fmt: skip
        else:
            settings = start if isinstance(start, Recipe) else start.resolve(1)
            choices = {name: getattr(settings, name) for name in READING}
            choices |= {
                "split_file": str(split.resolve()) if split else "",
                "on_unreadable": on_unreadable or "skip",
                "corrections": _corrections(exclude, relabel),
            }
            run, splits = _begun(
                str(data), start, choices=choices, out=out, data_dir=data_dir, snapshots=snapshots,
                checkpoint_seconds=every, output=output,
                budget=_seconds(budget) if budget else None, warm_start=warm_start,
            )  # fmt: skip
        again = f"pellucid evaluate {shlex.quote(str(run.folder))}"
        with output.stage("Judging the run on its test set", again=again):
            evaluation = run.evaluate(splits.test)  # of folds it is done
        output.evaluation(run, evaluation, run.basis(splits.test))
        write_and_name(run, splits, evaluation, output, language)


def _corrections(exclude: Path | None, relabel: Path | None) -> "Corrections":
    from pellucid.data.corrections import read_corrections

    return read_corrections(exclude or (), relabel or "")


def _begun(
    data: str,
    recipe: Recipe | NamedRecipe,
    *,
    choices: dict[str, Any],
    out: Path | None,
    data_dir: Path | None,
    snapshots: int | None,
    checkpoint_seconds: float,
    output: Output,
    budget: float | None,
    warm_start: Path | None,
) -> "tuple[Run, Splits]":
    from pellucid.data.audit.findings import audit
    from pellucid.data.dataset import Choices
    from pellucid.data.folds import everything
    from pellucid.models import model_named
    from pellucid.runs.choose import expected_seconds, leaves_open
    from pellucid.runs.fit import fit, resolved
    from pellucid.runs.run import Run
    from pellucid.runs.stages import rounds
    from pellucid.runs.warm_start import WarmStart, preprocess_of, recipe_from
    from pellucid.training.augment import parse_augmentations
    from pellucid.training.snapshots import MAX_SNAPSHOTS

    source = Run.open(warm_start) if warm_start is not None else None
    if source is not None:
        recipe = recipe_from(recipe, source)
    draft = recipe if isinstance(recipe, Recipe) else recipe.resolve(1)
    if draft.model != AUTO:
        model_named(draft.model)  # a misspelt one is named before anything is loaded, perhaps downloaded
    if draft.model.startswith("hf:") and find_spec("transformers") is None:
        raise UsageError(
            "A pretrained network needs the package transformers. Install it with: pip install transformers"
        )
    parse_augmentations("none" if draft.augment == "auto" else draft.augment)
    preprocess = preprocess_of(source, draft.size) if source is not None else None
    splits = load(data, Choices(**choices), data_dir, preprocess=preprocess)
    output.origin(splits.origin)
    found = audit(splits)
    output.data(data, splits, found)
    if draft.folds:
        splits = everything(splits)
        output.folds(draft.folds, len(splits.train))
    candidates: tuple[Candidate, ...] = ()
    if isinstance(recipe, NamedRecipe) and not draft.folds and leaves_open(recipe, splits.origin):
        recipe, candidates = _chosen(splits, recipe.settings, budget, output)
    elif budget is not None:
        raise UsageError(
            f"--budget is for trying several networks, and this trains {draft.model}. Leave it out, or ask "
            "for --model auto."
        )
    elif isinstance(recipe, NamedRecipe):
        shape = (splits.train.channels, *splits.train.size)
        recipe = recipe.resolve(len(splits.train), shape, several_labels=splits.train.multi_label)
    output.recipe(recipe := resolved(recipe, splits.train, splits.origin))
    if not candidates:
        # Of folds, the held-out pictures are judged as validation pictures would be.
        judged = splits.train if recipe.folds else splits.validation
        seconds = expected_seconds(recipe, splits.train, judged)
        seconds *= rounds(recipe, len(splits.train), len(splits.validation))
        output.event("plan", models=[recipe.model], seconds=seconds)
        output.line(f"Training takes about {duration(max(1.0, seconds))}.")
    with output.training(recipe) as (show, show_pictures):
        run = fit(
            splits, recipe, folder=out, callbacks=[show], candidates=candidates, found=found,
            snapshots=MAX_SNAPSHOTS if snapshots is None else snapshots, warm_start=source,
            progress=show_pictures, checkpoint_seconds=checkpoint_seconds,
        )  # fmt: skip
    if source is not None:
        output.warm_start(WarmStart.from_json(run.environment["warm_start"]))
    output.line(f"{run.folder}: {run.summary}")
    return run, splits


def _chosen(
    splits: "Splits", settings: dict[str, Any], budget: float | None, output: Output
) -> "tuple[Recipe, tuple[Candidate, ...]]":
    """The recipe of the network that did best on the validation pictures, and all that were tried."""
    from pellucid.runs.choose import Listener, choose
    from pellucid.runs.fit import resolved

    def planned(names: list[str], seconds: float) -> None:
        output.event("plan", models=names, seconds=seconds)
        output.line(
            f"Choosing a network by the validation pictures: {', '.join(names)}. About {duration(seconds)}."
        )

    def tried(candidate: "Candidate") -> None:
        output.event("candidate", **candidate.to_json())
        output.line(f"  {described(candidate)}")

    try:
        choice = choose(
            splits.train,
            splits.validation,
            settings,
            budget=budget,
            resolve=lambda recipe: resolved(recipe, splits.train, splits.origin),
            listener=Listener(planned, tried),
        )
    except KeyboardInterrupt as stop:
        raise Interrupted(
            "Stopped while a network was being chosen. What was done is kept: run the command again, and it "
            "goes on from there."
        ) from stop
    (chosen,) = (candidate for candidate in choice.candidates if candidate.chosen)
    output.line(f"Chosen: {chosen.model}.")
    return choice.recipe, choice.candidates


def described(candidate: "Candidate") -> str:
    """How a network that was tried did, in one line."""
    if candidate.failed:
        return f"{candidate.model}: left out. {candidate.failed}"
    if candidate.pruned and candidate.half_accuracy is None:
        return f"{candidate.model}: not tried, every validation picture is right already"
    if candidate.pruned:
        return (
            f"{candidate.model}: given up after half of its epochs, far behind with validation accuracy "
            f"{candidate.half_accuracy:.4f}, {duration(candidate.seconds)}"
        )
    if candidate.val_accuracy is None:
        return (
            f"{candidate.model}: not tried, it would take about {duration(candidate.seconds)} "
            "(--budget allows more time)"
        )
    return (
        f"{candidate.model}: validation accuracy {candidate.val_accuracy:.4f}, "
        f"loss {candidate.val_loss:.4f}, {duration(candidate.seconds)}"
    )


def _seconds(text: str) -> float:
    """A duration as a person writes it: "90", "90s", "2m", "1.5h". Raises UsageError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|)", text.strip())
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}[found[2]] if found else 0.0
    if not 1 <= seconds <= 1e6:
        raise UsageError(f"Expected a duration such as 90s, 2m or 1h; got '{text}'.")
    return seconds


def _resumed(
    folder: Path,
    data_dir: Path | None,
    output: Output,
    *,
    checkpoint_seconds: float,
    allow_changed_environment: bool,
) -> "tuple[Run, Splits]":
    from pellucid.data import load_again
    from pellucid.files import read_object
    from pellucid.runs.environment import ENVIRONMENT, origin_in
    from pellucid.runs.fit import refuse_finished, resume
    from pellucid.runs.run import RECIPE
    from pellucid.runs.tables import SPLIT

    refuse_finished(folder)
    origin = origin_in(read_object(folder / ENVIRONMENT), folder)
    splits = load_again(origin, data_dir=data_dir, split_file=folder / SPLIT, progress=progress(origin.known))
    output.data(origin.data, splits)
    recipe = read_recipe(folder / RECIPE)
    with output.training(recipe) as (show, show_pictures):
        run = resume(
            folder, splits, callbacks=[show], progress=show_pictures,
            allow_changed_environment=allow_changed_environment,
            checkpoint_seconds=checkpoint_seconds,
        )  # fmt: skip
    output.line(f"{run.folder}: {run.summary}")
    return run, splits

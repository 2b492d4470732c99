"""The command that trains: train."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import (
    AsJson,
    DataDir,
    GroupBy,
    Language,
    OnUnreadable,
    Quiet,
    Size,
    SplitTable,
    requested_language,
)
from pellucid.cli.output import Output
from pellucid.cli.pictures import load, progress
from pellucid.cli.report import write_and_name
from pellucid.errors import UsageError
from pellucid.recipe import RECIPES, NamedRecipe, Recipe, changed, read_recipe

if TYPE_CHECKING:
    from pellucid.data.dataset import Splits
    from pellucid.runs.run import Run

EXAMPLES = """\
Examples:
  pellucid train digits              1,797 small digits that come with it: seconds
  pellucid train mnist               70,000 handwritten digits, found or downloaded once
  pellucid train ./photos            your own: one folder per class, a table, an archive
  pellucid train mnist --recipe accurate --seed 7
"""


def train(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Your folder of pictures, or digits, mnist ...")
    ] = None,
    recipe: Annotated[str, typer.Option(help=f"Settings to start from: {', '.join(RECIPES)}.")] = "fast",
    config: Annotated[Path | None, typer.Option(help="A run's recipe.json, to replay it exactly.")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder, exactly; new or empty.")] = None,
    data_dir: DataDir = None,
    model: Annotated[
        str | None, typer.Option(help="The network (see: pellucid models), or hf:NAME_OR_FOLDER.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Times all training pictures are seen, at most.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures a step.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw or muon.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Constant value, or peak of the cycle.")] = None,
    schedule: Annotated[str | None, typer.Option(help="constant, one-cycle or linear.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Decoupled weight decay of adamw.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Share of the target spread evenly.")] = None,
    fine_tune: Annotated[
        int | None, typer.Option(help="Epochs for all of a pretrained network, after its last layer.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better validation loss; 0: off.")
    ] = None,
    augment: Annotated[
        str | None, typer.Option(help="auto, none, or names such as crop,flip; see the guide.")
    ] = None,
    balance: Annotated[str | None, typer.Option(help="Uneven classes: none, weights or sampler.")] = None,
    validation: Annotated[float | None, typer.Option(help="Share of training pictures to choose by.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides everything random; 42 unless given.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32 or bfloat16.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads; 0: one a core.")] = None,
    snapshots: Annotated[
        int | None,
        typer.Option(
            min=0, max=16, help="Times the weights are kept on the way, to be shown; 16 unless given."
        ),
    ] = None,
    lang: Language = None,
    size: Size = None,
    group_by: GroupBy = None,
    split: SplitTable = None,
    on_unreadable: OnUnreadable = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train on DATA, judge the result once on the test set, and write the report."""
    flags = {name: value for name, value in locals().items() if name in asdict(Recipe())}
    if data is None and resume is None:
        raise UsageError(f"Train on which pictures?\n\n{EXAMPLES}".rstrip())
    given = {name: value for name, value in flags.items() if value is not None}
    others = (data, config, out, snapshots, split, on_unreadable)
    if resume is not None and (given or any(word is not None for word in others)):
        raise UsageError(
            "--resume goes on with a run as it was begun: its data, settings and folder cannot be changed. "
            "Leave them out, or train anew."
        )

    start = changed(read_recipe(config), given) if config else Recipe.named(recipe, **given)
    language = requested_language(lang)
    say = Output(quiet, as_json)
    if resume is not None:
        run, splits = _resumed(resume, data_dir, say)
    else:
        settings = start if isinstance(start, Recipe) else start.resolve(1)
        split_file = str(split.resolve()) if split else ""
        choices = (settings.seed, settings.validation, settings.size, settings.group_by, split_file,
                   on_unreadable or "skip")  # fmt: skip
        run, splits = _begun(
            str(data), start, choices=choices, out=out, data_dir=data_dir, snapshots=snapshots, say=say
        )
    evaluation = run.evaluate(splits.test)
    say.evaluation(run, evaluation)
    write_and_name(run, splits, evaluation, say, language)


def _begun(
    data: str,
    recipe: Recipe | NamedRecipe,
    *,
    choices: tuple[int, float, int, str, str, str],
    out: Path | None,
    data_dir: Path | None,
    snapshots: int | None,
    say: Output,
) -> "tuple[Run, Splits]":
    from pellucid.data.audit.findings import quick_audit
    from pellucid.data.dataset import Choices
    from pellucid.models import model_named
    from pellucid.runs.fit import fit, resolved
    from pellucid.training.augment import parse_augmentations
    from pellucid.training.snapshots import MAX_SNAPSHOTS

    draft = recipe if isinstance(recipe, Recipe) else recipe.resolve(1)
    model_named(draft.model)  # a misspelt one is named before anything is loaded, perhaps downloaded
    parse_augmentations("none" if draft.augment == "auto" else draft.augment)
    splits = load(data, Choices(*choices), data_dir)
    say.origin(splits.origin)
    say.data(data, splits, quick_audit(splits))
    if isinstance(recipe, NamedRecipe):
        recipe = recipe.resolve(len(splits.train), (splits.train.channels, *splits.train.size))
    say.recipe(resolved(recipe, splits.train, splits.origin))
    with say.training(recipe) as show:
        kept = MAX_SNAPSHOTS if snapshots is None else snapshots
        run = fit(splits, recipe, folder=out, callbacks=[show], snapshots=kept)
    say.line(f"{run.folder}: {run.summary}")
    return run, splits


def _resumed(folder: Path, data_dir: Path | None, say: Output) -> "tuple[Run, Splits]":
    from pellucid.data import load_again
    from pellucid.files import read_object
    from pellucid.runs.checkpoint import CHECKPOINT
    from pellucid.runs.fit import resume
    from pellucid.runs.run import ENVIRONMENT, RECIPE, origin_in
    from pellucid.runs.tables import SPLIT

    if not (folder / CHECKPOINT).is_file():
        raise UsageError(
            f"'{folder}' has nothing to resume: it is not a run's folder, or its training is finished."
        )
    origin = origin_in(read_object(folder / ENVIRONMENT), folder)
    splits = load_again(origin, data_dir=data_dir, split_file=folder / SPLIT, progress=progress(origin.known))
    say.data(origin.data, splits)
    with say.training(read_recipe(folder / RECIPE)) as show:
        run = resume(folder, splits, callbacks=[show])
    say.line(f"{run.folder}: {run.summary}")
    return run, splits

"""The command that trains one recipe with several seeds: repeat."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import (
    AsJson,
    Data,
    DataDir,
    Quiet,
    RecipeName,
    recipe_named,
    refuse_streams_and_addresses,
    writing_into,
)
from pellucid.cli.output import Output
from pellucid.errors import Interrupted
from pellucid.formatting import percent

if TYPE_CHECKING:
    from pellucid.runs.run import Run

EXAMPLES = """\
Examples:
  pellucid repeat digits --seeds 5
  pellucid repeat digits --recipe accurate --against runs/digits-repeat-1
  pellucid repeat ./photos --recipe runs/latest/recipe.json
"""


def repeat(
    data: Data,
    *,
    seeds: Annotated[
        int, typer.Option(min=1, max=1_000, help="Train with the seeds from 1 to this one.")
    ] = 5,
    recipe: RecipeName = "fast",
    against: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Runs of another recipe that repeat left: which is better?"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The folder of all runs: new, empty, or begun by this command."),
    ] = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train DATA with several seeds: the mean score, what the seed moves, what the test set's size does."""
    from pellucid.evaluation.metrics import copies_note
    from pellucid.runs.repeat import Repetition
    from pellucid.runs.repeat import repeat as repeat_training
    from pellucid.runs.stopping import Stopped

    refuse_streams_and_addresses(data)
    start = recipe_named(recipe)
    other = Repetition.open(against) if against is not None else None
    output, finished = Output(quiet, as_json), 0

    def done(run: "Run") -> None:
        nonlocal finished
        finished += 1
        evaluation = run.evaluation()
        assert evaluation is not None  # it was judged
        score = percent(evaluation.accuracy, count=evaluation.count)
        output.event("run", run=str(run.folder), seed=run.seed, accuracy=evaluation.accuracy)
        output.line(f"  seed {run.seed:>3}  {score:>8}  {run.folder}")

    try:
        with writing_into(out), output.trainings() as (watch, show):
            repetition = repeat_training(
                data,
                start,
                seeds=seeds,
                folder=out,
                data_dir=data_dir,
                callbacks=[show],
                watch=watch,
                done=done,
            )
    except Stopped as stopped:
        raise Interrupted(
            f"Stopped and saved in '{stopped.folder}'; {finished} of {seeds} seeds are done. Run the same "
            "command again to go on.",
            stopped.exit_code,
        ) from None
    difference = repetition.against(other) if other is not None else None
    output.event(
        "repeat",
        folder=str(repetition.folder),
        **repetition.scores.to_json(),
        copies=repetition.copies,
        **({"against": {"folder": str(against), **difference.to_json()}} if difference else {}),
    )
    output.line(f"Test set: {repetition.scores.verdict}")
    if repetition.copies:
        output.line(str(copies_note(repetition.copies)))
    if difference is not None:
        output.line(difference.verdict((str(against), str(repetition.folder))))
    output.line(f"Runs: {repetition.folder}")

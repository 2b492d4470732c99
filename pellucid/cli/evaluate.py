"""The command that judges a run: evaluate."""

from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import AsJson, DataDir, RunArgument
from pellucid.cli.output import Voice
from pellucid.cli.pictures import splits_of

if TYPE_CHECKING:
    pass


def evaluate(
    run_folder: RunArgument,
    data_dir: DataDir = None,
    again: Annotated[
        bool, typer.Option("--again", help="Open the test set once more; this is counted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Judge RUN on the test set, once: later calls repeat what was found then."""
    from pellucid.runs.run import Run

    run = Run.open(run_folder)
    known = None if again else run.evaluation()
    if known is None:
        known = run.evaluate(splits_of(run, data_dir).test)
    Voice(False, as_json).evaluation(run, known)

"""The command that judges a run: evaluate."""

import shlex
from typing import Annotated

import typer

from pellucid.cli.options import AsJson, DataDir, Quiet, RunArgument
from pellucid.cli.output import Output
from pellucid.cli.pictures import splits_of

EXAMPLES = """\
Examples:
  pellucid evaluate runs/latest
  pellucid evaluate runs/latest --again --json
"""


def evaluate(
    run_folder: RunArgument,
    *,
    data_dir: DataDir = None,
    again: Annotated[bool, typer.Option("--again", help="Open the test set once more.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Judge RUN on the test set, once: later calls repeat what was found then."""
    from pellucid.runs.run import Run

    output = Output(quiet, as_json)
    run = Run.open(run_folder)
    evaluation, test_set = (None if again else run.evaluation()), None
    if evaluation is None:
        same = f"pellucid evaluate {shlex.quote(str(run_folder))}{' --again' if again else ''}"
        with output.stage("Judging the run on its test set", again=same):
            test_set = splits_of(run, data_dir).test
            evaluation = run.evaluate(test_set)
    output.evaluation(run, evaluation, run.basis(test_set))

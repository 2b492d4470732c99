"""The command that writes a run's report: report."""

import shlex
from typing import TYPE_CHECKING

from pellucid.cli.options import (
    AsJson,
    DataDir,
    Language,
    Quiet,
    RunArgument,
    requested_language,
    writing_into,
)
from pellucid.cli.output import Output
from pellucid.cli.pictures import splits_of

if TYPE_CHECKING:
    from pellucid.data.dataset import Splits
    from pellucid.evaluation.evaluation import AnyEvaluation
    from pellucid.runs.run import Run

EXAMPLES = """\
Examples:
  pellucid report runs/latest
  pellucid report runs/latest --lang ko
"""


def report(
    run_folder: RunArgument,
    *,
    data_dir: DataDir = None,
    lang: Language = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write RUN's report.html again: one page that needs nothing else."""
    output, language = Output(quiet, as_json), requested_language(lang)
    with writing_into(run_folder):
        from pellucid.runs.run import Run

        run = Run.open(run_folder)
        splits = splits_of(run, data_dir)
        evaluation = run.evaluation() or run.evaluate(splits.test)
        write_and_name(run, splits, evaluation, output, language)


def write_and_name(
    run: "Run", splits: "Splits", evaluation: "AnyEvaluation", output: Output, language: str
) -> None:
    """Write a run's report; print the gravest of what it found, and its path."""
    from pellucid.report.report import write_report

    same = f"pellucid report {shlex.quote(str(run.folder))}"
    with output.stage("report", again=same) as show:
        path = write_report(
            run,
            splits,
            evaluation,
            language=language,
            progress=lambda name, number, total: show(f"{number} of {total}, {name.replace('_', ' ')}"),
        )
    output.remarks(run)
    output.event("report", run=str(run.folder), path=str(path))
    output.line(f"Report: {path}")

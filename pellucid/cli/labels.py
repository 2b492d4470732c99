"""The command that lists labels that look wrong: labels."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import TABLES, AsJson, DataDir, Quiet, RunArgument, refuse_overwriting, writing_into
from pellucid.cli.output import Output
from pellucid.cli.pictures import splits_of

SHOWN = 20  # suspects on the terminal

EXAMPLES = """\
Examples:
  pellucid labels runs/latest           writes runs/latest/suspects.csv: look through it, then
  pellucid train DATA --relabel runs/latest/suspects.csv
  pellucid labels runs/latest --top 200 --out first.csv
"""


def labels(
    run_folder: RunArgument,
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The table to write; RUN/suspects.csv unless given.")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="So many of each part, the least probable first, suspect or not."),
    ] = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List the labels that look wrong in RUN's pictures, as a table for train --exclude or --relabel.

    They are suspects: look at each, and take out the rows that are right. Nothing else is changed.
    """
    refuse_overwriting(out, TABLES)
    with writing_into(None if out else run_folder):
        from pellucid.evaluation.label_errors import SUSPECTS
        from pellucid.runs.run import Run

        output = Output(quiet, as_json)
        run = Run.open(run_folder)
        same = f"pellucid labels {shlex.quote(str(run_folder))}"
        with output.stage("Judging the labels", again=same):
            found = run.label_errors(splits_of(run, data_dir))
        suspects = found.listed(top)
        path = out or run.folder / SUSPECTS
        facts = {"judged": found.count, "too_weak": found.too_weak, "unjudged": list(found.unjudged)}
        written = {} if found.too_weak else {"path": str(path)}
        output.event("labels", run=str(run.folder), summary=found.summary, **facts, **written)
        output.line(f"Labels: {found.summary}.")
        for sentence in found.unjudged:
            output.line(sentence)
        for each in suspects:
            output.event("suspect", **asdict(each))
        for each in suspects[:SHOWN]:
            output.line(f"  {each.source} ({each.part}): '{each.label}', rather '{each.suggested_label}'")
        if len(suspects) > SHOWN:
            output.line(f"  and {len(suspects) - SHOWN:,} more in the table")
        if not found.too_weak:
            found.save(path, top)
            look = ". Look at each picture first: some of these labels are right." if suspects else ""
            output.line(f"Table: {path}{look}")

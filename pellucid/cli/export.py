"""The command that writes a run's network as something else: export."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import (
    PAGES,
    AsJson,
    DataDir,
    Language,
    Quiet,
    RunArgument,
    refuse_overwriting,
    requested_language,
)
from pellucid.cli.output import Output
from pellucid.cli.pictures import splits_of
from pellucid.errors import UsageError, did_you_mean

EXAMPLES = """\
Examples:
  pellucid export runs/latest
  pellucid export runs/latest --out draw.html --lang ko
"""


def export(
    run_folder: RunArgument,
    *,
    kind: Annotated[
        str, typer.Option("--format", metavar="page", help="What to write: page is one HTML file to draw in.")
    ] = "page",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write; RUN/page.html unless given.")
    ] = None,
    lang: Language = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write RUN's network as one page to draw in: every layer answers, offline."""
    from pellucid.exporters import EXPORTERS
    from pellucid.exporters import export as export_run
    from pellucid.runs.run import Run

    if kind not in EXPORTERS:
        raise UsageError(f"Unknown format '{kind}'. {did_you_mean(kind, EXPORTERS)}")
    refuse_overwriting(out, PAGES)
    output, language = Output(quiet, as_json), requested_language(lang)
    run = Run.open(run_folder)
    with output.stage("Writing the page", again=f"pellucid export {shlex.quote(str(run_folder))}"):
        path = export_run(run, out, format=kind, splits=splits_of(run, data_dir), language=language)
    output.object({"run": str(run.folder), "format": kind, "path": str(path)})
    output.line(f"{EXPORTERS[kind].phrase}: {path}")

"""The command that serves a page to this machine: live."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli import completion
from pellucid.cli.options import AsJson, DataDir, Language, Quiet, requested_language
from pellucid.cli.output import Output
from pellucid.cli.pictures import splits_of
from pellucid.errors import UsageError

if TYPE_CHECKING:
    from pellucid.live import Served

MOST_RUNS = 3
HIGHEST_PORT = 65_535

EXAMPLES = """\
Examples:
  pellucid live runs/latest
  pellucid live runs/digits-tutorial-1 runs/digits-tutorial-2 --port 9000
"""


def live(
    run_folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Folders of one to three runs, shown side by side.",
            autocompletion=completion.run,
        ),
    ],
    *,
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on; 8765 unless given, or any free one if that is taken."),
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the browser.")] = False,
    lang: Language = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw in a page on this machine; every RUN answers, layer by layer. Ctrl-C ends it, with exit code 0."""
    if not 1 <= len(run_folders) <= MOST_RUNS:
        raise UsageError(f"Expected one to {MOST_RUNS} runs to show side by side; got {len(run_folders)}.")
    if port is not None and not 0 <= port <= HIGHEST_PORT:
        raise UsageError(f"Expected --port from 0 to {HIGHEST_PORT:,} (0: any that is free); got {port}.")
    language = requested_language(lang)
    from pellucid.live import serve

    output = Output(quiet, as_json)
    runs = [_opened(folder, data_dir, output) for folder in run_folders]

    def announce(address: str) -> None:
        output.object({"address": address, "runs": [str(folder) for folder in run_folders]})
        output.line(f"{address}  For this machine alone. Ctrl-C ends it.")

    serve(runs, port=port, language=language, open_browser=not no_open, announce=announce)
    output.line("Ended.")


def _opened(folder: Path, data_dir: Path | None, output: Output) -> "Served":
    """One run with pictures to start from, where they are found."""
    from pellucid.live import served
    from pellucid.pad.section import Subject
    from pellucid.runs.run import Run
    from pellucid.runs.verdicts import read_verdicts

    run = Run.open(folder)
    evaluation = run.evaluation()
    train = test = None
    try:
        splits = splits_of(run, data_dir)
        train, test = splits.train, splits.test
    except UsageError as error:
        output.line(f"Without test pictures to start from: {error}")
    subject = Subject(
        run.classifier, run.origin.data, train, test, run.snapshots(), read_verdicts(run.folder),
        None if run.reference_fit.reason else run.reference(),
    )  # fmt: skip
    accuracy = None if evaluation is None else float(evaluation.accuracy)
    found = served(run.folder.resolve().name, subject, accuracy=accuracy)
    where = "the page itself" if found.answerer is None else "torch"
    output.line(f"{found.name}: answered by {where}")
    return found

"""The command that serves a page to this machine: live."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import DataDir, Language, requested_language
from pellucid.cli.output import Voice
from pellucid.cli.pictures import splits_of
from pellucid.errors import UsageError

if TYPE_CHECKING:
    from pellucid.live import Served

MOST_RUNS = 3


def live(
    run_folders: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of one to three runs, side by side."),
    ],
    port: Annotated[
        int | None, typer.Option(help="Where to listen; 8765 unless given, or any free port if it is taken.")
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the browser.")] = False,
    lang: Language = None,
    data_dir: DataDir = None,
) -> None:
    """Draw in a page on this machine; every RUN answers, layer by layer. Ctrl-C ends it, with exit code 0."""
    if not 1 <= len(run_folders) <= MOST_RUNS:
        raise UsageError(f"Up to {MOST_RUNS} runs fit side by side; got {len(run_folders)}.")
    language = requested_language(lang)
    from pellucid.live import serve

    say = Voice(False, False)
    runs = [_opened(folder, data_dir, say) for folder in run_folders]
    serve(
        runs,
        port=port,
        language=language,
        open_browser=not no_open,
        announce=lambda address: say.line(f"{address}  For this machine alone. Ctrl-C ends it."),
    )
    say.line("Ended.")


def _opened(folder: Path, data_dir: Path | None, say: Voice) -> "Served":
    """One run with pictures to start from, where they are found."""
    from pellucid.live import served
    from pellucid.pad.section import Subject
    from pellucid.runs.run import Run

    run = Run.open(folder)
    evaluation = run.evaluation()
    train = test = None
    try:
        splits = splits_of(run, data_dir)
        train, test = splits.train, splits.test
    except UsageError as error:
        say.line(f"Without test pictures to start from: {error}")
    subject = Subject(run.classifier, run.origin.data, train, test, run.snapshots())
    accuracy = None if evaluation is None else float(evaluation.accuracy)
    found = served(run.folder.resolve().name, subject, accuracy=accuracy)
    where = "the page itself" if found.answerer is None else "torch"
    say.line(f"{found.name}: answered by {where}")
    return found

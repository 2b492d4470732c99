"""The command that writes a run's network as something else: export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import DataDir, Language, RunArgument, requested_language
from pellucid.cli.pictures import splits_of
from pellucid.formatting import plain

if TYPE_CHECKING:
    pass


def export(
    run_folder: RunArgument,
    kind: Annotated[str, typer.Option("--format", help="page: one HTML file to draw in.")] = "page",
    out: Annotated[Path | None, typer.Option(help="The file to write; RUN/page.html unless given.")] = None,
    lang: Language = None,
    data_dir: DataDir = None,
) -> None:
    """Write RUN's network as one page in which a drawing is answered by every layer, without a network."""
    from pellucid.exporters import EXPORTERS
    from pellucid.exporters import export as export_run
    from pellucid.runs.run import Run

    language = requested_language(lang)
    run = Run.open(run_folder)
    path = export_run(run, out, format=kind, splits=splits_of(run, data_dir), language=language)
    print(plain(f"{EXPORTERS[kind].phrase}: {path}"))

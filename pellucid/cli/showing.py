"""Commands that make something to look at: report, export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import DataDir, Language, Quiet, RunArgument, language_wished
from pellucid.cli.pictures import splits_of
from pellucid.cli.voice import Voice, plain
from pellucid.errors import UsageError

if TYPE_CHECKING:
    from pellucid.data.dataset import Splits
    from pellucid.evaluation import Evaluation
    from pellucid.run import Run


def report(
    run_folder: RunArgument,
    data_dir: DataDir = None,
    lang: Language = None,
    quiet: Quiet = False,
) -> None:
    """Write RUN's report.html again: one page that needs nothing else."""
    from pellucid.run import Run

    language = language_wished(lang)
    run = Run.open(run_folder)
    splits = splits_of(run, data_dir)
    evaluation = run.evaluation() or run.evaluate(splits.test)
    write_and_tell(run, splits, evaluation, Voice(quiet, False), language)


def export(
    run_folder: RunArgument,
    kind: Annotated[str, typer.Option("--format", help="page: one HTML file to draw in.")] = "page",
    out: Annotated[Path | None, typer.Option(help="The file to write; RUN/page.html unless given.")] = None,
    lang: Language = None,
    data_dir: DataDir = None,
) -> None:
    """Write RUN's network as one page in which a drawing is answered by every layer, without a network."""
    from pellucid.errors import did_you_mean
    from pellucid.exporters import EXPORTERS
    from pellucid.exporters.page import Subject
    from pellucid.run import Run

    if kind not in EXPORTERS:
        raise UsageError(f"Unknown format '{kind}'. {did_you_mean(kind, EXPORTERS)}")
    language = language_wished(lang)
    run = Run.open(run_folder)
    splits = splits_of(run, data_dir)
    exporter = EXPORTERS[kind]
    subject = Subject(run.classifier, run.data, splits.train, splits.test, run.moments)
    path = exporter.write(subject, out or run.folder / f"{kind}{exporter.suffix}", language=language)
    print(plain(f"{exporter.phrase}: {path}"))


def write_and_tell(run: "Run", splits: "Splits", evaluation: "Evaluation", say: Voice, language: str) -> None:
    """Write a run's report and say where it lies."""
    from pellucid.report import write_report

    path = write_report(run, splits, evaluation, language=language)
    say.event("report", path=str(path))
    say.line(f"Report: {path}")

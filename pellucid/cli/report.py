"""Commands that make something to look at: report, export."""

from typing import TYPE_CHECKING

from pellucid.cli.options import DataDir, Language, Quiet, RunArgument, requested_language
from pellucid.cli.output import Voice
from pellucid.cli.pictures import splits_of

if TYPE_CHECKING:
    from pellucid.data.dataset import Splits
    from pellucid.evaluation.evaluation import Evaluation
    from pellucid.runs.run import Run


def report(
    run_folder: RunArgument,
    data_dir: DataDir = None,
    lang: Language = None,
    quiet: Quiet = False,
) -> None:
    """Write RUN's report.html again: one page that needs nothing else."""
    from pellucid.runs.run import Run

    language = requested_language(lang)
    run = Run.open(run_folder)
    splits = splits_of(run, data_dir)
    evaluation = run.evaluation() or run.evaluate(splits.test)
    write_and_tell(run, splits, evaluation, Voice(quiet, False), language)


def write_and_tell(run: "Run", splits: "Splits", evaluation: "Evaluation", say: Voice, language: str) -> None:
    """Write a run's report and say where it lies."""
    from pellucid.report.report import write_report

    path = write_report(run, splits, evaluation, language=language)
    say.event("report", path=str(path))
    say.line(f"Report: {path}")

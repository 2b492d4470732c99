"""What a trained network can be written as, by name."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pellucid.data.dataset import Splits
from pellucid.errors import UsageError, did_you_mean
from pellucid.exporters.page import export_page
from pellucid.pad.section import Subject
from pellucid.recipe import refuse_unknown_keywords
from pellucid.runs.run import Run
from pellucid.runs.verdicts import read_verdicts


class Exporter(NamedTuple):
    """How to write it, one phrase that says what it is, and how its files end."""

    write: Callable[..., Path]
    phrase: str
    suffix: str


EXPORTERS: dict[str, Exporter] = {
    "page": Exporter(export_page, "one HTML file to draw in, with every layer open", ".html"),
}


@refuse_unknown_keywords
def export(
    run: Run | str | Path,
    path: str | Path | None = None,
    *,
    format: str = "page",
    splits: Splits | None = None,
    language: str = "en",
) -> Path:
    """Write a run's network as a file that works without pellucid, and give its path.

    run     a Run, or its folder
    path    the file to write; `<format>` in the run's folder unless given
    format  a name of EXPORTERS: "page" is one HTML file to draw in
    splits  the run's pictures where they are at hand; without them they are loaded again

    Raises UsageError for an unknown format and for a network that cannot be written so, PellucidError when
    the file cannot be written.
    """
    if format not in EXPORTERS:
        raise UsageError(f"Unknown format '{format}'. {did_you_mean(format, EXPORTERS)}")
    run = run if isinstance(run, Run) else Run.open(run)
    splits = run.known_parts(splits or run.splits())
    exporter = EXPORTERS[format]
    target = Path(path) if path is not None else run.folder / f"{format}{exporter.suffix}"
    train = splits.train if len(splits.train) else None
    subject = Subject(
        run.classifier, run.origin.data, train, splits.test, run.snapshots(),
        read_verdicts(run.folder), None if run.reference_fit.reason else run.reference(), splits.validation,
    )  # fmt: skip
    return exporter.write(subject, target, language=language)

"""The section in which one draws and every layer answers, now and at snapshots of training."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pellucid.pad.section import Section, Subject, drawing_section
from pellucid.plots.images import Atlas
from pellucid.report.context import ReportContext

SNAPSHOTS_BUDGET = 800_000  # bytes of all snapshots, packed, at most: the report has other things to carry


@dataclass(frozen=True)
class DrawSection:
    """The network itself, for the page to run; or why a page cannot run it.

    refusal    why the page cannot run the network; empty when it can
    folder     the run's folder, for the command that serves the network instead
    snapshots  how many snapshots had room, of `recorded` ones
    """

    drawing: Section
    refusal: str
    folder: str
    snapshots: int
    recorded: int
    atlases: Mapping[str, Atlas] = field(default_factory=dict)


def gather(context: ReportContext) -> DrawSection:
    """The network itself, for the page to run; or why a page cannot run it."""
    run, splits = context.run, context.splits
    subject = Subject(run.classifier, run.origin.data, splits.train, splits.test, run.snapshots())
    drawing = drawing_section(subject, language=context.language, snapshot_bytes=SNAPSHOTS_BUDGET)
    past = drawing.pad.snapshots if drawing.pad else None
    return DrawSection(
        drawing=drawing,
        refusal=drawing.refusal,
        folder=run.folder.name,
        snapshots=past.count if past else 0,
        recorded=past.total if past else 0,
    )

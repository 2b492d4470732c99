"""The section in which a reader draws and every layer answers, now and at snapshots of training."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from pellucid.errors import PellucidError
from pellucid.pad.section import Section, Subject, drawing_section
from pellucid.plots.images import Atlas
from pellucid.report.context import ReportContext
from pellucid.runs.verdicts import Verdicts

MAX_SNAPSHOT_BYTES = 800_000  # of all snapshots, compressed; fewer than a page of the pad alone


@dataclass(frozen=True)
class DrawSection:
    """The network itself, for the page to run; or why a page cannot run it.

    drawing    the drawing pad, or the reason why it cannot run the network
    refusal    why the page cannot run the network; "" when it can
    several_labels  whether that is because its pictures can have several labels: then nothing can be served
    folder     the run's folder, for the command that serves the network instead
    snapshots  the number of snapshots in the page, of `recorded` in the run
    """

    drawing: Section
    refusal: str
    folder: str
    snapshots: int
    recorded: int
    several_labels: bool = False
    atlases: Mapping[str, Atlas] = field(default_factory=dict)


def gather(context: ReportContext) -> DrawSection:
    """Pack the network and its snapshots for the page, where its engine can run them."""
    run, splits = context.run, context.splits
    verdicts: Verdicts = {}
    with suppress(PellucidError):  # the section on faithfulness says what went wrong
        verdicts = context.evidence.verdicts
    reference = None
    with suppress(PellucidError):  # the section on unlike pictures says what went wrong
        reference = run.reference()
    train = splits.train if len(splits.train) else None
    subject = Subject(
        run.classifier, run.origin.data, train, splits.test, run.snapshots(), verdicts,
        reference, splits.validation,
    )  # fmt: skip
    drawing = drawing_section(subject, language=context.language, snapshot_bytes=MAX_SNAPSHOT_BYTES)
    past = drawing.pad.snapshots if drawing.pad else None
    return DrawSection(
        drawing=drawing,
        refusal=drawing.refusal,
        folder=run.folder.name,
        snapshots=past.count if past else 0,
        recorded=past.total if past else 0,
        several_labels=run.classifier.multi_label,
    )

"""The section in which one draws and every layer answers, and can be asked what it said back then."""

from typing import Any

from pellucid.pad.section import Subject, drawing_section
from pellucid.report.context import Material

SNAPSHOTS_BUDGET = 800_000  # bytes of the past, packed, at most: the report has other things to carry


def draw(material: Material) -> dict[str, Any]:
    """The network itself, for the page to run; or why a page cannot run it."""
    run, splits = material.run, material.splits
    subject = Subject(run.classifier, run.origin.data, splits.train, splits.test, run.snapshots())
    section = drawing_section(subject, language=material.language, snapshot_bytes=SNAPSHOTS_BUDGET)
    past = section.pad.snapshots if section.pad else None
    return {
        "drawing": section,
        "refusal": section.refusal,
        "folder": run.folder.name,
        "snapshots": past.count if past else 0,
        "given": past.given if past else 0,
    }

"""The section in which one draws and every layer answers, and can be asked what it said back then."""

from typing import Any

from pellucid.pad.section import Subject, drawing_section
from pellucid.report.context import Material

MOMENTS_BUDGET = 800_000  # bytes of the past, packed, at most: the report has other things to carry


def draw(material: Material) -> dict[str, Any]:
    """The network itself, for the page to run; or why a page cannot run it."""
    run, splits = material.run, material.splits
    subject = Subject(run.classifier, run.data, splits.train, splits.test, run.moments)
    section = drawing_section(subject, language=material.language, moment_bytes=MOMENTS_BUDGET)
    past = section.data.get("moments")
    return {
        "drawing": section,
        "refusal": section.data.get("refusal", ""),
        "folder": run.folder.name,
        "moments": past["count"] if past else 0,
        "given": past["given"] if past else 0,
    }

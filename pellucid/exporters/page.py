"""The drawing page alone: one HTML file that opens from a disk or any static host."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pellucid.assets import asset
from pellucid.errors import UsageError
from pellucid.files import write_text
from pellucid.pad.section import Subject, drawing_section, texts
from pellucid.policy import with_hashes


def export_page(subject: Subject, path: Path, *, language: str = "en") -> Path:
    """`path` holds the drawing page alone: one HTML file that opens from a disk or any static host.

    Raises UsageError for a network that the page's engine cannot run, PellucidError when the file cannot be
    written.
    """
    section = drawing_section(subject, language=language)
    if section.refusal:
        raise UsageError(f"{section.refusal} 'pellucid live' serves a page on which PyTorch runs it.")
    environment = Environment(
        loader=PackageLoader("pellucid", "assets"), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("pad/drawing.html").render(
        language=language,
        title=texts()[language]["title"],
        style=Markup(asset("shared/page.css")),
        section=section,
    )
    write_text(path, with_hashes(page))
    return path

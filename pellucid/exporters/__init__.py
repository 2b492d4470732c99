"""What a trained network can be written as, by name."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pellucid.exporters.page import export_page


class Exporter(NamedTuple):
    """How to write it, one phrase that says what it is, and how its files end."""

    write: Callable[..., Path]
    phrase: str
    suffix: str


EXPORTERS: dict[str, Exporter] = {
    "page": Exporter(export_page, "one HTML file to draw in, with every layer open", ".html"),
}

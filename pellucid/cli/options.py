"""Arguments and options that several commands take, worded once."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pellucid.language import locale_language, use_language

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, such as runs/latest.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where data sets lie; PELLUCID_DATA is looked in too.")
]
Size = Annotated[int | None, typer.Option(help="Your pictures' side in pixels; chosen unless given.")]
GroupBy = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN|PATTERN", help="Your pictures of one group, as a patient, stay on one side."
    ),
]
SplitTable = Annotated[
    Path | None, typer.Option("--split", help="A run's split.csv: your pictures are parted as it says.")
]
OnUnreadable = Annotated[
    str | None, typer.Option(metavar="skip|stop", help="What to do with your pictures that cannot be read.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Scaling = Annotated[
    str | None, typer.Option(help="stretch: convert pictures of another size or colour; none: refuse them.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Language = Annotated[
    str | None, typer.Option("--lang", help="The page's language: en or ko; your locale's unless given.")
]


def requested_language(lang: str | None) -> str:
    """The language asked for, or that of the person's locale. Raises UsageError for an unknown one."""
    language = lang or locale_language(os.environ)
    with use_language(language):
        return language

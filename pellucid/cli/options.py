"""Arguments and options that several commands take, worded once."""

from pathlib import Path
from typing import Annotated

import typer

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, such as runs/latest.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where data sets lie; PELLUCID_DATA is looked in too.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Scaling = Annotated[
    str | None, typer.Option(help="stretch: convert pictures of another size or colour; none: refuse them.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Language = Annotated[
    str | None, typer.Option("--lang", help="The page's language: en or ko; your locale's unless given.")
]

"""Arguments and options that several commands take, worded once."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from pellucid.cli import completion
from pellucid.errors import UsageError
from pellucid.files import CLAIM, claim
from pellucid.language import locale_language, use_language
from pellucid.manifest import LOSSES
from pellucid.manifest import NAME as SEAL
from pellucid.recipe import RECIPES, NamedRecipe, Recipe, changed, read_recipe


def _existing(path: Path | None) -> Path | None:
    """The path itself. Raises UsageError when nothing is there."""
    if path is not None and not path.exists():
        raise UsageError(f"--data-dir '{path}' does not exist. Expected a folder that holds data sets.")
    return path


def choice(values: str, meaning: str, name: str | None = None) -> Any:
    """An option that takes one of `values`, such as "adam|adamw|muon"; the Tab key offers them."""
    names = [name] if name else []
    return typer.Option(
        *names, metavar=values, help=meaning, autocompletion=completion.one_of(values.split("|"))
    )


RunArgument = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="A run's folder, such as runs/latest.", autocompletion=completion.run),
]
Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="Your folder of pictures, or digits, mnist ...", autocompletion=completion.data
    ),
]
RecipeName = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help=f"Settings to train by: {', '.join(RECIPES)}, or a run's recipe.json.",
        autocompletion=completion.one_of(RECIPES),
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="FOLDER",
        help="Where to look for data sets first, before PELLUCID_DATA; or where your pictures lie now.",
        callback=_existing,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="SIDE|HEIGHTxWIDTH",
        help="Pixels to which your pictures are resized: 96, or 64x96 for 64 rows of 96; chosen from them "
        "unless given.",
    ),
]
Fit = Annotated[
    str | None,
    choice(
        "stretch|pad|crop",
        "Your pictures of other proportions: stretch the whole picture (the default), pad it with a ground "
        "around it, or crop to its middle.",
    ),
]
CropBoxes = Annotated[
    bool,
    typer.Option(
        "--crop-boxes", help="Of COCO or Pascal VOC annotations: each box is a picture, with its own class."
    ),
]
LabelFrom = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN|PATTERN",
        help="Where your pictures' labels are: a table's column, or a pattern in the names, as '([a-z]+)_'.",
    ),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN|PATTERN",
        help="Keep your pictures of one group, such as one patient, in one part of the split.",
    ),
]
SplitTable = Annotated[
    Path | None,
    typer.Option("--split", metavar="FILE", help="A run's split.csv: split your pictures as that run did."),
]
Exclude = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Leave out the pictures of a table with a column source, as a run's suspects.csv.",
    ),
]
Relabel = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Change labels: a table with the columns source and suggested_label, or label."
    ),
]
OnUnreadable = Annotated[
    str | None, choice("skip|stop", "What to do with pictures of yours that cannot be read.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
FitOfRun = Annotated[
    str | None,
    choice(
        "stretch|pad|crop|none",
        "Pictures of another size or colour: none refuses them; as the run was trained unless given.",
        "--fit",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
Language = Annotated[
    str | None,
    choice("en|ko", "Language of the page; that of your locale unless given.", "--lang"),
]


def requested_language(lang: str | None) -> str:
    """The language asked for, or that of the locale. Raises UsageError for an unknown one."""
    language = lang or locale_language(os.environ)
    with use_language(language):
        return language


@contextmanager
def writing_into(folder: Path | None) -> Iterator[None]:
    """A block in which this command alone writes into `folder`, where that is one of pellucid's: claimed
    before anything slow is loaded, so that a second command is refused at once.

    Raises what `claim` raises.
    """
    marks = (CLAIM, "recipe.json", "repeat.json", "forecast.json")
    ours = folder is not None and any((folder / name).is_file() for name in marks)
    with claim(folder) if ours and folder is not None else nullcontext():
        yield


def recipe_named(word: str, **given: Any) -> Recipe | NamedRecipe:
    """The recipe of that name, or in that file or run's folder, with what was given on the command line."""
    path = Path(word)
    if word in RECIPES or not (path.suffix or path.exists()):
        return Recipe.named(word, **given)
    return changed(read_recipe(path / "recipe.json" if path.is_dir() else path), given)


def refuse_streams_and_addresses(*given: str | Path | None) -> None:
    """Raises UsageError where a file is expected and `-` or an address of the web was given."""
    for word in map(str, given):
        if word == "-":
            raise UsageError("'-' is not read: pellucid takes files, not a stream. Save it to a file first.")
        scheme = re.match(r"[a-z][a-z0-9+.-]+:/", word)  # Path("https://x") is "https:/x"
        if scheme:
            address = word if "://" in word else word.replace(":/", "://", 1)
            raise UsageError(f"'{address}' is an address. Download it first, then name the file.")


PAGES, TABLES = (".html", ".htm"), (".csv", ".tsv", ".txt")


def refuse_overwriting(path: Path | None, kinds: Sequence[str], inputs: Iterable[Path] = ()) -> None:
    """Raises UsageError where what is written to `path` would take the place of a file that is read, of what
    a run is made of, or of a file whose name ends in none of `kinds`."""
    if path is None or not path.exists():
        return
    place = path.resolve()
    if place.is_dir():
        raise UsageError(f"'{path}' is a folder. Name the file to write.")
    if any(place == each.resolve() for each in inputs):
        raise UsageError(f"'{path}' is one of the files to read. Name another file to write.")
    own = place.name in LOSSES and place.suffix not in PAGES  # a page can be made again
    if own and (place.parent / SEAL).is_file():
        raise UsageError(f"'{path}' is a file of the run. Name another file to write.")
    if place.suffix.lower() not in kinds:
        raise UsageError(
            f"'{path}' exists, and what is written would replace it. Name a file that ends in "
            f"{' or '.join(kinds)}, or remove it first."
        )

"""The command that looks after what pellucid keeps for the next time: cache."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import AsJson, Quiet
from pellucid.cli.output import Output
from pellucid.errors import UsageError, did_you_mean
from pellucid.formatting import size_in_words

if TYPE_CHECKING:
    from pellucid.data.store.stores import CachedFiles

EXAMPLES = """\
Examples:
  pellucid cache
  pellucid cache photos --clear      delete what is kept of a folder of that name
  pellucid cache --clear             delete everything
"""


def cache(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Only these; everything unless given.")
    ] = None,
    *,
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete what is listed. Your own pictures are never touched.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List what pellucid keeps for the next time: decoded pictures and downloads, and what each belongs to.

    All of it can be made or downloaded again: clearing costs time and nothing else. Only files that pellucid
    made are deleted.
    """
    from pellucid.data.store.stores import delete_cached

    output = Output(quiet, as_json)
    entries = _chosen(_kept(), names or [])
    for entry in entries:
        if clear:
            delete_cached(entry)
        output.object({"name": entry.name, "path": str(entry.folder), "bytes": entry.bytes, "cleared": clear})
        output.line(f"{entry.name}: {'deleted, ' if clear else ''}{size_in_words(entry.bytes)}")
        output.line(f"    {entry.folder}")
    total = size_in_words(sum(entry.bytes for entry in entries))
    if not entries:
        output.line("Nothing is kept.")
    elif clear:
        output.line(f"{total} deleted")
    else:
        output.line(f"{total} in all; 'pellucid cache --clear' deletes them")


def _kept() -> "list[CachedFiles]":
    """Every store, then every known data set that was downloaded."""
    from pellucid.data import DATASETS
    from pellucid.data.known.find import downloaded_files
    from pellucid.data.store.stores import CachedFiles, list_stores

    folders = {known.folder: known for known in DATASETS.values()}  # those of one archive share it
    downloads = [
        CachedFiles(name, ours[0].parent, ours, sum(path.stat().st_size for path in ours))
        for name, known in folders.items()
        if (ours := downloaded_files(known))
    ]
    return [*list_stores(), *downloads]


def _chosen(entries: "list[CachedFiles]", names: list[str]) -> "list[CachedFiles]":
    """The entries of these names, each as it is listed, as a path, or by its folder's name."""
    if not names:
        return entries
    chosen = []
    for name in names:
        spellings = {name, str(Path(name).resolve())}
        found = [entry for entry in entries if spellings & {entry.name, entry.folder.name}]
        if not found:
            known = did_you_mean(name, {entry.name for entry in entries}) if entries else "Nothing is kept."
            raise UsageError(f"Nothing is kept for '{name}'. {known}" if entries else known)
        chosen += [entry for entry in found if entry not in chosen]
    return chosen

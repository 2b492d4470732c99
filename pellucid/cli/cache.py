"""The command that looks after what pellucid keeps for the next time: cache."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pellucid.cli.options import AsJson
from pellucid.errors import UsageError, did_you_mean
from pellucid.formatting import plain, size_in_words

if TYPE_CHECKING:
    from pellucid.data.store.stores import CachedFiles


def cache(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these; everything unless given.")
    ] = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete what is listed. Your own pictures are elsewhere.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List what pellucid keeps for the next time: decoded pictures and downloads, what each belongs to.

    It can all be made, or fetched, again: clearing costs time and nothing else. Only files that pellucid made
    are deleted.
    """
    entries = _chosen(_kept(), names or [])
    for entry in entries:
        if clear:
            _cleared(entry)
        _told(entry, cleared=clear, as_json=as_json)
    if not as_json:
        total = sum(entry.bytes for entry in entries)
        word = "deleted" if clear else "in all; 'pellucid cache --clear' deletes them"
        print(f"{size_in_words(total)} {word}" if entries else "Nothing is kept.")


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
            known = did_you_mean(name, {entry.name for entry in entries})
            raise UsageError(f"Nothing is kept for '{name}'. {known}")
        chosen += [entry for entry in found if entry not in chosen]
    return chosen


def _cleared(entry: "CachedFiles") -> None:
    from pellucid.data.store.stores import delete_cached

    delete_cached(entry)


def _told(entry: "CachedFiles", *, cleared: bool, as_json: bool) -> None:
    facts: dict[str, Any] = {"name": entry.name, "folder": str(entry.folder), "bytes": entry.bytes}
    if as_json:
        print(json.dumps({**facts, "cleared": cleared}, ensure_ascii=False))
    else:
        word = "deleted, " if cleared else ""
        print(plain(f"{entry.name}: {word}{size_in_words(entry.bytes)}"))
        print(plain(f"    {entry.folder}"))

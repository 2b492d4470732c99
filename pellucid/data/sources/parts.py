"""A data set in parts, of which each has its labels in its own way: class folders or a table."""

from collections.abc import Sequence
from dataclasses import replace

from pellucid.data.sources.folder import list_split_folders, part_notes, raw_listing
from pellucid.data.sources.listing import Picture, RawListing, is_filler, natural_key, split_of
from pellucid.data.sources.table_files import tables
from pellucid.data.sources.tables import list_tables
from pellucid.data.sources.tree import Tree
from pellucid.language import Message, lazy_gettext


def list_parts(
    tree: Tree, folders: dict[str, str], *, group_by: str = "", label_from: str = ""
) -> RawListing:
    """The pictures of parts with class folders, and of further parts that a table in them gives labels.

    folders  the parts with class folders, as `split_folders` returns them

    Raises UsageError as `list_split_folders` and `list_tables` do.
    """
    raw = list_split_folders(tree, folders)
    known = sorted({picture.label for picture in raw.pictures}, key=natural_key)
    more, notes, read = list[Picture](), list[Message](), dict(folders)
    for top in tree.top():
        if top in folders or not split_of(top) or split_of(top) in folders.values():
            continue
        prefix, inner = f"{top}/", tree.under(top)
        while folder := _only_filler(inner):
            prefix, inner = f"{prefix}{folder}/", inner.under(folder)
        if found := tables(inner):
            part = list_tables(inner, found, group_by=group_by, label_from=label_from)
            labels = _as_known([picture.label for picture in part.pictures], known)
            more += [
                replace(picture, source=prefix + picture.source, label=label, split=split_of(top))
                for picture, label in zip(part.pictures, labels, strict=True)
            ]
            notes += [note for note in part.notes if note not in tree.notes]
            notes.append(
                lazy_gettext("'%(name)s' has its labels in %(table)s", name=top, table=", ".join(found))
            )
            read[top] = split_of(top)
    if not more:
        return raw
    whole = raw_listing(tree, raw.layout, [*raw.pictures, *more])
    return replace(whole, notes=(*whole.notes, *notes, *part_notes(tree, read)))


def _only_filler(tree: Tree) -> str:
    """The only folder of a tree without pictures beside it, if its name says nothing; else ""."""
    tops = {name.split("/", 1)[0] for name in tree.pictures()}
    (top,) = tops if len(tops) == 1 else ("",)
    return top if top in tree.folders and is_filler(top) else ""


def _as_known(labels: Sequence[str], known: Sequence[str]) -> list[str]:
    """The labels, numbers spelled as the known classes of the same number: "00003" for "3"."""
    by_number = {str(int(name)): name for name in known if name.isdecimal()}
    return [label if label in known else by_number.get(label, label) for label in labels]

"""Which files of a tree are the tables of its pictures: one for all, one per part, or one in every part."""

from pellucid.data.sources.columns import TABLE_SUFFIXES
from pellucid.data.sources.file_names import FileNames
from pellucid.data.sources.folder import names_classes
from pellucid.data.sources.listing import natural_key, split_of
from pellucid.data.sources.table_labels import NAME_FILES
from pellucid.data.sources.tables import is_table
from pellucid.data.sources.tree import Tree
from pellucid.errors import UsageError
from pellucid.formatting import listed

METADATA = ("metadata.csv", "metadata.jsonl", "_classes.csv")


def metadata_tables(tree: Tree) -> dict[str, str]:
    """Every metadata.csv, metadata.jsonl or _classes.csv, at the top or in the folders of the splits.

    With its split: "" at the top.
    """
    for metadata in METADATA:
        if metadata in tree.sizes:
            return {metadata: ""}
        in_parts = {
            f"{top}/{metadata}": split_of(top)
            for top in tree.top()
            if split_of(top) and f"{top}/{metadata}" in tree.sizes
        }
        if in_parts:
            return in_parts
    return {}


def tables(tree: Tree) -> dict[str, str]:
    """The tables that name a tree's pictures and labels, with their splits: {"train.csv": "train"}.

    Either at the top, or one in the folder of every split; none if the folders are classes or splits
    themselves. Raises UsageError if there are several, of which it is not clear which is meant.
    """
    if names_classes(tree):
        return {}
    files = FileNames(tree)
    names = [name for name in tree.loose() if _is_candidate(name) and is_table(tree, name, files)]
    by_split = {name: split for name in names if (split := split_of(name.rpartition(".")[0]))}
    if "train" in by_split.values():
        return by_split
    if len(names) == 1:
        return {names[0]: ""}
    if names:
        raise UsageError(
            f"'{tree.name}' has the tables {listed(sorted(names, key=natural_key))}. Name the one that holds "
            f"the labels: '{tree.name}/{names[0]}'."
        )
    return _tables_in_parts(tree)


def _tables_in_parts(tree: Tree) -> dict[str, str]:
    """One table in the folder of every split, or in the only folder."""
    found: dict[str, str] = {}
    for top in tree.top():
        inner = tree.under(top)
        if not any("/" not in name for name in inner.pictures()):
            continue
        files = FileNames(inner)
        names = [name for name in inner.loose() if _is_candidate(name) and is_table(inner, name, files)]
        if len(names) == 1:
            found[f"{top}/{names[0]}"] = split_of(top)
    return found if len(found) == 1 or "train" in found.values() else {}


def _is_candidate(name: str) -> bool:
    lowered = name.lower()
    return lowered.endswith(TABLE_SUFFIXES) and "submission" not in lowered and lowered not in NAME_FILES

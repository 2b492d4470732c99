"""From whatever a person gives to a Listing: which layout it is, and by which reader it is read."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.data.sources.archives import archive_tree, is_archive
from pellucid.data.sources.arrays import cifar_found, idx_found, idx_pairs, is_cifar, npz_found, values_found
from pellucid.data.sources.folder import classes_at, folder_found, parts_of
from pellucid.data.sources.listing import SPLIT_NAMES, Found, Listing, Picture, settled
from pellucid.data.sources.tables import dataset_found, frame_found, is_table, table_found, tables_in
from pellucid.data.sources.tree import Tree, folder_tree, stamp_of, unwrapped
from pellucid.errors import UsageError
from pellucid.formatting import listed
from pellucid.language import lazy_gettext, lazy_ngettext

METADATA = "metadata.csv"


def list_pictures(data: Any, *, group_by: str = "") -> Listing:
    """Every picture of `data` by name, with its class, part and group; nothing is decoded or written.

    data      a path: a folder with one folder per class, or with parts such as train and test that have; a
              CSV file or a folder with a metadata.csv; .npz; idx or CIFAR's binary files; a zip or tar of any
              of these. Or a pandas DataFrame, NumPy arrays, a Hugging Face Dataset.
    group_by  a column of the table, or a regular expression that finds the group in a picture's source

    Raises UsageError, saying what was found and what was expected, when it is none of these or when it is
    not clear what shows what.
    """
    name = str(data) if isinstance(data, str | Path) else _kind_of(data)
    found = _of_path(Path(data), group_by) if isinstance(data, str | Path) else _of_value(data, group_by)
    return settled(name, _grouped(found, group_by))


def _of_path(path: Path, group_by: str) -> Found:
    if not path.exists():
        raise UsageError(f"'{path}' does not exist. Expected a folder of pictures, a table or an archive.")
    if path.is_dir():
        return _of_tree(folder_tree(path), group_by)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return table_found(path, group_by=group_by)
    if suffix == ".npz":
        return npz_found(str(path), path, stamp=stamp_of(path))
    if is_archive(path):
        return _of_tree(archive_tree(path), group_by)
    raise UsageError(
        f"'{path}' is no data set. Expected a folder, or a .csv, .npz, .zip or .tar file"
        + (f"; idx files are named by their folder: '{path.parent}'." if "idx" in path.name else ".")
    )


def _of_tree(tree: Tree, group_by: str) -> Found:
    tree = unwrapped(tree, _has_meaning)
    if idx_pairs(tree):
        return idx_found(tree)
    if is_cifar(tree):
        return cifar_found(tree)
    if tables := _metadata(tree) or _tables(tree):
        return tables_in(tree, tables, group_by=group_by)
    if (
        len(arrays := [name for name in tree.sizes if name.lower().endswith(".npz")]) == 1
        and not tree.pictures()
    ):
        return npz_found(arrays[0], tree.read(arrays[0]), stamp=tree.stamp(arrays[0]))
    return _hinted(tree)


def _of_value(data: Any, group_by: str) -> Found:
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        return frame_found(data, group_by=group_by)
    if _is_dataset(data):
        return dataset_found({"": data}, group_by=group_by)
    if isinstance(data, Mapping) and data and all(map(_is_dataset, data.values())):
        return _of_parts(data, group_by)
    if isinstance(data, tuple | list | Mapping):
        return values_found(data)
    raise UsageError(
        f"Expected a path, a pandas DataFrame, NumPy arrays or a Hugging Face Dataset; got {_kind_of(data)}."
    )


def _of_parts(datasets: Mapping[str, Any], group_by: str) -> Found:
    """The Datasets of a DatasetDict by what they are for; one whose name tells of no part is passed over."""
    names: dict[str, str] = {}
    for name in datasets:
        if part := SPLIT_NAMES.get(str(name).lower()):
            if part in names:
                raise UsageError(
                    f"'{names[part]}' and '{name}' are both the {part} part. Take one of them out."
                )
            names[part] = name
    others = [name for name in datasets if name not in names.values()]
    if "train" not in names:
        raise UsageError(
            "No Dataset to learn from: expected one named 'train', and 'validation' and 'test' where there "
            f"are such; got {listed(datasets)}."
        )
    found = dataset_found({part: datasets[name] for part, name in names.items()}, group_by=group_by)
    told = lazy_gettext("passed over %(names)s, which tells of no part", names=listed(others))
    return replace(found, notes=(*found.notes, told) if others else found.notes)


def _is_dataset(data: Any) -> bool:
    return hasattr(data, "features") and hasattr(data, "column_names") and hasattr(data, "__getitem__")


def _kind_of(data: Any) -> str:
    return type(data).__name__


def _has_meaning(tree: Tree) -> bool:
    return bool(idx_pairs(tree) or is_cifar(tree) or parts_of(tree) or _metadata(tree) or _tables(tree))


def _metadata(tree: Tree) -> dict[str, str]:
    """metadata.csv at the top, or one in each part's folder."""
    if METADATA in tree.sizes:
        return {METADATA: ""}
    return {
        f"{top}/{METADATA}": SPLIT_NAMES[top.lower()]
        for top in tree.top()
        if top.lower() in SPLIT_NAMES and f"{top}/{METADATA}" in tree.sizes
    }


def _tables(tree: Tree) -> dict[str, str]:
    """The one CSV file at the top that names pictures and labels, or one for each part: train.csv, test.csv.

    Only where the folders are no classes themselves.
    """
    if classes_at(tree) > 1 or parts_of(tree):
        return {}
    names = [
        name for name in tree.loose() if name.lower().endswith(".csv") and is_table(tree.read(name)[:4096])
    ]
    parts = {name: SPLIT_NAMES[name.lower()[:-4]] for name in names if name.lower()[:-4] in SPLIT_NAMES}
    if "train" in parts.values():
        return parts
    return {names[0]: ""} if len(names) == 1 else {}


def _hinted(tree: Tree) -> Found:
    """The folders, or an error that names an archive or table that lies there and may have been meant."""
    try:
        return folder_found(tree)
    except UsageError as error:
        others = [
            name for name in tree.loose() if is_archive(Path(name)) or name.lower().endswith((".csv", ".npz"))
        ]
        if tree.pictures() or not others:
            raise
        raise UsageError(f"{error} Did you mean '{tree.name}/{others[0]}'?") from None


def _grouped(found: Found, group_by: str) -> Found:
    """The pictures with the group that `group_by` finds in their sources, where no table told it."""
    if not group_by or group_by in found.columns:
        return found
    try:
        pattern = re.compile(group_by)  # of the person at the keyboard, for names of their own files
    except re.error as error:
        raise UsageError(f"--group-by '{group_by}' is no column, and no pattern either: {error}.") from error
    pictures = [replace(picture, group=_group_in(pattern, picture)) for picture in found.pictures]
    alone = sum(not picture.group for picture in pictures)
    if alone == len(pictures):
        example = found.pictures[0].source
        raise UsageError(
            f"--group-by '{group_by}' is no column and is found in no name, such as '{example}'."
        )
    groups = len({picture.group for picture in pictures if picture.group})
    note = lazy_ngettext("%(count)s group by '%(by)s'", "%(count)s groups by '%(by)s'", groups, by=group_by)
    if alone:
        single = lazy_ngettext(
            "%(count)s picture has none and stands alone",
            "%(count)s pictures have none and stand alone",
            alone,
        )
        note = lazy_gettext("%(groups)s; %(alone)s", groups=note, alone=single)
    return replace(found, pictures=pictures, notes=(*found.notes, note))


def _group_in(pattern: "re.Pattern[str]", picture: Picture) -> str:
    """What the pattern's groups caught, or all it matched; "" where it is not found."""
    match = pattern.search(picture.source)
    if match is None:
        return ""
    return "/".join(caught or "" for caught in match.groups()) or match[0]

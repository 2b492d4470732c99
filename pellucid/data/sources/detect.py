"""From whatever is given to a Listing: which layout it has, and which reader reads it."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pellucid.data.sources.annotations import coco_files, list_coco, list_voc, voc_files
from pellucid.data.sources.archives import archive_tree, is_archive
from pellucid.data.sources.arrays import idx_pairs, is_cifar, list_cifar, list_idx, list_npz, list_values
from pellucid.data.sources.boxes import list_coco_boxes, list_voc_boxes
from pellucid.data.sources.columns import TABLE_SUFFIXES
from pellucid.data.sources.file_names import FileNames
from pellucid.data.sources.folder import (
    has_class_folders,
    list_class_folders,
    names_classes,
    nothing_found,
    split_folders,
)
from pellucid.data.sources.listing import Listing, RawListing, match_classes, split_of
from pellucid.data.sources.named import list_by_pattern
from pellucid.data.sources.parts import list_parts
from pellucid.data.sources.patterns import found_in
from pellucid.data.sources.table_files import metadata_tables, tables
from pellucid.data.sources.tables import is_table, list_datasets, list_frame, list_table, list_tables
from pellucid.data.sources.tree import Tree, folder_tree, stamp_of, wrapped_folder
from pellucid.errors import UsageError
from pellucid.formatting import listed
from pellucid.language import Message, lazy_gettext, lazy_ngettext


class Layout(NamedTuple):
    """A way in which pictures can be stored in a folder or an archive.

    name     of the layout
    matches  what a tree has of this layout; empty or False if it does not have it
    read     the pictures, from the tree, what `matches` returned, and `group_by` and `label_from` by name
    boxes    the same, with each annotated box as a picture; None for a layout without boxes
    """

    name: str
    matches: Callable[[Tree], Any]
    read: Callable[..., RawListing]
    boxes: Callable[[Tree, Any], RawListing] | None = None


# Asked in this order; the first that matches reads the tree. A new layout is a new row.
LAYOUTS = (
    Layout("idx files", idx_pairs, lambda tree, pairs, **_: list_idx(tree, pairs)),
    Layout("CIFAR's binary files", is_cifar, lambda tree, _, **__: list_cifar(tree)),
    Layout("metadata.csv", metadata_tables, list_tables),
    Layout("tables", tables, list_tables),
    Layout(
        "an .npz file",
        lambda tree: _npz_file(tree),
        lambda tree, name, **_: list_npz(name, tree.read(name), stamp=tree.stamp(name)),
    ),
    Layout("COCO annotations", coco_files, lambda tree, names, **_: list_coco(tree, names), list_coco_boxes),
    Layout(
        "Pascal VOC annotations", voc_files, lambda tree, names, **_: list_voc(tree, names), list_voc_boxes
    ),
    Layout("one folder per split", split_folders, list_parts),
    Layout("one folder per class", has_class_folders, lambda tree, *_, **__: list_class_folders(tree)),
)


def list_pictures(
    data: Any, *, group_by: str = "", label_from: str = "", crop_boxes: bool = False
) -> Listing:
    """Every picture of `data` by its source, with label, split and group; nothing is decoded or written.

    data      a path: a folder with one folder per class, or with splits such as train and test that have; a
              table (CSV, text, JSON) or a folder with one; .npz; idx or CIFAR's binary files; annotations of
              COCO or Pascal VOC; a zip or tar of any of these. Or a pandas DataFrame, NumPy arrays, a Hugging
              Face Dataset.
    group_by  a column of the table, or a regular expression that finds the group in a picture's source
    label_from  the column of labels, or a regular expression that finds the label in a picture's source
    crop_boxes  of annotations, each box is a picture, and those of one file are a group

    A label is a name: numbers become text, the label 3 of an array or a table is the class "3".

    Raises UsageError, saying what was found and what was expected, when `data` is none of these or when a
    label is missing or ambiguous.
    """
    if crop_boxes:
        raw = _list_boxes(data, label_from)
        return match_classes(str(data), _with_groups(raw, group_by))
    if isinstance(data, str | Path):
        raw = _list_path(data, group_by, label_from)
        return match_classes(str(data), _with_groups(raw, group_by))
    if label_from:
        raise UsageError("`label_from` is for folders and tables on the disk: give other data their labels.")
    return match_classes(type(data).__name__, _with_groups(_list_value(data, group_by), group_by))


def refuse_missing(location: str | Path) -> None:
    """Raise UsageError if no file or folder is at `location`; the message tells addresses from paths."""
    text = str(location)
    if text == "-":
        raise UsageError(
            "Standard input is not read. Save the pictures and name a folder, a table or an archive."
        )
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise UsageError(
            f"'{text}' is an address. pellucid reads folders and files on this machine: download it first, "
            "then name the folder or file."
        )
    if not Path(location).exists():
        raise UsageError(
            f"'{text}' does not exist. Expected a folder of pictures, a table, an archive, or the name of a "
            "data set that 'pellucid datasets' lists."
        )


def _list_path(location: str | Path, group_by: str, label_from: str) -> RawListing:
    refuse_missing(location)
    path = Path(location)
    if path.is_dir():
        return read_tree(folder_tree(path), group_by, label_from)
    suffix = path.suffix.lower()
    if suffix in TABLE_SUFFIXES:
        return list_table(path, group_by=group_by, label_from=label_from)
    if suffix == ".npz":
        return list_npz(str(path), path, stamp=stamp_of(path))
    if is_archive(path):
        return read_tree(archive_tree(path), group_by, label_from)
    raise UsageError(
        f"'{path}' is not a data set. Expected a folder, a table (.csv, .tsv, .txt, .json, .jsonl), or an "
        ".npz, .zip or .tar file"
        + (f"; for idx files, name their folder: '{path.parent}'." if "idx" in path.name else ".")
    )


def _list_boxes(data: Any, label_from: str) -> RawListing:
    """Each annotated box as a picture, from the first layout that matches, as `read_tree` looks for it."""
    if label_from:
        raise UsageError("`crop_boxes` takes the classes of the boxes. Leave `label_from` out.")
    expected = (
        "`crop_boxes` needs a folder or an archive with annotations of COCO or Pascal VOC, such as "
        "annotations.json beside the pictures"
    )
    if not isinstance(data, str | Path):
        raise UsageError(f"{expected}; got {type(data).__name__}.")
    refuse_missing(data)
    path = Path(data)
    if not path.is_dir() and not is_archive(path):
        raise UsageError(f"{expected}; '{path}' is neither.")
    tree: Tree | None = folder_tree(path) if path.is_dir() else archive_tree(path)
    while tree is not None:
        for layout in LAYOUTS:
            if match := layout.matches(tree):
                if layout.boxes is None:
                    raise UsageError(f"{expected}; '{path}' has {layout.name}.")
                return layout.boxes(tree, match)
        tree = wrapped_folder(tree)
    raise UsageError(f"{expected}; '{path}' has none.")


def read_tree(tree: Tree, group_by: str = "", label_from: str = "") -> RawListing:
    """The pictures of a folder or an archive by the first of LAYOUTS that matches it.

    If none does, but everything is in one folder, that folder is tried: archives are often wrapped like that.
    With `label_from`, which is not the column of a table, the labels are in the files' names instead.
    Raises UsageError when no layout matches.
    """
    if label_from and not _is_column(tree, label_from):
        return list_by_pattern(tree, label_from)
    while True:
        for layout in LAYOUTS:
            if match := layout.matches(tree):
                raw = layout.read(tree, match, group_by=group_by, label_from=label_from)
                notes = _disagreements(tree, raw, from_table=bool(raw.columns))
                return replace(raw, notes=(*raw.notes, *notes))
        inner = wrapped_folder(tree)
        if inner is None:
            break
        tree = inner
    archives_and_tables = [
        name for name in tree.loose() if is_archive(Path(name)) or name.lower().endswith((".csv", ".npz"))
    ]
    if archives_and_tables and not tree.pictures():
        raise UsageError(f"{nothing_found(tree)} Did you mean '{tree.name}/{archives_and_tables[0]}'?")
    raise UsageError(nothing_found(tree))


def _disagreements(tree: Tree, raw: RawListing, *, from_table: bool) -> list[Message]:
    """A sentence where a table and the names of the folders give pictures different labels."""
    labels = {each.source: each.label for each in raw.pictures}
    if from_table:
        others = {source: PurePosixPath(source).parent.name for source in labels}
        which = lazy_gettext("the table counts")
    else:
        others = _labels_of_tables(tree) if names_classes(tree) else {}
        which = lazy_gettext("the folders count")
    known = set(labels.values())
    both = [source for source in labels if others.get(source) in known]
    differing = [source for source in both if others[source] != labels[source]]
    if not differing or (from_table and 2 * len(differing) > len(both)):
        return []
    return [
        lazy_ngettext(
            "%(count)s picture has one label in a table and another by its folder: %(names)s; %(which)s",
            "%(count)s pictures have one label in a table and another by their folder: %(names)s; %(which)s",
            len(differing),
            names=listed(differing),
            which=which,
        )
    ]


def _labels_of_tables(tree: Tree) -> dict[str, str]:
    """The labels that tables at the top give pictures, where folders are the classes."""
    files, labels = FileNames(tree), dict[str, str]()
    for name in tree.loose():
        if name.lower().endswith(TABLE_SUFFIXES) and is_table(tree, name, files):
            with suppress(UsageError):  # a table of something else
                labels |= {each.source: each.label for each in list_tables(tree, {name: ""}).pictures}
    return labels


def _is_column(tree: Tree, label_from: str) -> bool:
    """Whether it is a plain word in the first line of a table: a column's name, not a pattern."""
    if not re.fullmatch(r"[\w .-]+", label_from):
        return False
    tables = [name for name in tree.sizes if name.lower().endswith(TABLE_SUFFIXES)]
    return any(label_from.encode() in tree.read(name).split(b"\n", 1)[0] for name in tables)


def _npz_file(tree: Tree) -> str:
    """The only .npz file of a tree without pictures; "" if there is none."""
    names = [name for name in tree.sizes if name.lower().endswith(".npz")]
    return names[0] if len(names) == 1 and not tree.pictures() else ""


def _list_value(data: Any, group_by: str) -> RawListing:
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        return list_frame(data, group_by=group_by)
    if _is_dataset(data):
        return list_datasets({"": data}, group_by=group_by)
    if isinstance(data, Mapping) and data and all(map(_is_dataset, data.values())):
        return _list_dataset_dict(data, group_by)
    if isinstance(data, tuple | list | Mapping):
        return list_values(data)
    raise UsageError(
        "Expected a path, a pandas DataFrame, NumPy arrays or a Hugging Face Dataset; "
        f"got {type(data).__name__}."
    )


def _is_dataset(data: Any) -> bool:
    return hasattr(data, "features") and hasattr(data, "column_names") and hasattr(data, "__getitem__")


def _list_dataset_dict(datasets: Mapping[str, Any], group_by: str) -> RawListing:
    """The pictures of a Hugging Face DatasetDict; a Dataset whose name is not a split's is skipped."""
    names: dict[str, str] = {}
    for name in datasets:
        if split := split_of(str(name)):
            if split in names:
                raise UsageError(
                    f"'{names[split]}' and '{name}' are both the {split} part. Remove one of them."
                )
            names[split] = name
    others = [name for name in datasets if name not in names.values()]
    if "train" not in names:
        raise UsageError(
            "No Dataset to train on: expected one named 'train' and, optionally, 'validation' and 'test'; "
            f"got {listed(datasets)}."
        )
    raw = list_datasets({split: datasets[name] for split, name in names.items()}, group_by=group_by)
    if not others:
        return raw
    note = lazy_gettext("skipped %(names)s: not the name of a part of the data", names=listed(others))
    return replace(raw, notes=(*raw.notes, note))


def _with_groups(raw: RawListing, group_by: str) -> RawListing:
    """The pictures with the groups that the pattern finds in their sources, unless a table has them."""
    if not group_by or group_by in raw.columns:
        return raw
    found = found_in(
        [picture.group or picture.source for picture in raw.pictures],
        group_by,
        argument=f"`group_by={group_by}` is neither a column nor a valid pattern",
    )
    pictures = [
        replace(picture, group=group or picture.group)  # the boxes of one picture already are one
        for picture, group in zip(raw.pictures, found, strict=True)
    ]
    ungrouped = found.count("")
    if ungrouped == len(pictures):
        example = raw.pictures[0].source
        raise UsageError(
            f"`group_by={group_by}` is neither a column nor found in any name, such as '{example}'."
        )
    count = len({group for group in found if group})
    note = lazy_ngettext("%(count)s group by '%(by)s'", "%(count)s groups by '%(by)s'", count, by=group_by)
    if ungrouped:
        single = lazy_ngettext(
            "%(count)s picture belongs to no group",
            "%(count)s pictures belong to no group",
            ungrouped,
        )
        note = lazy_gettext("%(groups)s; %(alone)s", groups=note, alone=single)
    return replace(raw, pictures=pictures, notes=(*raw.notes, note))

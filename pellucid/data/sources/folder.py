"""Pictures in one folder per class, or in one per split with a folder per class in each."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from pellucid.data.sources.listing import (
    Picture,
    RawListing,
    is_filler,
    is_unlabelled,
    natural_key,
    split_of,
)
from pellucid.data.sources.tree import OTHER_SUFFIXES, UNREAD_SUFFIXES, Tree, folders_of, wrapped_folder
from pellucid.errors import UsageError
from pellucid.formatting import listed, plural
from pellucid.language import Message, comma_joined, lazy_gettext, lazy_ngettext

# Where labels are found in the files' names: before a number, as the first word, as the last word.
NAME_PATTERNS = (
    r"([^/]+?)[._ -]*[0-9]+\.[^./]+$",
    r"([^\W\d_]+)[^/]*$",
    r"([^\W\d_]+)\.[^./]+$",
)
ANY_PATTERN = "If their names hold it, give a pattern whose group it is, such as `label_from='([a-z]+)_'`. "
OUTER, INNER = "^([^/]+)/", "([^/]+)/[^/]+$"  # patterns of the outermost and the innermost folder


def has_class_folders(tree: Tree) -> bool:
    """Whether there are pictures in folders, and not all folders are inside a single one."""
    return bool(class_folders(tree)) and wrapped_folder(tree) is None


def class_folders(tree: Tree) -> set[str]:
    """The folders at the top with pictures in them, at any depth."""
    return {name.split("/", 1)[0] for name in tree.pictures() if "/" in name}


def split_folders(tree: Tree) -> dict[str, str]:
    """The folders at the top named as splits that contain folders of pictures: {"val": "validation"}."""
    nested = {
        name.split("/", 1)[0] for name in tree.pictures() if not all(map(is_filler, name.split("/")[1:-1]))
    }
    return {top: split_of(top) for top in tree.top() if top in nested and split_of(top)}


def names_classes(tree: Tree) -> bool:
    """Whether the folders themselves are classes, or splits with classes: no table is needed then."""
    named = [
        top for top in class_folders(tree) if not (split_of(top) or is_unlabelled(top) or is_filler(top))
    ]
    return len(named) > 1 or bool(split_folders(tree))


def list_class_folders(tree: Tree) -> RawListing:
    """The pictures of `cat/1.jpg`, with label "cat". Folders inside a class's folder belong to that class.

    Raises UsageError when a folder could also be a split, or when it is not clear which folders are the
    classes.
    """
    _refuse_splits_among_classes(tree)
    _refuse_nested_classes(tree)
    pictures = _pictures_by_class(tree)
    _refuse_lost_classes(tree, pictures)
    raw = raw_listing(tree, lazy_gettext("one folder per class"), pictures)
    nested = sorted({"/".join(name.split("/")[:2]) for name in tree.pictures() if name.count("/") > 1})
    if not nested:
        return raw
    note = lazy_gettext(
        "folders inside a class's folder belong to that class: %(names)s", names=listed(nested)
    )
    return replace(raw, notes=(*raw.notes, note))


def list_split_folders(tree: Tree, folders: dict[str, str]) -> RawListing:
    """The pictures of `train/cat/1.jpg`, with split "train" and label "cat".

    folders  as `split_folders` returns them

    Raises UsageError for two folders of one split, or when there are folders of classes beside them.
    """
    refuse_repeated_splits(tree, folders)
    others = [top for top in class_folders(tree) if not split_of(top) and not is_unlabelled(top)]
    if others:
        raise UsageError(
            f"In '{tree.name}', {listed(folders)} look like parts of the data and "
            f"{listed(sorted(others, key=natural_key))} like classes. "
            "Expected one folder per class, or only parts such as 'train' and 'test' with the classes "
            "in them. Move or rename some, or name the folder you mean."
        )
    layout = lazy_gettext(
        "%(parts)s with one folder per class in each", parts=listed(sorted(folders, key=natural_key))
    )
    pictures = [picture for top, split in folders.items() for picture in pictures_of_part(tree, top, split)]
    _refuse_lost_classes(tree, pictures)
    raw = raw_listing(tree, layout, pictures)
    return replace(raw, notes=(*raw.notes, *part_notes(tree, folders)))


def pictures_of_part(tree: Tree, top: str, split: str) -> list[Picture]:
    """The pictures of one part, by the folders in it; `seg_train/seg_train` and `Test/Images` are opened."""
    prefix, inner = f"{top}/", tree.under(top)
    while (wrapped := wrapped_folder(inner)) is not None:
        folder = wrapped.name.rpartition("/")[2]
        if not (is_filler(folder) or split_of(folder) == split):
            break
        prefix, inner = f"{prefix}{folder}/", wrapped
    return _pictures_by_class(inner, split, prefix)


def refuse_repeated_splits(tree: Tree, folders: dict[str, str]) -> None:
    """Raise UsageError if two folders are the same split."""
    for split, count in Counter(folders.values()).items():
        if count > 1:
            same = [top for top in folders if folders[top] == split]
            raise UsageError(
                f"{listed(same)} of '{tree.name}' are both the {split} part. Keep one, or merge them."
            )


def part_notes(tree: Tree, folders: dict[str, str]) -> list[Message]:
    """A sentence on each folder whose name was interpreted, and on pictures that have no labels."""
    notes = [
        lazy_gettext("'%(name)s' is the %(part)s part", name=top, part=lazy_gettext(split))
        for top, split in folders.items()
        if split not in top.lower()
    ]
    unlabelled = [
        top for top in class_folders(tree) if top not in folders and (split_of(top) or is_unlabelled(top))
    ]
    if unlabelled:
        names = listed(sorted(unlabelled, key=natural_key))
        notes.append(lazy_gettext("%(names)s: no labels, so left for 'pellucid predict'", names=names))
    return notes


def refuse_flat(tree: Tree) -> None:
    """Raise UsageError for pictures that lie together, without a class in folders or a table.

    It says how to take the class from the files' names, if they seem to hold one.
    """
    names = tree.pictures()
    folders = sorted({name.rpartition("/")[0] for name in names}, key=natural_key)
    where = listed(folders) if folders != [""] else f"'{tree.name}'"
    hint = suggested_pattern([name for name in names if split_of(name.split("/")[0]) in ("", "train")])
    raise UsageError(
        f"The pictures in {where} of '{tree.name}' lie together, and nothing says which class each is of. "
        f"{hint or ANY_PATTERN}Or sort them into one folder per class, or put a table such as labels.csv "
        "with the columns path,label beside them."
    )


def suggested_pattern(names: Sequence[str]) -> str:
    """A sentence that suggests a pattern for the labels in these files' names; "" if none fits them."""
    for pattern in NAME_PATTERNS:
        found = Counter(match[1] for name in names if (match := re.search(pattern, name)))
        if 2 <= len(found) <= len(names) // 2 and found.total() >= 0.9 * len(names):
            labels = listed(sorted(found, key=natural_key))
            return f"Is it in their names, as {labels}? Then say so: `label_from='{pattern}'`. "
    return ""


def _refuse_splits_among_classes(tree: Tree) -> None:
    """Refuse folders of pictures named as splits: only the user knows if 'test' is a class or a part."""
    tops = sorted(class_folders(tree), key=natural_key)
    parts = [top for top in tops if split_of(top)]
    if not parts:
        if all(map(is_filler, tops)) or (len(tops) == 1 and suggested_pattern(tree.pictures())):
            refuse_flat(tree)
        return
    others = [top for top in tops if top not in parts and not is_unlabelled(top) and not is_filler(top)]
    if not others:
        refuse_flat(tree)
    raise UsageError(
        f"In '{tree.name}', {listed(others)} look like classes and {listed(parts)} like a part of the data. "
        f"If {listed(parts)} is a class, too, say so: `label_from='{OUTER}'`. If it holds test pictures, "
        f"sort them by class as in '{parts[0]}/{others[0]}' and move the classes into 'train'. If it holds "
        "pictures without labels, move it elsewhere."
    )


def _refuse_nested_classes(tree: Tree) -> None:
    """Refuse folders that hold nothing but two or more folders each, all of different names."""
    inner: dict[str, set[str]] = {top: set() for top in class_folders(tree)}
    for name in tree.pictures():
        parts = name.split("/")
        if len(parts) == 2:
            return
        if len(parts) > 2:
            inner[parts[0]].add(parts[1])
    names = [name for folders in inner.values() for name in folders]
    if any(len(folders) < 2 for folders in inner.values()) or len(set(names)) < len(names):
        return
    if len(names) > len(tree.pictures()) / 2 or any(re.search(r"\d", name) for name in names):
        return  # folders of a patient or a day
    top = min(inner, key=natural_key)
    inside = sorted(inner[top], key=natural_key)
    raise UsageError(
        f"'{top}' of '{tree.name}' holds the folders {listed(inside)}: are those the classes? "
        f"If they are, say so: `label_from='{INNER}'`. If {listed(sorted(inner, key=natural_key))} are: "
        f"`label_from='{OUTER}'`."
    )


def _refuse_lost_classes(tree: Tree, pictures: Sequence[Picture]) -> None:
    """Refuse a folder beside the classes whose files are pictures of a kind that is not read.

    It would silently be no class. Folders of notes or tables are passed over, with a sentence.
    """
    classes = {each.source[: each.source.index(f"{each.label}/") + len(each.label)] for each in pictures}
    beside = {folder.rpartition("/")[0] for folder in classes}
    for folder in tree.folders:
        if folder in classes or folder.rpartition("/")[0] not in beside or split_of(folder):
            continue
        files = [name for name in tree.sizes if name.startswith(f"{folder}/")]
        suffixes = [PurePosixPath(name).suffix.lower() for name in files]
        unread = sum(suffix in UNREAD_SUFFIXES or suffix not in OTHER_SUFFIXES for suffix in suffixes)
        if files and 2 * unread > len(files) and not any(map(tree.is_image, files)):
            raise UsageError(
                f"'{folder}' of '{tree.name}' lies beside the classes, but none of its files can be read as "
                f"a picture: {_by_suffix(files)}. Convert them to JPEG or PNG, or move the folder elsewhere."
            )


def _pictures_by_class(tree: Tree, split: str = "", prefix: str = "") -> list[Picture]:
    return [Picture(prefix + name, name.split("/", 1)[0], split) for name in tree.pictures() if "/" in name]


def raw_listing(tree: Tree, layout: Message, pictures: list[Picture]) -> RawListing:
    """The listing of files of a tree, with a sentence on what is not among them."""
    sources = [picture.source for picture in pictures]
    return RawListing(
        layout,
        pictures,
        lambda index: tree.read(sources[index]),
        lambda index: tree.stamp(sources[index]),
        (*tree.notes, *_notes_on_the_rest(tree, set(sources))),
    )


def _notes_on_the_rest(tree: Tree, sources: set[str]) -> list[Message]:
    """A sentence each on pictures outside the classes' folders, other files, and folders without pictures."""
    stray = [name for name in tree.pictures() if name not in sources]
    pictures = sources.union(stray)
    others = [name for name in tree.sizes if name not in pictures]
    used, filled = folders_of(sources), folders_of(stray)
    full, above = used | filled, used | {""}
    empty = [folder for folder in tree.folders if folder not in full and folder.rpartition("/")[0] in above]
    notes = []
    if stray:
        notes.append(
            lazy_ngettext(
                "skipped %(count)s picture that is in no class's folder: %(names)s",
                "skipped %(count)s pictures that are in no class's folder: %(names)s",
                len(stray),
                names=listed(stray),
            )
        )
    if others:
        notes.append(lazy_gettext("skipped files that are not pictures: %(files)s", files=_by_suffix(others)))
    if empty:
        notes.append(lazy_gettext("skipped folders without pictures: %(names)s", names=listed(empty)))
    return notes


def nothing_found(tree: Tree) -> str:
    """The message for a tree without pictures in folders: what was expected and what it contains instead."""
    expected = (
        f"No pictures in folders in '{tree.name}'. Expected one folder per class with .jpg or .png files, "
        f"such as '{tree.name}/cat/1.jpg'"
    )
    stray = tree.pictures()
    if stray:
        count = plural(len(stray), "picture", "pictures")
        hint = suggested_pattern(stray) or ANY_PATTERN
        return f"{expected}; found {count} outside of folders. Sort them into folders. {hint}".rstrip()
    if tree.sizes:
        return f"{expected}; found {_by_suffix(list(tree.sizes))}."
    return f"{expected}; found nothing."


def _by_suffix(names: list[str]) -> Message:
    """How many files there are of each kind, the most frequent first."""
    counts = Counter(PurePosixPath(name).suffix.lower() for name in names)
    return comma_joined(
        lazy_ngettext("%(count)s %(suffix)s file", "%(count)s %(suffix)s files", count, suffix=suffix)
        if suffix
        else lazy_ngettext("%(count)s file without a suffix", "%(count)s files without a suffix", count)
        for suffix, count in counts.most_common(5)
    )

"""Pictures in one folder per class, or in one per split with a folder per class in each."""

from collections import Counter
from pathlib import PurePosixPath

from pellucid.data.sources.listing import SPLIT_NAMES, Picture, RawListing, natural_key
from pellucid.data.sources.tree import Tree, wrapped_folder
from pellucid.errors import UsageError
from pellucid.formatting import listed, plural
from pellucid.language import Message, comma_joined, lazy_gettext, lazy_ngettext


def has_class_folders(tree: Tree) -> bool:
    """Whether there are pictures in folders, and not all folders are inside a single one."""
    return bool(class_folders(tree)) and wrapped_folder(tree) is None


def class_folders(tree: Tree) -> set[str]:
    """The folders at the top with pictures in them, at any depth."""
    return {name.split("/", 1)[0] for name in tree.pictures() if "/" in name}


def split_folders(tree: Tree) -> dict[str, str]:
    """The folders at the top named as splits that contain folders of pictures: {"val": "validation"}."""
    nested = {name.split("/", 1)[0] for name in tree.pictures() if name.count("/") > 1}
    return {
        top: SPLIT_NAMES[top.lower()] for top in tree.top() if top in nested and top.lower() in SPLIT_NAMES
    }


def list_class_folders(tree: Tree) -> RawListing:
    """The pictures of `cat/1.jpg`, with label "cat". Folders inside a class's folder belong to that class."""
    pictures = _pictures_by_class(tree)
    return _raw_listing(tree, lazy_gettext("one folder per class"), pictures)


def list_split_folders(tree: Tree, folders: dict[str, str]) -> RawListing:
    """The pictures of `train/cat/1.jpg`, with split "train" and label "cat".

    folders  as `split_folders` returns them

    Raises UsageError for two folders of one split, or when there are folders of classes beside them.
    """
    for split, count in Counter(folders.values()).items():
        if count > 1:
            same = [top for top in folders if folders[top] == split]
            raise UsageError(
                f"{listed(same)} of '{tree.name}' are both the {split} part. Keep one, or merge them."
            )
    others = [top for top in class_folders(tree) if top not in folders and top.lower() not in SPLIT_NAMES]
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
    pictures = [
        picture
        for top, split in folders.items()
        for picture in _pictures_by_class(tree.under(top), split, f"{top}/")
    ]
    return _raw_listing(tree, layout, pictures)


def _pictures_by_class(tree: Tree, split: str = "", prefix: str = "") -> list[Picture]:
    return [Picture(prefix + name, name.split("/", 1)[0], split) for name in tree.pictures() if "/" in name]


def _raw_listing(tree: Tree, layout: Message, pictures: list[Picture]) -> RawListing:
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
    others = [name for name in tree.sizes if name not in sources and name not in set(stray)]
    used = {parent.as_posix() for name in sources for parent in PurePosixPath(name).parents}
    empty = [
        folder
        for folder in tree.folders
        if folder not in used and PurePosixPath(folder).parent.as_posix() in used
    ]
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
        return f"{expected}; found {count} outside of folders. Sort them into folders."
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

"""One folder per class, or one per part with a folder per class in it."""

from collections import Counter
from pathlib import PurePosixPath

from pellucid.data.sources.listing import SPLIT_NAMES, Found, Picture, natural
from pellucid.data.sources.tree import Tree
from pellucid.errors import UsageError
from pellucid.formatting import listed, plural
from pellucid.language import Message, comma_joined, lazy_gettext, lazy_ngettext


def folder_found(tree: Tree) -> Found:
    """The pictures of a tree by the folders they lie in: `cat/1.jpg`, or `train/cat/1.jpg`.

    Folders inside a class's folder belong to that class. Raises UsageError when there is no picture in a
    folder, or when parts and classes stand side by side.
    """
    parts = _parts(tree)
    pictures, notes = (_in_parts(tree, parts), []) if parts else (_in_classes(tree, ""), [])
    if not pictures:
        raise UsageError(_nothing(tree))
    notes += _left_out(tree, {picture.source for picture in pictures})
    sources = [picture.source for picture in pictures]
    layout = lazy_gettext("one folder per class")
    if parts:
        layout = lazy_gettext(
            "%(parts)s with one folder per class in each", parts=listed(sorted(parts, key=natural))
        )
    return Found(
        layout,
        pictures,
        lambda index: tree.read(sources[index]),
        lambda index: tree.stamp(sources[index]),
        (*tree.notes, *notes),
    )


def classes_at(tree: Tree) -> int:
    """How many folders at the top hold pictures."""
    return len({name.split("/", 1)[0] for name in tree.pictures() if "/" in name})


def parts_of(tree: Tree) -> dict[str, str]:
    """The folders at the top that are parts by name and hold folders with pictures: "val" -> validation."""
    deep = {name.split("/", 1)[0] for name in tree.pictures() if name.count("/") > 1}
    return {top: SPLIT_NAMES[top.lower()] for top in tree.top() if top in deep and top.lower() in SPLIT_NAMES}


def _parts(tree: Tree) -> dict[str, str]:
    """`parts_of`, sure of itself: refuses two folders for one part, and classes beside parts."""
    parts = parts_of(tree)
    for part, count in Counter(parts.values()).items():
        if count > 1:
            twice = [top for top in parts if parts[top] == part]
            raise UsageError(
                f"{listed(twice)} of '{tree.name}' are both the {part} part. Keep one, or join them."
            )
    holding = {name.split("/", 1)[0] for name in tree.pictures() if "/" in name}
    others = sorted(
        (top for top in holding if top not in parts and (top.lower() not in SPLIT_NAMES or not parts)),
        key=natural,
    )
    if parts and others:
        raise UsageError(
            f"In '{tree.name}', {listed(parts)} look like parts of the data and {listed(others)} like "
            "classes. "
            "Expected one folder per class, or parts alone such as 'train' and 'test' with the classes "
            "in them. "
            "Move or rename one of them, or name the folder that is meant."
        )
    return parts


def _in_parts(tree: Tree, parts: dict[str, str]) -> list[Picture]:
    return [
        picture for top, part in parts.items() for picture in _in_classes(tree.under(top), part, f"{top}/")
    ]


def _in_classes(tree: Tree, part: str, prefix: str = "") -> list[Picture]:
    return [Picture(prefix + name, name.split("/", 1)[0], part) for name in tree.pictures() if "/" in name]


def _left_out(tree: Tree, taken: set[str]) -> list[Message]:
    """Sentences on what is no picture of a class: stray pictures, other files, folders without pictures."""
    stray = [name for name in tree.pictures() if name not in taken]
    others = [name for name in tree.sizes if name not in taken and name not in set(stray)]
    holding = {parent.as_posix() for name in taken for parent in PurePosixPath(name).parents}
    empty = [
        folder
        for folder in tree.folders
        if folder not in holding and PurePosixPath(folder).parent.as_posix() in holding
    ]
    notes = []
    if stray:
        notes.append(
            lazy_ngettext(
                "passed over %(count)s picture that lies in no class's folder: %(names)s",
                "passed over %(count)s pictures that lie in no class's folder: %(names)s",
                len(stray),
                names=listed(stray),
            )
        )
    if others:
        notes.append(lazy_gettext("passed over what is no picture: %(files)s", files=_by_suffix(others)))
    if empty:
        notes.append(lazy_gettext("passed over folders without pictures: %(names)s", names=listed(empty)))
    return notes


def _nothing(tree: Tree) -> str:
    expected = (
        f"No pictures in folders in '{tree.name}'. Expected one folder per class with .jpg or .png files, "
        f"such as '{tree.name}/cat/1.jpg'"
    )
    stray = tree.pictures()
    if stray:
        count = plural(len(stray), "picture", "pictures")
        return f"{expected}; found {count} in no folder. Sort them into folders."
    if tree.sizes:
        return f"{expected}; found {_by_suffix(list(tree.sizes))}."
    return f"{expected}; found nothing."


def _by_suffix(names: list[str]) -> Message:
    """How many files there are of each kind, the commonest first."""
    counts = Counter(PurePosixPath(name).suffix.lower() for name in names)
    return comma_joined(
        lazy_ngettext("%(count)s %(suffix)s file", "%(count)s %(suffix)s files", count, suffix=suffix)
        if suffix
        else lazy_ngettext("%(count)s file without a suffix", "%(count)s files without a suffix", count)
        for suffix, count in counts.most_common(5)
    )

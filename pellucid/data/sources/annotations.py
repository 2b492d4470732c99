"""Annotations of detection data sets, read as the labels of whole pictures: COCO's JSON, Pascal VOC's XML."""

import codecs
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from pellucid.data.sources.columns import MAX_TABLE_BYTES
from pellucid.data.sources.file_names import FileNames
from pellucid.data.sources.folder import names_classes, raw_listing
from pellucid.data.sources.listing import Picture, RawListing, joined, split_of
from pellucid.data.sources.tree import Tree, wrapped_folder
from pellucid.errors import UsageError
from pellucid.formatting import listed
from pellucid.language import Message, lazy_gettext, lazy_ngettext
from pellucid.reading import parsed_json

COCO_KEYS = ("images", "annotations", "categories")
MAX_XML_BYTES = 1 << 20
NUMBER = r"\s*(-?[0-9]{1,9}(?:\.[0-9]*)?)\s*"


class Mark(NamedTuple):
    """One object on a picture, as annotated.

    file   of the picture, in the tree
    label  the name of its class
    split  "train", "validation" or "test"; "" where the annotations do not say
    sides  of its box: left, top, right, bottom as written; empty where there is none
    size   width and height of the picture as written; (0, 0) where they are not
    crowd  whether one box is around many objects
    """

    file: str
    label: str
    split: str
    sides: tuple[float, ...] = ()
    size: tuple[int, int] = (0, 0)
    crowd: bool = False


def coco_files(tree: Tree) -> list[str]:
    """The JSON files with COCO's keys, at the top or one folder below, unless the folders are classes."""
    if names_classes(tree) or wrapped_folder(tree) is not None:
        return []
    names = [name for name in tree.sizes if name.lower().endswith(".json") and name.count("/") < 2]
    return [name for name in names if tree.sizes[name] <= MAX_TABLE_BYTES and _coco(tree, name)]


def list_coco(tree: Tree, names: list[str]) -> RawListing:
    """The pictures with the categories of their annotations: one each, or several."""
    return _listing(tree, coco_layout(names), coco_marks(tree, names))


def coco_layout(names: list[str]) -> Message:
    """What pictures with these JSON files are called."""
    return lazy_gettext("COCO annotations %(names)s", names=listed(names))


def coco_marks(tree: Tree, names: list[str]) -> list[Mark]:
    """The annotations of the pictures that are there.

    Raises UsageError when there is none, or a file is not as COCO's format describes it.
    """
    files, marks = FileNames(tree), list[Mark]()
    for name in names:
        try:
            marks += _marks_of(files, name, _coco(tree, name))
        except (KeyError, TypeError) as error:
            raise UsageError(
                f"'{name}' is not as COCO's format describes it: {error!r} is missing."
            ) from error
    if not marks:
        raise UsageError(
            f"{listed(names)} of '{tree.name}' is in COCO's format but gives none of these pictures a "
            "category. Expected images, annotations and categories that belong together; or sort the "
            "pictures into one folder per class."
        )
    return marks


def _marks_of(files: FileNames, name: str, content: dict[str, Any]) -> Iterator[Mark]:
    """The annotations in one file of COCO's; [x, y, width, height] as sides."""
    folder = PurePosixPath(name).parent.as_posix()
    split = split_of(PurePosixPath(name).stem) or split_of(folder)
    categories = {each["id"]: str(each["name"]) for each in content["categories"]}
    images = {each["id"]: each for each in content["images"]}
    file_names = [str(each["file_name"]) for each in images.values()]
    prefix = "" if folder == "." else f"{folder}/"
    found = files.resolve(name, file_names, prefix=prefix, split=split)
    by_id = dict(zip(images, found, strict=True))
    for each in content["annotations"]:
        image = images[each["image_id"]]
        box, size = each.get("bbox"), (image.get("width"), image.get("height"))
        sides: tuple[float, ...] = ()
        if isinstance(box, list) and len(box) == 4 and all(type(side) in (int, float) for side in box):
            sides = (box[0], box[1], box[0] + box[2], box[1] + box[3])
        label, file = categories[each["category_id"]], by_id[each["image_id"]]
        if file:
            drawn_on = size if all(type(side) is int and side > 0 for side in size) else (0, 0)
            yield Mark(file, label, split, sides, drawn_on, crowd=bool(each.get("iscrowd")))


def voc_files(tree: Tree) -> list[str]:
    """The XML files of Pascal VOC, one per picture, unless the folders are classes."""
    if names_classes(tree) or wrapped_folder(tree) is not None:
        return []
    names = [name for name in tree.sizes if name.lower().endswith(".xml")]
    return names if names and b"<annotation" in tree.read(names[0])[:MAX_XML_BYTES] else []


def list_voc(tree: Tree, names: list[str]) -> RawListing:
    """The pictures with the names of the objects on them: one each, or several."""
    return _listing(tree, lazy_gettext("Pascal VOC annotations"), voc_marks(tree, names))


def voc_marks(tree: Tree, names: list[str]) -> list[Mark]:
    """The objects on the pictures that are there. Raises UsageError when there is none.

    Read by searching for tags, not by a parser: of an XML file from anywhere, no entity is ever expanded, and
    the time is in proportion to its length.
    """
    files, marks = FileNames(tree), list[Mark]()
    stems = [PurePosixPath(name).stem for name in names]
    for name, file in zip(names, files.resolve(names[0], stems), strict=True):
        if not file:
            continue
        text = _without_parts(tree.read(name)[:MAX_XML_BYTES].decode(errors="replace"))
        head = next(_elements(text, "size"), "")
        width, height = _numbers(head, "width", "height") or (0, 0)
        for found in _elements(text, "object"):
            if label := next(_elements(found, "name"), "").strip():
                sides = _numbers(found, "xmin", "ymin", "xmax", "ymax")
                if sides:  # counted from 1, the last included
                    sides = (sides[0] - 1, sides[1] - 1, sides[2], sides[3])
                size = (int(width), int(height)) if width > 0 and height > 0 else (0, 0)
                marks.append(Mark(file, label, split_of(file.split("/")[0]), sides, size))
    if not marks:
        raise UsageError(f"The XML files of '{tree.name}' name no object of its pictures.")
    return marks


def _elements(text: str, tag: str) -> Iterator[str]:
    """What stands between each opening tag and the first closing one behind it."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    start = text.find(opening)
    while start >= 0:
        start += len(opening)
        end = text.find(closing, start)
        if end < 0:
            return
        yield text[start:end]
        start = text.find(opening, end + len(closing))


def _without_parts(text: str) -> str:
    """The text without <part> elements: a person's head has a box, too."""
    whole, *rest = text.split("<part>")
    return whole + "".join(piece.partition("</part>")[2] for piece in rest)


def _numbers(text: str, *tags: str) -> tuple[float, ...]:
    """The numbers in these tags; empty unless each has one."""
    found = [re.search(rf"<{tag}>{NUMBER}</{tag}>", text) for tag in tags]
    return tuple(float(match[1]) for match in found if match) if all(found) else ()


def _listing(tree: Tree, layout: Message, marks: Sequence[Mark]) -> RawListing:
    labels: dict[str, set[str]] = defaultdict(set)
    for mark in marks:
        labels[mark.file].add(mark.label)
    splits = {mark.file: mark.split for mark in marks}
    several = any(len(names) > 1 for names in labels.values())
    pictures = [
        Picture(file, joined(labels[file]), splits[file]) for file in tree.pictures() if file in labels
    ]
    raw = raw_listing(tree, layout, pictures)
    whole = lazy_gettext("each picture is read as a whole, with the one class marked on it")
    if several:
        whole = lazy_gettext("each picture is read as a whole, with every class that is marked on it")
    notes = (*tree.notes, whole, *without_annotation(tree, len(pictures)))
    return RawListing(raw.layout, raw.pictures, raw.read, raw.stamp, notes)


def without_annotation(tree: Tree, marked: int) -> tuple[Message, ...]:
    """A note on the pictures that no annotation speaks of, if there are any."""
    without = len(tree.pictures()) - marked
    if not without:
        return ()
    return (
        lazy_ngettext(
            "skipped %(count)s picture without an annotation",
            "skipped %(count)s pictures without an annotation",
            without,
        ),
    )


def _coco(tree: Tree, name: str) -> dict[str, Any]:
    """The content of a JSON file with COCO's keys; empty if it is another."""
    content = tree.read(name)
    if not all(f'"{key}"'.encode() in content for key in COCO_KEYS):
        return {}
    try:
        values = parsed_json(content.removeprefix(codecs.BOM_UTF8))
    except ValueError:
        return {}
    fits = isinstance(values, dict) and all(isinstance(values.get(key), list) for key in COCO_KEYS)
    return values if fits else {}

"""Annotations of detection data sets, read as the labels of whole pictures: COCO's JSON, Pascal VOC's XML."""

import json
import re
from collections import defaultdict
from pathlib import PurePosixPath
from typing import Any

from pellucid.data.sources.columns import MAX_TABLE_BYTES
from pellucid.data.sources.file_names import FileNames
from pellucid.data.sources.folder import names_classes, raw_listing
from pellucid.data.sources.listing import Picture, RawListing, joined, split_of
from pellucid.data.sources.tree import Tree, wrapped_folder
from pellucid.errors import UsageError
from pellucid.formatting import listed
from pellucid.language import Message, lazy_gettext, lazy_ngettext

COCO_KEYS = ("images", "annotations", "categories")
MAX_XML_BYTES = 1 << 20


def coco_files(tree: Tree) -> list[str]:
    """The JSON files with COCO's keys, at the top or one folder below, unless the folders are classes."""
    if names_classes(tree) or wrapped_folder(tree) is not None:
        return []
    names = [name for name in tree.sizes if name.lower().endswith(".json") and name.count("/") < 2]
    return [name for name in names if tree.sizes[name] <= MAX_TABLE_BYTES and _coco(tree, name)]


def list_coco(tree: Tree, names: list[str]) -> RawListing:
    """The pictures with the categories of their annotations: one each, or several."""
    labels: dict[str, set[str]] = defaultdict(set)
    splits: dict[str, str] = {}
    files = FileNames(tree)
    for name in names:
        content = _coco(tree, name)
        folder = PurePosixPath(name).parent.as_posix()
        split = split_of(PurePosixPath(name).stem) or split_of(folder)
        try:
            categories = {each["id"]: str(each["name"]) for each in content["categories"]}
            images = {each["id"]: str(each["file_name"]) for each in content["images"]}
            marks = [(each["image_id"], categories[each["category_id"]]) for each in content["annotations"]]
            prefix = "" if folder == "." else f"{folder}/"
            found = files.resolve(name, list(images.values()), prefix=prefix, split=split)
            by_id = dict(zip(images, found, strict=True))
            for image, label in marks:
                labels[by_id[image]].add(label)
        except (KeyError, TypeError) as error:
            raise UsageError(
                f"'{name}' is not as COCO's format describes it: {error!r} is missing."
            ) from error
        splits |= dict.fromkeys(found, split)
    labels.pop("", None)
    if not labels:
        raise UsageError(
            f"{listed(names)} of '{tree.name}' is in COCO's format but gives none of these pictures a "
            "category. Expected images, annotations and categories that belong together; or sort the "
            "pictures into one folder per class."
        )
    return _listing(tree, lazy_gettext("COCO annotations %(names)s", names=listed(names)), labels, splits)


def voc_files(tree: Tree) -> list[str]:
    """The XML files of Pascal VOC, one per picture, unless the folders are classes."""
    if names_classes(tree) or wrapped_folder(tree) is not None:
        return []
    names = [name for name in tree.sizes if name.lower().endswith(".xml")]
    return names if names and b"<annotation" in tree.read(names[0])[:MAX_XML_BYTES] else []


def list_voc(tree: Tree, names: list[str]) -> RawListing:
    """The pictures with the names of the objects on them: one each, or several."""
    labels: dict[str, set[str]] = defaultdict(set)
    files = FileNames(tree)
    stems = [PurePosixPath(name).stem for name in names]
    for name, file in zip(names, files.resolve(names[0], stems), strict=True):
        text = tree.read(name)[:MAX_XML_BYTES].decode(errors="replace")
        for label in re.findall(r"<object>.*?<name>\s*(.*?)\s*</name>", text, re.DOTALL):
            labels[file].add(label)
    labels.pop("", None)
    if not labels:
        raise UsageError(f"The XML files of '{tree.name}' name no object of its pictures.")
    layout = lazy_gettext("Pascal VOC annotations")
    return _listing(tree, layout, labels, {file: split_of(file.split("/")[0]) for file in labels})


def _listing(tree: Tree, layout: Message, labels: dict[str, set[str]], splits: dict[str, str]) -> RawListing:
    several = any(len(names) > 1 for names in labels.values())
    pictures = [
        Picture(file, joined(labels[file]), splits.get(file, ""))
        for file in tree.pictures()
        if file in labels
    ]
    raw = raw_listing(tree, layout, pictures)
    whole = lazy_gettext("each picture is read as a whole, with the one class marked on it")
    if several:
        whole = lazy_gettext("each picture is read as a whole, with every class that is marked on it")
    notes = (*tree.notes, whole)
    if without := len(tree.pictures()) - len(pictures):
        note = lazy_ngettext(
            "skipped %(count)s picture without an annotation",
            "skipped %(count)s pictures without an annotation",
            without,
        )
        notes = (*notes, note)
    return RawListing(raw.layout, raw.pictures, raw.read, raw.stamp, notes)


def _coco(tree: Tree, name: str) -> dict[str, Any]:
    """The content of a JSON file with COCO's keys; empty if it is another."""
    content = tree.read(name)
    if not all(f'"{key}"'.encode() in content for key in COCO_KEYS):
        return {}
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    fits = isinstance(values, dict) and all(isinstance(values.get(key), list) for key in COCO_KEYS)
    return values if fits else {}

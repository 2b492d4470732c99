"""Annotations of objects are read as one label per picture, and refused where they are not one each."""

import json
from pathlib import Path

import pytest

from pellucid.data.sources.annotations import coco_files, list_coco, list_voc, voc_files
from pellucid.data.sources.listing import names_in
from pellucid.data.sources.tree import Tree, folder_tree
from pellucid.errors import UsageError
from tests.data.folders import planted

CATEGORIES = [{"id": 5, "name": "dog"}, {"id": 9, "name": "cat"}]


def coco(marks: list[tuple[int, int]], names: tuple[str, ...] = ("1.png", "2.png")) -> bytes:
    """COCO's JSON: picture n is the n-th of `names`, counted from 1."""
    images = [{"id": number, "file_name": name} for number, name in enumerate(names, 1)]
    annotations = [{"image_id": image, "category_id": category} for image, category in marks]
    return json.dumps({"images": images, "annotations": annotations, "categories": CATEGORIES}).encode()


def voc(*objects: str) -> bytes:
    marked = "".join(f"<object><name> {name}\n</name></object>" for name in objects)
    return f"<annotation>{marked}</annotation>".encode()


def made(folder: Path, files: dict[str, bytes]) -> Tree:
    return folder_tree(planted(folder, files))


PICTURES = {"images/1.png": b"a", "images/2.png": b"b"}


def test_a_picture_has_the_category_of_its_objects(tmp_path: Path) -> None:
    tree = made(tmp_path, {**PICTURES, "annotations/train.json": coco([(1, 5), (1, 5), (2, 9)])})
    names = coco_files(tree)
    assert names == ["annotations/train.json"]
    raw = list_coco(tree, names)
    found = {picture.source: (picture.label, picture.split) for picture in raw.pictures}
    assert found == {"images/1.png": ("dog", "train"), "images/2.png": ("cat", "train")}
    assert raw.read(1) == b"b"
    assert "each picture is read as a whole, with the one class marked on it" in map(str, raw.notes)


def test_pictures_without_an_object_are_counted(tmp_path: Path) -> None:
    tree = made(tmp_path, {**PICTURES, "instances.json": coco([(1, 5)])})
    raw = list_coco(tree, coco_files(tree))
    assert [picture.source for picture in raw.pictures] == ["images/1.png"]
    assert "skipped 1 picture without an annotation" in map(str, raw.notes)


def test_json_of_another_kind_is_not_coco(tmp_path: Path) -> None:
    for number, content in enumerate((b'{"images": [], "annotations": []}', b'{"images"', b"[]")):
        assert coco_files(made(tmp_path / str(number), {**PICTURES, "a.json": content})) == []
    classes = {"cat/1.png": b"", "dog/1.png": b"", "a.json": coco([(1, 5)])}
    assert coco_files(made(tmp_path / "classes", classes)) == []


def test_a_picture_of_two_categories_has_both(tmp_path: Path) -> None:
    tree = made(tmp_path, {**PICTURES, "a.json": coco([(1, 5), (1, 9), (2, 9)])})
    listing = list_coco(tree, ["a.json"])
    assert [set(names_in(picture.label)) for picture in listing.pictures] == [{"cat", "dog"}, {"cat"}]
    assert "with every class that is marked on it" in " ".join(map(str, listing.notes))


def test_annotations_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    other = made(tmp_path / "other", {**PICTURES, "a.json": coco([(1, 5)], ("x.png",))})
    with pytest.raises(UsageError, match="gives none of these pictures a category"):
        list_coco(other, ["a.json"])
    unknown = made(tmp_path / "unknown", {**PICTURES, "a.json": coco([(1, 77)])})
    with pytest.raises(UsageError, match=r"is not as COCO's format describes it: KeyError\(77\) is missing"):
        list_coco(unknown, ["a.json"])


def test_a_picture_has_the_name_of_its_objects(tmp_path: Path) -> None:
    files = {**PICTURES, "Annotations/1.xml": voc("dog", "dog"), "Annotations/2.xml": voc("cat")}
    tree = made(tmp_path, files)
    names = voc_files(tree)
    assert names == ["Annotations/1.xml", "Annotations/2.xml"]
    found = {picture.source: picture.label for picture in list_voc(tree, names).pictures}
    assert found == {"images/1.png": "dog", "images/2.png": "cat"}


def test_xml_of_another_kind_is_not_pascal_voc(tmp_path: Path) -> None:
    assert voc_files(made(tmp_path, {**PICTURES, "a.xml": b"<svg></svg>"})) == []


@pytest.mark.parametrize(
    "text",
    [
        "<object><name>" + " " * (1 << 20),
        "<part>" * (1 << 18),
        "<object>" * (1 << 18),
        "<size>" * (1 << 18),
        "<object>" + "<name>" * (1 << 18) + "</object>",
    ],
)
def test_tags_without_end_take_no_time(tmp_path: Path, text: str) -> None:
    """A megabyte of what patterns would go back and forth in for hours."""
    tree = made(tmp_path, {**PICTURES, "Annotations/1.xml": text.encode(), "Annotations/2.xml": voc("cat")})
    names = ["Annotations/1.xml", "Annotations/2.xml"]
    assert [picture.label for picture in list_voc(tree, names).pictures] == ["cat"]


def test_the_box_of_a_part_is_not_that_of_its_object(tmp_path: Path) -> None:
    part = "<part><name>head</name></part><part><name>hand</name></part>"
    content = voc("cat").replace(b"<object>", b"<object>" + part.encode())
    tree = made(tmp_path, {**PICTURES, "Annotations/1.xml": content, "Annotations/2.xml": voc("dog")})
    found = list_voc(tree, ["Annotations/1.xml", "Annotations/2.xml"])
    assert [picture.label for picture in found.pictures] == ["cat", "dog"]


def test_objects_of_two_names_are_both_read_and_none_is_refused(tmp_path: Path) -> None:
    two = made(tmp_path / "two", {**PICTURES, "a/1.xml": voc("dog", "cat"), "a/2.xml": voc("cat")})
    pictures = list_voc(two, voc_files(two)).pictures
    assert [set(names_in(picture.label)) for picture in pictures] == [{"cat", "dog"}, {"cat"}]
    none = made(tmp_path / "none", {**PICTURES, "a/1.xml": voc(), "a/2.xml": voc()})
    with pytest.raises(UsageError, match="name no object of its pictures"):
        list_voc(none, voc_files(none))

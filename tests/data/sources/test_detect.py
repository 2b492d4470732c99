"""Every layout is read where it lies: archives in place, arrays without pickles, tables, frames."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.data.sources.archives import archive_tree
from pellucid.data.sources.detect import LAYOUTS, list_pictures
from pellucid.data.sources.tree import folder_tree
from pellucid.errors import UsageError
from tests.data.folders import picture, planted
from tests.data.sources.written import FILES, arrays, idx, labels, zipped


def test_groups_are_found_by_a_pattern_in_names(tmp_path: Path) -> None:
    names = ["cat/p1_a.png", "cat/p1_b.png", "dog/p2_a.png", "dog/other.png"]
    listing = list_pictures(planted(tmp_path, names), group_by=r"(p\d+)_")
    assert {one.source: one.group for one in listing.pictures} == dict(
        zip(names, ["p1", "p1", "p2", ""], strict=True)
    )
    with pytest.raises(
        UsageError, match=r"is neither a column nor found in any name, such as 'cat/p1_a\.png'"
    ):
        list_pictures(tmp_path, group_by="patient")
    with pytest.raises(UsageError, match="neither a column nor a valid pattern"):
        list_pictures(tmp_path, group_by="(")


def test_something_else_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Expected a path, a pandas DataFrame, NumPy arrays .*; got int"):
        list_pictures(3)


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays())
    return file.getvalue()


# One tree of files for every row of LAYOUTS.
EXAMPLES: dict[str, dict[str, bytes]] = {
    "idx files": {
        "train-images-idx3-ubyte": idx(np.zeros((4, 6, 5))),
        "train-labels-idx1-ubyte": idx(np.arange(4) % 2),
    },
    "CIFAR's binary files": {
        "batches.meta.txt": b"plane\ncar\n",
        "data_batch_1.bin": bytes(3073) + bytes([1]) + bytes(3072),
        "test_batch.bin": bytes(3073),
    },
    "metadata.csv": {
        "train/metadata.csv": b"file_name,label\n1.png,dog\n2.png,cat\n",
        "train/1.png": picture(1),
        "train/2.png": picture(2),
    },
    "tables": {
        "train.csv": b"path,label\nx/1.png,dog\nx/2.png,cat\n",
        "x/1.png": picture(1),
        "x/2.png": picture(2),
    },
    "an .npz file": {"a.npz": npz()},
    "COCO annotations": {
        "images/1.png": picture(1),
        "images/2.png": picture(2),
        "annotations/instances.json": (
            b'{"images": [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "2.png"}], '
            b'"annotations": [{"image_id": 1, "category_id": 5}, {"image_id": 2, "category_id": 6}], '
            b'"categories": [{"id": 5, "name": "dog"}, {"id": 6, "name": "cat"}]}'
        ),
    },
    "Pascal VOC annotations": {
        "JPEGImages/1.png": picture(1),
        "JPEGImages/2.png": picture(2),
        "Annotations/1.xml": b"<annotation><object><name>dog</name></object></annotation>",
        "Annotations/2.xml": b"<annotation><object><name>cat</name></object></annotation>",
    },
    "one folder per split": FILES,
    "one folder per class": {"cat/1.png": picture(1), "dog/a folder/1.png": picture(2)},
}


def test_every_layout_has_a_name_of_its_own_and_an_example() -> None:
    assert [layout.name for layout in LAYOUTS] == list(EXAMPLES)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_each_layout_is_recognised_in_a_folder_an_archive_and_inside_of_others(
    layout: Any, tmp_path: Path
) -> None:
    files = EXAMPLES[layout.name]
    folder = planted(tmp_path / "plain", files)
    trees = (folder_tree(folder), archive_tree(zipped(tmp_path / "plain.zip", files)))
    for tree in trees:
        assert next(other for other in LAYOUTS if other.matches(tree)) is layout
    plain = list_pictures(folder)
    assert len(plain.pictures) >= 2
    for wrapping in ("pets/", "my data/pets/"):
        wrapped = {wrapping + name: content for name, content in files.items()}
        for data in (
            planted(tmp_path / wrapping.replace("/", "_"), wrapped),
            zipped(tmp_path / f"{wrapping.replace('/', '_')}.zip", wrapped),
        ):
            assert labels(list_pictures(data)) == labels(plain)


def test_nothing_at_all_matches_no_layout(tmp_path: Path) -> None:
    tree = folder_tree(planted(tmp_path, {"notes.txt": b"nothing", "empty/": b""}))
    assert not any(layout.matches(tree) for layout in LAYOUTS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("-", r"^Standard input is not read\."),
        ("https://example.org/pets.zip", r"is an address\. .* download it first"),
        ("hf://datasets/mnist", r"is an address"),
    ],
)
def test_addresses_and_standard_input_are_answered(data: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        list_pictures(data)


def test_a_path_that_is_not_there_or_no_data_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        list_pictures(tmp_path / "nothing")
    (tmp_path / "a.docx").write_bytes(b"")
    with pytest.raises(UsageError, match=r"is not a data set\. Expected a folder"):
        list_pictures(tmp_path / "a.docx")

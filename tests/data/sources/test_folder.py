"""Folders are classes or parts by their names and what lies in them; where both could be meant, neither."""

from pathlib import Path

import pytest

from pellucid.data.sources.folder import (
    class_folders,
    has_class_folders,
    list_class_folders,
    list_split_folders,
    names_classes,
    nothing_found,
    part_notes,
    refuse_flat,
    refuse_repeated_splits,
    split_folders,
    suggested_pattern,
)
from pellucid.data.sources.listing import RawListing
from pellucid.data.sources.tree import Tree, folder_tree
from pellucid.errors import UsageError
from tests.data.folders import planted

CLASSES = ["cat/1.png", "cat/2.png", "dog/1.png"]
PARTS = ["train/cat/1.png", "train/dog/1.png", "val/cat/1.png"]


def tree(folder: Path, names: list[str]) -> Tree:
    return folder_tree(planted(folder, names))


def labels(raw: RawListing) -> dict[str, tuple[str, str]]:
    return {picture.source: (picture.label, picture.split) for picture in raw.pictures}


def test_folders_with_pictures_are_classes_unless_one_wraps_all(tmp_path: Path) -> None:
    assert has_class_folders(tree(tmp_path / "a", CLASSES))
    assert class_folders(tree(tmp_path / "a", CLASSES)) == {"cat", "dog"}
    wrapped = tree(tmp_path / "b", [f"pets/{name}" for name in CLASSES])
    assert not has_class_folders(wrapped)
    assert has_class_folders(wrapped.under("pets"))
    assert class_folders(tree(tmp_path / "c", ["1.png", "texts/notes.txt", "empty/"])) == set()


def test_parts_are_folders_of_folders_that_are_named_so(tmp_path: Path) -> None:
    assert split_folders(tree(tmp_path / "a", PARTS)) == {"train": "train", "val": "validation"}
    assert split_folders(tree(tmp_path / "b", CLASSES)) == {}
    assert split_folders(tree(tmp_path / "c", ["train/1.png", "test/images/1.png"])) == {}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (CLASSES, True),
        (PARTS, True),
        (["images/1.png"], False),
        (["train/1.png", "test/1.png"], False),
        (["cat/1.png", "images/1.png"], False),
        (["1.png"], False),
    ],
)
def test_a_table_is_needed_where_folders_say_nothing(
    tmp_path: Path, names: list[str], expected: bool
) -> None:
    assert names_classes(tree(tmp_path, names)) is expected


def test_a_class_is_the_outermost_folder(tmp_path: Path) -> None:
    raw = list_class_folders(tree(tmp_path, [*CLASSES, "dog/puppies/2.png", "stray.png", "a.txt", "owl/"]))
    assert labels(raw) == {
        "cat/1.png": ("cat", ""), "cat/2.png": ("cat", ""),
        "dog/1.png": ("dog", ""), "dog/puppies/2.png": ("dog", ""),
    }  # fmt: skip
    assert str(raw.layout) == "one folder per class"
    place = [picture.source for picture in raw.pictures].index("dog/puppies/2.png")
    assert raw.read(place) == b"dog/puppies/2.png"
    assert raw.stamp(place) != raw.stamp(0)
    notes = " | ".join(map(str, raw.notes))
    assert "skipped 1 picture that is in no class's folder: 'stray.png'" in notes
    assert "skipped files that are not pictures: 1 .txt file" in notes
    assert "folders inside a class's folder belong to that class: 'dog/puppies'" in notes


def test_a_part_has_its_classes_inside(tmp_path: Path) -> None:
    inside = tree(tmp_path, [*PARTS, "seg_test/seg_test/dog/9.png"])
    folders = split_folders(inside)
    assert folders == {"seg_test": "test", "train": "train", "val": "validation"}
    raw = list_split_folders(inside, folders)
    assert labels(raw) == {
        "train/cat/1.png": ("cat", "train"), "train/dog/1.png": ("dog", "train"),
        "val/cat/1.png": ("cat", "validation"), "seg_test/seg_test/dog/9.png": ("dog", "test"),
    }  # fmt: skip
    assert [str(note) for note in raw.notes] == ["'val' is the validation part"]


def test_a_name_that_was_interpreted_is_told(tmp_path: Path) -> None:
    inside = tree(tmp_path, ["train/cat/1.png", "dev/cat/1.png", "seg_pred/1.png"])
    notes = [str(note) for note in part_notes(inside, {"train": "train", "dev": "validation"})]
    assert notes == [
        "'dev' is the validation part",
        "'seg_pred': no labels, so left for 'pellucid predict'",
    ]


def test_two_folders_of_one_part_are_refused(tmp_path: Path) -> None:
    inside = tree(tmp_path, PARTS)
    refuse_repeated_splits(inside, {"train": "train", "val": "validation"})
    with pytest.raises(UsageError, match=r"'val', 'dev' of '.*' are both the validation part\. Keep one"):
        refuse_repeated_splits(inside, {"train": "train", "val": "validation", "dev": "validation"})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/1.png", "bus/1.png"], r"'bus' look like classes and 'train' like a part of the data"),
        (["images/1.png", "photos/2.png"], r"lie together, and nothing says which class each is of"),
        (
            ["a/red/1.png", "a/blue/1.png", "a/red/2.png", "b/dark/1.png", "b/pale/1.png", "b/pale/2.png",
             "a/blue/2.png", "b/dark/2.png"],
            r"'a' of '.*' holds the folders 'blue', 'red': are those the classes\?",
        ),
    ],
)  # fmt: skip
def test_where_it_is_not_clear_which_folders_are_the_classes_nothing_is_guessed(
    tmp_path: Path, names: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        list_class_folders(tree(tmp_path, names))


def test_classes_beside_parts_are_refused(tmp_path: Path) -> None:
    inside = tree(tmp_path, [*PARTS, "owl/1.png"])
    with pytest.raises(
        UsageError, match=r"'train', 'val' look like parts of the data and 'owl' like classes"
    ):
        list_split_folders(inside, split_folders(inside))


@pytest.mark.parametrize(
    ("names", "labels_"),
    [
        (["cat_1.png", "cat_2.png", "dog_1.png", "dog_2.png"], "'cat', 'dog'"),
        (["cat.1.jpg", "cat.2.jpg", "dog.3.jpg", "dog.4.jpg"], "'cat', 'dog'"),
        (["001_cat.png", "002_cat.png", "003_dog.png", "004_dog.png"], "'cat', 'dog'"),
    ],
)
def test_a_pattern_is_suggested_that_finds_the_labels(names: list[str], labels_: str) -> None:
    assert f"Is it in their names, as {labels_}?" in suggested_pattern(names)


@pytest.mark.parametrize("names", [["1.png", "2.png"], ["a.png", "b.png", "c.png"], []])
def test_none_is_suggested_where_names_say_nothing(names: list[str]) -> None:
    assert suggested_pattern(names) == ""


def test_pictures_that_lie_together_are_refused_with_what_to_do(tmp_path: Path) -> None:
    inside = tree(tmp_path, ["cat_1.png", "cat_2.png", "dog_1.png", "dog_2.png"])
    with pytest.raises(
        UsageError, match=r"label_from=.*Or sort them into one folder per class, or put a table"
    ):
        refuse_flat(inside)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "found nothing."),
        (["a.mp4", "b.mp4", "c"], "found 2 .mp4 files, 1 file without a suffix."),
        (["1.png"], "found 1 picture outside of folders. Sort them into folders."),
    ],
)
def test_what_is_there_instead_is_named(tmp_path: Path, names: list[str], message: str) -> None:
    (tmp_path / "x").mkdir()
    assert message in nothing_found(tree(tmp_path / "x", names))

"""A part with class folders and a part with a table are one data set of the same classes."""

from pathlib import Path

from pellucid.data.sources.folder import split_folders
from pellucid.data.sources.parts import list_parts
from pellucid.data.sources.tree import folder_tree
from tests.data.folders import planted

TRAIN = {"train/00003/1.png": b"1", "train/00003/2.png": b"2", "train/7/1.png": b"3"}


def listed(folder: Path, files: dict[str, bytes]) -> dict[str, tuple[str, str]]:
    tree = folder_tree(planted(folder, files))
    raw = list_parts(tree, split_folders(tree))
    return {picture.source: (picture.label, picture.split) for picture in raw.pictures}


def test_labels_of_a_table_are_the_classes_of_the_folders(tmp_path: Path) -> None:
    """Numbers are matched by their value: a table writes 3 where a folder is called 00003."""
    files = {
        **TRAIN,
        "test/a.png": b"4",
        "test/b.png": b"5",
        "test/labels.csv": b"path,label\na.png,3\nb.png,7\n",
    }
    found = listed(tmp_path, files)
    assert found["test/a.png"] == ("00003", "test")
    assert found["test/b.png"] == ("7", "test")
    assert found["train/7/1.png"] == ("7", "train")
    assert len(found) == 5


def test_the_notes_say_which_part_has_a_table(tmp_path: Path) -> None:
    files = {**TRAIN, "test/a.png": b"4", "test/t.csv": b"path,label\na.png,3\n"}
    tree = folder_tree(planted(tmp_path, files))
    raw = list_parts(tree, split_folders(tree))
    assert "'test' has its labels in t.csv" in [str(note) for note in raw.notes]
    place = [picture.source for picture in raw.pictures].index("test/a.png")
    assert raw.read(place) == b"4"
    assert raw.stamp(place)


def test_a_folder_that_says_nothing_is_opened(tmp_path: Path) -> None:
    files = {
        **TRAIN,
        "test/images/a.png": b"4",
        "test/images/labels.csv": b"path,label\na.png,7\n",
    }
    assert listed(tmp_path, files)["test/images/a.png"] == ("7", "test")


def test_a_part_with_neither_is_left_out(tmp_path: Path) -> None:
    found = listed(tmp_path, {**TRAIN, "test/a.png": b"4"})
    assert set(found) == set(TRAIN)

"""A label is found in a file's name by the pattern a person gives."""

from pathlib import Path

import pytest

from pellucid.data.sources.named import list_by_pattern
from pellucid.data.sources.tree import folder_tree
from pellucid.errors import UsageError
from tests.data.folders import planted


def labels(folder: Path, names: list[str], pattern: str) -> dict[str, tuple[str, str]]:
    raw = list_by_pattern(folder_tree(planted(folder, names)), pattern)
    return {picture.source: (picture.label, picture.split) for picture in raw.pictures}


@pytest.mark.parametrize(
    ("name", "pattern", "label"),
    [
        ("images/cat_001.png", r"([a-z]+)_", "cat"),
        ("images/001-cat.png", r"[a-z]+(?=\.png$)", "cat"),
        ("a/b/1.png", r"^([^/]+)/", "a"),
        ("a/b/1.png", r"([^/]+)/[^/]+$", "b"),
        ("cat/red/1.png", r"^(\w+)/(\w+)/", "cat/red"),
    ],
)
def test_the_label_is_the_group_or_the_match(tmp_path: Path, name: str, pattern: str, label: str) -> None:
    assert labels(tmp_path, [name, "zz/zz_zz/0.png"], pattern)[name][0] == label


def test_folders_named_as_parts_are_the_parts(tmp_path: Path) -> None:
    names = ["train/cat_1.png", "train/dog_1.png", "val/cat_2.png"]
    found = labels(tmp_path, names, r"([a-z]+)_")
    assert found == {
        "train/cat_1.png": ("cat", "train"),
        "train/dog_1.png": ("dog", "train"),
        "val/cat_2.png": ("cat", "validation"),
    }


def test_unless_the_pattern_finds_the_folders_themselves(tmp_path: Path) -> None:
    names = ["train/1.png", "bus/1.png", "test/1.png"]
    assert labels(tmp_path, names, "^([^/]+)/") == {
        "train/1.png": ("train", ""), "bus/1.png": ("bus", ""), "test/1.png": ("test", ""),
    }  # fmt: skip


def test_what_was_found_and_what_has_no_label_is_told(tmp_path: Path) -> None:
    names = ["cat_10.png", "cat_2.png", "dog_1.png", "mystery.png"]
    raw = list_by_pattern(folder_tree(planted(tmp_path, names)), r"^([a-z]+)_")
    notes = [str(note) for note in raw.notes]
    assert "labels found in the names: 'cat', 'dog'" in notes
    assert any("1 picture has no label in its name" in note and "'mystery.png'" in note for note in notes)
    assert [picture.source for picture in raw.pictures] == ["cat_2.png", "cat_10.png", "dog_1.png"]
    assert raw.read(0) == b"cat_2.png"


def test_a_pattern_that_is_none_or_finds_nothing_is_refused(tmp_path: Path) -> None:
    tree = folder_tree(planted(tmp_path, ["cat_1.png"]))
    with pytest.raises(UsageError, match=r"`label_from=\(` is not a valid pattern"):
        list_by_pattern(tree, "(")
    with pytest.raises(UsageError, match=r"found in the path of no picture of '.*', such as 'cat_1\.png'\."):
        list_by_pattern(tree, r"(\d+)x")
    with pytest.raises(UsageError, match=r"no picture of '.*'\.$"):
        list_by_pattern(folder_tree(planted(tmp_path / "none", ["a/"])), "x")

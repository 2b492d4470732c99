"""A table's name for a picture finds the file it means, or none, and never one of several."""

from pathlib import Path

import pytest

from pellucid.data.sources.file_names import FileNames, is_absolute, plain_name
from pellucid.data.sources.tree import folder_tree
from pellucid.errors import UsageError
from tests.data.folders import planted


def files(folder: Path, *names: str) -> FileNames:
    return FileNames(folder_tree(planted(folder, names)))


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("cat/1.png", "cat/1.png"),
        (" ./cat//1.png ", "cat/1.png"),
        (".\\cat\\1.png", "cat/1.png"),
        ("../cat/1.png", "../cat/1.png"),
        ("/data/1.png", "/data/1.png"),
        ("C:\\data\\1.png", "C:/data/1.png"),
        ("", ""),
    ],
)
def test_a_path_is_spelled_as_in_a_tree(value: str, path: str) -> None:
    assert plain_name(value) == path


@pytest.mark.parametrize(
    ("path", "absolute"), [("/a", True), ("C:/a", True), ("a/b", False), ("../a", False), ("", False)]
)
def test_a_path_is_absolute_on_any_system(path: str, absolute: bool) -> None:
    assert is_absolute(path) is absolute


def test_a_path_a_name_and_a_name_without_a_suffix_mean_the_same_file(tmp_path: Path) -> None:
    found = files(tmp_path, "images/1.png", "images/2.png")
    for value in ("images/1.png", "1.png", "1", "other/images/1.png", "./images/1.png", "images/1"):
        assert found.candidates(value) == ["images/1.png"], value
        assert found.has(value)
    for value in ("3.png", "", "../images/1.png", "images/1.jpg"):
        assert not found.has(value), value


def test_the_longest_matching_path_decides(tmp_path: Path) -> None:
    found = files(tmp_path, "a/x/1.png", "b/x/1.png", "b/y/1.png")
    assert found.candidates("a/x/1.png") == ["a/x/1.png"]
    assert found.candidates("y/1.png") == ["b/y/1.png"]
    assert found.candidates("x/1.png") == ["a/x/1.png", "b/x/1.png"]
    assert found.candidates("x/1.png", prefix="b/") == ["b/x/1.png"]


def test_names_of_one_table_are_looked_for_in_one_folder(tmp_path: Path) -> None:
    found = files(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png", "b/3.png")
    assert found.resolve("t.csv", ["1.png", "3.png", "none.png"]) == ["b/1.png", "b/3.png", ""]


def test_a_part_s_table_means_the_pictures_of_its_part(tmp_path: Path) -> None:
    found = files(tmp_path, "train/1.png", "test/1.png")
    assert found.resolve("test.csv", ["1.png"], split="test") == ["test/1.png"]
    assert found.resolve("t.csv", ["1.png"]) == ["train/1.png"]


def test_a_name_of_two_files_is_refused(tmp_path: Path) -> None:
    found = files(tmp_path, "a/1.png", "b/1.png")
    with pytest.raises(
        UsageError,
        match=r"^'t\.csv' names '1\.png', which is 'a/1\.png', 'b/1\.png'\. Write paths",
    ):
        found.resolve("t.csv", ["1.png"])

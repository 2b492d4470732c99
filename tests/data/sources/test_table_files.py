"""The table of the pictures is found where it lies, and of two that could be meant neither is taken."""

from pathlib import Path

import pytest

from pellucid.data.sources.table_files import metadata_tables, tables
from pellucid.data.sources.tree import Tree, folder_tree
from pellucid.errors import UsageError
from tests.data.folders import planted

ROWS = b"path,label\n1.png,cat\n2.png,dog\n"


def made(folder: Path, names: dict[str, bytes]) -> Tree:
    return folder_tree(planted(folder, names))


PICTURES = {"x/1.png": b"1", "x/2.png": b"2"}
IN_PARTS = {f"{part}/{name}.png": b"" for part in ("train", "val") for name in ("1", "2")}


def test_metadata_lies_at_the_top_or_in_the_parts(tmp_path: Path) -> None:
    top = made(tmp_path / "top", {"metadata.csv": ROWS, **PICTURES})
    assert metadata_tables(top) == {"metadata.csv": ""}
    parts = made(
        tmp_path / "parts", {"train/metadata.jsonl": b"", "val/metadata.jsonl": b"", "x/metadata.jsonl": b""}
    )
    assert metadata_tables(parts) == {"train/metadata.jsonl": "train", "val/metadata.jsonl": "validation"}
    assert metadata_tables(made(tmp_path / "none", PICTURES)) == {}


def test_one_table_at_the_top_is_the_table_of_all(tmp_path: Path) -> None:
    files = {
        "labels.csv": ROWS,
        "README.txt": b"These are mine.\n",
        "sample_submission.csv": ROWS,
        **PICTURES,
    }
    assert tables(made(tmp_path, files)) == {"labels.csv": ""}


def test_tables_named_as_parts_are_the_parts(tmp_path: Path) -> None:
    files = {"train.csv": ROWS, "test.csv": ROWS, "labels.csv": ROWS, **PICTURES}
    assert tables(made(tmp_path, files)) == {"train.csv": "train", "test.csv": "test"}


def test_a_table_in_every_part_is_that_part_s(tmp_path: Path) -> None:
    files = {"train/a.csv": ROWS, "val/b.csv": ROWS, **IN_PARTS}
    assert tables(made(tmp_path, files)) == {"train/a.csv": "train", "val/b.csv": "validation"}


def test_where_folders_are_classes_no_table_is_needed(tmp_path: Path) -> None:
    rows = b"path,label\ncat/1.png,dog\ndog/1.png,cat\n"
    assert tables(made(tmp_path, {"labels.csv": rows, "cat/1.png": b"", "dog/1.png": b""})) == {}


def test_a_text_that_names_no_picture_is_no_table(tmp_path: Path) -> None:
    files = {"notes.csv": b"when,what\nmonday,rain\n", "classes.txt": b"cat\ndog\n", **PICTURES}
    assert tables(made(tmp_path, files)) == {}


def test_of_two_tables_that_could_be_meant_neither_is_taken(tmp_path: Path) -> None:
    files = {"labels.csv": ROWS, "corrected.csv": ROWS, **PICTURES}
    with pytest.raises(UsageError, match=r"has the tables 'corrected\.csv', 'labels\.csv'\. Name the one"):
        tables(made(tmp_path, files))

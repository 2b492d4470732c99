"""`pellucid cache` tells what is kept and deletes nothing else."""

import json
from pathlib import Path

import pytest

from pellucid.cache import cache_folder
from pellucid.data.preprocess import Preprocess
from pellucid.data.store.pixels import pack
from pellucid.data.store.stores import list_stores
from tests.data.listings import folder_of_pictures, listed
from tests.toys import Call


@pytest.fixture
def kept(tmp_path: Path) -> list[Path]:
    """Two folders whose decoded pictures are kept, one of them at two sizes, and a downloaded data set."""
    folders = [folder_of_pictures(tmp_path / name, 6) for name in ("photos", "birds")]
    for folder in folders:
        pack(listed(folder), Preprocess(3, 8, 8, "stretch"))
    pack(listed(folders[0]), Preprocess(3, 4, 4, "stretch"))
    downloaded = cache_folder() / "mnist"
    downloaded.mkdir()
    for name in ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz.part", "my-notes.txt"):
        (downloaded / name).write_bytes(b"x" * 1000)
    return folders


def test_what_is_kept_is_listed_with_what_it_belongs_to(call: Call, kept: list[Path]) -> None:
    code, out, _ = call("cache")
    assert code == 0
    for folder in kept:
        assert f"{folder}: " in out
    assert "mnist: 2.0 kB" in out
    assert "in all; 'pellucid cache --clear' deletes them" in out
    assert len(list_stores()) == 2


def test_json_has_a_line_for_each(call: Call, kept: list[Path]) -> None:
    rows = [json.loads(line) for line in call("cache", "--json")[1].splitlines()]
    assert {row["name"] for row in rows} == {*map(str, kept), "mnist"}
    assert all(row["bytes"] > 0 and not row["cleared"] for row in rows)


def test_one_is_cleared_by_its_path_and_the_others_stay(call: Call, kept: list[Path]) -> None:
    code, out, _ = call("cache", "photos", "--clear")  # from where the folder lies
    assert code == 0
    assert f"{kept[0]}: deleted, " in out
    assert [entry.name for entry in list_stores()] == [str(kept[1])]
    assert len(list(kept[0].rglob("*.png"))) == 6


def test_clear_deletes_all_that_is_ours_and_nothing_else(call: Call, kept: list[Path]) -> None:
    assert call("cache", "--clear")[0] == 0
    left = [path.name for path in cache_folder().rglob("*") if path.is_file()]
    assert left == ["my-notes.txt"]
    assert call("cache")[1] == "Nothing is kept.\n"


def test_an_unknown_name_is_answered_with_the_nearest(call: Call, kept: list[Path]) -> None:
    code, _, err = call("cache", "mnits", "--clear")
    assert code == 2
    assert "Nothing is kept for 'mnits'. Did you mean 'mnist'?" in err
    assert len(list_stores()) == 2


def test_an_empty_cache_says_so(call: Call) -> None:
    assert call("cache")[:2] == (0, "Nothing is kept.\n")

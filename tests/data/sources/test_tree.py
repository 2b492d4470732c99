"""Files are found by name, in an order of their own, and no link leads in a circle."""

import os
from pathlib import Path

import pytest

from pellucid.data.sources import tree
from pellucid.data.sources.detect import list_pictures
from pellucid.data.sources.tree import (
    MAX_FILE_BYTES,
    folder_tree,
    folders_of,
    is_hidden,
    is_picture,
    read_file,
    stamp_of,
    wrapped_folder,
)
from pellucid.errors import UsageError
from tests.data.folders import planted
from tests.stored import RAINBOW, stored


def test_a_link_to_a_folder_is_followed_but_not_round_in_a_circle(tmp_path: Path) -> None:
    folder = planted(tmp_path / "pictures", ["cat/1.png", "dog/1.png"])
    other = planted(tmp_path / "elsewhere", ["1.png"])
    (folder / "owl").symlink_to(other)
    (folder / "cat" / "round").symlink_to(folder)
    (folder / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    listing = list_pictures(folder)
    assert listing.classes == ("cat", "dog", "owl")
    assert len(listing.pictures) == 3
    assert any("skipped 1 link to a folder that is read already" in note for note in map(str, listing.notes))


def test_a_folder_that_many_links_lead_to_is_read_once_and_where_it_lies(tmp_path: Path) -> None:
    folder = planted(tmp_path / "pictures", ["z/cat/1.png", "z/dog/1.png"])
    (folder / "a").symlink_to(folder / "z")
    found = folder_tree(folder)
    assert list(found.sizes) == ["z/cat/1.png", "z/dog/1.png"]
    assert "skipped 1 link to a folder that is read already" in map(str, found.notes)


def test_links_that_fan_out_are_not_followed_along_every_path(tmp_path: Path) -> None:
    """Forty folders with two links each to the next: a million million paths."""
    folder = planted(tmp_path / "pictures", ["0/1.png"])
    for number in range(40):
        (folder / str(number + 1)).mkdir()
        for side in ("left", "right"):
            (folder / str(number) / side).symlink_to(folder / str(number + 1))
    found = folder_tree(folder)
    assert list(found.sizes) == ["0/1.png"]
    assert "skipped 80 links to folders that are read already" in map(str, found.notes)


def test_a_link_to_itself_is_a_broken_link(tmp_path: Path) -> None:
    folder = planted(tmp_path / "pictures", ["cat/1.png"])
    (folder / "cat" / "round").symlink_to(folder / "cat" / "round")
    assert "skipped 1 broken link" in map(str, folder_tree(folder).notes)


def test_folders_nested_more_deeply_than_anyone_would_are_refused(tmp_path: Path) -> None:
    folder = planted(tmp_path / "pictures", ["cat/1.png"])
    deep = folder.joinpath(*"d" * 64)
    planted(deep, ["2.png"])
    assert len(folder_tree(folder).sizes) == 2
    planted(deep / "d", ["3.png"])
    with pytest.raises(UsageError, match=r"lies in 65 folders within each other; the limit is 64"):
        folder_tree(folder)


def test_the_names_of_all_folders_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert folders_of(["a/b/1.png", "a/c/2.png", "3.png"]) == {"a", "a/b", "a/c"}
    monkeypatch.setattr(tree, "MOST_FOLDER_NAMES", 10)
    with pytest.raises(UsageError, match="more than 10 characters"):
        folders_of([f"{number}/a/b/1.png" for number in range(3)])


def test_the_order_is_not_that_of_the_file_system(tmp_path: Path) -> None:
    names = [f"{label}/{number}.png" for label in ("b", "a") for number in (10, 9, 1)]
    first = list_pictures(planted(tmp_path / "first", names))
    second = list_pictures(planted(tmp_path / "second", reversed(names)))
    assert first.pictures == second.pictures
    assert [picture.source for picture in first.pictures][:3] == ["a/1.png", "a/9.png", "a/10.png"]


@pytest.mark.parametrize("name", ["1.png", "a/b.JPG", "x.jpeg", "photo.HEIC", "a.b.tiff"])
def test_a_picture_is_known_by_its_suffix(name: str) -> None:
    assert is_picture(name)
    assert not is_picture(f"{name}.txt")


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        (".git/1.png", True),
        ("cat/.thumbs/1.png", True),
        ("cat/._1.png", True),
        ("__MACOSX/cat/1.png", True),
        ("cat/Thumbs.db", True),
        ("cat/1.png", False),
        ("c.a.t/1.png", False),
    ],
)
def test_what_a_system_leaves_behind_is_hidden(name: str, hidden: bool) -> None:
    assert is_hidden(name) is hidden


def test_files_are_in_natural_order_and_what_is_hidden_is_counted(tmp_path: Path) -> None:
    names = ["cat/10.png", "cat/9.png", "cat/.8.png", "a.txt", ".git/1.png", "empty/", "cat/Thumbs.db"]
    tree = folder_tree(planted(tmp_path, names))
    assert list(tree.sizes) == ["a.txt", "cat/9.png", "cat/10.png"]
    assert tree.sizes["cat/10.png"] == len("cat/10.png")
    assert tree.folders == ("cat", "empty")
    assert (tree.top(), tree.loose()) == (["cat", "empty"], ["a.txt"])
    assert tree.pictures() == ["cat/9.png", "cat/10.png"]
    assert sorted(map(str, tree.notes)) == ["skipped 1 hidden folder", "skipped 1 hidden picture"]


def test_a_folder_of_a_tree_is_a_tree_with_names_of_its_own(tmp_path: Path) -> None:
    tree = folder_tree(planted(tmp_path, ["pets/cat/1.png", "pets/dog/1.png", "pets.png"]))
    inner = tree.under("pets")
    assert list(inner.sizes) == ["cat/1.png", "dog/1.png"]
    assert inner.name == f"{tree.name}/pets"
    assert inner.read("cat/1.png") == b"pets/cat/1.png"
    assert inner.stamp("cat/1.png") == tree.stamp("pets/cat/1.png")
    assert inner.under("cat").pictures() == ["1.png"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_without_a_suffix_a_picture_is_known_by_its_first_bytes(tmp_path: Path, kind: str) -> None:
    content = stored(RAINBOW, kind)
    tree = folder_tree(planted(tmp_path, {"cat/1": content, "cat/2.jpg_": content, "cat/3.txt": content,
                                          "cat/4": b"no picture", "cat/5": b""}))  # fmt: skip
    assert tree.pictures() == ["cat/1", "cat/2.jpg_"]


def test_a_stamp_changes_with_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    assert stamp_of(path) == ""
    path.write_bytes(b"one")
    before = stamp_of(path)
    path.write_bytes(b"four")
    assert "" != before != stamp_of(path)


def test_a_file_changed_in_place_with_its_time_put_back_has_another_stamp(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    path.write_bytes(b"one")
    before, status = stamp_of(path), path.stat()
    while stamp_of(path) == before or path.read_bytes() == b"one":  # the clock of a file system has steps
        path.write_bytes(b"two")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert path.stat().st_size == status.st_size


def test_a_file_larger_than_any_picture_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with (tmp_path / "cat" / "1.png").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # takes no room on the disk
    with pytest.raises(
        UsageError, match=r"'cat/1\.png' has 268,435,457 bytes; the limit of a file is 268,435,456"
    ):
        folder_tree(tmp_path).read("cat/1.png")


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"picture")
    assert read_file(tmp_path / "1.png") == b"picture"
    with pytest.raises(UsageError, match=r"^'1\.png' has 7 bytes; the limit of a file is 3\.$"):
        read_file(tmp_path / "1.png", 3)
    with pytest.raises(UsageError, match=r"^'absent\.png' cannot be read: No such file or directory\.$"):
        read_file(tmp_path / "absent.png")
    with pytest.raises(UsageError, match=r"cannot be read|is not a regular file"):
        read_file(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may open every folder")
def test_a_folder_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    planted(tmp_path, ["cat/1.png"])
    (tmp_path / "cat").chmod(0)
    with pytest.raises(
        UsageError, match=r"cannot be opened: Permission denied\. Its pictures would be missing"
    ):
        folder_tree(tmp_path)
    (tmp_path / "cat").chmod(0o755)


@pytest.mark.parametrize(
    ("names", "wrapped"),
    [
        (["pets/cat/1.png", "pets/dog/1.png"], True),
        (["pets/cat/1.png", "texts/a.txt"], True),
        (["pets/1.png"], False),
        (["cat/x/1.png", "dog/x/1.png"], False),
        (["1.png"], False),
    ],
)
def test_a_wrapping_folder_is_opened(tmp_path: Path, names: list[str], wrapped: bool) -> None:
    inner = wrapped_folder(folder_tree(planted(tmp_path, names)))
    assert (inner is not None) is wrapped
    assert inner is None or inner.top()[0] == "cat"


@pytest.mark.parametrize("name", ["table.csv", "table.json", "table.jsonl", "table.txt"])
def test_a_table_of_a_terabyte_of_nothing_is_not_loaded(name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match=r"has 1,099,511,627,776 bytes; the limit of a file is 268,435,456"):
        list_pictures(tmp_path / name)


def test_a_picture_of_a_terabyte_that_a_table_names_is_not_loaded(tmp_path: Path) -> None:
    folder = planted(tmp_path, {"1.png": b"a", "t.csv": b"file,label\n1.png,a\n2.png,b\n"})
    with (folder / "2.png").open("wb") as file:
        file.truncate(1 << 40)
    listing = list_pictures(folder / "t.csv")
    with pytest.raises(UsageError, match="the limit of a file is 268,435,456"):
        listing.read(1)

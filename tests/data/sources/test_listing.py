"""Classes are matched by their names alone."""

import os
from pathlib import Path

import pytest

from pellucid.data.sources.detect import list_pictures
from pellucid.data.sources.listing import (
    Picture,
    RawListing,
    is_filler,
    is_unlabelled,
    match_classes,
    natural_key,
    split_of,
)
from pellucid.errors import UsageError
from pellucid.language import lazy_gettext
from tests.data.folders import planted


def test_natural_order_takes_any_name() -> None:
    names = ["a10", "a2", "A3", "", "９", "²", "10", "9" * 5000, "\udcff", "9"]
    backwards = list(reversed(names))
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)
    assert sorted(["a10", "a2", "A3"], key=natural_key) == ["a2", "A3", "a10"]


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes there")
def test_a_folder_whose_name_is_not_utf_8_is_refused_and_named(tmp_path: Path) -> None:
    folder = planted(tmp_path / "pictures", ["dog/1.png"])
    korean = os.fsencode(folder) + b"/" + "고양이".encode("euc-kr")
    Path(os.fsdecode(korean)).mkdir()
    (Path(os.fsdecode(korean)) / "1.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"not UTF-8: in EUC-KR it would be '고양이'.* Rename the folder"):
        list_pictures(folder)
    unknown = {"dog/1.png": b"", "\udcff\udcff/1.png": b""}
    with pytest.raises(UsageError, match=r"The class b'\\xff\\xff' has a name that is not UTF-8\."):
        list_pictures(planted(tmp_path / "unknown", unknown))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("Training_Set", "train"), ("trainset", "train"), ("train2017", "train"),
        ("val", "validation"), ("dev", "validation"), ("검증", "validation"), ("훈련", "train"),
        ("seg_test", "test"), ("Final_Test", "test"), ("testing", "test"), ("test_images", "test"),
        ("trainer", ""), ("contest", ""), ("train_cat", ""), ("images", ""), ("", ""), ("2017", ""),
    ],
)  # fmt: skip
def test_a_part_is_known_by_its_name(name: str, split: str) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    ("name", "filler", "unlabelled"),
    [
        ("images", True, False), ("JPEGImages", True, False), ("data_set", True, False),
        ("seg_pred", False, True), ("predictions", False, True), ("cat", False, False),
        ("001", False, False), ("", False, False), ("cat_images", False, False),
    ],
)  # fmt: skip
def test_a_name_that_says_nothing_is_no_class(name: str, filler: bool, unlabelled: bool) -> None:
    assert (is_filler(name), is_unlabelled(name)) == (filler, unlabelled)


def raw(*pictures: Picture) -> RawListing:
    return RawListing(
        lazy_gettext("one folder per class"), pictures, lambda n: b"%d" % n, lambda n: f"stamp {n}"
    )


def test_classes_are_the_labels_in_natural_order() -> None:
    listing = match_classes(
        "mine", raw(Picture("b", "10"), Picture("a", "2", "train", "g"), Picture("c", "2"))
    )
    assert listing.classes == ("2", "10")
    assert listing.pictures[1] == Picture("a", "2", "train", "g")
    assert (listing.name, listing.read(2), listing.stamp(1)) == ("mine", b"2", "stamp 1")
    assert str(listing.notes[0]) == "one folder per class: 3 pictures of 2 classes"


def test_a_class_that_a_part_lacks_is_told() -> None:
    pictures = (Picture("1", "a"), Picture("2", "b"), Picture("3", "a", "test"))
    notes = [str(note) for note in match_classes("mine", raw(*pictures)).notes]
    assert "test has no pictures of 'b'" in notes


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([], r"^No pictures in 'mine'\. Expected one folder per class"),
        ([Picture("1", "a", "test"), Picture("2", "b", "test")], "pictures in test only: none to learn from"),
        ([Picture("1", "a"), Picture("2", "a")], "pictures of one class, 'a'. Expected two or more"),
        ([Picture("1", "a"), Picture("2", "b"), Picture("1", "b")], "'1' is listed 2 times"),
        (
            [Picture("1", "a"), Picture("2", "b"), Picture("3", "c", "test")],
            "The test part has pictures of 'c'",
        ),
        (
            [Picture("1", "Cat"), Picture("2", "cat")],
            r"Are 'Cat' \(in train\) and 'cat' \(in train\) one class",
        ),
        ([Picture("1", "\udcff"), Picture("2", "b")], "has a name that is not UTF-8"),
        (
            [Picture("1", "a\nAll is right"), Picture("2", "b")],
            "has a line break or another control",
        ),
        ([Picture("1", "a\x1b[2J"), Picture("2", "b")], "has a line break or another control"),
    ],
)
def test_what_would_shift_a_label_is_refused(pictures: list[Picture], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        match_classes("mine", raw(*pictures))

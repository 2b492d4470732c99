"""Classes are matched by name: the right map or a stated refusal, for every mess a folder can be in."""

import unicodedata
from pathlib import Path
from typing import NamedTuple

import pytest

from pellucid.data.sources.detect import list_pictures
from pellucid.errors import UsageError
from tests.data.folders import planted

COMPOSED = unicodedata.normalize("NFC", "고양이")
DECOMPOSED = unicodedata.normalize("NFD", "고양이")


class Right(NamedTuple):
    """What must be understood: classes in order, the label of each source, and words of the notes."""

    classes: tuple[str, ...]
    labels: dict[str, str]
    notes: tuple[str, ...] = ()


CASES: dict[str, tuple[tuple[str, ...] | dict[str, bytes], Right | str]] = {
    "one folder per class": (("dog/1.jpg", "cat/1.jpg"), Right(("cat", "dog"), {"cat/1.jpg": "cat"})),
    "10 comes after 2": (
        ("10/a.png", "2/a.png", "1/a.png"),
        Right(("1", "2", "10"), {"10/a.png": "10", "2/a.png": "2"}),
    ),
    "01 is not 1": (("01/a.png", "1/a.png"), Right(("01", "1"), {"01/a.png": "01", "1/a.png": "1"})),
    "a class is missing in val": (
        ("train/a/1.png", "train/b/1.png", "train/c/1.png", "val/a/2.png", "val/c/2.png"),
        Right(("a", "b", "c"), {"val/c/2.png": "c"}, ("validation has no pictures of 'b'",)),
    ),
    "a class is missing in test": (
        ("train/a/1.png", "train/b/1.png", "train/c/1.png", "test/b/2.png", "test/c/2.png"),
        Right(("a", "b", "c"), {"test/b/2.png": "b", "test/c/2.png": "c"}, ("test has no pictures of 'a'",)),
    ),
    "an extra class in val": (
        ("train/a/1.png", "train/b/1.png", "val/a/2.png", "val/aa/2.png"),
        r"validation part has pictures of 'aa', of which there is none to learn from",
    ),
    "an extra class in test": (
        ("train/a/1.png", "train/b/1.png", "test/0/2.png"),
        r"test part has pictures of '0'",
    ),
    "letter case differs between parts": (
        ("train/Cat/1.png", "train/dog/1.png", "test/cat/2.png"),
        r"Are 'Cat' \(in train\) and 'cat' \(in test\) one class or 2\?",
    ),
    "letter case differs in one part": (("Cat/1.png", "cat/1.png"), r"differ only in letter case"),
    "single letters in two cases": (
        ("A/1.png", "a/1.png"),
        Right(("A", "a"), {"A/1.png": "A", "a/1.png": "a"}),
    ),
    "a single letter in another case in test": (
        ("train/A/1.png", "train/b/1.png", "test/a/1.png"),
        r"one class or 2",
    ),
    "a space at the end": (
        ("train/cat/1.png", "train/dog/1.png", "test/cat /1.png"),
        r"differ only in letter case or space",
    ),
    "wide digits": (("１/1.png", "1/1.png", "2/1.png"), r"one class or 2\?"),
    "Hangul composed and decomposed in two parts": (
        (f"train/{COMPOSED}/1.png", "train/개/1.png", f"test/{DECOMPOSED}/1.png"),
        Right(("개", COMPOSED), {f"test/{DECOMPOSED}/1.png": COMPOSED}, ("count as the same name",)),
    ),
    "Hangul composed and decomposed in one part": (
        (f"{COMPOSED}/1.png", "개/1.png", f"{DECOMPOSED}/1.png"),
        Right(("개", COMPOSED), {f"{DECOMPOSED}/1.png": COMPOSED, f"{COMPOSED}/1.png": COMPOSED}),
    ),
    "a hidden folder": (
        (".ipynb_checkpoints/1.png", "cat/1.png", "dog/1.png"),
        Right(("cat", "dog"), {"cat/1.png": "cat", "dog/1.png": "dog"}),
    ),
    "a hidden folder in a class and what macOS leaves": (
        (
            "__MACOSX/cat/._1.png",
            "cat/.thumbs/1.png",
            "cat/1.png",
            "dog/1.png",
            "dog/._1.png",
            "dog/Thumbs.db",
        ),
        Right(("cat", "dog"), {"cat/1.png": "cat", "dog/1.png": "dog"}),
    ),
    "an empty folder": (
        ("train/bird/", "train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png"),
        Right(("cat", "dog"), {"test/dog/1.png": "dog"}, ("folders without pictures: 'train/bird'",)),
    ),
    "pictures and texts at the top": (
        ("1.png", "README.md", "cat/1.png", "dog/1.png"),
        Right(("cat", "dog"), {"cat/1.png": "cat"}, ("1 picture that is in no class's folder", "1 .md file")),
    ),
    "pictures beside the classes of a part": (
        ("train/9.png", "train/cat/1.png", "train/dog/1.png", "test/cat/1.png"),
        Right(("cat", "dog"), {"test/cat/1.png": "cat"}, ("in no class's folder: 'train/9.png'",)),
    ),
    "a test part without labels": (
        ("train/cat/1.png", "train/dog/1.png", "test/1.png", "test/2.png"),
        Right(("cat", "dog"), {"train/cat/1.png": "cat"}, ("2 pictures that are in no class's folder",)),
    ),
    "parts in capitals, and the name dev": (
        ("Train/a/1.png", "Train/b/1.png", "DEV/b/1.png", "Testing/b/1.png"),
        Right(("a", "b"), {"DEV/b/1.png": "b"}),
    ),
    "two folders for one part": (
        ("train/a/1.png", "train/b/1.png", "val/a/1.png", "dev/a/1.png"),
        r"'dev', 'val' of '.*' are both the validation part",
    ),
    "classes beside parts": (
        ("train/a/1.png", "train/b/1.png", "c/1.png"),
        r"'train' look like parts of the data and 'c' like classes",
    ),
    "a class that is called train": (
        ("train/1.png", "bus/1.png", "test/1.png"),
        r"'bus' look like classes and 'test', 'train' like .* `label_from='\^\(\[\^/\]\+\)/'",
    ),
    "only a test part": (("test/a/1.png", "test/b/1.png"), r"pictures in test only: none to learn from"),
    "one class alone": (("cat/1.png", "cat/2.png"), r"pictures of one class, 'cat'"),
    "no class's folder": (("1.png", "2.png"), r"found 2 pictures outside of folders"),
    "a format that is not read": (("cat/1.mp4", "dog/1.mp4"), r"found 2 \.mp4 files"),
    "nothing": ((), r"found nothing"),
    "folders in a class's folder": (
        ("cat/2021/may/1.png", "cat/2.png", "dog/a.b/1.png"),
        Right(("cat", "dog"), {"cat/2021/may/1.png": "cat", "dog/a.b/1.png": "dog"}),
    ),
    "a folder called like a picture": (
        ("a.jpg/1.png", "b.jpg/1.png"),
        Right(("a.jpg", "b.jpg"), {"a.jpg/1.png": "a.jpg"}),
    ),
    "a wrapping folder": (
        ("pets/train/a/1.png", "pets/train/b/1.png", "pets/test/b/1.png"),
        Right(("a", "b"), {"test/b/1.png": "b"}),
    ),
    "a table": (
        {"metadata.csv": b"file_name,label\nx/1.png,dog\nx/2.png,cat\n", "x/1.png": b"1", "x/2.png": b"2"},
        Right(("cat", "dog"), {"x/1.png": "dog", "x/2.png": "cat"}),
    ),
    "a table in every part, saved by a spreadsheet": (
        {
            "train/metadata.csv": "\ufefffile_name;label\r\n1.png;dog\r\n2.png;cat\r\n".encode(),
            "test/metadata.csv": b"file_name,label\n1.png,cat\n",
            "train/1.png": b"1",
            "train/2.png": b"2",
            "test/1.png": b"3",
        },
        Right(("cat", "dog"), {"train/1.png": "dog", "test/1.png": "cat"}),
    ),
    "a table without a label": ({"metadata.csv": b"path,label\n1.png,\n", "1.png": b""}, r"row 2: no label"),
    "a table with two labels of a picture": (
        {"metadata.csv": b"path,label\n1.png,a\n./1.png,b\n", "1.png": b""},
        r"'1\.png' is named twice: as 'a' .* and as 'b'",
    ),
    "a table that leads out of the data": (
        {"metadata.csv": b"path,label\n../1.png,a\n", "1.png": b""},
        r"'\.\./1\.png' leads out of the data",
    ),
    "a table with letter case": (
        {"metadata.csv": b"path,label\n1.png,Cat\n2.png,cat\n", "1.png": b"", "2.png": b""},
        r"differ only in letter case",
    ),
    "a table with an unknown part": (
        {"metadata.csv": b"path,label,split\n1.png,a,holdout\n", "1.png": b""},
        r"unknown part 'holdout'",
    ),
}


def test_there_are_25_cases_and_more() -> None:
    assert len(CASES) >= 25


@pytest.mark.parametrize("case", CASES)
def test_the_label_map_is_right_or_a_refusal_says_why(case: str, tmp_path: Path) -> None:
    files, expected = CASES[case]
    folder = planted(tmp_path / "pictures", files or {"./": b""})
    if isinstance(expected, str):
        with pytest.raises(UsageError, match=expected):
            list_pictures(folder)
        return
    listing = list_pictures(folder)
    found = {picture.source: picture.label for picture in listing.pictures}
    assert listing.classes == expected.classes
    assert expected.labels.items() <= found.items()
    assert set(found.values()) == set(expected.classes)
    assert all(any(words in note for note in map(str, listing.notes)) for words in expected.notes)

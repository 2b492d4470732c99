"""However pictures lie, they are read right, with a note on what was understood, or refused helpfully."""

import io
import json
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from pellucid import load
from pellucid.data.sources.detect import list_pictures
from pellucid.errors import PellucidError, UsageError
from tests.data.folders import picture, planted

SHARED = Path(__file__).parents[4] / "shared" / "cases" / "layouts"


class Read(NamedTuple):
    """What is understood: classes, pictures of each part ("" if the data do not say), words of the notes."""

    classes: tuple[str, ...]
    parts: dict[str, int]
    notes: tuple[str, ...] = ()
    label_from: str = ""
    group_by: str = ""


class Case(NamedTuple):
    """Files by name, and what is to be understood; or the words of the refusal."""

    files: dict[str, bytes]
    expected: Read | tuple[str, ...]
    name: str = "data"  # the folder, or a file in it, that is given


def files(*names: str) -> dict[str, bytes]:
    return dict.fromkeys(names, b"picture")


def numbered(folder: str, count: int, *, first: int = 0, suffix: str = ".jpg") -> dict[str, bytes]:
    """So many files: folder/000.jpg, folder/001.jpg ..."""
    prefix = f"{folder}/" if folder else ""
    return files(*(f"{prefix}{number:03}{suffix}" for number in range(first, first + count)))


def table(
    header: str, row: Callable[[int, str], str], *, rows: Iterable[int] = range(6), encoding: str = "utf-8"
) -> bytes:
    """A table of rows whose labels are cat and dog in turn."""
    lines = [row(number, ("cat", "dog")[number % 2]) for number in rows]
    return "".join(f"{line}\n" for line in ([header, *lines] if header else lines)).encode(encoding)


def plain(number: int, label: str) -> str:
    return f"{number:03}.jpg,{label}"


def coco(categories: dict[int, list[int]], count: int = 4) -> bytes:
    """COCO's annotations of 000.jpg ... with the numbers of the categories on each."""
    marks = [
        {"image_id": image, "category_id": mark} for image, found in categories.items() for mark in found
    ]
    return json.dumps(
        {
            "images": [{"id": number, "file_name": f"{number:03}.jpg"} for number in range(count)],
            "annotations": marks,
            "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
        }
    ).encode()


def voc(*names: str) -> bytes:
    objects = "".join(f"<object>\n<name>{name}</name></object>" for name in names)
    return f"<annotation><filename>x</filename>{objects}</annotation>".encode()


def korean_zip() -> bytes:
    """A zip with names in EUC-KR, as Windows writes it: without saying so."""
    file = io.BytesIO()
    names = {b"AAAAAA": "고양이".encode("euc_kr"), b"BBBBBB": "강아지".encode("euc_kr")}
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(4):
            archive.writestr(f"{'AB'[number % 2] * 6}/{number}.png", b"picture")
    content = file.getvalue()
    for letters, name in names.items():
        content = content.replace(letters, name)
    return content


CATS = ("cat", "dog")
PARTS = {"train": 6, "test": 4}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1000\n"
TWO = {**numbered("cat", 3), **numbered("dog", 3)}
SIX = {"": 6}

CASES: dict[str, Case] = {
    # Folders
    "one folder per class": Case(TWO, Read(CATS, SIX, ("one folder per class: 6 pictures of 2 classes",))),
    "training_set and test_set": Case(
        {
            **numbered("training_set/cat", 3),
            **numbered("training_set/dog", 3),
            **numbered("test_set/cat", 2),
            **numbered("test_set/dog", 2),
        },
        Read(CATS, PARTS),
    ),
    "Training and Testing": Case(
        {
            **numbered("Training/cat", 3),
            **numbered("Training/dog", 3),
            **numbered("Testing/cat", 2),
            **numbered("Testing/dog", 2),
        },
        Read(CATS, PARTS),
    ),
    "eval is a test part, and said so": Case(
        {**numbered("train/cat", 3), **numbered("train/dog", 3), **numbered("eval/cat", 4)},
        Read(CATS, PARTS, ("'eval' is the test part",)),
    ),
    "Korean names of parts": Case(
        {**numbered("훈련/cat", 3), **numbered("훈련/dog", 3), **numbered("시험/cat", 4)},
        Read(CATS, PARTS, ("'훈련' is the train part", "'시험' is the test part")),
    ),
    "parts inside folders of their own name, and pictures to predict": Case(
        {
            **numbered("seg_train/seg_train/cat", 3),
            **numbered("seg_train/seg_train/dog", 3),
            **numbered("seg_test/seg_test/cat", 2),
            **numbered("seg_test/seg_test/dog", 2),
            **numbered("seg_pred/seg_pred", 5),
        },
        Read(CATS, PARTS, ("'seg_pred': no labels, so left for 'pellucid predict'",)),
    ),
    "a test part without labels": Case(
        {**numbered("train/cat", 3), **numbered("train/dog", 3), **numbered("test", 4)},
        Read(CATS, {"train": 6}, ("'test': no labels, so left for 'pellucid predict'",)),
    ),
    "a wrapping folder beside one without pictures": Case(
        {**{f"flowers/{name}": content for name, content in TWO.items()}, "__pycache__/x.pyc": b"1"},
        Read(CATS, SIX),
    ),
    "two wrapping folders and a text": Case(
        {**{f"a/b/{name}": content for name, content in TWO.items()}, "a/docs/read.txt": b"text"},
        Read(CATS, SIX),
    ),
    "pictures straight in train and test": Case(
        {**files(*(f"train/{label}.{n}.jpg" for label in CATS for n in range(6))), **numbered("test", 4)},
        ("lie together", "'cat', 'dog'", "label_from="),
    ),
    "the same with numbers for names": Case(
        {**numbered("train", 6), **numbered("test", 4)}, ("lie together", "such as labels.csv")
    ),
    "the same in training_set and test_set": Case(
        {**numbered("training_set", 6), **numbered("test_set", 4)}, ("lie together", "one folder per class")
    ),
    "a flat test folder beside class folders": Case(
        {**TWO, **numbered("test", 4)}, ("'cat', 'dog' look like classes", "'test' like a part", "label_from")
    ),
    "a class that is called test": Case(
        {**numbered("control", 3), **numbered("test", 3)},
        ("If 'test' is a class, too, say so", "move the classes into 'train'"),
    ),
    "a class that is called test, and said to be one": Case(
        {**numbered("control", 3), **numbered("test", 3)},
        Read(("control", "test"), SIX, ("labels found in the names",), label_from="^([^/]+)/"),
    ),
    "class folders in folders": Case(
        {
            **numbered("animals/cat", 3),
            **numbered("animals/dog", 3),
            **numbered("vehicles/bus", 3),
            **numbered("vehicles/car", 3),
        },
        ("are those the classes?", "'cat', 'dog'", "label_from='([^/]+)/[^/]+$'", "label_from='^([^/]+)/'"),
    ),
    "the inner ones, and said so": Case(
        {
            **numbered("animals/cat", 3),
            **numbered("animals/dog", 3),
            **numbered("vehicles/bus", 3),
            **numbered("vehicles/car", 3),
        },
        Read(("bus", "car", "cat", "dog"), {"": 12}, label_from="([^/]+)/[^/]+$"),
    ),
    "patients inside class folders": Case(
        {
            **numbered("cat/p01", 3),
            **numbered("cat/p02", 3),
            **numbered("dog/p03", 3),
            **numbered("dog/p04", 3),
        },
        Read(CATS, {"": 12}, ("folders inside a class's folder belong to that class: 'cat/p01'",)),
    ),
    "one class alone": Case(numbered("cat", 3), ("pictures of one class, 'cat'",)),
    # Files that do not say what they are
    "files without a suffix": Case(
        {f"{label}/image{n}": picture(n) for label in CATS for n in range(3)}, Read(CATS, SIX)
    ),
    "files with an odd suffix": Case(
        {
            **{f"cat/{n}.jpg_large": picture(n, kind="JPEG") for n in range(3)},
            **{f"dog/{n}.jpeg!d": picture(n, kind="JPEG") for n in range(3)},
        },
        Read(CATS, SIX),
    ),
    "texts without a suffix are no pictures": Case(
        {**TWO, "cat/LICENSE": b"text", "dog/notes": b"P5 is not a picture"},
        Read(CATS, SIX, ("2 files without a suffix",)),
    ),
    "HEIC files are pictures": Case(
        {**TWO, **numbered("owl", 3, suffix=".HEIC")}, Read(("cat", "dog", "owl"), {"": 9})
    ),
    # Labels in names
    "labels in names, asked about": Case(
        files(*(f"images/{label}_{n:03}.jpg" for label in CATS for n in range(6))),
        ("lie together", "'cat', 'dog'", "label_from="),
    ),
    "labels in names, said": Case(
        files(*(f"images/{label}_{n:03}.jpg" for label in CATS for n in range(3))),
        Read(CATS, SIX, ("labels found in the names: 'cat', 'dog'",), label_from="([a-z]+)_"),
    ),
    "labels in names, in parts": Case(
        {**files(*(f"train/{label}.{n}.jpg" for label in CATS for n in range(3))), **numbered("test", 4)},
        Read(CATS, {"train": 6}, ("4 pictures have no label",), label_from=r"([a-z]+)\.\d"),
    ),
    "labels in names at the top": Case(
        files(*(f"{label}-{n}.png" for label in CATS for n in range(6))),
        ("found 12 pictures outside of folders", "label_from="),
    ),
    "names of two words before a number": Case(
        files(*(f"x/{label}_{n}.jpg" for label in ("red_fox", "red_panda") for n in range(6))),
        ("'red_fox', 'red_panda'",),
    ),
    "a pattern that is found nowhere": Case(
        TWO, ("is found in the path of no picture", "'cat/000.jpg'"), name="label_from:owl"
    ),
    "a pattern that is none": Case(TWO, ("is not a valid pattern",), name="label_from:(["),
    # Tables
    "id,breed beside train and test": Case(
        {
            **numbered("train", 6),
            **numbered("test", 4),
            "labels.csv": table("id,breed", lambda n, label: f"{n:03},{label}"),
        },
        Read(
            CATS, SIX, ("in the column 'breed'", "'000': matched by name", "4 test pictures have no labels")
        ),
    ),
    "train.csv and test.csv": Case(
        {
            **numbered("train", 6),
            **numbered("test", 4, first=100),
            "train.csv": table("filename,label", plain),
            "test.csv": table("filename,label", plain, rows=range(100, 104)),
        },
        Read(CATS, PARTS, ("'train/000.jpg' '000.jpg': matched by name",)),
    ),
    "train.csv, test.csv without labels and a submission": Case(
        {
            **numbered("train", 6),
            **numbered("test", 4, first=100),
            "train.csv": table("id,label", plain),
            "test.csv": table("id", lambda n, _: f"{n:03}.jpg", rows=range(100, 104)),
            "sample_submission.csv": table("id,label", plain, rows=range(100, 104)),
        },
        Read(CATS, {"train": 6}, ("4 test pictures have no labels and are left for 'pellucid predict'",)),
    ),
    "images and labels.csv": Case(
        {**numbered("images", 6), "labels.csv": table("filename,label", plain)}, Read(CATS, SIX)
    ),
    "labels.csv inside images": Case(
        {**numbered("images", 6), "images/labels.csv": table("image,label", plain)}, Read(CATS, SIX)
    ),
    "the table itself is given": Case(
        {**numbered("images", 6), "labels.csv": table("filename,label", plain)},
        Read(CATS, SIX),
        name="labels.csv",
    ),
    "filename,class": Case(
        {**numbered("", 6), "labels.csv": table("filename,class", plain)}, Read(CATS, SIX)
    ),
    "img,lbl": Case({**numbered("", 6), "labels.csv": table("img,lbl", plain)}, Read(CATS, SIX)),
    "ids without a suffix": Case(
        {**numbered("", 6), "labels.csv": table("image,label", lambda n, label: f"{n:03},{label}")},
        Read(CATS, SIX, ("'000.jpg' '000': matched by name",)),
    ),
    "columns of any name": Case(
        {**numbered("", 6), "t.csv": table("photograph,animal", plain)},
        Read(CATS, SIX, ("labels are in the column 'animal'",)),
    ),
    "no header": Case(
        {**numbered("", 6), "labels.csv": table("", plain)}, Read(CATS, SIX, ("has no header",))
    ),
    "tabs": Case(
        {**numbered("", 6), "labels.tsv": table("image\tlabel", lambda n, label: f"{n:03}.jpg\t{label}")},
        Read(CATS, SIX),
    ),
    "semicolons": Case(
        {**numbered("", 6), "labels.csv": table("image;label", lambda n, label: f"{n:03}.jpg;{label}")},
        Read(CATS, SIX),
    ),
    "spaces in a text": Case(
        {**numbered("", 6), "train.txt": table("", lambda n, _: f"{n:03}.jpg {n % 2}")},
        Read(("0", "1"), {"train": 6}, ("has no header",)),
    ),
    "lists and classes.txt": Case(
        {
            **numbered("images", 10),
            "train.txt": table("", lambda n, _: f"images/{n:03}.jpg {n % 2}"),
            "test.txt": table("", lambda n, _: f"images/{n:03}.jpg {n % 2}", rows=range(6, 10)),
            "classes.txt": b"cat\ndog\n",
        },
        Read(CATS, PARTS, ("label 0 is the name 'cat'",)),
    ),
    "classes.txt counted from one": Case(
        {
            **numbered("images", 6),
            "train.txt": table("", lambda n, _: f"images/{n:03}.jpg {n % 2 + 1}"),
            "classes.txt": b"1 cat\n2 dog\n",
        },
        Read(CATS, {"train": 6}, ("label 1 is the name 'cat'",)),
    ),
    "a Korean code page": Case(
        {
            **numbered("", 6),
            "labels.csv": table(
                "filename,label", lambda n, _: f"{n:03}.jpg,{'가나'[n % 2]}", encoding="cp949"
            ),
        },
        Read(("가", "나"), SIX, ("is read as cp949",)),
    ),
    "UTF-16, as a spreadsheet saves it": Case(
        {**numbered("", 6), "labels.csv": table("filename,label", plain, encoding="utf-16")},
        Read(CATS, SIX, ("is read as utf-16",)),
    ),
    "paths of Windows": Case(
        {
            **numbered("", 6),
            "labels.csv": table("image,label", lambda n, label: f"C:\\data\\{n:03}.jpg,{label}"),
        },
        Read(CATS, SIX, ("matched by name",)),
    ),
    "paths of another machine": Case(
        {
            **numbered("images", 6),
            "labels.csv": table("image,label", lambda n, label: f"/home/ann/images/{n:03}.jpg,{label}"),
        },
        Read(CATS, SIX, ("matched by name",)),
    ),
    "a list of JSON objects": Case(
        {
            **numbered("", 6),
            "labels.json": json.dumps(
                [{"image": f"{n:03}.jpg", "label": CATS[n % 2]} for n in range(6)]
            ).encode(),
        },
        Read(CATS, SIX),
    ),
    "a JSON object of names": Case(
        {
            **numbered("", 6),
            "labels.json": json.dumps({f"{n:03}.jpg": CATS[n % 2] for n in range(6)}).encode(),
        },
        Read(CATS, SIX),
    ),
    "lines of JSON": Case(
        {
            **numbered("", 6),
            "metadata.jsonl": table(
                "", lambda n, label: json.dumps({"file_name": f"{n:03}.jpg", "label": label})
            ),
        },
        Read(CATS, SIX),
    ),
    "Roboflow's classes": Case(
        {
            f"{part}/{name}": content
            for part in ("train", "valid", "test")
            for name, content in {
                **numbered("", 4),
                "_classes.csv": table(
                    "filename, cat, dog", lambda n, _: f"{n:03}.jpg, {1 - n % 2}, {n % 2}", rows=range(4)
                ),
            }.items()
        },
        Read(CATS, {"train": 4, "validation": 4, "test": 4}, ("one column per class",)),
    ),
    "one column per class": Case(
        {**numbered("", 6), "t.csv": table("image,cat,dog", lambda n, _: f"{n:03}.jpg,{1 - n % 2},{n % 2}")},
        Read(CATS, SIX, ("one column per class",)),
    ),
    "one column per class, and several ones": Case(
        {**numbered("", 6), "t.csv": table("image,cat,dog", lambda n, _: f"{n:03}.jpg,1,{n % 2}")},
        Read(CATS, SIX, ("one column per label", "each with any of 2 labels, 1.5 on average")),
    ),
    "labels joined by a bar": Case(
        {**numbered("", 6), "t.csv": table("image,label", lambda n, label: f"{n:03}.jpg,{label}|red")},
        Read(("cat", "dog", "red"), SIX, ("names several labels, as in 'cat|red'", "2.0 on average")),
    ),
    "labels joined by a space": Case(
        {
            **numbered("", 6),
            "t.csv": table("image,labels", lambda n, _: f"{n:03}.jpg,{('scab', 'rust', 'scab rust')[n % 3]}"),
        },
        Read(("rust", "scab"), SIX, ("'labels' of 't.csv' names several labels, as in 'scab rust'",)),
    ),
    "labels joined by a space, and one of two words": Case(
        {
            **numbered("", 6),
            "t.csv": table(
                "image,labels", lambda n, _: f"{n:03}.jpg,{('scab', 'rust', 'scab rust', 'all well')[n % 4]}"
            ),
        },
        ("row 5: is the labels 'all well' one label or several?", "Separate labels by a bar: 'scab|rust'"),
    ),
    "labels joined by commas": Case(
        {
            **numbered("", 6),
            "t.csv": table(
                "image,tags",
                lambda n, _: f'{n:03}.jpg,"{("cat, red", "dog, red", "dog, wet", "cat, wet")[n % 4]}"',
            ),
        },
        Read(("cat", "dog", "red", "wet"), SIX, ("as in 'cat, red'",)),
    ),
    "names with commas": Case(
        {
            **numbered("", 6),
            "t.csv": table(
                "image,label", lambda n, _: f'{n:03}.jpg,"{("Paris, France", "Lyon, France")[n % 2]}"'
            ),
        },
        Read(("Lyon, France", "Paris, France"), SIX),
    ),
    "lists of labels in JSON": Case(
        {
            **numbered("", 6),
            "t.json": json.dumps(
                [
                    {"image": f"{n:03}.jpg", "labels": [("cat", "dog")[n % 2], *["red"] * (n % 3)]}
                    for n in range(6)
                ]
            ).encode(),
        },
        Read(("cat", "dog", "red"), SIX, ("each with any of 3 labels",)),
    ),
    "numbers of several labels and their names": Case(
        {
            **numbered("", 6),
            "t.csv": table("image,labels", lambda n, _: f"{n:03}.jpg,{n % 2}|2"),
            "classes.txt": b"cat\ndog\nred\n",
        },
        Read(("cat", "dog", "red"), SIX, ("label 0 is the name 'cat'",)),
    ),
    "labels of two words": Case(
        {
            **numbered("", 6),
            "t.csv": table("image,label", lambda n, _: f"{n:03}.jpg,{('red fox', 'red panda')[n % 2]}"),
        },
        Read(("red fox", "red panda"), SIX),
    ),
    "one picture with two labels": Case(
        {**numbered("", 6), "t.csv": table("image,label", plain) + b"000.jpg,dog\n"},
        Read(CATS, {"": 5}, ("1 picture has two labels and is passed over: '000.jpg'",)),
    ),
    "most pictures with two labels": Case(
        {**numbered("", 6), "t.csv": table("image,label", plain) + table("", lambda n, _: f"{n:03}.jpg,owl")},
        Read(("cat", "dog", "owl"), SIX, ("6 pictures have several labels, each in a row of its own",)),
    ),
    "empty labels": Case(
        {
            **numbered("", 6),
            "t.csv": table("image,label", lambda n, label: f"{n:03}.jpg,{label if n < 4 else ''}"),
        },
        Read(CATS, {"": 4}, ("2 rows of 't.csv' have no label and are passed over: rows 6, 7",)),
    ),
    "several columns that may be labels": Case(
        {**numbered("", 6), "t.csv": table("image,animal,owner", lambda n, label: f"{plain(n, label)},ann")},
        ("no column of labels", "label_from='animal'"),
    ),
    "the column of labels, named": Case(
        {**numbered("", 6), "t.csv": table("image,animal,owner", lambda n, label: f"{plain(n, label)},ann")},
        Read(CATS, SIX, label_from="animal"),
    ),
    "two tables": Case(
        {**numbered("", 6), "a.csv": table("image,label", plain), "b.csv": table("image,label", plain)},
        ("has the tables 'a.csv', 'b.csv'", "Name the one"),
    ),
    "a name in two folders": Case(
        {**numbered("a", 6), **numbered("b", 6), "t.csv": table("image,label", plain)},
        ("names '000.jpg', which is 'a/000.jpg', 'b/000.jpg'",),
        name="t.csv",
    ),
    # Annotations
    "COCO, one category per picture": Case(
        {**numbered("images", 4), "annotations/instances.json": coco({0: [0, 0], 1: [1], 2: [0], 3: [1]})},
        Read(CATS, {"": 4}, ("COCO annotations", "read as a whole")),
    ),
    "COCO in parts": Case(
        {
            **numbered("train2017", 4),
            **numbered("val2017", 4, first=10),
            "annotations/instances_train2017.json": coco({0: [0], 1: [1], 2: [0], 3: [1]}),
            "annotations/instances_val2017.json": coco({0: [0]}).replace(b'"00', b'"01'),
        },
        Read(CATS, {"train": 4, "validation": 1}, ("3 pictures without an annotation",)),
    ),
    "COCO, several categories": Case(
        {**numbered("images", 4), "annotations/instances.json": coco({0: [0, 1], 1: [1]})},
        Read(CATS, {"": 2}, ("with every class that is marked on it",)),
    ),
    "COCO without annotations": Case(
        {**numbered("images", 4), "annotations/instances.json": coco({}, 0)},
        ("is in COCO's format but gives none of these pictures a category", "one folder per class"),
    ),
    "Pascal VOC": Case(
        {
            **numbered("JPEGImages", 2),
            "Annotations/000.xml": voc("cat", "cat"),
            "Annotations/001.xml": voc("dog"),
        },
        Read(CATS, {"": 2}, ("Pascal VOC",)),
    ),
    "Pascal VOC, several names": Case(
        {**numbered("JPEGImages", 1), "Annotations/000.xml": voc("cat", "dog")},
        Read(CATS, {"": 1}, ("with every class that is marked on it",)),
    ),
    "GTSRB": Case(
        {
            **numbered("Final_Training/Images/00000", 3, suffix=".ppm"),
            **numbered("Final_Training/Images/00001", 3, suffix=".ppm"),
            **numbered("Final_Test/Images", 4, suffix=".ppm"),
            "Final_Training/Images/00000/GT-00000.csv": b"Filename;ClassId\n000.ppm;0\n",
            "Final_Test/Images/GT-final_test.csv": table(
                "Filename;Width;ClassId", lambda n, _: f"{n:03}.ppm;24;{n % 2}", rows=range(4)
            ),
        },
        Read(("00000", "00001"), PARTS, ("'Final_Test' has its labels in GT-final_test.csv",)),
    ),
    # Archives
    "Korean names in a zip that does not declare them": Case(
        {"pets.zip": korean_zip()},
        Read(("강아지", "고양이"), {"": 4}, ("names in the archive are read as euc_kr",)),
        name="pets.zip",
    ),
}


def test_there_are_60_layouts_and_more() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES)
def test_a_layout_is_understood_or_refused_with_what_to_do(case: str, tmp_path: Path) -> None:
    layout = CASES[case]
    folder = planted(tmp_path / "data", layout.files)
    data = folder / layout.name if layout.name in layout.files else folder
    expected = layout.expected
    if not isinstance(expected, Read):
        pattern = layout.name.partition("label_from:")[2]
        with pytest.raises(UsageError) as refused:
            list_pictures(data, label_from=pattern)
        assert [words for words in expected if words not in str(refused.value)] == [], str(refused.value)
        return
    listing = list_pictures(data, label_from=expected.label_from, group_by=expected.group_by)
    notes = "\n".join(map(str, listing.notes))
    assert listing.classes == expected.classes
    assert Counter(one.split for one in listing.pictures) == expected.parts
    assert [words for words in expected.notes if words not in notes] == [], notes
    assert all(listing.read(index) for index in range(len(listing.pictures)))


@pytest.mark.parametrize(
    ("bytes_of_owl", "words"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "'owl/0.heic' is a picture in HEIC format, which needs pillow-heif"),
        (LFS, "'owl/0.heic' is a pointer of Git LFS in place of the picture. Run 'git lfs pull'"),
    ],
)
def test_a_class_that_cannot_be_read_never_vanishes(
    bytes_of_owl: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # not installed
    pictures = {f"{label}/{n}.png": picture(n + ord(label[0])) for label in CATS for n in range(6)}
    folder = planted(tmp_path / "data", {**pictures, **{f"owl/{n}.heic": bytes_of_owl for n in range(3)}})
    with pytest.raises(UsageError, match="Not one picture of 'owl' can be read") as refused:
        load(folder)
    assert words in str(refused.value)
    planted(folder, {"owl/3.png": picture(300), "owl/4.png": picture(301), "owl/5.png": picture(302)})
    splits = load(folder)
    assert {each.source for each in splits.origin.unreadable} == {f"owl/{n}.heic" for n in range(3)}


# Of the shared cases: how many classes each has, or words of its refusal. N1 is a finding, not a layout.
OF_SHARED: dict[str, int | str] = {
    "A1_left_right_arrows": 2,
    "D1_black_on_transparent": 3,
    "D2_12bit_in_16bit": 2,
    "K1_intel": 2,
    "K3_wrapper_sibling": 2,
    "K4_nested": "are those the classes?",
    "K8": "If 'test' is a class, too, say so",
    "K9c_classes_csv_roboflow": 2,
    "L12b_heic_class": "Not one picture of 'bird' can be read: 'bird/0.heic' is ",
    "L14_no_ext": 2,
    "L1_flat_train_test": "label_from=",
    "L2_kaggle_ids": 2,
    "L3_train_csv_beside": 2,
    "L4_training_set": 2,
    "L5_images_labels_csv": 2,
    "L8b_classes_plus_flat_test": "'test' like a part of the data",
    "N1_near_leak": 2,
    "T11_two_labels": 2,
    "T12c_win": 2,
    "T13_empty_label": 2,
    "T16_coco": "COCO's format",
    "T17_gtsrb": 3,
    "T3_no_ext_ids": 2,
    "T4_headerless": 2,
    "T5_txt": 2,
    "T7_jsonl": 2,
    "T8_cp949": 2,
    "T9_multilabel": 4,
    "T9b_onehot": 2,
    "X1_lfs": "git lfs pull",
    "X2_odd_suffix": 3,
    "X4_icons_mixed": 2,
    "Z2_cp949_zip": 2,
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared cases lie beside the checkout of their owners")
@pytest.mark.parametrize("case", OF_SHARED)
def test_a_shared_case_is_read_or_refused(case: str) -> None:
    data, expected = SHARED / case, OF_SHARED[case]
    if case == "Z2_cp949_zip":
        data = data / "pets.zip"
    if isinstance(expected, str):
        with pytest.raises(PellucidError) as refused:
            load(data)
        assert expected in str(refused.value)
    else:
        splits = load(data)
        assert len(splits.train.classes) == expected
        assert float(splits.train.images.float().std()) > 1

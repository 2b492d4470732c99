"""A row's label is in the column that is named for it, and several labels of a picture are refused."""

from pathlib import Path

import pytest

from pellucid.data.sources.columns import Table
from pellucid.data.sources.listing import joined, names_in
from pellucid.data.sources.table_labels import class_names, labels_of, named_labels
from pellucid.data.sources.tree import folder_tree
from pellucid.errors import UsageError
from tests.data.folders import planted


def table(**columns: str) -> Table:
    """A table of columns, each a text of values."""
    return Table("t.csv", {name.replace("_", " "): values.split() for name, values in columns.items()})


def test_the_column_is_known_by_its_name_whatever_stands_beside_it() -> None:
    rows = table(path="1 2", weight="7 8", Label="cat dog", split="train test")
    assert labels_of(rows, "path").values == ["cat", "dog"]
    assert labels_of(rows, "path", label_from="weight").values == ["7", "8"]
    assert labels_of(rows, "path").notes == ()


def test_label_comes_before_class_and_class_before_tags() -> None:
    rows = table(path="1", tags="x", **{"class": "y"})
    assert labels_of(rows, "path").values == ["y"]
    assert labels_of(table(path="1", tags="x"), "path").values == ["x"]


def test_the_only_other_column_is_the_label_and_is_told() -> None:
    found = labels_of(table(path="1 2", animal="cat dog", split="train test", group="a b"), "path")
    assert found.values == ["cat", "dog"]
    assert [str(note) for note in found.notes] == ["labels are in the column 'animal' of 't.csv'"]
    grouped = labels_of(table(path="1 2", animal="cat dog", patient="a b"), "path", group_by="patient")
    assert grouped.values == ["cat", "dog"]


def test_without_any_other_column_there_are_no_labels() -> None:
    assert labels_of(table(path="1 2", split="train test"), "path").values == ["", ""]


def test_of_two_unknown_columns_none_is_guessed() -> None:
    with pytest.raises(UsageError, match=r"Expected one named label, .*; got path, a, b\..*`label_from='a'`"):
        labels_of(table(path="1 2", a="x y", b="p q"), "path")


def test_a_column_per_class_names_the_one_that_is_marked() -> None:
    found = labels_of(table(path="1 2 3", cat="1 0 0", dog="0 1.0 0"), "path")
    assert found.values == ["cat", "dog", ""]
    assert [str(note) for note in found.notes] == [
        "'t.csv' has one column per class, with a 1 for each picture's",
        "1 row of 't.csv' has a 1 for no class and is passed over",
    ]
    both = labels_of(table(path="1 2", cat="1 1", dog="0 1"), "path")
    assert both.values == ["cat", joined(["cat", "dog"])]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["cat|red", "dog"], [("cat|red",), ("dog",)]),  # a name of its own
        (["cat|red", "dog|red"], [("cat", "red"), ("dog", "red")]),
        (["cat;dog", "cat"], [("cat", "dog"), ("cat",)]),
        (["polar bear", "brown bear"], [("polar bear",), ("brown bear",)]),
    ],
)
def test_labels_that_join_others_are_several(labels: list[str], expected: list[tuple[str, ...]]) -> None:
    rows = Table("t.csv", {"path": [str(n) for n in range(len(labels))], "label": labels})
    assert [tuple(names_in(value)) for value in labels_of(rows, "path").values] == expected


def test_rows_without_a_label_are_passed_over_and_counted() -> None:
    rows = Table("t.csv", {"path": ["1", "2", "3"], "label": ["cat", "", " dog "]})
    found = labels_of(rows, "path")
    assert found.values == ["cat", "", "dog"]
    assert [str(note) for note in found.notes] == ["1 row of 't.csv' has no label and is passed over: row 3"]


def test_names_in_a_file_are_read_one_a_line(tmp_path: Path) -> None:
    text = "\ufeff0: cat\n\n1, polar bear\n2dogs\n"
    tree = folder_tree(planted(tmp_path, {"Classes.txt": text.encode(), "1.png": b"", "x.txt": b"no"}))
    assert class_names(tree) == ["cat", "polar bear", "2dogs"]
    assert class_names(folder_tree(planted(tmp_path / "none", {"x.txt": b"no"}))) == []


def test_numbers_are_counted_from_zero_or_from_one() -> None:
    names = ["cat", "dog", "owl"]
    zero, one = named_labels(["0", "2", "1"], names), named_labels(["1", "3"], names)
    assert zero is not None
    assert one is not None
    assert (zero.values, one.values) == (["cat", "owl", "dog"], ["cat", "owl"])
    assert str(zero.notes[0]) == "label 0 is the name 'cat', and so on in order"
    assert str(one.notes[0]) == "label 1 is the name 'cat', and so on in order"


@pytest.mark.parametrize("labels", [["0", "3"], ["1", "4"], ["cat"], [], ["-1"], ["1.0"]])
def test_numbers_that_do_not_fit_the_names_stay_as_they_are(labels: list[str]) -> None:
    assert named_labels(labels, ["cat", "dog", "owl"]) is None
    assert named_labels(["0"], ["cat"]) is None

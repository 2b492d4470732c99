"""Pictures named in a table or a data frame are read, and what is not there is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.data.preprocess import Preprocess
from pellucid.data.sources.detect import list_pictures
from pellucid.errors import UsageError
from tests.data.folders import picture, planted
from tests.data.sources.written import contents, contents_of_others


def test_a_table_named_itself_may_point_anywhere_and_names_what_is_not_there(tmp_path: Path) -> None:
    planted(tmp_path / "pictures", {"1.png": picture(1), "2.png": picture(2)})
    table = tmp_path / "tables" / "t.csv"
    rows = f"path,label,patient\n../pictures/1.png,a,x\n{tmp_path}/pictures/2.png,b,x\ngone.png,a,y\n"
    planted(tmp_path, {"tables/t.csv": rows.encode()})
    listing = list_pictures(table, group_by="patient")
    assert contents_of_others(listing, 2) == [picture(1), picture(2)]
    assert [one.group for one in listing.pictures] == ["x", "x", "y"]
    assert any(
        "1 picture is named but does not exist: 'gone.png'" in note for note in map(str, listing.notes)
    )
    with pytest.raises(UsageError, match=r"'gone\.png' does not exist"):
        listing.read(2)


def test_a_data_frame_is_read_with_paths_arrays_or_pictures(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    planted(tmp_path, {"1.png": picture(1), "2.png": picture(2)})
    paths = pandas.DataFrame(
        {"path": [str(tmp_path / "1.png"), str(tmp_path / "2.png")], "label": [1.0, 10.0]}
    )
    listing = list_pictures(paths)
    assert listing.classes == ("1", "10")
    assert list(contents(listing).values()) == [picture(1), picture(2)]
    values = [np.zeros((4, 4), np.uint8), Image.new("RGB", (4, 4), "red")]
    frame = pandas.DataFrame(
        {"image": values, "label": ["a", "b"], "split": ["train", None], "group": ["g", "h"]}
    )
    listing = list_pictures(frame)
    assert [one.group for one in listing.pictures] == ["g", "h"]
    assert contents(listing)["0"].shape == (4, 4)
    assert Preprocess(3, 4, 4).read(contents(listing)["1"]).unique().tolist() == [0, 255]
    with pytest.raises(UsageError, match=r"has no column of labels\. Expected one named label"):
        list_pictures(frame.drop(columns="label"))
    frame.loc[1, "label"] = float("nan")
    with pytest.raises(UsageError, match="row 3: no label"):
        list_pictures(frame)


def test_a_table_among_classes_is_left_alone(tmp_path: Path) -> None:
    files = {"cat/1.png": b"", "dog/1.png": b"", "guesses.csv": b"file,label\ncat/1.png,dog\ndog/1.png,cat\n"}
    listing = list_pictures(planted(tmp_path, files))
    assert {picture.source: picture.label for picture in listing.pictures}["cat/1.png"] == "cat"


def test_a_frame_can_have_several_labels_per_picture() -> None:
    pandas = pytest.importorskip("pandas")
    images = [np.full((8, 8), level, np.uint8) for level in range(3)]
    frame = pandas.DataFrame({"image": images, "labels": [["cat", "red"], ["dog"], ["red"]]})
    labels = [picture.labels for picture in list_pictures(frame).pictures]
    assert labels == [("cat", "red"), ("dog",), ("red",)]
    frame["labels"] = ["cat|red", "dog", "red"]
    assert [picture.labels for picture in list_pictures(frame).pictures] == labels
    frame["labels"] = [["cat", "red"], ["dog"], "cat|red"]
    with pytest.raises(UsageError, match="Expected names without a bar, which joins labels in tables"):
        list_pictures(frame)

"""Each box of annotations is a picture of its own, and those of one picture stay together."""

import io
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid import load
from pellucid.data.audit.findings import audit
from pellucid.data.dataset import Choices
from pellucid.data.own import read_own
from pellucid.data.sources.detect import list_pictures
from pellucid.errors import UsageError
from pellucid.runs.fit import fit
from tests.data.folders import planted, shapes
from tests.data.scenes import FAULTS, NAMES, PLACES, SIDE, coco, coco_folder, scene, voc_folder
from tests.toys import QUICK


def test_both_formats_give_the_same_pictures(tmp_path: Path) -> None:
    first = list_pictures(coco_folder(tmp_path / "coco", 6), crop_boxes=True)
    second = list_pictures(voc_folder(tmp_path / "voc", 6), crop_boxes=True)
    assert len(first.pictures) == len(second.pictures) == 12
    assert [each.source for each in first.pictures[:2]] == [
        "images/000.png#6,20,36,44",
        "images/000.png#50,40,74,76",
    ]
    for number, (mine, theirs) in enumerate(zip(first.pictures, second.pictures, strict=True)):
        assert (mine.label, mine.source.partition("#")[2]) == (theirs.label, theirs.source.partition("#")[2])
        assert np.array_equal(first.read(number), second.read(number))
    whole = np.asarray(Image.open(io.BytesIO(scene(0))))
    assert np.array_equal(first.read(0), whole[18:46, 3:39])  # a tenth of 30x24 on each side
    assert "with a margin of 10 % of its sides" in " ".join(map(str, first.notes))


def test_the_boxes_of_one_picture_stay_on_one_side(tmp_path: Path) -> None:
    splits = load(coco_folder(tmp_path / "coco"), crop_boxes=True)
    sides = defaultdict(set)
    for name, part in splits.items():
        assert len(part)
        assert part.counts["cat"] == part.counts["dog"]
        for source in part.sources:
            sides[source.partition("#")[0]].add(name)
    assert len(sides) == 40
    assert all(len(side) == 1 for side in sides.values())


def test_a_group_holds_the_boxes_of_its_pictures_together(tmp_path: Path) -> None:
    folder = coco_folder(tmp_path / "coco", 30)
    listing = list_pictures(folder, crop_boxes=True, group_by=r"/(\d\d)\d\.")
    assert {picture.group for picture in listing.pictures} == {"00", "01", "02"}
    alone = list_pictures(folder, crop_boxes=True, group_by=r"/(01)\d\.")
    assert {picture.group for picture in alone.pictures if "/01" in picture.source} == {"01"}
    assert {picture.group for picture in alone.pictures if "/000" in picture.source} == {"images/000.png"}


def test_boxes_with_nothing_in_them_are_findings_and_the_rest_is_read(tmp_path: Path) -> None:
    crowd = {"image_id": 5, "category_id": 0, "bbox": [0, 0, 90, 90], "iscrowd": 1}
    folder = coco_folder(tmp_path / "coco", 40, [*FAULTS, crowd])
    reading = read_own(folder, Choices(crop_boxes=True))
    reasons = {each.source: each.reason for each in reading.splits.origin.unreadable}
    assert reasons == {
        "images/000.png#10,10,10,30": "is an empty box.",
        "images/001.png#200,10,220,30": "is a box outside of its picture, which has 96x96 pixels.",
        "images/002.png#10,10,15,60": "is a box of 5x50 pixels; the least is 8 a side.",
        "images/003.png#0,0,0,0": "is an empty box.",
        "images/004.png#6,20,36,44": "is a box of several classes: 'cat', 'dog'.",
    }
    (finding,) = audit(reading.splits).of("unreadable")
    assert finding.sentence == "5 boxes of 84 cannot be read as pictures."
    assert sum(len(part) for _, part in reading.splits.items()) == 79
    assert any("skipped 1 box around a crowd" in str(note) for note in reading.splits.origin.notes)
    with pytest.raises(UsageError, match=r"5 of the 84 pictures .* cannot be used"):
        read_own(folder, Choices(crop_boxes=True, on_unreadable="stop"))


def test_annotations_of_pictures_of_another_size_are_not_believed(tmp_path: Path) -> None:
    files = {f"images/{number:03}.png": scene(number) for number in range(4)}
    folder = planted(tmp_path / "coco", {**files, "annotations/instances.json": coco(4, size=2 * SIDE)})
    with pytest.raises(UsageError, match=r"is a box on a picture of 192x192 pixels, .* the file has 96x96"):
        read_own(folder, Choices(crop_boxes=True))


def test_a_run_finds_its_boxes_again_and_predicts_what_is_cut_out(tmp_path: Path) -> None:
    folder = voc_folder(tmp_path / "voc")
    splits = load(folder, crop_boxes=True, size=16)
    run = fit(splits, replace(QUICK, epochs=20, batch_size=16), folder=tmp_path / "run")
    assert run.recipe.crop_boxes
    assert run.evaluate(splits.test).accuracy > 0.9
    assert torch.equal(run.splits().test.images[:], splits.test.images[:])
    whole = np.asarray(Image.open(io.BytesIO(scene(99))))
    objects = [whole[y : y + height, x : x + width] for x, y, width, height in PLACES]
    assert [NAMES[int(row.argmax())] for row in run.classifier.predict(objects)] == ["cat", "dog"]
    assert run.classifier.predict(whole).shape == (1, 2)  # a whole picture gets an answer as ever


def test_whole_pictures_stay_the_default(tmp_path: Path) -> None:
    listing = list_pictures(coco_folder(tmp_path / "coco", 4))
    assert len({picture.source for picture in listing.pictures}) == len(listing.pictures) == 4
    assert not any("#" in picture.source for picture in listing.pictures)


def test_where_there_are_no_boxes_it_is_said_what_was_expected(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "classes", count=2)
    with pytest.raises(
        UsageError, match=r"needs a folder or an archive with annotations.*one folder per class"
    ):
        list_pictures(folder, crop_boxes=True)
    with pytest.raises(UsageError, match="Leave `label_from` out"):
        list_pictures(folder, crop_boxes=True, label_from="x")
    with pytest.raises(UsageError, match="got list"):
        list_pictures([1], crop_boxes=True)
    bare = {"000.png": scene(0), "a.json": coco(1).replace(b'"bbox"', b'"b"')}
    with pytest.raises(UsageError, match="name classes but no boxes"):
        list_pictures(planted(tmp_path / "bare", bare), crop_boxes=True)

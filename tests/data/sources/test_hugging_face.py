"""Datasets of the real Hugging Face library: their pictures, names and parts, as those of a folder are."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid import load
from pellucid.data.own import read_own
from pellucid.data.preprocess import Preprocess
from pellucid.data.sources.detect import list_pictures
from pellucid.errors import UsageError
from tests.data.folders import picture, planted

COLOUR = Preprocess(3, 8, 8, "stretch")


@pytest.fixture
def hf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library, which neither calls anybody nor leaves anything at home."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("datasets")


def made(hf: Any, images: list[Any], labels: list[Any], names: list[str] | None = None) -> Any:
    """A Dataset of an Image and a ClassLabel, or, without names, a Value."""
    kind = "int64" if isinstance(labels[0], int) else "string"
    label = hf.ClassLabel(names=names) if names else hf.Value(kind)
    features = hf.Features({"image": hf.Image(), "label": label})
    return hf.Dataset.from_dict({"image": images, "label": labels}, features=features)


def in_bytes(content: bytes) -> dict[str, Any]:
    return {"bytes": content, "path": None}


def many(count: int, first: int = 0, mode: str = "RGB") -> list[dict[str, Any]]:
    return [in_bytes(picture(first + n, size=(12, 10), mode=mode)) for n in range(count)]


def test_class_names_are_those_of_the_label_and_pictures_those_of_the_file(hf: Any) -> None:
    images = many(80)
    data = made(hf, images, [n % 2 for n in range(80)], ["zebra", "ant"])
    listing = list_pictures(data)
    assert listing.classes == ("ant", "zebra")
    assert [one.label for one in listing.pictures[:2]] == ["zebra", "ant"]
    assert [listing.read(n) for n in range(80)] == [image["bytes"] for image in images]
    splits = load(data)
    assert splits.train.images.shape[1:] == (3, 10, 12)
    assert sum(len(part) for _, part in splits.items()) == 80
    assert all(len(part) for _, part in splits.items())


def test_it_is_parted_as_the_same_pictures_in_a_folder(hf: Any, tmp_path: Path) -> None:
    images = many(80, mode="L")
    files = {f"{'ab'[n % 2]}/{n}.png": image["bytes"] for n, image in enumerate(images)}
    of_folder = load(planted(tmp_path / "files", files))
    of_library = load(made(hf, images, ["ab"[n % 2] for n in range(80)]))
    for (_, here), (_, there) in zip(of_folder.items(), of_library.items(), strict=True):
        numbers = [int(source.split("/")[1].removesuffix(".png")) for source in here.sources]
        assert sorted(numbers) == [int(source) for source in there.sources]
    assert of_library.train.channels == 1


def test_paths_are_read_where_they_lie_and_nothing_is_written(hf: Any, tmp_path: Path) -> None:
    folder = planted(tmp_path / "files", {f"{n}.png": picture(n) for n in range(4)})
    data = made(hf, [str(folder / f"{n}.png") for n in range(4)], ["a", "b", "a", "b"])
    before = sorted(tmp_path.rglob("*"))
    listing = list_pictures(data)
    assert [listing.read(n) for n in range(4)] == [picture(n) for n in range(4)]
    assert sorted(tmp_path.rglob("*")) == before


def test_parts_of_a_datasetdict_stand_and_what_is_none_is_told(hf: Any) -> None:
    parts = {"train": made(hf, many(40), ["a", "b"] * 20), "test": made(hf, many(8, 100), ["a", "b"] * 4)}
    splits = load(hf.DatasetDict(parts))
    assert len(splits.test) == 8
    assert len(splits.train) + len(splits.validation) == 40
    assert len(splits.validation) > 0
    parts |= {
        "validation": made(hf, many(6, 200), ["b", "a"] * 3),
        "unlabelled": made(hf, many(2), ["x", "y"]),
    }
    reading = read_own(hf.DatasetDict(parts))
    assert [len(part) for _, part in reading.splits.items()] == [40, 6, 8]
    assert reading.splits.test.sources[0] == "test/0"
    assert any(
        "skipped 'unlabelled': not the name of a part of the data" in str(note)
        for note in reading.splits.origin.notes
    )


def test_what_is_not_clear_in_a_datasetdict_is_refused(hf: Any) -> None:
    one = made(hf, many(4), ["a", "b", "a", "b"])
    with pytest.raises(UsageError, match="'val' and 'validation' are both the validation part"):
        list_pictures(hf.DatasetDict({"train": one, "val": one, "validation": one}))
    with pytest.raises(UsageError, match=r"No Dataset to train on: expected one named 'train'.*got 'all'"):
        list_pictures(hf.DatasetDict({"all": one}))


def test_classes_of_two_parts_are_matched_by_name_not_by_number(hf: Any) -> None:
    parts = {
        "train": made(hf, many(20), [0, 1] * 10, ["cat", "dog"]),
        "test": made(hf, many(2, 50), [0, 1], ["dog", "cat"]),
    }
    listing = list_pictures(hf.DatasetDict(parts))
    assert [one.label for one in listing.pictures[-2:]] == ["dog", "cat"]


def test_unreadable_bytes_are_named_and_the_rest_is_read(hf: Any, tmp_path: Path) -> None:
    images = [*many(40), in_bytes(b"no picture"), in_bytes(b""), str(tmp_path / "gone.png")]
    reading = read_own(made(hf, images, [*["a", "b"] * 20, "a", "b", "a"]))
    bad = {one["source"]: one["reason"] for one in reading.splits.origin.to_json()["unreadable"]}
    assert bad.keys() == {"40", "41", "42"}
    assert "is not a picture of a known format" in bad["40"]
    assert "cannot be read" in bad["42"]
    assert reading.splits.origin.to_json()["found"] == 43


def test_without_labels_it_is_refused(hf: Any) -> None:
    data = made(hf, many(4), ["a", "b", "a", "b"])
    with pytest.raises(UsageError, match="The Dataset has no column of labels"):
        list_pictures(data.remove_columns("label"))
    with pytest.raises(UsageError, match=r"The Dataset, row \d: no label"):
        list_pictures(made(hf, many(2), [0, -1], ["a", "b"]))


@pytest.mark.parametrize("form", ["torch", "numpy"])
def test_a_format_someone_set_changes_nothing(hf: Any, form: str) -> None:
    data = made(hf, many(4), [3, 10, 3, 10])
    plain, formatted = list_pictures(data), list_pictures(data.with_format(form))
    assert formatted.classes == plain.classes == ("3", "10")
    assert formatted.read(2) == plain.read(2)
    assert data.with_format(form).format["type"] == form


def kinds() -> dict[str, Image.Image]:
    """Pillow images that are more than three bytes a pixel, or lie on their side."""
    colours = Image.frombytes("RGB", (6, 4), bytes(range(72))).resize((12, 10))
    glass = colours.convert("RGBA")
    glass.putalpha(colours.convert("L"))
    deep = Image.fromarray(np.arange(120, dtype=np.uint16).reshape(10, 12) * 500)
    return {"glass": glass, "deep": deep, "palette": colours.quantize(9), "print": colours.convert("CMYK")}


@pytest.mark.parametrize("kind", kinds())
def test_pillow_images_are_read_as_their_files_are(hf: Any, kind: str) -> None:
    pandas = pytest.importorskip("pandas")
    image, file = kinds()[kind], io.BytesIO()
    image.save(file, "TIFF" if kind == "print" else "PNG")
    right = COLOUR.read(file.getvalue())
    frame = list_pictures(pandas.DataFrame({"image": [image, image], "label": ["a", "b"]}))
    assert torch.equal(COLOUR.read(frame.read(0)), right)
    dataset = list_pictures(made(hf, [in_bytes(file.getvalue())] * 2, ["a", "b"]))
    assert torch.equal(COLOUR.read(dataset.read(1)), right)


def test_pictures_held_sideways_are_turned_once(hf: Any, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    held = Image.Exif()
    held[0x0112] = 6
    # Compressed: Pillow 13 itself mixes up the rows of an uncompressed one that it opens by its name.
    Image.effect_noise((12, 10), 90).save(tmp_path / "1.tif", exif=held, compression="tiff_lzw")
    right = COLOUR.read(tmp_path / "1.tif")
    with Image.open(tmp_path / "1.tif") as image:
        frame = list_pictures(pandas.DataFrame({"image": [image, image], "label": ["a", "b"]}))
        assert torch.equal(COLOUR.read(frame.read(0)), right)
    dataset = list_pictures(made(hf, [str(tmp_path / "1.tif")] * 2, ["a", "b"]))
    assert torch.equal(COLOUR.read(dataset.read(0)), right)

"""Every layout is read where it lies: archives in place, arrays without pickles, tables, frames."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.data.preprocess import Preprocess
from pellucid.data.sources.archives import archive_tree
from pellucid.data.sources.detect import LAYOUTS, list_pictures
from pellucid.data.sources.listing import Listing
from pellucid.data.sources.tree import folder_tree
from pellucid.errors import PellucidError, UsageError
from tests.data.folders import picture, planted

FILES = {
    "train/cat/1.png": picture(1),
    "train/cat/a folder/2.png": picture(2),
    "train/dog/1.png": picture(3),
    "test/dog/10.png": picture(4),
    "test/cat/2.png": picture(5),
}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, mode, format=form) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def contents(listing: Listing) -> dict[str, Any]:
    return {one.source: listing.read(index) for index, one in enumerate(listing.pictures)}


def labels(listing: Listing) -> dict[str, tuple[str, str]]:
    return {one.source: (one.label, one.split) for one in listing.pictures}


def test_a_folder_a_zip_and_every_tar_are_the_same_pictures(tmp_path: Path) -> None:
    folder = list_pictures(planted(tmp_path / "pets", FILES))
    archives = [zipped(tmp_path / "pets.zip", FILES), tarred(tmp_path / "pets.tar", FILES)]
    for suffix in ("gz", "bz2", "xz"):
        archives.append(tarred(tmp_path / f"pets.tar.{suffix}", FILES, f"w:{suffix}"))
    archives.append(
        tarred(tmp_path / "gnu.tar", {f"./{name}": FILES[name] for name in FILES}, "w", tarfile.GNU_FORMAT)
    )
    archives.append(zipped(tmp_path / "wrapped.zip", {f"some pets/{name}": FILES[name] for name in FILES}))
    for path in archives:
        listing = list_pictures(path)
        assert labels(listing) == labels(folder)
        assert contents(listing) == contents(folder) == FILES
        assert all(listing.stamp(index) for index in range(len(listing.pictures)))


def test_long_and_korean_names_come_out_of_every_archive(tmp_path: Path) -> None:
    name = f"고양이/{'a' * 120}/{'나' * 40}.png"
    files = {name: picture(1), "개/1.png": picture(2)}
    listings = [list_pictures(zipped(tmp_path / "a.zip", files))]
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        listings.append(list_pictures(tarred(tmp_path / f"{form}.tar", files, "w", form)))
    for listing in listings:
        assert contents(listing) == files


@pytest.mark.parametrize(
    "name",
    ["../out/1.png", "/etc/1.png", "cat/../../1.png", "C:/1.png", "cat\\..\\1.png", "a" * 5000 + "/1.png"],
)
def test_an_archive_with_a_hostile_name_is_not_read(name: str, tmp_path: Path) -> None:
    files = {"cat/1.png": picture(1), "dog/1.png": picture(2), name: picture(3)}
    for path in (zipped(tmp_path / "a.zip", files), tarred(tmp_path / "a.tar", files)):
        with pytest.raises(UsageError, match=r"would be outside of it\. The archive is not read"):
            list_pictures(path)


def test_two_members_of_one_name_links_and_cuts_are_told(tmp_path: Path) -> None:
    twice = tmp_path / "twice.tar"
    with tarfile.open(twice, "w") as archive:
        for name in ("cat/1.png", "./cat/1.png"):
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(UsageError, match="two members named"):
        list_pictures(twice)
    linked = tmp_path / "linked.tar"
    with tarfile.open(linked, "w") as archive:
        for name in ("cat/1.png", "dog/1.png"):
            archive.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("cat/passwd.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    listing = list_pictures(linked)
    assert len(listing.pictures) == 2
    assert any("skipped 1 link or device" in note for note in map(str, listing.notes))
    whole = tarred(tmp_path / "whole.tar.gz", FILES, "w:gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.zip").write_bytes(zipped(tmp_path / "w.zip", FILES).read_bytes()[:-30])
    (tmp_path / "noise.tar").write_bytes(np.random.default_rng(0).bytes(2048))
    for name in ("cut.tar.gz", "cut.zip", "noise.tar"):
        with pytest.raises(PellucidError, match=r"cut off or damaged"):
            list_pictures(tmp_path / name)


def test_a_damaged_member_of_a_zip_is_one_unreadable_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:  # stored, so that a byte can be changed
        for name, content in FILES.items():
            archive.writestr(name, content)
    path.write_bytes(path.read_bytes().replace(FILES["train/cat/1.png"][-30:], b"x" * 30))
    listing = list_pictures(path)
    broken = [one.source for one in listing.pictures].index("train/cat/1.png")
    with pytest.raises(UsageError, match=r"'train/cat/1\.png' of .* cannot be read: Bad CRC"):
        listing.read(broken)
    assert len(contents_of_others(listing, broken)) == 4


def contents_of_others(listing: Listing, broken: int) -> list[Any]:
    return [listing.read(index) for index in range(len(listing.pictures)) if index != broken]


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "x_train": random.integers(0, 256, (24, 6, 5, 3), np.uint8),
        "y_train": np.arange(24).reshape(-1, 1) % 12,
        "x_test": random.integers(0, 256, (12, 6, 5, 3), np.uint8),
        "y_test": np.arange(12).reshape(-1, 1),
    }


def test_keras_arrays_are_read_from_npz_mapping_and_pairs(tmp_path: Path) -> None:
    made = arrays()
    np.savez(tmp_path / "a.npz", **made)
    pairs = ((made["x_train"], made["y_train"]), (made["x_test"], made["y_test"]))
    for data in (
        tmp_path / "a.npz",
        zipped(tmp_path / "b.zip", {"a.npz": (tmp_path / "a.npz").read_bytes()}),
        made,
        pairs,
    ):
        listing = list_pictures(data)
        assert listing.classes == tuple(map(str, range(12)))
        assert labels(listing)["train/23"] == ("11", "train")
        assert labels(listing)["test/10"] == ("10", "test")
        assert (contents(listing)["test/3"] == made["x_test"][3]).all()


def test_an_npz_with_python_objects_is_refused_before_any_code_runs(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.array([{}, []], dtype=object), y_train=np.arange(2))
    with pytest.raises(UsageError, match="holds Python objects, which would run code"):
        list_pictures(tmp_path / "a.npz")


def test_arrays_of_floats_channels_first_and_one_hot_are_told_and_read() -> None:
    images = np.random.default_rng(0).random((4, 3, 8, 7)).astype(np.float32)
    listing = list_pictures((images, np.eye(4, dtype=np.uint8)))
    assert any("(N, C, H, W)" in note for note in map(str, listing.notes))
    assert any("0..1 was scaled" in note for note in map(str, listing.notes))
    assert any("one-hot" in note for note in map(str, listing.notes))
    assert (contents(listing)["train/2"] == np.round(images[2].transpose(1, 2, 0) * 255.0)).all()
    with pytest.raises(UsageError, match=r"Expected pixels of train as uint8 0\.\.255"):
        list_pictures((images - 0.5, np.arange(4)))
    with pytest.raises(UsageError, match=r"Expected 4 labels"):
        list_pictures((images, np.arange(3)))


def idx(array: np.ndarray) -> bytes:
    return (
        bytes((0, 0, 8, array.ndim))
        + b"".join(n.to_bytes(4) for n in array.shape)
        + array.astype(np.uint8).tobytes()
    )


def test_idx_files_are_read_packed_or_not_and_emnist_is_set_up(tmp_path: Path) -> None:
    made = arrays()
    images = {"train": made["x_train"][..., 0], "t10k": made["x_test"][..., 0]}
    files = {}
    for part, pixels in images.items():
        files[f"{part}-images-idx3-ubyte"] = idx(pixels)
        files[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(idx(np.arange(len(pixels)) % 3))
    listing = list_pictures(planted(tmp_path / "plain", files))
    assert labels(listing)["test/4"] == ("1", "test")
    assert (contents(listing)["test/4"] == images["t10k"][4]).all()
    renamed = {f"emnist-letters-{name.replace('t10k', 'test')}": content for name, content in files.items()}
    mapping = b"0 65 97\n1 66 98\n2 67\n"
    listing = list_pictures(planted(tmp_path / "emnist", {**renamed, "emnist-letters-mapping.txt": mapping}))
    assert listing.classes == ("Aa", "Bb", "C")
    assert (contents(listing)["test/4"] == images["t10k"][4].T).all()
    cut = {**files, "train-images-idx3-ubyte": files["train-images-idx3-ubyte"][:-1]}
    with pytest.raises(PellucidError, match="cut off or damaged: its header declares 24 x 6 x 5 bytes"):
        list_pictures(planted(tmp_path / "cut", cut))


def test_cifar_is_read_from_its_binary_files(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = {
        name: random.integers(0, 2, (4, 3073), np.uint8) for name in ("data_batch_1.bin", "test_batch.bin")
    }
    files = {f"cifar-10-batches-bin/{name}": row.tobytes() for name, row in rows.items()}
    path = tarred(
        tmp_path / "c.tar.gz", {**files, "cifar-10-batches-bin/batches.meta.txt": b"plane\ncar\n\n"}, "w:gz"
    )
    listing = list_pictures(path)
    assert labels(listing)["train/1"] == (("plane", "car")[rows["data_batch_1.bin"][1, 0]], "train")
    expected = rows["test_batch.bin"][2, 1:].reshape(3, 32, 32).transpose(1, 2, 0)
    assert (contents(listing)["test/2"] == expected).all()
    hundred = random.integers(0, 2, (4, 3074), np.uint8)
    files = {
        "train.bin": hundred.tobytes(),
        "test.bin": hundred.tobytes(),
        "fine_label_names.txt": b"apple\nbear\n",
    }
    listing = list_pictures(planted(tmp_path / "hundred", files))
    assert labels(listing)["test/3"] == (("apple", "bear")[hundred[3, 1]], "test")


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


def test_groups_are_found_by_a_pattern_in_names(tmp_path: Path) -> None:
    names = ["cat/p1_a.png", "cat/p1_b.png", "dog/p2_a.png", "dog/other.png"]
    listing = list_pictures(planted(tmp_path, names), group_by=r"(p\d+)_")
    assert {one.source: one.group for one in listing.pictures} == dict(
        zip(names, ["p1", "p1", "p2", ""], strict=True)
    )
    with pytest.raises(
        UsageError, match=r"is neither a column nor found in any name, such as 'cat/p1_a\.png'"
    ):
        list_pictures(tmp_path, group_by="patient")
    with pytest.raises(UsageError, match="neither a column nor a valid pattern"):
        list_pictures(tmp_path, group_by="(")


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


def test_something_else_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Expected a path, a pandas DataFrame, NumPy arrays .*; got int"):
        list_pictures(3)


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays())
    return file.getvalue()


# One tree of files for every row of LAYOUTS.
EXAMPLES: dict[str, dict[str, bytes]] = {
    "idx files": {
        "train-images-idx3-ubyte": idx(np.zeros((4, 6, 5))),
        "train-labels-idx1-ubyte": idx(np.arange(4) % 2),
    },
    "CIFAR's binary files": {
        "batches.meta.txt": b"plane\ncar\n",
        "data_batch_1.bin": bytes(3073) + bytes([1]) + bytes(3072),
        "test_batch.bin": bytes(3073),
    },
    "metadata.csv": {
        "train/metadata.csv": b"file_name,label\n1.png,dog\n2.png,cat\n",
        "train/1.png": picture(1),
        "train/2.png": picture(2),
    },
    "tables": {
        "train.csv": b"path,label\nx/1.png,dog\nx/2.png,cat\n",
        "x/1.png": picture(1),
        "x/2.png": picture(2),
    },
    "an .npz file": {"a.npz": npz()},
    "COCO annotations": {
        "images/1.png": picture(1),
        "images/2.png": picture(2),
        "annotations/instances.json": (
            b'{"images": [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "2.png"}], '
            b'"annotations": [{"image_id": 1, "category_id": 5}, {"image_id": 2, "category_id": 6}], '
            b'"categories": [{"id": 5, "name": "dog"}, {"id": 6, "name": "cat"}]}'
        ),
    },
    "Pascal VOC annotations": {
        "JPEGImages/1.png": picture(1),
        "JPEGImages/2.png": picture(2),
        "Annotations/1.xml": b"<annotation><object><name>dog</name></object></annotation>",
        "Annotations/2.xml": b"<annotation><object><name>cat</name></object></annotation>",
    },
    "one folder per split": FILES,
    "one folder per class": {"cat/1.png": picture(1), "dog/a folder/1.png": picture(2)},
}


def test_every_layout_has_a_name_of_its_own_and_an_example() -> None:
    assert [layout.name for layout in LAYOUTS] == list(EXAMPLES)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_each_layout_is_recognised_in_a_folder_an_archive_and_inside_of_others(
    layout: Any, tmp_path: Path
) -> None:
    files = EXAMPLES[layout.name]
    folder = planted(tmp_path / "plain", files)
    trees = (folder_tree(folder), archive_tree(zipped(tmp_path / "plain.zip", files)))
    for tree in trees:
        assert next(other for other in LAYOUTS if other.matches(tree)) is layout
    plain = list_pictures(folder)
    assert len(plain.pictures) >= 2
    for wrapping in ("pets/", "my data/pets/"):
        wrapped = {wrapping + name: content for name, content in files.items()}
        for data in (
            planted(tmp_path / wrapping.replace("/", "_"), wrapped),
            zipped(tmp_path / f"{wrapping.replace('/', '_')}.zip", wrapped),
        ):
            assert labels(list_pictures(data)) == labels(plain)


def test_nothing_at_all_matches_no_layout(tmp_path: Path) -> None:
    tree = folder_tree(planted(tmp_path, {"notes.txt": b"nothing", "empty/": b""}))
    assert not any(layout.matches(tree) for layout in LAYOUTS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("-", r"^Standard input is not read\."),
        ("https://example.org/pets.zip", r"is an address\. .* download it first"),
        ("hf://datasets/mnist", r"is an address"),
    ],
)
def test_addresses_and_standard_input_are_answered(data: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        list_pictures(data)


def test_numbers_as_labels_become_names() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 5), np.uint8)
    assert list_pictures((images, np.array([3, 10, 3, 10]))).classes == ("3", "10")


def test_arrays_of_two_channels_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Expected pictures of train as .*; got \(4, 6, 5, 2\)"):
        list_pictures((np.zeros((4, 6, 5, 2), np.uint8), np.arange(4)))

"""Arrays are read as what they are, without pickles."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from pellucid.data.sources.detect import list_pictures
from pellucid.errors import PellucidError, UsageError
from tests.data.folders import planted
from tests.data.sources.written import (
    arrays,
    contents,
    idx,
    labels,
    tarred,
    zipped,
)


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


def test_numbers_as_labels_become_names() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 5), np.uint8)
    assert list_pictures((images, np.array([3, 10, 3, 10]))).classes == ("3", "10")


def test_arrays_of_two_channels_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Expected pictures of train as .*; got \(4, 6, 5, 2\)"):
        list_pictures((np.zeros((4, 6, 5, 2), np.uint8), np.arange(4)))


def test_a_one_for_each_of_several_labels_is_read_as_such() -> None:
    images = np.zeros((4, 8, 8), np.uint8)
    flags = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]])
    listing = list_pictures({"x_train": images, "y_train": flags, "classes": np.array(["cat", "dog", "red"])})
    assert listing.classes == ("cat", "dog", "red")
    assert [picture.labels for picture in listing.pictures] == [("cat", "red"), ("dog",), (), ("cat", "dog")]


@pytest.mark.parametrize("label", [float("nan"), float("inf"), float("-inf"), 1e300, 2.0**60, 0.5])
def test_a_label_that_is_no_whole_number_is_refused_and_no_other_class_made_of_it(label: float) -> None:
    images, labels = np.zeros((3, 8, 8), np.uint8), np.array([0.0, 1.0, label])
    with pytest.raises(UsageError, match=r"Expected labels of .* as whole numbers or names; got"):
        list_pictures((images, labels))


@pytest.mark.parametrize("kind", ["M8[s]", "m8[s]", "V3", "U2", "S2", "c8"])
def test_pixels_that_are_no_numbers_are_refused(kind: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.zeros((20, 8, 8), kind), y_train=np.arange(20) % 2)
    with pytest.raises(UsageError, match=r"Expected pixels of train as uint8 0\.\.255, or as floats 0\.\.1"):
        list_pictures(tmp_path / "a.npz")


def test_arrays_that_are_mostly_nothing_are_not_unpacked(tmp_path: Path) -> None:
    """40 MB of zeros from 40 kB, and beside real pictures: nothing of it is read."""
    zeros = np.zeros((40, 1_000, 1_000), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", x_train=zeros, y_train=np.arange(40) % 2)
    np.savez_compressed(tmp_path / "b.npz", **arrays(), other=zeros)
    files = {
        "train-images-idx3-ubyte.gz": gzip.compress(idx(zeros)),
        "train-labels-idx1-ubyte": idx(np.arange(40) % 2),
    }
    for path in (tmp_path / "a.npz", tmp_path / "b.npz", planted(tmp_path / "idx", files)):
        with pytest.raises(UsageError, match=r"times as large as it is packed\. No picture is"):
            list_pictures(path)


@pytest.mark.parametrize("line", [b"999999999999 65", b"a 65", b"1 99999999", b"-1 65", b"256 65", b"1 x"])
def test_a_mapping_of_letters_that_is_damaged_is_told(line: bytes, tmp_path: Path) -> None:
    files = {
        "emnist-letters-train-images-idx3-ubyte": idx(np.zeros((4, 6, 5), np.uint8)),
        "emnist-letters-train-labels-idx1-ubyte": idx(np.arange(4) % 2),
    }
    broken = planted(tmp_path / "broken", {**files, "emnist-letters-mapping.txt": b"0 65 97\n" + line})
    with pytest.raises(PellucidError, match=r"mapping\.txt' of .* is damaged: expected lines"):
        list_pictures(broken)
    empty = planted(tmp_path / "empty", {**files, "emnist-letters-mapping.txt": b"\n"})
    assert list_pictures(empty).classes == ("0", "1")

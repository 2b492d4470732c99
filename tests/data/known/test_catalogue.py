"""The table of known data sets: what each says of itself, and what its files become."""

import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from pellucid.cache import cache_folder
from pellucid.data import DATASETS, load, locate
from pellucid.data.dataset import content_hashes
from pellucid.data.known import catalogue
from pellucid.data.known.catalogue import parse_idx
from pellucid.data.known.find import KnownDataset, read
from pellucid.errors import PellucidError, UsageError
from pellucid.training.augment import parse_augmentations
from tests.data.known.toy import (
    ARRAYS,
    PIXELS,
    TEN,
    UPRIGHT,
    archived,
    cifar_10_archive,
    emnist_members,
    idx,
    letters_archive,
    rows,
    tarred,
    zipped,
)
from tests.toys import Call


def test_letters_of_emnist_stand_upright_and_are_named_by_the_mapping(tmp_path: Path) -> None:
    (tmp_path / "gzip.zip").write_bytes(letters_archive())
    splits = read(archived(catalogue.emnist_letters, letters_archive()), tmp_path)
    assert [len(part) for _, part in splits.items()] == [4, 0, 2]
    assert np.array_equal(splits.train.images[:, 0].numpy(), UPRIGHT[:4])
    assert np.array_equal(splits.test.images[:, 0].numpy(), UPRIGHT[4:])
    assert splits.train.images.is_contiguous()
    assert [splits.train.classes[label] for label in splits.train.labels] == ["Aa", "Bb", "Zz", "Aa"]
    assert [splits.test.classes[label] for label in splits.test.labels] == ["Ii", "Ll"]
    assert splits.test.sources == ["emnist-letters/test/0", "emnist-letters/test/1"]
    assert splits.test.classes == catalogue.emnist_letters.classes


def test_the_mapping_of_the_archive_decides_over_the_table(tmp_path: Path) -> None:
    content = zipped(emnist_members("digits", np.arange(6) % 3, "0 97\r\n1 98\r\n2 99\r\n\r\n"))
    (tmp_path / "gzip.zip").write_bytes(content)
    assert read(archived(catalogue.emnist_digits, content), tmp_path).train.classes == ("a", "b", "c")


def test_the_balanced_classes_are_47_and_only_small_letters_unlike_their_capitals_stand_alone() -> None:
    classes = catalogue.emnist_balanced.classes
    assert len(classes) == 47
    assert "".join(classes) == "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"


def test_cifar_10_is_read_from_its_archive_batch_after_batch(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(cifar_10_archive())
    splits = read(archived(catalogue.cifar_10, cifar_10_archive()), tmp_path)
    assert torch.equal(splits.train.images, torch.from_numpy(PIXELS[:10]))
    assert torch.equal(splits.test.images, torch.from_numpy(PIXELS[10:]))
    assert splits.train.labels.tolist() == list(range(10))
    assert splits.test.labels.tolist() == [0, 1]
    assert splits.train.classes == tuple(TEN.split()) == catalogue.cifar_10.classes
    assert splits.train.sources[9] == "cifar-10/train/9"


def test_cifar_100_has_its_fine_labels(tmp_path: Path) -> None:
    coarse, fine = np.arange(12) % 20, np.arange(12) * 8
    names = "\n".join(catalogue.cifar_100.classes) + "\n\n"
    content = tarred(
        {
            "cifar-100-binary/fine_label_names.txt": names.encode(),
            "cifar-100-binary/coarse_label_names.txt": b"aquatic_mammals\n",
            "cifar-100-binary/train.bin": rows(PIXELS[:9], coarse[:9], fine[:9]),
            "cifar-100-binary/test.bin": rows(PIXELS[9:], coarse[9:], fine[9:]),
        }
    )
    (tmp_path / "cifar-100").mkdir()
    (tmp_path / "cifar-100" / "cifar-100-binary.tar.gz").write_bytes(content)
    splits = read(archived(catalogue.cifar_100, content), tmp_path)
    assert splits.train.labels.tolist() == fine[:9].tolist()
    assert torch.equal(splits.test.images, torch.from_numpy(PIXELS[9:]))
    assert (len(splits.train.classes), splits.test.classes[72]) == (100, "seal")


def test_the_hundred_classes_are_sorted_as_published() -> None:
    assert list(catalogue.cifar_100.classes) == sorted(catalogue.cifar_100.classes)
    assert len(set(catalogue.cifar_100.classes)) == 100


def test_photographs_are_mirrored_by_default_and_letters_are_not() -> None:
    for name, entry in DATASETS.items():
        mirrored = "flip" in parse_augmentations(entry.augment)
        assert mirrored == name.startswith("cifar")


# --- listed ------------------------------------------------------------------------------------------------


def test_datasets_tells_size_licence_and_what_one_download_serves(call: Call) -> None:
    code, out, _ = call("datasets")
    assert code == 0
    assert re.search(r"emnist-letters: .*145,600 pictures, 561\.8 MB for all of emnist; none stated", out)
    assert re.search(r"cifar-10: .*60,000 pictures, 170\.1 MB; none stated; cite Krizhevsky", out)
    assert re.search(r"kmnist: .*70,000 pictures, 21\.2 MB; CC BY-SA 4\.0", out)
    assert len(call("datasets", "--json")[1].splitlines()) == len(DATASETS)


def test_the_cache_lists_and_clears_an_archive_once(call: Call) -> None:
    folder = cache_folder() / "emnist"
    folder.mkdir(parents=True)
    (folder / "gzip.zip.part").write_bytes(b"x" * 1000)
    listed = [json.loads(line) for line in call("cache", "--json")[1].splitlines()]
    assert [(row["name"], row["bytes"]) for row in listed] == [("emnist", 1000)]
    assert call("cache", "emnist", "--clear")[0] == 0
    assert not (folder / "gzip.zip.part").exists()


def test_the_table_is_sorted_and_every_entry_bears_its_name() -> None:
    assert list(DATASETS) == sorted(DATASETS)
    assert {"cifar-10", "digits", "emnist-letters", "mnist"} <= set(DATASETS)
    assert all(entry.name == name for name, entry in DATASETS.items())


@pytest.mark.parametrize("entry", DATASETS.values(), ids=list(DATASETS))
def test_every_entry_says_what_it_is_and_where_it_comes_from(entry: KnownDataset) -> None:
    assert all((entry.title, entry.licence, entry.citation))
    assert entry.homepage.startswith("http")
    assert entry.pictures > 0
    assert len(set(entry.classes)) == len(entry.classes) >= 10
    if entry.embedded:
        assert entry.download_bytes == 0
        return
    assert all(mirror.startswith("https://") for mirror in entry.mirrors)
    assert len({mirror.split("/")[2] for mirror in entry.mirrors}) == len(entry.mirrors)
    assert len(entry.mirrors) >= 2 or entry.name == "kmnist"  # of which no second one is known
    if entry.archive:
        assert re.fullmatch(r"[0-9a-f]{64}", entry.archive.sha256)
        assert all(mirror.endswith(entry.archive.name) for mirror in entry.mirrors)
        assert len(set(entry.archive.members)) == len(entry.archive.members)
    else:
        assert all(mirror.endswith("/") for mirror in entry.mirrors)
        assert all(re.fullmatch(r"[0-9a-f]{64}", file.sha256 or file.packed_sha256) for file in entry.files)
        assert all(file.packed < file.size for file in entry.files)
        assert sum(file.size - 16 for file in entry.files[::2]) == entry.pictures * math.prod(entry.shape)
        assert sum(file.size - 8 for file in entry.files[1::2]) == entry.pictures


def test_no_two_files_of_the_table_are_the_same() -> None:
    digests = [file.sha256 or file.packed_sha256 for entry in DATASETS.values() for file in entry.files]
    assert len(set(digests)) == len(digests)
    archives = {entry.archive.sha256: entry.folder for entry in DATASETS.values() if entry.archive}
    assert sorted(archives.values()) == ["cifar-10", "cifar-100", "emnist"]


def test_digits_are_scikit_learns_scaled_to_255() -> None:
    splits = read(catalogue.digits)
    bunch = load_digits()
    for part in (splits.train, splits.test):
        for image, label, source in zip(part.images, part.labels, part.sources, strict=True):
            index = int(source.removeprefix("digits/"))
            assert image[0].tolist() == np.rint(bunch.images[index] * 255 / 16).tolist()
            assert int(label) == bunch.target[index]
    assert splits.train.images.max() == 255


def test_the_test_part_of_digits_is_the_same_for_ever() -> None:
    test = load("digits", seed=1).test
    assert (len(test), test.classes) == (360, tuple("0123456789"))
    assert test.fingerprint == "bb6cefa00f984d47c9bde8efb1d44ab583fcf5630ee7836d206dd515312199e9"
    assert load("digits", seed=2, validation=0.5).test.fingerprint == test.fingerprint


def test_the_parts_of_digits_share_no_picture_and_lose_none() -> None:
    splits = load("digits")
    parts = [set(part.sources) for _, part in splits.items()]
    assert [len(part) for part in parts] == [1150, 287, 360]
    assert set.union(*parts) == {f"digits/{index}" for index in range(1797)}
    hashes = [set(content_hashes(part)) for _, part in splits.items()]
    assert not hashes[0] & hashes[1] | hashes[0] & hashes[2] | hashes[1] & hashes[2]


def test_the_seed_decides_the_validation_part() -> None:
    one, again, other = (load("digits", seed=seed).validation.fingerprint for seed in (1, 1, 2))
    assert one == again != other


def test_digits_are_embedded_wherever_one_looks(tmp_path: Path) -> None:
    assert locate("digits") == "embedded"
    assert len(load("digits", data_dir=tmp_path / "absent").test) == 360


@pytest.mark.parametrize("validation", [0, 1])
def test_a_validation_share_that_leaves_a_part_empty_is_refused(validation: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        load("digits", validation=validation)


def test_an_idx_file_becomes_a_tensor_that_shares_its_memory() -> None:
    content = bytearray(idx(np.arange(24).reshape(2, 3, 4)))
    tensor = parse_idx(content, "x", 3)
    assert torch.equal(tensor, torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4))
    content[16] = 99
    assert tensor[0, 0, 0] == 99


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begin with 00 00 08 03 and to have a header of 16 bytes; got 0 bytes that begin with nothing"),
        (b"\x00\x00\x08\x03\x00", "got 5 bytes that begin with 00 00 08 03"),
        (idx(np.zeros(3)), "is not an idx file of unsigned bytes in 3 dimensions: .* begin with 00 00 08 01"),
        (b"\x00\x00\x0d\x03" + bytes(28), "begin with 00 00 0d 03"),
        (b"\x1f\x8b\x08\x00" + bytes(28), "begin with 1f 8b 08 00"),
        (
            idx(np.zeros((2, 3, 4)))[:-1],
            "cut off or damaged: its header declares 2 x 3 x 4 bytes; 23 follow it",
        ),
        (idx(np.zeros((2, 3, 4))) + b"x", "declares 2 x 3 x 4 bytes; 25 follow"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, r"declares 4,294,967,295 x .* bytes; 0 follow"),
        (b"\x00\x00\x08\x03" + bytes(12), "declares 0 x 0 x 0 bytes; 0 follow"),
    ],
)
def test_what_is_no_idx_file_is_refused_with_what_was_found(content: bytes, message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        parse_idx(bytearray(content), "images", 3)


@pytest.mark.mnist
def test_the_real_mnist_is_read_whole() -> None:
    splits = load("mnist")
    assert [len(part) for _, part in splits.items()] == [48_000, 12_000, 10_000]
    assert splits.test.sources[17] == "mnist/test/17"
    assert splits.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert list(splits.test.counts.values()) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert splits.train.images.shape == (48_000, 1, 28, 28)
    hashes = [set(content_hashes(part)) for _, part in splits.items()]
    assert not hashes[0] & hashes[1]


@pytest.mark.mnist
def test_the_real_mnist_is_the_same_from_the_file_that_keras_leaves(
    real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = read(catalogue.mnist, real_data)
    arrays = [
        part
        for dataset in (direct.train, direct.test)
        for part in (dataset.images[:, 0].numpy(), dataset.labels.numpy().astype(np.uint8))
    ]
    buffer = io.BytesIO()
    np.savez(buffer, **dict(zip(ARRAYS, arrays, strict=True)))
    path = Path.home() / ".keras" / "datasets" / "mnist.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(buffer.getvalue())
    monkeypatch.delenv("PELLUCID_DATA")
    assert locate("mnist") == str(path)
    assert read(catalogue.mnist).train.fingerprint == direct.train.fingerprint

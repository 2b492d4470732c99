"""Known data sets in archives, and those of which only the packed hash is known, in made-up files alike."""

import gzip
import hashlib
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.cache import cache_folder
from pellucid.data import DATASETS, load, locate
from pellucid.data.known import catalogue
from pellucid.data.known.find import Archive, KnownDataset, downloaded_files, locate_copy, read
from pellucid.errors import PellucidError
from pellucid.training.augment import parse_augmentations
from tests.data.known.toy import (
    NAMES,
    PACKED,
    TOYS,
    Mirrors,
    answer,
    half,
    idx,
    is_toy,
    put,
    toy,
)
from tests.toys import Call


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def archived(entry: KnownDataset, content: bytes) -> KnownDataset:
    """The entry with a made-up archive in the place of the published one."""
    assert entry.archive is not None
    digest = hashlib.sha256(content).hexdigest()
    return replace(entry, archive=replace(entry.archive, size=len(content), sha256=digest))


# --- EMNIST ------------------------------------------------------------------------------------------------

UPRIGHT = np.zeros((6, 28, 28), np.uint8)
UPRIGHT[:, 4:24, 10] = 255  # an L: down, then to the right
UPRIGHT[:, 23, 10:20] = 255
UPRIGHT[:, 0, 0] = np.arange(6)  # tells one from another
LETTERS = np.array([1, 2, 26, 1, 9, 12], np.uint8)


def emnist_members(kind: str, labels: np.ndarray, mapping: str) -> dict[str, bytes]:
    """What EMNIST's archive holds of one set, the pictures on their side, beside files of the others."""
    sideways = UPRIGHT.transpose(0, 2, 1)
    start = f"gzip/emnist-{kind}"
    return {
        "gzip/": b"",
        f"{start}-mapping.txt": mapping.encode(),
        f"{start}-train-images-idx3-ubyte.gz": gzip.compress(idx(sideways[:4])),
        f"{start}-train-labels-idx1-ubyte.gz": gzip.compress(idx(labels[:4])),
        f"{start}-test-images-idx3-ubyte.gz": gzip.compress(idx(sideways[4:])),
        f"{start}-test-labels-idx1-ubyte.gz": gzip.compress(idx(labels[4:])),
        "gzip/emnist-byclass-mapping.txt": b"0 48\n",
        "__MACOSX/gzip/._emnist-letters-mapping.txt": b"rubbish",
    }


def letters_archive() -> bytes:
    mapping = "".join(f"{number} {64 + number} {96 + number}\n" for number in range(1, 27))
    return zipped(emnist_members("letters", LETTERS, mapping))


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


@pytest.mark.parametrize(
    "folder", [".", "emnist", "emnist-letters", "EMNIST/raw", "~/.cache/torch/EMNIST/raw", "data/EMNIST/raw"]
)
def test_the_archive_is_found_where_it_may_lie(tmp_path: Path, folder: str) -> None:
    given = tmp_path / "mine"
    given.mkdir()
    path = Path(folder).expanduser() if folder[:4] in ("data", "~/.c") else given / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / "gzip.zip").write_bytes(letters_archive())
    entry = archived(catalogue.emnist_letters, letters_archive())
    assert Path(locate_copy(entry, given) or "") == path / "gzip.zip"
    assert len(read(entry, given).train) == 4
    assert not (cache_folder() / "emnist").exists()


def test_data_sets_of_one_archive_share_one_download(mirrors: Mirrors) -> None:
    content = zipped(
        emnist_members("letters", LETTERS, "".join(f"{n} {64 + n}\n" for n in range(1, 27)))
        | emnist_members("digits", np.arange(6), "".join(f"{n} {48 + n}\n" for n in range(10)))
    )
    mirrors.contents = {"gzip.zip": content}
    told: list[str] = []
    transfer = mirrors.transfer(progress=lambda name, so_far, total: told.append(name))
    assert len(read(archived(catalogue.emnist_letters, content), transfer=transfer).test) == 2
    assert len(read(archived(catalogue.emnist_digits, content), transfer=transfer).test) == 2
    assert mirrors.asked == ["biometrics gzip.zip"]
    assert set(told) == {"gzip.zip"}
    assert downloaded_files(catalogue.emnist_balanced) == (cache_folder() / "emnist" / "gzip.zip",)


# --- CIFAR -------------------------------------------------------------------------------------------------

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (12, 3, 32, 32), np.uint8)
TEN = "airplane automobile bird cat deer dog frog horse ship truck"


def rows(pixels: np.ndarray, *labels: np.ndarray) -> bytes:
    marks = np.stack(labels, axis=1).astype(np.uint8)
    return np.concatenate([marks, pixels.reshape(len(pixels), -1)], axis=1).tobytes()


def cifar_10_archive() -> bytes:
    labels = np.arange(12) % 10
    blocks = {
        f"cifar-10-batches-bin/data_batch_{n + 1}.bin": rows(
            PIXELS[2 * n : 2 * n + 2], labels[2 * n : 2 * n + 2]
        )
        for n in (1, 0, 2, 3, 4)  # in any order
    }
    return tarred(
        blocks
        | {
            "cifar-10-batches-bin/readme.html": b"<html>",
            "cifar-10-batches-bin/batches.meta.txt": TEN.replace(" ", "\n").encode() + b"\n\n",
            "cifar-10-batches-bin/test_batch.bin": rows(PIXELS[10:], labels[10:]),
        }
    )


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


# --- archives found and downloaded -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content[:-1], r"holds [\d,]+ bytes, expected [\d,]+"),
        (lambda content: content + b"x", r"holds [\d,]+ bytes, expected [\d,]+"),
        (lambda content: bytes(len(content)), r"has SHA-256 \w{64}, expected \w{64}"),
        (lambda content: content[:99] + bytes([content[99] ^ 1]) + content[100:], "has SHA-256"),
    ],
)
def test_an_archive_of_other_bytes_is_never_opened(
    tmp_path: Path, mirrors: Mirrors, spoil: Callable[[bytes], bytes], message: str
) -> None:
    content = cifar_10_archive()
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(spoil(content))
    mirrors.contents = {"cifar-10-binary.tar": content}
    with pytest.warns(UserWarning, match=rf"cifar-10-binary\.tar\.gz' {message}"):
        splits = read(archived(catalogue.cifar_10, content), tmp_path, transfer=mirrors.transfer())
    assert len(splits.train) == 10
    assert path.read_bytes() == spoil(content)


def test_a_mirror_of_other_bytes_is_passed_over_and_the_next_is_asked(mirrors: Mirrors) -> None:
    content = cifar_10_archive()
    mirrors.contents = {"cifar-10-binary.tar": content}
    mirrors.faults["www"] = lambda handler, body: answer(handler, bytes(len(body)))
    entry = archived(catalogue.cifar_10, content)
    assert len(read(entry, transfer=mirrors.transfer()).train) == 10
    assert mirrors.asked == ["www cifar-10-binary.tar", "data cifar-10-binary.tar"]
    assert [path.name for path in (cache_folder() / "cifar-10").iterdir()] == ["cifar-10-binary.tar.gz"]
    assert locate_copy(entry) == str(cache_folder() / "cifar-10" / "cifar-10-binary.tar.gz")


def test_an_archive_broken_off_goes_on_at_the_next_mirror(mirrors: Mirrors) -> None:
    content = cifar_10_archive()
    mirrors.contents = {"cifar-10-binary.tar": content}
    mirrors.faults["www"] = half
    assert len(read(archived(catalogue.cifar_10, content), transfer=mirrors.transfer()).train) == 10
    assert mirrors.ranges == ["", f"bytes={len(content) // 2}-"]


def test_offline_the_message_names_the_archive_and_the_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_OFFLINE", "1")
    with pytest.raises(PellucidError) as caught:
        load("cifar-10")
    message = str(caught.value)
    assert "170.1 MB are downloaded once and kept in" in message
    assert "a folder with cifar-10-binary.tar.gz, as it was published." in message
    assert "3. Give the path of a copy instead of the name" in message
    with pytest.raises(
        PellucidError, match=r"3\. Use a copy that torchvision left as EMNIST/raw under \./data"
    ):
        load("emnist-letters")
    assert locate("emnist-letters") is None


def test_an_archive_without_a_member_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_OFFLINE", "1")
    content = zipped({"gzip/emnist-letters-mapping.txt": b"1 65 97\n"})
    (tmp_path / "gzip.zip").write_bytes(content)
    with pytest.raises(PellucidError, match=r"gzip\.zip' lacks emnist-letters-train-images"):
        read(archived(catalogue.emnist_letters, content), tmp_path)


def test_the_folder_in_the_cache_is_the_archives_or_bears_the_data_sets_name() -> None:
    archive = Archive("x.zip", 1, "", ("b.gz", "a"))
    assert replace(toy, files=(), archive=archive).folder == "toy"
    assert replace(toy, files=(), archive=replace(archive, folder="shared")).folder == "shared"


# --- only the packed file's hash is published --------------------------------------------------------------

PACKED_ONLY = replace(
    toy,
    name="packed",
    files=tuple(
        replace(file, sha256="", packed_sha256=hashlib.sha256(PACKED[file.name]).hexdigest())
        for file in toy.files
    ),
)


def test_a_packed_file_is_told_right_by_its_own_hash(tmp_path: Path) -> None:
    put(tmp_path / "packed", packed=True)
    put(tmp_path / "packed")  # unpacked beside it, as torchvision leaves them: not needed
    assert is_toy(read(PACKED_ONLY, tmp_path))


def test_other_packed_bytes_are_refused_even_when_they_unpack_to_the_same(
    tmp_path: Path, mirrors: Mirrors
) -> None:
    folder = put(tmp_path / "packed", packed=True)
    (folder / f"{NAMES[0]}.gz").write_bytes(gzip.compress(TOYS[NAMES[0]], 1, mtime=1))
    with pytest.warns(UserWarning, match=rf"{NAMES[0]}\.gz' has SHA-256 \w+, expected"):
        assert is_toy(read(PACKED_ONLY, tmp_path, transfer=mirrors.transfer()))
    assert len(mirrors.asked) == 4


def test_an_unpacked_copy_alone_is_passed_over_with_the_reason(tmp_path: Path, mirrors: Mirrors) -> None:
    put(tmp_path / "packed")
    reason = rf"{NAMES[0]}' cannot be verified: only of {NAMES[0]}\.gz is the SHA-256 published"
    with pytest.warns(UserWarning, match=reason):
        assert is_toy(read(PACKED_ONLY, tmp_path, transfer=mirrors.transfer()))
    assert locate_copy(PACKED_ONLY, tmp_path) == str(cache_folder() / "packed")


def test_kmnist_asks_for_the_packed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_OFFLINE", "1")
    with pytest.raises(PellucidError, match=r"a folder with these files, as \.gz: train-images-idx3-ubyte,"):
        load("kmnist")


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

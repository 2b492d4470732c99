"""Known data sets are found, or downloaded right, or refused with the way out."""

import gzip
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.cache import cache_folder
from pellucid.data import load, locate
from pellucid.data.known import catalogue
from pellucid.data.known.find import Archive, downloaded_files, locate_copy, read
from pellucid.errors import PellucidError, UsageError
from tests.data.known.toy import (
    ARRAYS,
    LETTERS,
    NAMES,
    OTHERS,
    PACKED,
    TOYS,
    Mirrors,
    answer,
    archived,
    cifar_10_archive,
    emnist_members,
    half,
    is_toy,
    letters_archive,
    made_arrays,
    npz,
    put,
    toy,
    zipped,
)


def test_importing_the_package_needs_no_network_and_writes_nothing(tmp_path: Path) -> None:
    code = "import pellucid.data, os; print(sorted(os.listdir()))"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
    assert not cache_folder().exists()


# --- found -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("folder", ["toy", "Toy/raw", "."])
def test_a_copy_is_found_in_the_given_folder(tmp_path: Path, folder: str, *, packed: bool) -> None:
    path = put(tmp_path / "mine" / folder, packed=packed)
    splits = read(toy, tmp_path / "mine")
    assert is_toy(splits)
    assert len(splits.validation) == 0
    assert (splits.train.sources[17], splits.test.sources[8]) == ("toy/train/17", "toy/test/8")
    assert locate_copy(toy, tmp_path / "mine") == str(path)


def test_a_copy_is_found_through_the_environment_or_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cached = put(cache_folder() / "toy", packed=True)
    assert is_toy(read(toy))
    assert locate_copy(toy) == str(cached)
    shared = put(tmp_path / "shared" / "toy")
    monkeypatch.setenv("PELLUCID_DATA", str(tmp_path / "shared"))
    assert is_toy(read(toy))
    assert locate_copy(toy) == str(shared)


@pytest.mark.parametrize(
    ("variable", "folder"),
    [
        (None, "data/Toy/raw"),
        (None, "Toy/raw"),
        (None, "~/.cache/torch/Toy/raw"),
        ("XDG_CACHE_HOME", "torch/Toy/raw"),
        ("TORCH_HOME", "datasets/Toy/raw"),
        ("TORCH_HOME", "Toy/raw"),
    ],
)
def test_a_copy_that_torchvision_left_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str | None, folder: str
) -> None:
    if variable is not None:
        monkeypatch.setenv(variable, str(tmp_path / "given"))
        folder = str(tmp_path / "given" / folder)
    put(Path(folder).expanduser())
    assert is_toy(read(toy))
    assert Path(locate_copy(toy) or "") == Path(folder).expanduser()


@pytest.mark.parametrize("variable", [None, "KERAS_HOME"])
def test_a_copy_that_keras_left_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str | None
) -> None:
    home = Path.home() / ".keras"
    if variable is not None:
        home = tmp_path / "keras"
        monkeypatch.setenv(variable, str(home))
    (home / "datasets").mkdir(parents=True)
    np.savez_compressed(home / "datasets" / "toy.npz", **dict(zip(ARRAYS, made_arrays(), strict=True)))
    assert is_toy(read(toy))
    assert locate_copy(toy) == str(home / "datasets" / "toy.npz")


def test_a_folder_that_keras_left_is_found() -> None:
    put(Path.home() / ".keras" / "datasets" / "fashion-toy", packed=True)
    assert is_toy(read(replace(toy, keras="fashion-toy")))


def test_the_given_folder_comes_first_then_the_environment_then_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PELLUCID_DATA", str(tmp_path / "shared"))
    monkeypatch.setenv("PELLUCID_OFFLINE", "1")
    folders = [
        tmp_path / "mine" / "toy",
        tmp_path / "shared" / "toy",
        cache_folder() / "toy",
        Path("data/Toy/raw"),
    ]
    for folder in folders:
        put(folder)
    for folder in folders:
        assert locate_copy(toy, tmp_path / "mine") == str(folder)
        for path in folder.iterdir():
            path.unlink()
    assert locate_copy(toy, tmp_path / "mine") is None


def test_nothing_of_the_persons_is_changed(tmp_path: Path) -> None:
    mine = put(tmp_path / "mine" / "toy", packed=True)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (mine.parent, *mine.iterdir())}
    for path in (mine, *mine.iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert is_toy(read(toy, tmp_path / "mine"))
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in before} == before
    assert not cache_folder().exists()
    mine.chmod(0o755)


def test_a_given_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^`data_dir=.*absent` is not a folder\. Name the one with 'toy'\.$"
    ):
        read(toy, tmp_path / "absent")


def test_the_unpacked_form_serves_where_the_packed_one_is_damaged(tmp_path: Path) -> None:
    folder = put(tmp_path / "toy")
    put(folder, OTHERS, packed=True)
    assert is_toy(read(toy, tmp_path))
    put(folder, OTHERS)
    put(folder, packed=True)
    assert is_toy(read(toy, tmp_path))


def bomb() -> bytes:
    return gzip.compress(bytes(20_000_000))


DAMAGE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "other pictures": ("", lambda: OTHERS[NAMES[0]], r"has SHA-256 \w{64} unpacked, expected \w{64}"),
    "cut off": ("", lambda: TOYS[NAMES[0]][:-1], "holds 615 bytes unpacked, expected 616"),
    "too long": ("", lambda: TOYS[NAMES[0]] + b"x", "holds more bytes unpacked, expected 616"),
    "empty": ("", lambda: b"", "holds 0 bytes unpacked, expected 616"),
    "far too long": ("", lambda: bytes(5000), "is too large: 5,000 bytes for a file of 616"),
    "no gzip": (".gz", lambda: b"<html>404</html>", "cannot be read: Not a gzipped file"),
    "gzip cut off": (".gz", lambda: PACKED[NAMES[0]][:-20], "cannot be read: Compressed file ended before"),
    "gzip damaged": (
        ".gz",
        lambda: PACKED[NAMES[0]][:40] + b"????" + PACKED[NAMES[0]][44:],
        "cannot be read|SHA",
    ),
    "gzip of others": (".gz", lambda: gzip.compress(OTHERS[NAMES[0]]), "has SHA-256"),
    "gzip twice": (".gz", lambda: PACKED[NAMES[0]] * 2, "holds more bytes unpacked|too large"),
    "gzip bomb": (".gz", bomb, "is too large|holds more bytes"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_copy_is_passed_over_with_a_warning_that_names_the_file(
    tmp_path: Path, damage: str
) -> None:
    ending, content, message = DAMAGE[damage]
    bad = put(tmp_path / "mine" / "toy")
    (bad / NAMES[0]).unlink()
    (bad / f"{NAMES[0]}{ending}").write_bytes(content())
    put(Path("data/Toy/raw"))
    with pytest.warns(
        UserWarning, match=rf"^'toy' was read from another copy: '.*{NAMES[0]}{ending}' ({message})"
    ):
        assert is_toy(read(toy, tmp_path / "mine"))


def test_a_gzip_bomb_is_unpacked_no_further_than_the_expected_size(tmp_path: Path) -> None:
    import tracemalloc

    first, *others = toy.files  # of a size with which the bomb's 19 kB pass as a packed file
    larger = replace(toy, files=(replace(first, size=40_000), *others), mirrors=())
    (put(tmp_path / "toy", packed=True) / f"{NAMES[0]}.gz").write_bytes(bomb())
    tracemalloc.start()
    with pytest.raises(PellucidError, match="holds more bytes unpacked, expected 40,000"):
        read(larger, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_copy_that_lacks_a_file_is_named(tmp_path: Path) -> None:
    bad = put(tmp_path / "toy")
    (bad / NAMES[3]).unlink()
    put(cache_folder() / "toy")
    with pytest.warns(UserWarning, match=rf"toy' lacks {NAMES[3]}\.$"):
        assert is_toy(read(toy, tmp_path))


def test_a_pellucid_data_that_is_no_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_DATA", "/no/such/folder")
    put(cache_folder() / "toy")
    with pytest.warns(UserWarning, match="PELLUCID_DATA names '/no/such/folder', which is not a folder"):
        assert is_toy(read(toy))


def hostile_npz(path: Path, header: str, body: bytes, *, version: bytes = b"\x01\x00") -> None:
    """An .npz whose x_train.npy has any header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    length = (
        len(header).to_bytes(2, "little") if version == b"\x01\x00" else len(header).to_bytes(4, "little")
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", b"\x93NUMPY" + version + length + header.encode() + body)


def header_of(shape: str, kind: str = "|u1", order: str = "False") -> str:
    return f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}}}\n"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"PK no zip"), "cannot be read: File is not a zip file"),
        (
            lambda path: npz(path, {"x_train": made_arrays()[0]}),
            "cannot be read: .*There is no item named 'y_train",
        ),
        (lambda path: npz(path, dict(zip(ARRAYS, made_arrays(1), strict=True))), "x_train' has SHA-256"),
        (
            lambda path: npz(path, {"x_train": made_arrays()[0].astype(np.float32)}),
            r"x_train' is float32 \(30, 5, 4\), expected uint8",
        ),
        (
            lambda path: npz(path, {"x_train": np.asfortranarray(made_arrays()[0])}),
            r"x_train' is uint8 \(30, 5, 4\)",
        ),
        (
            lambda path: npz(path, {"x_train": np.array([{}], dtype=object)}),
            "x_train' is object|cannot be read",
        ),
        (
            lambda path: hostile_npz(path, header_of("(60000000000, 28, 28)"), b""),
            r"is uint8 \(60000000000, 28, 28\)",
        ),
        (lambda path: hostile_npz(path, header_of("(-30, -5, 4)"), bytes(600)), r"is uint8 \(-30, -5, 4\)"),
        (lambda path: hostile_npz(path, header_of("()"), bytes(600)), r"is uint8 \(\)"),
        (lambda path: hostile_npz(path, header_of("(30, 5, 4)"), bytes(599)), "holds 615 bytes unpacked"),
        (
            lambda path: hostile_npz(path, header_of("(30, 5, 4)"), bytes(10_000_000)),
            "holds more bytes unpacked",
        ),
        (lambda path: hostile_npz(path, "__import__('os').abort()", b""), "cannot be read"),
        (lambda path: hostile_npz(path, "((((", b""), "cannot be read"),
        (lambda path: hostile_npz(path, "[" * 9_000, b""), "cannot be read"),
        (lambda path: hostile_npz(path, "x" * 60_000, b""), "cannot be read"),
        (
            lambda path: hostile_npz(path, header_of("(30, 5, 4)"), b"", version=b"\x02\x00"),
            "of .npy version",
        ),
    ],
)
def test_a_hostile_npz_is_passed_over(make: Callable[[Path], None], message: str) -> None:
    path = Path.home() / ".keras" / "datasets" / "toy.npz"
    path.parent.mkdir(parents=True)
    make(path)
    put(Path("data/Toy/raw"))
    with pytest.warns(UserWarning, match=rf"toy\.npz.*{message}"):
        assert is_toy(read(toy))


# --- nowhere -----------------------------------------------------------------------------------------------


def test_offline_and_absent_the_message_names_the_three_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_OFFLINE", "1")
    with pytest.raises(PellucidError) as caught:
        load("mnist")
    assert type(caught.value) is PellucidError
    assert caught.value.exit_code == 1
    assert str(caught.value) == (
        "'mnist' is not on this machine and was not downloaded: PELLUCID_OFFLINE is set.\n"
        "Three ways to provide it:\n"
        "  1. Go online and run the command again, without PELLUCID_OFFLINE: 11.6 MB are downloaded once and "
        f"kept in '{cache_folder() / 'mnist'}'.\n"
        "  2. Point `data_dir` or PELLUCID_DATA at a folder with these files, unpacked or as .gz: "
        "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte.\n"
        "  3. Use a copy that Keras left as ~/.keras/datasets/mnist.npz, or torchvision as MNIST/raw under "
        "./data, the current folder or ~/.cache/torch: put it there."
    )
    assert locate("mnist") is None
    assert not cache_folder().exists()


def test_offline_a_damaged_copy_is_named_in_the_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PELLUCID_OFFLINE", "1")
    put(tmp_path / "toy", OTHERS)
    with pytest.raises(PellucidError, match=rf"Found, but skipped: '.*{NAMES[0]}' has SHA-256 \w+ unpacked"):
        read(toy, tmp_path)


def test_offline_asks_no_server(mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_OFFLINE", "1")
    with pytest.raises(PellucidError):
        read(toy, transfer=mirrors.transfer())
    assert mirrors.asked == []
    monkeypatch.setenv("PELLUCID_OFFLINE", "0")
    assert is_toy(read(toy, transfer=mirrors.transfer()))


def test_a_machine_without_a_network_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def no_names(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_names)
    with pytest.raises(
        PellucidError,
        match=r"https://first\.test/toy/.* cannot be reached: .*Temporary failure in name resolution",
    ):
        read(toy)


def test_the_test_suite_itself_reaches_no_server() -> None:
    with pytest.raises(Exception, match=r"a test tried to reach first\.test"):
        read(toy)


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

"""Known data sets: found, or downloaded whole and right, or refused with the way out."""

import gzip
import io
import math
import os
import re
import subprocess
import sys
import threading
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from pellucid.cache import cache_folder
from pellucid.data import DATASETS, load, locate
from pellucid.data.dataset import content_hashes
from pellucid.data.known import catalogue, download, find
from pellucid.data.known.catalogue import parse_idx
from pellucid.data.known.download import RangeMismatch, Rejected, fetch
from pellucid.data.known.find import KnownDataset, locate_copy, read
from pellucid.errors import PellucidError, UsageError
from tests.data.known.toy import (
    ARRAYS,
    NAMES,
    OTHERS,
    PACKED,
    TOYS,
    Fault,
    Mirrors,
    answer,
    half,
    half_silently,
    idx,
    is_toy,
    made_arrays,
    put,
    ranged,
    stalled,
    toy,
    whole,
    without_end,
    without_length,
)

# --- the table ---------------------------------------------------------------------------------------------


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


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    for ask in (load, locate):
        with pytest.raises(
            UsageError,
            match=r"^Unknown data set 'minst'\. Did you mean 'mnist'\? Known: cifar-10, .*, kmnist, mnist\.",
        ):
            ask("minst")


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


# --- digits ------------------------------------------------------------------------------------------------


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


# --- idx ---------------------------------------------------------------------------------------------------


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

    file = replace(toy.files[0], size=40_000)  # so that its 19 kB pass as a packed file
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(bomb())
    tracemalloc.start()
    with pytest.raises(Rejected, match="holds more bytes unpacked, expected 40,000"):
        find._content(tmp_path / f"{NAMES[0]}.gz", file, packed=True)
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


def npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


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


# --- downloaded --------------------------------------------------------------------------------------------


def at_first(fault: Fault) -> Fault:
    """Only the first of the four files: waiting takes time."""
    return lambda handler, body: (fault if body == PACKED[NAMES[0]] else ranged)(handler, body)


def no_progress(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    threading.Event().wait(1.5)


def hung_up(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.connection.close()


def nonsense(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.wfile.write(b"220 ftp.test ready\r\n")


def many_headers(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    answer(handler, body, **{f"X_{number}": "x" for number in range(200)})


def to(address: str, status: int = 302) -> Fault:
    return lambda handler, body: answer(handler, b"", status=status, Location=address)


def status(code: int) -> Fault:
    return lambda handler, body: answer(handler, b"<html>", status=code)


def spoilt(change: Callable[[bytes], bytes]) -> Fault:
    return lambda handler, body: ranged(handler, change(body))


FAULTS: dict[str, tuple[Fault, str]] = {
    "cut off": (half, r"ended after \d+ of \d+ bytes"),
    "cut off, length not told": (half_silently, r"ended after \d+ of \d+ bytes"),
    "wrong bytes": (spoilt(lambda body: bytes(len(body))), "gave the wrong bytes: .* Not a gzipped file"),
    "one bit": (spoilt(lambda body: body[:40] + bytes([body[40] ^ 1]) + body[41:]), "gave the wrong bytes"),
    "too long": (spoilt(lambda body: body + b"x"), r"announced \d+ bytes, expected"),
    "too short": (spoilt(lambda body: body[:-1]), r"announced \d+ bytes, expected"),
    "length of another": (
        lambda h, body: answer(h, body, length=10**15),
        r"announced 1000000000000000 bytes",
    ),
    "length a lie": (lambda h, body: answer(h, body, length=-1), "announced -1 bytes"),
    "403": (status(403), "HTTP 403: Forbidden"),
    "404": (status(404), "HTTP 404: Not Found"),
    "416": (status(416), "HTTP 416"),
    "429": (status(429), "HTTP 429"),
    "500": (status(500), "HTTP 500"),
    "503": (status(503), "HTTP 503: Service Unavailable"),
    "204": (lambda h, body: answer(h, b"", status=204), "HTTP 204, expected 200"),
    "206 unasked": (
        lambda h, body: answer(h, body, status=206, Content_Range=f"bytes 0-{len(body) - 1}/{len(body)}"),
        "answered with the range",
    ),
    "stalled": (at_first(stalled), "does not answer"),
    "silent": (at_first(no_progress), "does not answer"),
    "hung up": (hung_up, "broke off|cannot be reached"),
    "no http": (nonsense, "broke off"),
    "too many headers": (many_headers, "broke off"),
    "to a file": (to("file:///etc/passwd"), "not allowed"),
    "to http": (to("http://first.test/x"), "redirected to http://first.test/x, which is not https"),
    "to http, for ever": (to("http://first.test/x", 301), "which is not https"),
    "to http, 307": (to("http://first.test/x", 307), "which is not https"),
    "to ftp": (to("ftp://first.test/x"), "which is not https"),
    "to data": (to("data:,x"), "not allowed|which is not https"),
    "to nowhere": (to("https://first.test/toy/t10k-labels-idx1-ubyte.gz"), "HTTP 302"),
    "a page": (lambda h, body: answer(h, b"<html>sign in</html>"), "announced 20 bytes"),
}


SLOW = ("stalled", "silent")


@pytest.mark.parametrize("fault", FAULTS)
def test_the_second_mirror_serves_when_the_first_fails(mirrors: Mirrors, fault: str) -> None:
    mirrors.faults["first"] = FAULTS[fault][0]
    mirrors.patience = 0.5 if fault in SLOW else mirrors.patience
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a mirror that failed is nobody's concern once another served
        assert is_toy(read(toy, transfer=mirrors.transfer()))
    assert f"second {NAMES[0]}" in mirrors.asked
    assert sorted(path.name for path in (cache_folder() / "toy").iterdir()) == sorted(
        f"{n}.gz" for n in NAMES
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_when_both_mirrors_fail_nothing_is_accepted_and_the_next_start_works(
    mirrors: Mirrors, fault: str
) -> None:
    mirrors.faults = dict.fromkeys(("first", "second"), FAULTS[fault][0])
    mirrors.patience = 0.5 if fault in SLOW else mirrors.patience
    with pytest.raises(PellucidError) as caught:
        read(toy, transfer=mirrors.transfer())
    assert caught.value.exit_code == 1
    message = str(caught.value)
    assert re.search(FAULTS[fault][1], message)
    assert "https://first.test/toy/" in message
    assert "https://second.test/toy/" in message
    assert not [path for path in (cache_folder() / "toy").iterdir() if path.suffix == ".gz"]
    mirrors.faults, mirrors.patience = {}, 30
    assert is_toy(read(toy, transfer=mirrors.transfer()))


def test_what_was_downloaded_is_found_the_next_time_without_the_network(mirrors: Mirrors) -> None:
    read(toy, transfer=mirrors.transfer())
    asked = len(mirrors.asked)
    assert asked == 4
    assert locate_copy(toy) == str(cache_folder() / "toy")
    assert is_toy(read(toy, transfer=mirrors.transfer()))
    assert len(mirrors.asked) == asked


def test_a_download_tells_its_progress(mirrors: Mirrors) -> None:
    told: list[tuple[str, int, int]] = []
    read(toy, transfer=mirrors.transfer(progress=lambda *figures: told.append(figures)))
    last = {name: (so_far, total) for name, so_far, total in told}
    assert last == {f"{name}.gz": (len(packed), len(packed)) for name, packed in PACKED.items()}


def test_a_length_that_is_not_told_and_an_answer_without_end_are_borne(mirrors: Mirrors) -> None:
    for fault in (without_length, without_end):
        mirrors.faults["first"] = fault
        part = Path(f"{fault.__name__}.part")
        fetch(
            f"https://first.test/toy/{NAMES[0]}.gz",
            part,
            size=len(PACKED[NAMES[0]]),
            transfer=mirrors.transfer(),
        )
        assert part.read_bytes() == PACKED[NAMES[0]]


def test_a_redirection_to_another_https_address_is_followed(mirrors: Mirrors) -> None:
    def moved(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        to(f"https://second.test{handler.path}")(handler, body)

    mirrors.faults["first"] = moved
    part = Path("part")
    part.write_bytes(PACKED[NAMES[0]][:100])
    fetch(
        f"https://first.test/toy/{NAMES[0]}.gz", part, size=len(PACKED[NAMES[0]]), transfer=mirrors.transfer()
    )
    assert part.read_bytes() == PACKED[NAMES[0]]
    assert mirrors.ranges == ["bytes=100-"] * 2


@pytest.mark.parametrize(
    "address", ["http://first.test/x", "file:///etc/passwd", "ftp://first.test/x", "/etc/passwd"]
)
def test_nothing_but_https_is_fetched(mirrors: Mirrors, address: str) -> None:
    with pytest.raises(Rejected, match="is not an https address"):
        fetch(address, Path("part"), size=10, transfer=mirrors.transfer())
    assert not Path("part").exists()
    assert mirrors.asked == []


def test_an_answer_cut_off_goes_on_at_the_second_mirror_where_it_stopped(mirrors: Mirrors) -> None:
    mirrors.faults["first"] = half
    assert is_toy(read(toy, transfer=mirrors.transfer()))
    expected = [line for name in NAMES for line in ("", f"bytes={len(PACKED[name]) // 2}-")]
    assert mirrors.ranges == expected


def test_a_server_that_ignores_ranges_is_taken_from_the_beginning(mirrors: Mirrors) -> None:
    mirrors.faults["first"] = whole
    part = Path("part")
    part.write_bytes(b"earlier bytes, now of no use")
    fetch(
        f"https://first.test/toy/{NAMES[0]}.gz", part, size=len(PACKED[NAMES[0]]), transfer=mirrors.transfer()
    )
    assert part.read_bytes() == PACKED[NAMES[0]]
    assert mirrors.ranges == [f"bytes={len('earlier bytes, now of no use')}-"]


@pytest.mark.parametrize("where", ["bytes 0-9/10", "bytes 3-*/*", "", "bytes 5-4/99999"])
def test_a_server_that_gives_another_range_is_asked_again_for_all(mirrors: Mirrors, where: str) -> None:
    def other(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if handler.headers.get("Range"):
            answer(handler, body[3:], status=206, Content_Range=where)
        else:
            answer(handler, body)

    mirrors.faults["first"] = other
    part = Path("part")
    part.write_bytes(PACKED[NAMES[0]][:5])
    fetch(
        f"https://first.test/toy/{NAMES[0]}.gz", part, size=len(PACKED[NAMES[0]]), transfer=mirrors.transfer()
    )
    assert part.read_bytes() == PACKED[NAMES[0]]
    assert mirrors.ranges == ["bytes=5-", ""]


def test_a_server_that_refuses_the_range_is_asked_again_for_all(mirrors: Mirrors) -> None:
    mirrors.faults["first"] = lambda h, body: (
        status(416)(h, body) if h.headers.get("Range") else whole(h, body)
    )
    part = Path("part")
    part.write_bytes(b"12345")
    fetch(
        f"https://first.test/toy/{NAMES[0]}.gz", part, size=len(PACKED[NAMES[0]]), transfer=mirrors.transfer()
    )
    assert part.read_bytes() == PACKED[NAMES[0]]
    mirrors.faults["first"] = status(416)
    with pytest.raises(RangeMismatch):
        fetch(
            "https://first.test/toy/t10k-labels-idx1-ubyte.gz",
            Path("new"),
            size=9,
            transfer=mirrors.transfer(),
        )


@pytest.mark.parametrize("beginning", [b"rubbish", b"x" * 10_000, b"x" * len(PACKED[NAMES[0]])])
def test_a_part_that_spoils_the_file_is_dropped_and_the_file_fetched_anew(
    mirrors: Mirrors, beginning: bytes
) -> None:
    folder = cache_folder() / "toy"
    folder.mkdir(parents=True)
    (folder / f"{NAMES[0]}.gz.part").write_bytes(beginning)
    assert is_toy(read(toy, transfer=mirrors.transfer()))
    assert {line.split()[0] for line in mirrors.asked} == {"first"}


def test_a_damaged_file_in_the_cache_is_downloaded_anew_and_named(mirrors: Mirrors) -> None:
    put(cache_folder() / "toy", TOYS | {NAMES[1]: OTHERS[NAMES[0]]}, packed=True)
    with pytest.warns(UserWarning, match=rf"{NAMES[1]}\.gz' "):
        assert is_toy(read(toy, transfer=mirrors.transfer()))
    assert mirrors.asked == [f"first {NAMES[1]}"]
    assert is_toy(read(toy, transfer=mirrors.transfer()))


def test_only_the_files_that_are_missing_are_downloaded(mirrors: Mirrors) -> None:
    put(cache_folder() / "toy", {name: TOYS[name] for name in NAMES[:2]}, packed=True)
    assert is_toy(read(toy, transfer=mirrors.transfer()))
    assert mirrors.asked == [f"first {name}" for name in NAMES[2:]]


KILLED = """
import sys, urllib.request
from pathlib import Path
from pellucid.data.known.find import read
from pellucid.data.known.download import Transfer
from tests.data.known.toy import ToLoopback, toy
import os
def die(name, so_far, total):
    if name.startswith("train-images") and so_far >= 100:
        os.kill(os.getpid(), 9)
from pellucid.data.known import download
download.BLOCK = 50
read(toy, transfer=Transfer(die, ToLoopback({port}), 5.0))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on this system")
def test_a_download_killed_half_way_goes_on_at_the_next_start(mirrors: Mirrors, tmp_path: Path) -> None:
    code = KILLED.format(port=mirrors.port)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == -9, done.stderr
    assert not list((cache_folder() / "toy").glob("*.gz"))
    mirrors.asked.clear()
    assert is_toy(read(toy, transfer=mirrors.transfer()))
    assert len(mirrors.asked) == 4


def test_an_interrupted_download_keeps_its_bytes_and_goes_on(
    mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "BLOCK", 50)

    def interrupt(name: str, so_far: int, total: int) -> None:
        if so_far >= 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(toy, transfer=mirrors.transfer(progress=interrupt))
    part = cache_folder() / "toy" / f"{NAMES[0]}.gz.part"
    assert part.read_bytes() == PACKED[NAMES[0]][:100]
    mirrors.ranges.clear()
    assert is_toy(read(toy, transfer=mirrors.transfer()))
    assert mirrors.ranges[0] == "bytes=100-"


def test_a_server_that_drips_is_given_up(mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()
        for byte in body:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            threading.Event().wait(0.05)

    mirrors.faults["first"], mirrors.patience = drip, 0.5
    monkeypatch.setattr(download, "SLOWEST_BYTES_PER_SECOND", 100_000)
    with pytest.raises(Rejected, match="is slower than 100,000 bytes a second"):
        fetch(f"https://first.test/toy/{NAMES[0]}.gz", Path("part"), size=616, transfer=mirrors.transfer())


@pytest.mark.skipif(sys.platform == "win32", reason="no advisory locks on this system")
def test_two_processes_do_not_write_one_part(mirrors: Mirrors) -> None:
    import fcntl

    folder = cache_folder() / "toy"
    folder.mkdir(parents=True)
    with (folder / f"{NAMES[0]}.gz.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(
            PellucidError, match=r"is being written by another process\. Wait until it is done"
        ):
            read(toy, transfer=mirrors.transfer())


def test_a_cache_that_cannot_be_written_is_named_with_the_three_ways(
    mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PELLUCID_HOME", str(tmp_path / "file"))
    with pytest.raises(PellucidError, match=r"(?s)Cannot write '.*toy': .*Three ways to provide it"):
        read(toy, transfer=mirrors.transfer())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device on this system")
def test_a_full_disk_is_named(mirrors: Mirrors) -> None:
    folder = cache_folder() / "toy"
    folder.mkdir(parents=True)
    (folder / f"{NAMES[0]}.gz.part").symlink_to("/dev/full")
    with pytest.raises(
        PellucidError, match=r"Cannot write '.*part': (No space left on device|Invalid argument)"
    ):
        read(toy, transfer=mirrors.transfer())


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


# --- the real thing ----------------------------------------------------------------------------------------


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

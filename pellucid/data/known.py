"""Data sets known by name: found where they lie or downloaded once, verified, parsed.

A copy is used only when the SHA-256 of its unpacked bytes is the published one, wherever it came from:
nothing found on the disk and nothing sent by a server is trusted. Folders are read, never changed; what is
downloaded goes to pellucid's own cache.
"""

import gzip
import hashlib
import math
import os
import time
import urllib.error
import urllib.request
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import torch
from torch import Tensor

from pellucid import files
from pellucid.data.dataset import Dataset, Splits, split
from pellucid.errors import PellucidError, UsageError

Progress = Callable[[str, int, int], None]  # file name, bytes so far, bytes in all

SLOWEST_BYTES_PER_SECOND = 4096
BLOCK = 1 << 16
UNSIGNED_BYTE = 0x08  # of the idx format
DIGITS = 1797
DIGITS_HELD_OUT = 360
DIGITS_SEED = 1797  # never the recipe's: the test set is the same for ever


class Transfer(NamedTuple):
    """How bytes come over the network: who is told of them, what carries https, how long a silence may be."""

    progress: Progress | None = None
    transport: urllib.request.BaseHandler | None = None  # None: urllib's own, certificates checked
    timeout_seconds: float = 20.0


PLAINLY = Transfer()


@dataclass(frozen=True)
class KnownFile:
    """One file of a data set: `size` and `sha256` of its unpacked bytes, `packed` bytes of NAME.gz."""

    name: str
    size: int
    sha256: str
    packed: int


@dataclass(frozen=True)
class Known:
    """A data set pellucid knows by name: what it is, where it may lie, and how to tell that it is right.

    shape        (C, H, W) of every picture
    parse        from the unpacked files by name to the parts; the validation part may be empty
    files        train images, train labels, test images, test labels; none: the data set is embedded
    mirrors      https addresses, each followed by NAME.gz
    keras        what Keras leaves under ~/.keras/datasets: an .npz or a folder
    torchvision  the folder torchvision leaves under its root
    augment      what a recipe's "auto" means: names of AUGMENTATIONS that leave a picture what it is
    """

    name: str
    title: str
    licence: str
    homepage: str
    citation: str
    pictures: int
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    parse: Callable[["Known", Mapping[str, bytearray]], Splits]
    files: tuple[KnownFile, ...] = ()
    mirrors: tuple[str, ...] = ()
    keras: str = ""
    torchvision: str = ""
    augment: str = "none"

    @property
    def download_bytes(self) -> int:
        """What a download amounts to; 0 when the data set is embedded."""
        return sum(file.packed for file in self.files)


class Unfit(Exception):
    """Why one copy, or one mirror, is passed over; the next is tried. It never leaves this module."""


class OtherRange(Unfit):
    """The server does not go on where the part ends; the file is asked for from its beginning."""


def read(known: Known, data_dir: Path | None = None, *, transfer: Transfer = PLAINLY) -> Splits:
    """The data set's parts, from the first place that holds a right copy, else downloaded.

    Looked for in `data_dir`, PELLUCID_DATA, pellucid's cache, and where Keras and torchvision leave it. A
    copy that is not right is passed over with a warning that names the file.

    Raises UsageError when `data_dir` is no folder, and PellucidError, with the three ways to provide the
    data set, when it is nowhere and cannot be downloaded.
    """
    if data_dir is not None and known.files and not data_dir.is_dir():
        raise UsageError(f"--data-dir '{data_dir}' is no folder. Name the one that holds '{known.name}'.")
    problems: list[str] = []
    contents = _found(known, data_dir, problems)
    if contents is None:
        contents = _downloaded(known, problems, transfer)
    if problems:
        warnings.warn(f"'{known.name}' was taken from elsewhere: {'; '.join(problems)}.", stacklevel=3)
    return known.parse(known, contents)


def place(known: Known, data_dir: Path | None = None) -> str | None:
    """Where the data set would be taken from: "embedded", a path, or None. Names and sizes are not read."""
    if not known.files:
        return "embedded"
    return next((str(path) for path in _places(known, data_dir) if _is_there(known, path)), None)


def cache_folder() -> Path:
    """Where pellucid keeps what it downloads: PELLUCID_HOME, else the user's cache folder."""
    if home := os.environ.get("PELLUCID_HOME"):
        return Path(home)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "pellucid"


def _places(known: Known, data_dir: Path | None) -> list[Path]:
    """Every folder, or .npz, that could hold the data set, in the order in which it is asked."""
    given = [data_dir] if data_dir is not None else []
    if shared := os.environ.get("PELLUCID_DATA"):
        given.append(Path(shared))
    keras_home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    torch_home = Path(os.environ.get("TORCH_HOME") or cache / "torch")
    places = [
        *(root / name for root in given for name in (known.name, known.torchvision, known.keras, "")),
        cache_folder() / known.name,
        keras_home / "datasets" / known.keras,
        *(root / known.torchvision for root in (Path("data"), Path(), torch_home, torch_home / "datasets")),
    ]
    return list(dict.fromkeys(places))


def _is_there(known: Known, path: Path) -> bool:
    try:
        return path.is_file() if path.suffix == ".npz" else not _missing(known, path)
    except OSError:
        return False


def _missing(known: Known, folder: Path) -> list[str]:
    """The names that stand in the folder neither packed nor unpacked."""
    names = [file.name for file in known.files]
    return [name for name in names if not any(path.is_file() for path in _forms(folder, name))]


def _forms(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / name, folder / f"{name}.gz"


def _found(known: Known, data_dir: Path | None, problems: list[str]) -> dict[str, bytearray] | None:
    """The first right copy on this machine; what was wrong with others is added to `problems`."""
    if not known.files:
        return {}
    if (shared := os.environ.get("PELLUCID_DATA")) and not Path(shared).is_dir():
        problems.append(f"PELLUCID_DATA names '{shared}', which is no folder")
    for path in _places(known, data_dir):
        try:
            if path.suffix == ".npz":
                if path.is_file():
                    return _from_npz(known, path)
            elif len(missing := _missing(known, path)) < len(known.files):
                if not missing:
                    return {file.name: _from_folder(path, file) for file in known.files}
                if path != cache_folder() / known.name:  # there the rest is still to be downloaded
                    problems.append(f"'{path}' lacks {', '.join(missing)}")
        except Unfit as reason:
            problems.append(str(reason))
        except OSError as error:
            problems.append(f"'{path}' cannot be read: {error.strerror or error}")
    return None


def _from_folder(folder: Path, file: KnownFile) -> bytearray:
    """The file's unpacked bytes from its unpacked or packed form, whichever is right."""
    reasons = []
    for path in _forms(folder, file.name):
        if path.is_file():
            try:
                return _content(path, file, packed=path.suffix == ".gz")
            except Unfit as reason:
                reasons.append(str(reason))
    raise Unfit("; ".join(reasons))


def _content(path: Path, file: KnownFile, *, packed: bool) -> bytearray:
    """The unpacked bytes, checked. Never more than one byte beyond the expected size is unpacked."""
    try:
        if path.stat().st_size > file.size + 1024:
            raise Unfit(f"'{path}' is too large: {path.stat().st_size:,} bytes for a file of {file.size:,}")
        with path.open("rb") as stored:
            content = _bounded(gzip.GzipFile(fileobj=stored) if packed else stored, file.size)
    except (OSError, EOFError, zlib.error) as error:
        raise Unfit(f"'{path}' cannot be read: {error}") from error
    return _checked(content, file, str(path))


def _bounded(stream: Any, size: int) -> bytearray:
    """The stream's bytes, at most `size` and one more, which tells that there is too much."""
    content = bytearray(size + 1)
    filled = 0
    with memoryview(content) as view:
        while filled < len(content) and (count := stream.readinto(view[filled:])):
            filled += count
    del content[filled:]
    return content


def _checked(content: bytearray, file: KnownFile, name: str) -> bytearray:
    if len(content) != file.size:
        got = f"{len(content):,}" if len(content) < file.size else "more"
        raise Unfit(f"'{name}' holds {got} bytes unpacked, expected {file.size:,}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise Unfit(f"'{name}' has SHA-256 {digest} unpacked, expected {file.sha256}")
    return content


def _from_npz(known: Known, path: Path) -> dict[str, bytearray]:
    """The idx files rebuilt from the arrays x_train, y_train, x_test and y_test that Keras stores."""
    arrays = ("x_train", "y_train", "x_test", "y_test")
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                file.name: _from_array(archive, f"{array}.npy", file, f"{path}: {array}")
                for array, file in zip(arrays, known.files, strict=True)
            }
    except Unfit:
        raise
    except Exception as error:  # a hostile archive may break its reader in any way
        raise Unfit(f"'{path}' cannot be read: {error}") from error


def _from_array(archive: zipfile.ZipFile, member: str, file: KnownFile, name: str) -> bytearray:
    """Header and pixels of one array as an idx file; its declared shape is judged before it is read."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise Unfit(f"'{name}' is of .npy version {version}, expected (1, 0)")
        header = np.lib.format.read_array_header_1_0(stream)
        shape, by_columns, kind = header
        count = math.prod(shape)
        if (
            kind != np.uint8
            or by_columns
            or min(shape, default=0) < 1
            or 4 + 4 * len(shape) + count != file.size
        ):
            raise Unfit(f"'{name}' is {kind} {shape}, expected uint8 pixels or labels of {file.name}")
        return _checked(_idx_header(shape) + _bounded(stream, count), file, name)


def _idx_header(shape: tuple[int, ...]) -> bytearray:
    dimensions = b"".join(int(length).to_bytes(4) for length in shape)
    return bytearray((0, 0, UNSIGNED_BYTE, len(shape))) + dimensions


def _downloaded(known: Known, problems: list[str], transfer: Transfer) -> dict[str, bytearray]:
    """Every file from the cache or a mirror; the error, when there is one, says all that went wrong."""
    if os.environ.get("PELLUCID_OFFLINE", "0") not in ("", "0"):
        raise PellucidError(_three_ways(known, ["PELLUCID_OFFLINE is set"], problems))
    folder = cache_folder() / known.name
    contents = {}
    try:
        files.make_folder(folder)
        for file in known.files:
            try:
                contents[file.name] = _from_folder(folder, file)
            except Unfit:
                contents[file.name] = _from_mirrors(known, file, folder, transfer)
    except (Unfit, PellucidError) as reason:
        raise PellucidError(_three_ways(known, [str(reason)], problems)) from reason
    return contents


def _from_mirrors(known: Known, file: KnownFile, folder: Path, transfer: Transfer) -> bytearray:
    """The file from the first mirror that gives it whole and right; it stays in the cache as NAME.gz."""
    part = folder / f"{file.name}.gz.part"
    reasons = []
    for mirror in known.mirrors:
        try:
            content = _from_mirror(f"{mirror}{file.name}.gz", file, part, transfer)
        except Unfit as reason:
            reasons.append(str(reason))
        else:
            files.settle(part, folder / f"{file.name}.gz")
            return content
    raise Unfit("; ".join(reasons))


def _from_mirror(url: str, file: KnownFile, part: Path, transfer: Transfer) -> bytearray:
    """What `url` gives, unpacked and checked. A part from an earlier attempt that spoils it is dropped."""
    resumed = _length(part) > 0
    fetch(url, part, size=file.packed, transfer=transfer)
    try:
        return _content(part, file, packed=True)
    except Unfit as reason:
        files.remove(part)
        if resumed:
            return _from_mirror(url, file, part, transfer)
        raise Unfit(f"{url} gave the wrong bytes: {reason}") from reason


def fetch(url: str, part: Path, *, size: int, transfer: Transfer = PLAINLY) -> None:
    """`part` holds the `size` bytes that `url` gives; it goes on where an earlier attempt stopped.

    Only https, also when redirected. What came before a failure stays in `part`. Raises Unfit, with the
    address and the cause; PellucidError when `part` cannot be written.
    """
    start = _length(part)
    if start == size:
        return
    start = start if start < size else 0
    headers = {"User-Agent": "pellucid", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with _reasons(url), _open(url, headers, transfer) as response:
            at = _accepted(response, url, start, size)
            files.append(part, _blocks(response, url, at, size, transfer), at=at)
    except OtherRange:
        if not start:
            raise
        files.remove(part)
        fetch(url, part, size=size, transfer=transfer)


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _open(url: str, headers: dict[str, str], transfer: Transfer) -> Any:
    if urlsplit(url).scheme != "https":
        raise Unfit(f"{url} is not an https address")
    # Built by hand: build_opener() would add handlers for http, ftp, data and file.
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        transfer.transport or urllib.request.HTTPSHandler(),
        OnlyHttps(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        director.add_handler(handler)
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - https, checked above
    return director.open(fullurl=request, timeout=transfer.timeout_seconds)


class OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only to another https address."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request for `newurl`; raises HTTPError when it is not https."""
        if urlsplit(newurl).scheme != "https":
            reason = f"redirected to {newurl}, which is not https"
            raise urllib.error.HTTPError(req.full_url, code, reason, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _accepted(response: Any, url: str, start: int, size: int) -> int:
    """Where in the file the answer begins: at `start`, or at 0 when the server gives all of it."""
    if response.status == 206:
        expected = f"bytes {start}-{size - 1}/{size}"
        got = response.headers.get("Content-Range", "")
        if not start or got != expected:
            raise OtherRange(f"{url} answered with the range '{got}', expected '{expected}'")
        return start
    if response.status != 200:
        raise Unfit(f"{url} answered with HTTP {response.status}, expected 200")
    announced = response.headers.get("Content-Length")
    if announced is not None and announced != str(size):
        raise Unfit(f"{url} announced {announced} bytes, expected {size:,}")
    return 0


def _blocks(response: Any, url: str, at: int, size: int, transfer: Transfer) -> Iterator[bytes]:
    """The answer's bytes from `at` to `size` and no more; raises Unfit when there are fewer."""
    deadline = time.monotonic() + transfer.timeout_seconds + size / SLOWEST_BYTES_PER_SECOND
    while at < size:
        with _reasons(url):
            block = response.read1(min(BLOCK, size - at))
        if not block:
            raise Unfit(f"{url} ended after {at:,} of {size:,} bytes")
        if time.monotonic() > deadline:
            raise Unfit(f"{url} is slower than {SLOWEST_BYTES_PER_SECOND:,} bytes a second")
        at += len(block)
        yield block
        if transfer.progress is not None:
            transfer.progress(url.rsplit("/", 1)[-1], at, size)


@contextmanager
def _reasons(url: str) -> Iterator[None]:
    """Turns every failure of the network into one reason that names the address."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        kind = OtherRange if error.code == 416 else Unfit
        raise kind(f"{url} answered with HTTP {error.code}: {error.reason}") from error
    except (TimeoutError, urllib.error.URLError) as error:
        cause = getattr(error, "reason", error)
        late = isinstance(cause, TimeoutError)
        raise Unfit(f"{url} {'does not answer' if late else f'cannot be reached: {cause}'}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise Unfit(f"{url} broke off: {error or type(error).__name__}") from error


def _three_ways(known: Known, reasons: list[str], problems: list[str]) -> str:
    """The one message when a data set is nowhere: why, and the three ways to provide it."""
    names = ", ".join(file.name for file in known.files)
    megabytes = known.download_bytes / 1e6
    passed_over = f"\nFound, but passed over: {'; '.join(problems)}." if problems else ""
    return (
        f"'{known.name}' is not on this machine and was not downloaded: {'; '.join(reasons)}.{passed_over}"
        "\nThree ways to provide it:"
        f"\n  1. Go online and run the command again, without PELLUCID_OFFLINE: {megabytes:.1f} MB are "
        f"downloaded once and kept in '{cache_folder() / known.name}'."
        "\n  2. Point --data-dir or PELLUCID_DATA at a folder with these files, unpacked or as .gz: "
        f"{names}."
        f"\n  3. Use a copy that Keras left as ~/.keras/datasets/{known.keras}, or torchvision as "
        f"{known.torchvision} under ./data, the current folder or ~/.cache/torch: put it there."
    )


def parse_idx(content: bytearray, name: str, dimensions: int) -> Tensor:
    """The uint8 tensor an idx file of unsigned bytes holds, sharing the memory of `content`.

    `dimensions` is how many are expected. Raises PellucidError, naming the file, when the header is another
    or the length is not the one the header tells.
    """
    expected = (0, 0, UNSIGNED_BYTE, dimensions)
    start = 4 + 4 * dimensions
    if tuple(content[:4]) != expected or len(content) < start:
        raise PellucidError(
            f"'{name}' is no idx file of unsigned bytes in {dimensions} dimensions: expected it to begin "
            f"with {bytes(expected).hex(' ')} and to have a header of {start} bytes; got {len(content):,} "
            f"bytes that begin with {content[:4].hex(' ') or 'nothing'}."
        )
    shape = [int.from_bytes(content[at : at + 4]) for at in range(4, start, 4)]
    if len(content) - start != math.prod(shape) or 0 in shape:
        described = " x ".join(f"{length:,}" for length in shape)
        raise PellucidError(
            f"'{name}' is cut off or damaged: its header tells of {described} bytes; "
            f"{len(content) - start:,} follow it."
        )
    return torch.frombuffer(content, dtype=torch.uint8, offset=start).reshape(shape)


def _parse_digits(known: Known, contents: Mapping[str, bytearray]) -> Splits:
    from sklearn.datasets import load_digits  # a second to import, and only this function needs it

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)  # (N, 8, 8)
    images = torch.from_numpy(pixels).unsqueeze(1)  # (N, 1, 8, 8)
    labels = torch.from_numpy(bunch.target.astype(np.int64))  # (N,)
    sources = [f"{known.name}/{index}" for index in range(len(labels))]
    dataset = Dataset(images, labels, known.classes, sources)
    train, test = split(dataset, fraction=DIGITS_HELD_OUT / DIGITS, seed=DIGITS_SEED)
    return Splits(train, _none_of(train), test)


def _parse_idx_pairs(known: Known, contents: Mapping[str, bytearray]) -> Splits:
    """Parts from four idx files: train images, train labels, test images, test labels."""
    names = [file.name for file in known.files]
    train = _pair(known, contents, names[0], names[1], "train")
    return Splits(train, _none_of(train), _pair(known, contents, names[2], names[3], "test"))


def _pair(
    known: Known, contents: Mapping[str, bytearray], images_name: str, labels_name: str, part: str
) -> Dataset:
    images = parse_idx(contents[images_name], images_name, 3)  # (N, H, W)
    labels = parse_idx(contents[labels_name], labels_name, 1)  # (N,)
    sources = [f"{known.name}/{part}/{index}" for index in range(len(images))]
    return Dataset(images.unsqueeze(1), labels.to(torch.int64), known.classes, sources)


def _none_of(dataset: Dataset) -> Dataset:
    return dataset.subset(torch.empty(0, dtype=torch.int64))


def _idx_files(*checks: tuple[str, int]) -> tuple[KnownFile, ...]:
    """The four files of MNIST and its kin: (SHA-256 of the unpacked bytes, bytes of the .gz) of each."""
    names = (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )
    sizes = (47_040_016, 60_008, 7_840_016, 10_008)
    return tuple(
        KnownFile(name, size, sha256, packed)
        for name, size, (sha256, packed) in zip(names, sizes, checks, strict=True)
    )


DIGIT_CLASSES = tuple("0123456789")

digits = Known(
    name="digits",
    title="Handwritten digits, 8x8, embedded",
    licence="CC BY 4.0",
    homepage="https://archive.ics.uci.edu/dataset/80",
    citation="Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI; from scikit-learn",
    pictures=DIGITS,
    shape=(1, 8, 8),
    classes=DIGIT_CLASSES,
    parse=_parse_digits,
)

mnist = Known(
    name="mnist",
    title="MNIST handwritten digits, 28x28",
    licence="CC BY-SA 3.0",
    homepage="http://yann.lecun.com/exdb/mnist/",
    citation="LeCun, Bottou, Bengio and Haffner (1998), doi:10.1109/5.726791",
    pictures=70_000,
    shape=(1, 28, 28),
    classes=DIGIT_CLASSES,
    parse=_parse_idx_pairs,
    files=_idx_files(
        ("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 9_912_422),
        ("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 28_881),
        ("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 1_648_877),
        ("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 4_542),
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    keras="mnist.npz",
    torchvision="MNIST/raw",
)

fashion_mnist = Known(
    name="fashion-mnist",
    title="Fashion-MNIST articles of clothing, 28x28",
    licence="MIT",
    homepage="https://github.com/zalandoresearch/fashion-mnist",
    citation="Xiao, Rasul and Vollgraf (2017), arXiv:1708.07747",
    pictures=70_000,
    shape=(1, 28, 28),
    classes=tuple("T-shirt/top|Trouser|Pullover|Dress|Coat|Sandal|Shirt|Sneaker|Bag|Ankle boot".split("|")),
    parse=_parse_idx_pairs,
    files=_idx_files(
        ("c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", 26_421_880),
        ("bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", 29_515),
        ("5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", 4_422_102),
        ("0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", 5_148),
    ),
    mirrors=(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    keras="fashion-mnist",
    torchvision="FashionMNIST/raw",
)

"""Data sets known by name: found where they lie or downloaded once, verified, and given to their parser.

A copy is used only when its SHA-256, of its unpacked bytes or of the packed file, is the published one,
wherever it came from: nothing found on the disk and nothing sent by a server is trusted. Folders are read,
never changed; what is downloaded goes to pellucid's own cache.
"""

import gzip
import hashlib
import math
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from pellucid import files
from pellucid.cache import cache_folder
from pellucid.data.dataset import Splits
from pellucid.data.known.download import PLAINLY, Transfer, Unfit, first_right
from pellucid.data.sources.archives import archive_tree
from pellucid.errors import PellucidError, UsageError

UNSIGNED_BYTE = 0x08  # of the idx format


@dataclass(frozen=True)
class KnownFile:
    """One file of a data set: `size` and `sha256` of its unpacked bytes, `packed` bytes of NAME.gz.

    Where only that of NAME.gz is published it is `packed_sha256`, and no unpacked copy can be told right.
    """

    name: str
    size: int
    sha256: str
    packed: int
    packed_sha256: str = ""


@dataclass(frozen=True)
class Archive:
    """The one zip or tar file that holds a data set: its `size` in bytes, its SHA-256, what is read from it.

    members  names in it, without their folders; a .gz among them is unpacked and loses the ending
    folder   the folder in pellucid's cache, where data sets share the file; "": the data set's name
    """

    name: str
    size: int
    sha256: str
    members: tuple[str, ...]
    folder: str = ""


@dataclass(frozen=True)
class Known:
    """A data set pellucid knows by name: what it is, where it may lie, and how to tell that it is right.

    shape        (C, H, W) of every picture
    parse        from the unpacked files by name to the parts; the validation part may be empty
    files        train images, train labels, test images, test labels
    archive      or the one file that holds all of it; neither: the data set is embedded
    mirrors      https addresses, each followed by NAME.gz; of an archive, as they are
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
    archive: Archive | None = None
    mirrors: tuple[str, ...] = ()
    keras: str = ""
    torchvision: str = ""
    augment: str = "none"

    @property
    def download_bytes(self) -> int:
        """What a download amounts to; 0 when the data set is embedded."""
        return self.archive.size if self.archive else sum(file.packed for file in self.files)

    @property
    def embedded(self) -> bool:
        """Whether it comes with what is installed: nothing to find, nothing to download."""
        return not self.files and self.archive is None

    @property
    def folder(self) -> str:
        """Its folder's name in pellucid's cache."""
        return (self.archive.folder if self.archive else "") or self.name


def read(known: Known, data_dir: Path | None = None, *, transfer: Transfer = PLAINLY) -> Splits:
    """The data set's parts, from the first place that holds a right copy, else downloaded.

    Looked for in `data_dir`, PELLUCID_DATA, pellucid's cache, and where Keras and torchvision leave it. A
    copy that is not right is passed over with a warning that names the file.

    Raises UsageError when `data_dir` is no folder, and PellucidError, with the three ways to provide the
    data set, when it is nowhere and cannot be downloaded.
    """
    if data_dir is not None and not known.embedded and not data_dir.is_dir():
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
    if known.embedded:
        return "embedded"
    return next((str(path) for path in _places(known, data_dir) if _is_there(known, path)), None)


def kept(known: Known) -> tuple[Path, ...]:
    """The files of the data set that pellucid downloaded, unfinished ones too."""
    names = [known.archive.name] if known.archive else [f"{file.name}.gz" for file in known.files]
    paths = [cache_folder() / known.folder / f"{name}{ending}" for name in names for ending in ("", ".part")]
    return tuple(path for path in paths if path.is_file())


def _places(known: Known, data_dir: Path | None) -> list[Path]:
    """Every folder, .npz or archive that could hold the data set, in the order in which it is asked."""
    given = [data_dir] if data_dir is not None else []
    if shared := os.environ.get("PELLUCID_DATA"):
        given.append(Path(shared))
    keras_home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    torch_home = Path(os.environ.get("TORCH_HOME") or cache / "torch")
    names = (known.name, known.folder, known.torchvision, known.keras, "")
    roots = (Path("data"), Path(), torch_home, torch_home / "datasets")
    places = [*(root / name for root in given for name in names), cache_folder() / known.folder]
    if known.keras or known.archive:
        places.append(keras_home / "datasets" / known.keras)
    places += [root / known.torchvision for root in roots]
    if known.archive:
        places = [place / known.archive.name for place in places]
    return list(dict.fromkeys(places))


def _is_there(known: Known, path: Path) -> bool:
    try:
        if known.archive or path.suffix == ".npz":
            return path.is_file()
        forms = [_forms(path, file.name)[0 if file.sha256 else 1 :] for file in known.files]
        return all(any(form.is_file() for form in those) for those in forms)
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
    if known.embedded:
        return {}
    if (shared := os.environ.get("PELLUCID_DATA")) and not Path(shared).is_dir():
        problems.append(f"PELLUCID_DATA names '{shared}', which is no folder")
    for path in _places(known, data_dir):
        try:
            if (contents := _at(path, known, problems)) is not None:
                return contents
        except Unfit as reason:
            problems.append(str(reason))
        except OSError as error:
            problems.append(f"'{path}' cannot be read: {error.strerror or error}")
    return None


def _at(path: Path, known: Known, problems: list[str]) -> dict[str, bytearray] | None:
    """The data set at one place; None where it is not, or not all of it. Raises Unfit when it is wrong."""
    if known.archive:
        return _from_archive(path, known.archive) if path.is_file() else None
    if path.suffix == ".npz":
        return _from_npz(known, path) if path.is_file() else None
    missing = _missing(known, path)
    if not missing:
        return {file.name: _from_folder(path, file) for file in known.files}
    if len(missing) < len(known.files) and path != cache_folder() / known.folder:  # where the rest is to come
        problems.append(f"'{path}' lacks {', '.join(missing)}")
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
            if packed and file.packed_sha256:
                _compare(stored, file.packed_sha256, str(path))
            content = _bounded(gzip.GzipFile(fileobj=stored) if packed else stored, file.size)
    except (OSError, EOFError, zlib.error) as error:
        raise Unfit(f"'{path}' cannot be read: {error}") from error
    return (_whole if packed and file.packed_sha256 else _checked)(content, file, str(path))


def _compare(stored: BufferedReader, sha256: str, name: str) -> None:
    """The file, at its beginning again, has the expected bytes; raises Unfit when it has others."""
    digest = hashlib.file_digest(stored, "sha256").hexdigest()
    if digest != sha256:
        raise Unfit(f"'{name}' has SHA-256 {digest}, expected {sha256}")
    stored.seek(0)


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
    digest = hashlib.sha256(_whole(content, file, name)).hexdigest()
    if not file.sha256:
        raise Unfit(f"'{name}' cannot be told right: only of {file.name}.gz a SHA-256 is published")
    if digest != file.sha256:
        raise Unfit(f"'{name}' has SHA-256 {digest} unpacked, expected {file.sha256}")
    return content


def _whole(content: bytearray, file: KnownFile, name: str) -> bytearray:
    if len(content) != file.size:
        got = f"{len(content):,}" if len(content) < file.size else "more"
        raise Unfit(f"'{name}' holds {got} bytes unpacked, expected {file.size:,}")
    return content


def _from_archive(path: Path, archive: Archive) -> dict[str, bytearray]:
    """The members by name. Only what has the published SHA-256 is opened, so none of it is a surprise."""
    _verify(path, archive)
    tree = archive_tree(path)
    names = {name.rsplit("/", 1)[-1]: name for name in tree.sizes}
    if missing := [member for member in archive.members if member not in names]:
        raise Unfit(f"'{path}' lacks {', '.join(missing)}")
    contents = {}
    for member in archive.members:
        content = tree.read(names[member])
        packed = member.endswith(".gz")
        contents[member.removesuffix(".gz")] = bytearray(gzip.decompress(content) if packed else content)
    return contents


def _verify(path: Path, archive: Archive) -> None:
    """Raises Unfit unless the file is the published one, byte for byte."""
    try:
        if (size := path.stat().st_size) != archive.size:
            raise Unfit(f"'{path}' holds {size:,} bytes, expected {archive.size:,}")
        with path.open("rb") as stored:
            _compare(stored, archive.sha256, str(path))
    except OSError as error:
        raise Unfit(f"'{path}' cannot be read: {error}") from error


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
    folder = cache_folder() / known.folder
    contents = {}
    try:
        files.make_folder(folder)
        if known.archive:
            return _archive_from_mirrors(known, known.archive, folder, transfer)
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
    content = first_right(
        [f"{mirror}{file.name}.gz" for mirror in known.mirrors],
        part,
        size=file.packed,
        check=lambda path: _content(path, file, packed=True),
        transfer=transfer,
    )
    files.settle(part, folder / f"{file.name}.gz")
    return content


def _archive_from_mirrors(
    known: Known, archive: Archive, folder: Path, transfer: Transfer
) -> dict[str, bytearray]:
    """The members of the archive, which stays in the cache."""
    part, path = folder / f"{archive.name}.part", folder / archive.name
    first_right(
        known.mirrors,
        part,
        size=archive.size,
        check=lambda fetched: _verify(fetched, archive),
        transfer=transfer,
    )
    files.settle(part, path)
    return _from_archive(path, archive)


def _three_ways(known: Known, reasons: list[str], problems: list[str]) -> str:
    """The one message when a data set is nowhere: why, and the three ways to provide it."""
    megabytes = known.download_bytes / 1e6
    passed_over = f"\nFound, but passed over: {'; '.join(problems)}." if problems else ""
    return (
        f"'{known.name}' is not on this machine and was not downloaded: {'; '.join(reasons)}.{passed_over}"
        "\nThree ways to provide it:"
        f"\n  1. Go online and run the command again, without PELLUCID_OFFLINE: {megabytes:.1f} MB are "
        f"downloaded once and kept in '{cache_folder() / known.folder}'."
        f"\n  2. Point --data-dir or PELLUCID_DATA at a folder with {_wanted(known)}."
        f"\n  3. {_third_way(known)}"
    )


def _wanted(known: Known) -> str:
    if known.archive:
        return f"{known.archive.name}, as it was published"
    names = ", ".join(file.name for file in known.files)
    forms = "unpacked or as .gz" if all(file.sha256 for file in known.files) else "as .gz"
    return f"these files, {forms}: {names}"


def _third_way(known: Known) -> str:
    if not known.torchvision:
        return (
            "Give the path of a copy instead of the name, such as the folder it was unpacked to: it is read "
            "as your own pictures are, and not compared with the published one."
        )
    keras = (
        f"Keras left as ~/.keras/datasets/{known.keras}, or torchvision"
        if known.keras
        else "torchvision left"
    )
    return (
        f"Use a copy that {keras} as {known.torchvision} under ./data, the current folder or ~/.cache/torch: "
        "put it there."
    )

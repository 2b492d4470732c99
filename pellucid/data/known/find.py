"""Data sets known by name: found on this machine or downloaded once, verified, and parsed.

Wherever a copy comes from, it is used only if its SHA-256, of the unpacked bytes or of the packed file, is
the published one. Folders are read and never changed; downloads go to pellucid's own cache.
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
from pellucid.data.known.download import DEFAULT_TRANSFER, Rejected, Transfer, fetch_verified
from pellucid.data.sources.archives import archive_tree
from pellucid.errors import PellucidError, UsageError
from pellucid.reading import open_regular

UNSIGNED_BYTE = 0x08  # of the idx format


@dataclass(frozen=True)
class KnownFile:
    """One file of a data set: `size` and `sha256` of its unpacked bytes, `packed` bytes of NAME.gz.

    If only that of NAME.gz is published, it is `packed_sha256`, and no unpacked copy can be verified.
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
class KnownDataset:
    """A data set known by name: what it is, where it may be, and how to verify it.

    shape        (C, H, W) of every picture
    parse        from the unpacked files by name to the splits; the validation split may be empty
    files        train images, train labels, test images, test labels
    archive      or the single file with all of it; without either, the data set is embedded
    mirrors      https addresses, to be followed by NAME.gz unless there is an archive
    keras        what Keras leaves under ~/.keras/datasets: an .npz or a folder
    torchvision  the folder torchvision leaves under its root
    augment      what a recipe's "auto" means: names of AUGMENTATIONS that do not change the label
    """

    name: str
    title: str
    licence: str
    homepage: str
    citation: str
    pictures: int
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    parse: Callable[["KnownDataset", Mapping[str, bytearray]], Splits]
    files: tuple[KnownFile, ...] = ()
    archive: Archive | None = None
    mirrors: tuple[str, ...] = ()
    keras: str = ""
    torchvision: str = ""
    augment: str = "none"

    @property
    def download_bytes(self) -> int:
        """The size of a download; 0 if the data set is embedded."""
        return self.archive.size if self.archive else sum(file.packed for file in self.files)

    @property
    def embedded(self) -> bool:
        """Whether it is installed with pellucid: nothing to find, nothing to download."""
        return not self.files and self.archive is None

    @property
    def folder(self) -> str:
        """The name of its folder in pellucid's cache."""
        return (self.archive.folder if self.archive else "") or self.name


def read(
    known: KnownDataset, data_dir: Path | None = None, *, transfer: Transfer = DEFAULT_TRANSFER
) -> Splits:
    """The data set's splits, from the first verified copy on this machine, else downloaded.

    Searched are `data_dir`, PELLUCID_DATA, pellucid's cache, and where Keras and torchvision leave it. A copy
    that fails verification is skipped with a warning that names the file.

    Raises UsageError when `data_dir` is no folder, and PellucidError, with the three ways to provide the
    data set, when it is nowhere and cannot be downloaded.
    """
    if data_dir is not None and not known.embedded and not data_dir.is_dir():
        raise UsageError(f"`data_dir={data_dir}` is not a folder. Name the one with '{known.name}'.")
    problems: list[str] = []
    contents = _find(known, data_dir, problems)
    if contents is None:
        contents = _download(known, problems, transfer)
    if problems:
        warnings.warn(f"'{known.name}' was read from another copy: {'; '.join(problems)}.", stacklevel=3)
    return known.parse(known, contents)


def locate_copy(known: KnownDataset, data_dir: Path | None = None) -> str | None:
    """Where the data set would be read from: "embedded", a path, or None. Only existence is checked."""
    if known.embedded:
        return "embedded"
    return next((str(path) for path in _candidates(known, data_dir) if _is_there(known, path)), None)


def downloaded_files(known: KnownDataset) -> tuple[Path, ...]:
    """The files of the data set that pellucid downloaded, including unfinished ones."""
    names = [known.archive.name] if known.archive else [f"{file.name}.gz" for file in known.files]
    paths = [cache_folder() / known.folder / f"{name}{ending}" for name in names for ending in ("", ".part")]
    return tuple(path for path in paths if path.is_file())


def _candidates(known: KnownDataset, data_dir: Path | None) -> list[Path]:
    """Every folder, .npz or archive that may contain the data set, in the order of search."""
    given = [data_dir] if data_dir is not None else []
    if shared := os.environ.get("PELLUCID_DATA"):
        given.append(Path(shared))
    keras_home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    torch_home = Path(os.environ.get("TORCH_HOME") or cache / "torch")
    names = (known.name, known.folder, known.torchvision, known.keras, "")
    roots = (Path("data"), Path(), torch_home, torch_home / "datasets")
    candidates = [*(root / name for root in given for name in names), cache_folder() / known.folder]
    if known.keras or known.archive:
        candidates.append(keras_home / "datasets" / known.keras)
    candidates += [root / known.torchvision for root in roots]
    if known.archive:
        candidates = [path / known.archive.name for path in candidates]
    return list(dict.fromkeys(candidates))


def _is_there(known: KnownDataset, path: Path) -> bool:
    try:
        if known.archive or path.suffix == ".npz":
            return path.is_file()
        usable = [_forms(path, file.name)[0 if file.sha256 else 1 :] for file in known.files]
        return all(any(form.is_file() for form in forms) for forms in usable)
    except OSError:
        return False


def _missing(known: KnownDataset, folder: Path) -> list[str]:
    """The names of the files that are in the folder neither packed nor unpacked."""
    names = [file.name for file in known.files]
    return [name for name in names if not any(path.is_file() for path in _forms(folder, name))]


def _forms(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / name, folder / f"{name}.gz"


def _find(known: KnownDataset, data_dir: Path | None, problems: list[str]) -> dict[str, bytearray] | None:
    """The first verified copy on this machine; what was wrong with others is added to `problems`."""
    if known.embedded:
        return {}
    if (shared := os.environ.get("PELLUCID_DATA")) and not Path(shared).is_dir():
        problems.append(f"PELLUCID_DATA names '{shared}', which is not a folder")
    for path in _candidates(known, data_dir):
        try:
            if (contents := _read_copy(path, known, problems)) is not None:
                return contents
        except Rejected as reason:
            problems.append(str(reason))
        except OSError as error:
            problems.append(f"'{path}' cannot be read: {error.strerror or error}")
    return None


def _read_copy(path: Path, known: KnownDataset, problems: list[str]) -> dict[str, bytearray] | None:
    """The data set at `path`; None if it is not there or incomplete. Raises Rejected if it is wrong."""
    if known.archive:
        return _from_archive(path, known.archive) if path.is_file() else None
    if path.suffix == ".npz":
        return _from_npz(known, path) if path.is_file() else None
    missing = _missing(known, path)
    if not missing:
        return {file.name: _from_folder(path, file) for file in known.files}
    if (
        len(missing) < len(known.files) and path != cache_folder() / known.folder
    ):  # a download to be continued
        problems.append(f"'{path}' lacks {', '.join(missing)}")
    return None


def _from_folder(folder: Path, file: KnownFile) -> bytearray:
    """The file's unpacked bytes from its unpacked or its packed form, whichever is verified."""
    reasons = []
    for path in _forms(folder, file.name):
        if path.is_file():
            try:
                return _content(path, file, packed=path.suffix == ".gz")
            except Rejected as reason:
                reasons.append(str(reason))
    raise Rejected("; ".join(reasons))


def _content(path: Path, file: KnownFile, *, packed: bool) -> bytearray:
    """The verified unpacked bytes. At most one byte more than expected is unpacked."""
    try:
        if path.stat().st_size > file.size + 1024:
            raise Rejected(
                f"'{path}' is too large: {path.stat().st_size:,} bytes for a file of {file.size:,}"
            )
        with open_regular(path) as stored:
            if packed and file.packed_sha256:
                _compare(stored, file.packed_sha256, str(path))
            content = _bounded(gzip.GzipFile(fileobj=stored) if packed else stored, file.size)
    except (OSError, EOFError, zlib.error) as error:
        raise Rejected(f"'{path}' cannot be read: {error}") from error
    return (_whole if packed and file.packed_sha256 else _checked)(content, file, str(path))


def _compare(stored: BufferedReader, sha256: str, name: str) -> None:
    """Raise Rejected unless the file has this SHA-256; afterwards it is at its start again."""
    digest = hashlib.file_digest(stored, "sha256").hexdigest()
    if digest != sha256:
        raise Rejected(f"'{name}' has SHA-256 {digest}, expected {sha256}")
    stored.seek(0)


def _bounded(stream: Any, size: int) -> bytearray:
    """The stream's bytes, at most `size` + 1: one more than expected shows that there are too many."""
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
        raise Rejected(f"'{name}' cannot be verified: only of {file.name}.gz is the SHA-256 published")
    if digest != file.sha256:
        raise Rejected(f"'{name}' has SHA-256 {digest} unpacked, expected {file.sha256}")
    return content


def _whole(content: bytearray, file: KnownFile, name: str) -> bytearray:
    if len(content) != file.size:
        got = f"{len(content):,}" if len(content) < file.size else "more"
        raise Rejected(f"'{name}' holds {got} bytes unpacked, expected {file.size:,}")
    return content


def _from_archive(path: Path, archive: Archive) -> dict[str, bytearray]:
    """The members by name. Only an archive with the published SHA-256 is opened."""
    _verify(path, archive)
    tree = archive_tree(path)
    names = {name.rsplit("/", 1)[-1]: name for name in tree.sizes}
    if missing := [member for member in archive.members if member not in names]:
        raise Rejected(f"'{path}' lacks {', '.join(missing)}")
    contents = {}
    for member in archive.members:
        content = tree.read(names[member])
        packed = member.endswith(".gz")
        contents[member.removesuffix(".gz")] = bytearray(gzip.decompress(content) if packed else content)
    return contents


def _verify(path: Path, archive: Archive) -> None:
    """Raise Rejected unless the file is the published one, byte for byte."""
    try:
        if (size := path.stat().st_size) != archive.size:
            raise Rejected(f"'{path}' holds {size:,} bytes, expected {archive.size:,}")
        with open_regular(path) as stored:
            _compare(stored, archive.sha256, str(path))
    except OSError as error:
        raise Rejected(f"'{path}' cannot be read: {error}") from error


def _from_npz(known: KnownDataset, path: Path) -> dict[str, bytearray]:
    """The idx files rebuilt from the arrays x_train, y_train, x_test and y_test that Keras stores."""
    arrays = ("x_train", "y_train", "x_test", "y_test")
    try:
        with open_regular(path) as stored, zipfile.ZipFile(stored) as archive:
            return {
                file.name: _from_array(archive, f"{array}.npy", file, f"{path}: {array}")
                for array, file in zip(arrays, known.files, strict=True)
            }
    except Rejected:
        raise
    except Exception as error:  # a hostile archive may break its reader in any way
        raise Rejected(f"'{path}' cannot be read: {error}") from error


def _from_array(archive: zipfile.ZipFile, member: str, file: KnownFile, name: str) -> bytearray:
    """Header and pixels of one array as an idx file; its declared shape is checked before it is read."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise Rejected(f"'{name}' is of .npy version {version}, expected (1, 0)")
        header = np.lib.format.read_array_header_1_0(stream)
        shape, by_columns, kind = header
        count = math.prod(shape)
        if (
            kind != np.uint8
            or by_columns
            or min(shape, default=0) < 1
            or 4 + 4 * len(shape) + count != file.size
        ):
            raise Rejected(f"'{name}' is {kind} {shape}, expected uint8 pixels or labels of {file.name}")
        return _checked(_idx_header(shape) + _bounded(stream, count), file, name)


def _idx_header(shape: tuple[int, ...]) -> bytearray:
    dimensions = b"".join(int(length).to_bytes(4) for length in shape)
    return bytearray((0, 0, UNSIGNED_BYTE, len(shape))) + dimensions


def _download(known: KnownDataset, problems: list[str], transfer: Transfer) -> dict[str, bytearray]:
    """Every file from the cache or a mirror; an error lists everything that went wrong."""
    offline = os.environ.get("PELLUCID_OFFLINE", "0") not in ("", "0")
    if refused := "PELLUCID_OFFLINE is set" if offline else transfer.refused:
        raise PellucidError(_three_ways(known, [refused], problems))
    folder = cache_folder() / known.folder
    contents = {}
    try:
        files.make_folder(folder)
        if known.archive:
            return _archive_from_mirrors(known, known.archive, folder, transfer)
        for file in known.files:
            try:
                contents[file.name] = _from_folder(folder, file)
            except Rejected:
                contents[file.name] = _from_mirrors(known, file, folder, transfer)
    except (Rejected, PellucidError) as reason:
        raise PellucidError(_three_ways(known, [str(reason)], problems)) from reason
    return contents


def _from_mirrors(known: KnownDataset, file: KnownFile, folder: Path, transfer: Transfer) -> bytearray:
    """The file from the first mirror with a verified copy; it is kept in the cache as NAME.gz."""
    part = folder / f"{file.name}.gz.part"
    content = fetch_verified(
        [f"{mirror}{file.name}.gz" for mirror in known.mirrors],
        part,
        size=file.packed,
        check=lambda path: _content(path, file, packed=True),
        transfer=transfer,
    )
    files.settle(part, folder / f"{file.name}.gz")
    return content


def _archive_from_mirrors(
    known: KnownDataset, archive: Archive, folder: Path, transfer: Transfer
) -> dict[str, bytearray]:
    """The members of the archive, which is kept in the cache."""
    part, path = folder / f"{archive.name}.part", folder / archive.name
    fetch_verified(
        known.mirrors,
        part,
        size=archive.size,
        check=lambda fetched: _verify(fetched, archive),
        transfer=transfer,
    )
    files.settle(part, path)
    return _from_archive(path, archive)


def _three_ways(known: KnownDataset, reasons: list[str], problems: list[str]) -> str:
    """The message for a data set that is nowhere: why, and the three ways to provide it."""
    megabytes = known.download_bytes / 1e6
    skipped = f"\nFound, but skipped: {'; '.join(problems)}." if problems else ""
    return (
        f"'{known.name}' is not on this machine and was not downloaded: {'; '.join(reasons)}.{skipped}"
        "\nThree ways to provide it:"
        f"\n  1. Go online and run the command again, without PELLUCID_OFFLINE: {megabytes:.1f} MB are "
        f"downloaded once and kept in '{cache_folder() / known.folder}'."
        f"\n  2. Point `data_dir` or PELLUCID_DATA at a folder with {_wanted(known)}."
        f"\n  3. {_third_way(known)}"
    )


def _wanted(known: KnownDataset) -> str:
    if known.archive:
        return f"{known.archive.name}, as it was published"
    names = ", ".join(file.name for file in known.files)
    forms = "unpacked or as .gz" if all(file.sha256 for file in known.files) else "as .gz"
    return f"these files, {forms}: {names}"


def _third_way(known: KnownDataset) -> str:
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

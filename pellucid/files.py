"""The only module that writes: a file is complete, or not there at all.

Everything is written to a temporary sibling, flushed to the disk and renamed, and the rename is flushed too
(fsync of the folder). Whenever a process is killed or a disk is full, the old file is there or the new one,
never half of either. A temporary file is locked while it is written, so that one without a lock is known to
be a killed writer's, and is removed when the next process writes into that folder.

A folder has one writer at a time (`claim`), by a lock that ends with its process.

A folder with a manifest (`seal`) has the size and SHA-256 of each of its files in it, written before a file
takes its place and compared whenever one is read.
"""

import csv
import errno
import hashlib
import io
import json
import math
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

from pellucid import manifest
from pellucid.errors import PellucidError, UsageError
from pellucid.manifest import read_sealed
from pellucid.reading import JSON_BYTES, TABLE_BYTES, open_regular, parsed_json, read_regular, reason_of

FORMULA = re.compile(r"'*[=+\-@\t\r]")  # what a spreadsheet runs, and what was already kept from it
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")

# Neither through a link nor waiting for the other end of a pipe.
NO_TRICKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
CLAIM = ".lock"  # in a claimed folder: who writes into it
TEMPORARY = re.compile(r"\..+\.pellucid-\w{8}\.part")
CLAIMS_PER_CONTEXT: ContextVar[frozenset[tuple[int, int]]] = ContextVar("claims", default=frozenset())
_HELD: dict[tuple[int, int], BinaryIO] = {}  # the locked file of each claimed folder
_SWEPT: set[str] = set()  # folders in which this process has looked for temporary files of killed ones


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write that takes the place of `path` when the block ends without an error.

    Raises PellucidError, naming the file and the cause, when the system refuses: no room, no permission.
    """
    with _explained(path):
        _remove_abandoned(path.parent)
        file, temporary = _temporary_beside(path)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if sys.platform == "win32":  # which renames no open file, and has no locks to keep
                    file.close()
                temporary.chmod(0o666 & ~_umask())
                _announce(path, temporary)
                temporary.replace(path)
            _flush_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def seal(folder: Path) -> None:
    """From now on `folder` has a manifest: every file written into it is listed, and compared when read."""
    if not (folder / manifest.NAME).exists():
        write_text(folder / manifest.NAME, manifest.text_of({}))


def write_bytes(path: Path, content: bytes) -> None:
    """`path` holds `content`, durably."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """`path` holds `text` in UTF-8, durably; bytes of file names that are not UTF-8 as `\\udcff`."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """`path` holds `value` as indented JSON. NaN and infinity, which JSON lacks, become null."""
    write_text(path, json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def cell_for_spreadsheets(value: object) -> object:
    """A cell of a table, with an apostrophe before text that a spreadsheet would run as a formula, and before
    text with such an apostrophe already. Numbers stay as they are."""
    if isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def cell_as_it_was(text: str) -> str:
    """What `cell_for_spreadsheets` was given."""
    return text[1:] if text.startswith("'") and FORMULA.match(text[1:]) else text


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """`path` holds a comma-separated table with one header line; no cell of it is a formula."""
    table = _Lines()
    writer = csv.writer(table, lineterminator="\r\n")
    writer.writerow(map(cell_for_spreadsheets, header))
    writer.writerows(map(cell_for_spreadsheets, row) for row in rows)
    write_text(path, table.getvalue())


def read_json(path: Path) -> Any:
    """What `write_json` wrote. Raises PellucidError naming the file when it is absent or damaged."""
    try:
        return parsed_json(read_sealed(path, JSON_BYTES))
    except FileNotFoundError:
        raise PellucidError(f"'{path}' is missing.") from None
    except (OSError, ValueError) as error:
        raise PellucidError(f"'{path}' cannot be read as JSON: {reason_of(error)}.") from error


def read_object(path: Path) -> dict[str, Any]:
    """What `write_json` wrote of a dict. Raises PellucidError when it is absent, damaged or anything else."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise PellucidError(f"'{path}' is damaged: expected one JSON object; got {json.dumps(value)[:60]}.")
    return value


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a comma-separated table by column name. Raises PellucidError when it cannot be read."""
    try:
        text = read_sealed(path, TABLE_BYTES).decode("utf-8")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        for number, row in enumerate(rows, 1):
            if None in row or None in row.values():
                raise PellucidError(
                    f"'{path}' is damaged: row {number} has not as many fields as the first line."
                )
        return [{cell_as_it_was(key): cell_as_it_was(cell) for key, cell in row.items()} for row in rows]
    except (OSError, ValueError, csv.Error) as error:
        raise PellucidError(f"'{path}' cannot be read as a table: {reason_of(error)}.") from error


def append(path: Path, blocks: Iterable[bytes], *, at: int) -> None:
    """`path` keeps its first `at` bytes and continues with the blocks, whose iterator may raise.

    What came before the error stays, so that the work can be continued: for a download under a temporary
    name, which `settle` replaces by the real one. Raises PellucidError when the system refuses,
    or when another process is writing the file.
    """
    with _explained(path), os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        _refuse_locked(file, path)
        file.truncate(at)
        file.seek(at)
        for block in blocks:
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def append_line(path: Path, line: str) -> None:
    """`path`, made where it is missing, ends with `line`, whole even where several processes write at once,
    and on a line of its own even where the one before was cut off by a full disk.

    Raises PellucidError when the system refuses, or takes only a part of the line.
    """
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            cut_off = False
            if os.fstat(descriptor).st_size:
                os.lseek(descriptor, -1, os.SEEK_END)
                cut_off = os.read(descriptor, 1) != b"\n"
            content = f"{chr(10) if cut_off else ''}{line}\n".encode()
            if os.write(descriptor, content) < len(content):  # one write: the system keeps it together
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def settle(temporary: Path, path: Path) -> None:
    """The finished `temporary` takes the name `path`, its sibling, durably."""
    with _explained(path):
        temporary.replace(path)
        _flush_folder(path.parent)


def remove(path: Path) -> None:
    """`path` is gone, durably; it need not have been there."""
    with _explained(path):
        path.unlink(missing_ok=True)
        _flush_folder(path.parent)
        _announce(path, None)


def remove_folder(path: Path) -> bool:
    """Remove the folder `path` if it is empty; returns whether it is gone."""
    try:
        path.rmdir()
    except OSError:
        return not path.exists()
    return True


def make_folder(path: Path) -> None:
    """`path` is a folder, with every folder above it."""
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A temporary folder for a program that can only write to files; removed after the block."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """A block in which no other process, and no other thread, writes into `folder` under a claim. Reading is
    free; a claim inside a claim by the same thread is granted.

    The lock belongs to the open file `.lock` in it, which workers do not inherit: it ends with the block or
    with the process, and that of a killed one needs no attention. Where the system has no locks (Windows,
    some network disks) every claim is granted.

    Raises PellucidError, saying who has claimed it, and when the system refuses.
    """
    with _explained(folder):
        status = folder.stat()
        key = (status.st_dev, status.st_ino)
        held = key in _HELD and key in CLAIMS_PER_CONTEXT.get()
        abandoned = (folder / CLAIM).exists()
        file = None if held else _claimed(folder)
    if file is None:
        yield
        return
    _HELD[key], before = file, 0
    token = CLAIMS_PER_CONTEXT.set(CLAIMS_PER_CONTEXT.get() | {key})
    try:
        _remove_abandoned(folder, again=True)
        before = folder.stat().st_mtime_ns
        yield
    finally:
        CLAIMS_PER_CONTEXT.reset(token)
        if _HELD.pop(key, None) is file:  # not in a child that was forked inside the block
            # Where nothing was written the file goes on marking what a killed writer left. It is removed
            # while it is locked: whoever has opened it meanwhile will notice.
            with suppress(OSError), file:
                if not abandoned or folder.stat().st_mtime_ns != before:
                    (folder / CLAIM).unlink()


@contextmanager
def claim_empty_folder(path: Path, beginning: Collection[str] = ()) -> Iterator[None]:
    """A block in which `path`, a new or empty folder, is claimed. Left without anything in it, one that was
    made for this is removed.

    beginning  names of files that are worth nothing by themselves: where there are no others when the block
               ends with an error, or when a process that had claimed the folder was killed, they are removed

    Raises UsageError when there is anything in it, PellucidError when another process writes there or the
    system refuses.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"'{path}' is a file. Expected a new or empty folder: name another with `folder`.")
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        claimed = (path / CLAIM).exists()
        if not claimed:  # else whoever writes there is named first
            _refuse_full(path)
        make_folder(path)
        with claim(path):
            if claimed:
                _remove_beginning(path, beginning)
            _refuse_full(path)
            try:
                yield
            except BaseException:
                with suppress(OSError, PellucidError):  # of a full or broken disk
                    _remove_beginning(path, beginning)
                raise
    finally:
        for folder in made:
            if folder.exists() and not remove_folder(folder):
                break


def _remove_beginning(path: Path, beginning: Collection[str]) -> None:
    """Nothing is in the folder but its claim, where there was nothing else but files of these names."""
    names = {each.name for each in path.iterdir()} - {CLAIM}
    if names <= set(beginning):
        # The manifest first: else it would be written anew for each of the others.
        for name in sorted(names, key=lambda name: name != manifest.NAME):
            remove(path / name)


def _refuse_full(path: Path) -> None:
    if path.is_dir() and any(each.name != CLAIM for each in path.iterdir()):
        raise UsageError(
            f"'{path}' is not empty. Expected a new or empty folder: name another with `folder`."
        )


def claim_numbered_folder(parent: Path, name: str) -> Path:
    """A new folder `parent/name-n` with the smallest free n >= 1, made by this process and no other."""
    make_folder(parent)
    for number in range(1, 1_000_000):
        folder = parent / f"{name}-{number}"
        with _explained(folder):
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    raise PellucidError(f"'{parent}' holds a million runs of '{name}'. Name another with `folder`.")


def point(link: Path, target: Path) -> None:
    """`link` is a symbolic link to `target`, its sibling; a file or folder of that name is left alone.

    Systems that have no symbolic links keep none: the link is a convenience.
    """
    if link.exists() and not link.is_symlink():
        return
    temporary = link.with_name(f".{link.name}.{os.getpid()}.part")
    try:
        temporary.symlink_to(target.name, target_is_directory=True)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def alone(
    path: Path, *, seconds: float = math.inf, waiting: Callable[[], None] = lambda: None
) -> Iterator[bool]:
    """A block that one process at a time enters, by a lock on the file `path`; others wait for it.

    Yields whether the lock is held: not if `seconds` have passed, nor on a system without locks. Killing a
    process releases its lock. `waiting` is called now and then while waiting.
    """
    until, file = time.monotonic() + seconds, None
    with _explained(path), suppress(_NoLocks):
        while (file := _opened_and_locked(path)) is None and time.monotonic() < until:
            waiting()
            time.sleep(0.1)
    try:
        yield file is not None
    finally:
        if file is not None:
            file.close()


def _announce(path: Path, temporary: Path | None) -> None:
    """The manifest of the folder, where it has one, lists `path` with the content of `temporary`, which is
    about to take its place, and still accepts it as it is; or lists it no longer, when it is gone."""
    if not manifest.is_listed(path.name) or not (path.parent / manifest.NAME).exists():
        return
    with _locked_folder(path.parent):
        entries = manifest.read_manifest(path.parent) or {}
        known = entries.pop(path.name, None)
        if temporary is not None:
            before = sha256(path) if known is not None and path.is_file() else ""
            if known is not None and before not in (known.sha256, known.before):
                before = ""  # what lies there is damaged
            size, digest = temporary.stat().st_size, sha256(temporary)
            entries[path.name] = manifest.Entry(size, digest, "" if before == digest else before)
        elif known is None:
            return
        write_text(path.parent / manifest.NAME, manifest.text_of(entries))


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """A block that one process at a time enters for a folder, where the system has locks."""
    if sys.platform == "win32":
        yield
        return
    import fcntl  # only where it exists

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class _Lines(io.StringIO):
    """Rows end with a newline alone. The writer ends them with "\\r\\n", so that it quotes a carriage return
    in a name, which would otherwise break the row in two."""

    def write(self, line: str) -> int:
        return super().write(line.removesuffix("\r\n") + "\n")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the system's refusal into an error with the file, the cause and what to do."""
    try:
        yield
    except OSError as error:
        cause = error.strerror or str(error)
        raise PellucidError(
            f"Cannot write '{path}': {cause}. Make room or choose a folder you may write to."
        ) from error


def _refuse_locked(file: BinaryIO, path: Path) -> None:
    """Lock the open file until it is closed or the process ends."""
    with suppress(_NoLocks):  # there, a file written by two processes fails its check
        if not _locked(file):
            raise PellucidError(
                f"'{path}' is being written by another process. Wait until it is done, "
                "then run the command again."
            )


def _claimed(folder: Path) -> BinaryIO | None:
    """The locked file of the claim on `folder`; None where the system has no locks."""
    path = folder / CLAIM
    try:
        file = _opened_and_locked(path)
    except _NoLocks:
        path.unlink(missing_ok=True)
        return None
    if file is None:
        raise PellucidError(
            f"'{folder}' is being written by {_holder(path)}. Wait until it is done, or end that process; "
            "nothing was changed. What is in the folder can be read meanwhile."
        )
    facts = {
        "process": os.getpid(),
        "host": platform.node(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }
    if os.fstat(file.fileno()).st_nlink == 1:  # by another name it would be somebody's file
        with suppress(OSError):  # on a full disk the lock still holds
            file.truncate(0)
            file.write(json.dumps(facts).encode())
            file.flush()
    return file


def _holder(path: Path) -> str:
    """Who has locked the file, as it says; it may be about to write that down."""
    for _ in range(20):
        with suppress(OSError, ValueError, KeyError, TypeError):
            facts = parsed_json(read_regular(path, 1000))
            return f"process {int(facts['process'])} on {facts['host']} since {facts['since']}"
        time.sleep(0.02)
    return "another process"


def _opened_and_locked(path: Path) -> BinaryIO | None:
    """`path`, made where it is missing, open and locked; None where it is locked already.

    Its holder may remove it: then the lock of the file that was opened says nothing of that now there.
    """
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | NO_TRICKS, 0o666), "r+b")
        try:
            if not _locked(file):
                file.close()
                return None
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.lstat()):
                    return file
        except (OSError, _NoLocks):
            file.close()
            raise
        file.close()


class _NoLocks(Exception):
    """Files cannot be locked here: on Windows, on some network disks."""


def _locked(file: BinaryIO) -> bool:
    """Whether the open file could be locked; False where another has locked it. Raises _NoLocks."""
    if sys.platform == "win32":
        raise _NoLocks
    import fcntl  # only where it exists

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise _NoLocks from error
    return True


def _temporary_beside(path: Path) -> tuple[BinaryIO, Path]:
    """A new file in the folder of `path`, open, and locked where there are locks."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.pellucid-", suffix=".part", dir=path.parent)
        try:
            file = os.fdopen(descriptor, "wb")
        except OSError:
            Path(name).unlink()
            raise
        try:
            ours = _locked(file)
        except _NoLocks:
            ours = True
        if ours and os.fstat(file.fileno()).st_nlink:  # else somebody took it for a killed writer's
            return file, Path(name)
        file.close()


def _remove_abandoned(folder: Path, *, again: bool = False) -> None:
    """Temporary files of killed writers are gone from `folder`; looked for once per process, or `again`."""
    name = str(folder.absolute())
    if name in _SWEPT and not again:
        return
    _SWEPT.add(name)
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if TEMPORARY.fullmatch(path.name):
                descriptor = os.open(path, os.O_RDWR | NO_TRICKS)
                with suppress(OSError, _NoLocks), os.fdopen(descriptor, "rb") as file:
                    if _locked(file):
                        path.unlink()


def _forget_claims() -> None:
    """In a child that shares this process's open files, close those of claims: they are its parent's."""
    for file in _HELD.values():
        file.close()
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_claims)


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder; its rename is durable by itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value

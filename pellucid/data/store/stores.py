"""What the cache holds of people's pictures: listed by data set, deleted on request."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pellucid import files
from pellucid.data.store.headers import HEADERS_FILE, stores_folder
from pellucid.data.store.index import read_record
from pellucid.errors import PellucidError

LOCK, PIXELS = "lock", ".pixels"
OWN_FILES = re.compile(r"facts\.json|lock|\dx\d+x\d+-[0-9a-f]{8}(\.json|-[0-9a-f]{8}\.pixels)|\..+\.part")
OWN_FOLDERS = re.compile(r".+-[0-9a-f]{16}")


@dataclass(frozen=True)
class CachedFiles:
    """The files that pellucid keeps of one data set: its name, their folder, and their size in bytes."""

    name: str
    folder: Path
    files: tuple[Path, ...]
    bytes: int


def list_stores(cache: Path | None = None) -> list[CachedFiles]:
    """Every store in the cache, in the order of the folders' names; only files that pellucid wrote count."""
    stores = []
    parent = stores_folder(cache)
    for folder in sorted(parent.iterdir()) if parent.is_dir() else []:
        if OWN_FOLDERS.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            own = tuple(path for path in sorted(folder.iterdir()) if _is_own(path))
            record = read_record(folder / HEADERS_FILE)
            name = str(record[0]["name"]) if record else folder.name  # the data set's path, if it has one
            stores.append(CachedFiles(name, folder, own, sum(_size(path) for path in own)))
    return stores


def delete_cached(entry: CachedFiles) -> None:
    """Delete the files of `entry`. Raises PellucidError while another process is building a store there."""
    with files.alone(entry.folder / LOCK, seconds=0) as alone:
        if not alone and os.name != "nt":
            raise PellucidError(
                f"'{entry.folder}' is being built by another process. Wait until it is done, "
                "then run the command again."
            )
        for path in entry.files:
            files.remove(path)
        if _is_own(entry.folder / LOCK):  # while it is locked: whoever waits for it will notice
            files.remove(entry.folder / LOCK)
    files.remove_folder(entry.folder)


def _is_own(path: Path) -> bool:
    return bool(OWN_FILES.fullmatch(path.name)) and path.is_file() and not path.is_symlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

"""The manifest of a run's folder: the size and SHA-256 of every file in it, and what is lost with each.

`files.py` keeps it up to date with every file that it writes into such a folder, and compares with it every
file that it reads from one. An entry is written before its file takes its place, and still accepts the file
as it was before: whenever a process is killed, what lies there is one of the two.
"""

import hashlib
import json
import re
import shlex
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError
from pellucid.reading import JSON_BYTES, TENSOR_BYTES, parsed_json, read_regular, reason_of, refuse_other_keys

NAME = "manifest.json"
FORMAT = 1
# The first holds a SHA-256 of its own and is gone when training ends; the second is there to be edited.
UNLISTED = ("checkpoint.safetensors", "suspects.csv")
HEXADECIMAL = re.compile(r"[0-9a-f]{64}")
MOST_FILES = 10_000
RESTORE = "Restore it from a copy, or train again."


@dataclass(frozen=True)
class Loss:
    """What is lost with a file, and what to do about it.

    needed  whether a run cannot be opened without it
    """

    lost: str
    remedy: str = RESTORE
    needed: bool = False


EVALUATE = "Judge the run again: pellucid evaluate {run} --again"
REPORT = "Write the report again: pellucid report {run}"
LOSSES: dict[str, Loss] = {
    "model.safetensors": Loss("the weights of the network", needed=True),
    "model.json": Loss("which network it is, its classes and how it reads pictures", needed=True),
    "recipe.json": Loss("the settings of the training", needed=True),
    "environment.json": Loss("which pictures, versions and machine the run is of", needed=True),
    "metrics.csv": Loss("the history by epoch", "The run goes on without it; restore it from a copy."),
    "split.csv": Loss("which pictures were learned from, chosen by and judged on", needed=True),
    "metrics_all.csv": Loss("the history of the second training"),
    "seen.csv": Loss("which pictures the run that this one began from has learned from", needed=True),
    "excluded.csv": Loss("which pictures were left out"),
    "relabelled.csv": Loss("which labels were changed"),
    "findings.json": Loss(
        "what was found in the pictures before training",
        "Restore it, or remove it: the run then says that near-copies were not searched for.",
    ),
    "held_out.csv": Loss("what was predicted of pictures held out, by which thresholds are chosen"),
    "reference.safetensors": Loss("what new pictures are compared with"),
    "margins.csv": Loss("how sure the network was of each training label, by which label errors are found"),
    "snapshots.safetensors": Loss(
        "the network at earlier moments of its training", "Restore it, or remove it to go on without."
    ),
    "diagnostics.csv": Loss("how fast each layer learned", "Restore it, or remove it to go on without."),
    "evaluation.json": Loss("the result on the test pictures", EVALUATE),
    "predictions.csv": Loss("what was predicted of each test picture", EVALUATE),
    "causes.csv": Loss("what may lie behind each mistake", REPORT),
    "faithfulness.json": Loss("how faithful the explanations are", REPORT),
    "report.html": Loss("the report", REPORT),
}
OTHER = Loss("what it holds", "Restore it from a copy, or remove it.")


@dataclass(frozen=True)
class Entry:
    """A file as it was written.

    before  the SHA-256 that it had before, which it has still if its writer was killed; "" for none
    """

    size: int
    sha256: str
    before: str = ""

    def fits(self, content: bytes) -> bool:
        """Whether a file with this content is one of the two."""
        return hashlib.sha256(content).hexdigest() in (self.sha256, self.before)


class DamagedFile(PellucidError):
    """A file of a run's folder, called `name`, is not as it was written; `reason` says so without advice."""

    def __init__(self, message: str, name: str = NAME, *, reason: str = "") -> None:
        super().__init__(message)
        self.name = name
        self.reason = reason or message


def damage(path: Path, what: str) -> DamagedFile:
    """The error about a file that is not as it was written: what is wrong, what is lost, what to do."""
    loss = LOSSES.get(path.name, OTHER)
    remedy = loss.remedy.format(run=shlex.quote(str(path.parent)))
    reason = f"'{path}' is damaged: {what}. Lost is {loss.lost}."
    return DamagedFile(f"{reason} {remedy}", path.name, reason=reason)


def is_listed(name: str) -> bool:
    """Whether a file of that name belongs into a manifest."""
    return name not in (NAME, *UNLISTED) and not name.startswith(".")


def text_of(entries: Mapping[str, Entry]) -> str:
    """The text of a manifest with these entries."""
    files = {
        name: {key: value for key, value in asdict(entry).items() if value != ""}
        for name, entry in sorted(entries.items())
    }
    content = {"format": FORMAT, "files": files}
    return json.dumps({**content, "sha256": _digest(content)}, indent=2, ensure_ascii=False) + "\n"


def read_manifest(folder: Path) -> dict[str, Entry] | None:
    """The entries of a folder's manifest by file name; None where it has none.

    Raises DamagedFile when it is not as it was written.
    """
    path = folder / NAME
    try:
        content = parsed_json(read_regular(path, JSON_BYTES))
        refuse_other_keys(content, ("format", "files", "sha256"), path=path)
        if content["format"] != FORMAT:
            raise PellucidError(
                f"'{path}' has format {content['format']!r}; this pellucid reads format {FORMAT}. "
                "Open the run with the version that wrote it."
            )
        if content["sha256"] != _digest({name: content[name] for name in ("format", "files")}):
            raise ValueError("its SHA-256 is not that of what it lists")
        return _entries(content["files"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise DamagedFile(
            f"'{path}' is damaged: {reason_of(error)}. Nothing tells whether the other files are as they "
            f"were written. {RESTORE}"
        ) from error


def read_sealed(path: Path, limit: int) -> bytes:
    """What `read_regular` gives, of a file that is as the manifest of its folder has it, where there is one.

    Raises what `read_regular` raises, and DamagedFile when it is not as it was written.
    """
    for attempt in range(3):  # between file and manifest another process may have written both
        content = read_regular(path, limit)
        try:
            refuse_altered(path, content)
            break
        except DamagedFile:
            if attempt == 2:
                raise
    return content


def refuse_altered(path: Path, content: bytes) -> None:
    """Raises DamagedFile when a file in a folder with a manifest is not as the manifest has it."""
    if not is_listed(path.name):
        return
    entry = (read_manifest(path.parent) or {}).get(path.name)
    if entry is not None and not entry.fits(content):
        what = (
            f"it has {len(content):,} bytes, {entry.size:,} were written"
            if len(content) != entry.size
            else "its SHA-256 is not that of what was written"
        )
        raise damage(path, what)


def name_damages(folder: Path) -> list[str]:
    """Warns of every file of a run that is not as it was written and that the run can do without; gives their
    names.

    Raises DamagedFile, naming all of them, when there is one that it needs, or the manifest is missing.
    """
    if read_manifest(folder) is None and (folder / "model.json").is_file():
        raise DamagedFile(
            f"'{folder / NAME}' is missing. Nothing tells whether the other files are as they were written. "
            f"{RESTORE}"
        )
    found = damages(folder)
    if any(LOSSES.get(error.name, OTHER).needed for error in found):
        raise DamagedFile(" ".join(map(str, found)))
    for error in found:
        warnings.warn(str(error), stacklevel=3)
    return [error.name for error in found]


def damages(folder: Path) -> list[DamagedFile]:
    """What is wrong with the files of a folder that its manifest lists, one error each; those that a run can
    do without may be missing. Nothing where it has no manifest.

    Raises DamagedFile when the manifest itself is damaged.
    """
    found = []
    for name in read_manifest(folder) or {}:
        path = folder / name
        try:
            refuse_altered(path, read_regular(path, TENSOR_BYTES))
        except FileNotFoundError:
            if LOSSES.get(name, OTHER).needed:
                found.append(damage(path, "it is missing"))
        except OSError as error:
            found.append(damage(path, reason_of(error)))
        except DamagedFile as error:
            found.append(error)
    return found


def _entries(files: Any) -> dict[str, Entry]:
    if not isinstance(files, dict) or len(files) > MOST_FILES:
        raise ValueError("its list of files is none, or without end")
    found = {}
    for name, values in files.items():
        entry = Entry(**values)
        digests = [entry.sha256, *([entry.before] if entry.before else [])]
        if type(entry.size) is not int or not all(HEXADECIMAL.fullmatch(digest) for digest in digests):
            raise ValueError(f"its entry for {name!r} is not understood")
        if not name or not is_listed(name) or name != Path(name).name:
            raise ValueError(f"it lists {name!r}, which is no file of a run")
        found[name] = entry
    return found


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

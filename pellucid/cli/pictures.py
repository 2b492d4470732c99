"""The pictures a command works on: loaded, found again, or fitted to a network."""

import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import PellucidError, UsageError
from pellucid.formatting import plain

if TYPE_CHECKING:
    from pellucid.data.dataset import Splits
    from pellucid.data.own import Reading
    from pellucid.runs.run import Run


@dataclass(frozen=True)
class Choices:
    """How pictures are to be read and parted, as the command line asks for it."""

    seed: int
    validation: float
    size: int = 0
    group_by: str = ""
    split: str | Path | None = None
    on_unreadable: str = "skip"


def read(data: str, data_dir: Path | None, choices: Choices) -> "tuple[Splits, Reading | None]":
    """A known data set, or one's own pictures with all that there is to say about how they were read."""
    from pellucid.data import is_known

    if not is_known(data):
        reading = _read(data, choices)
        return reading.splits, reading
    given = [name for name in ("size", "group_by", "split") if getattr(choices, name)]
    if given:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"{flags} is for your own pictures; '{data}' is known and comes as it is.")
    return loaded(data, data_dir, choices.seed, choices.validation), None


def about(data: str, choices: Choices, reading: "Reading") -> dict[str, Any]:
    """What a run writes down of pictures, so that they are found again and read alike."""
    split = None if choices.split is None else str(Path(choices.split).resolve())
    return {
        "path": str(Path(data).resolve()),
        "choices": {**asdict(choices), "split": split},
        **reading.to_json(),
        "messages": [note.to_json() for note in reading.notes],
    }


def read_again(told: Mapping[str, Any], folder: Path, data_dir: Path | None) -> "Reading":
    """The pictures of a run as its `environment.json` tells under "reading".

    `data_dir` is where they lie now, should they have been moved. A table of parts that is gone is replaced
    by the run's own.
    """
    from pellucid.data.preprocess import Preprocess
    from pellucid.runs.tables import SPLIT

    try:
        choices = Choices(**told["choices"])
        preprocess = Preprocess(**told["preprocess"])
        path = str(data_dir or told["path"])
    except (KeyError, TypeError) as error:
        raise PellucidError(f"'{folder}' does not tell how its pictures were read: {error!r}.") from error
    if choices.split is not None and not Path(choices.split).is_file():
        choices = replace(choices, split=folder / SPLIT)
    return _read(path, choices, preprocess)


def _read(data: str, choices: Choices, preprocess: Any = None) -> "Reading":
    from pellucid.data.own import read_pictures

    def tell(what: str, done: int, count: int) -> None:
        end = "\n" if done >= count else ""
        print(f"\r{what}: {done:,} of {count:,} pictures", end=end, file=sys.stderr, flush=True)

    return read_pictures(
        data,
        size=choices.size,
        seed=choices.seed,
        validation=choices.validation,
        group_by=choices.group_by,
        split_file=choices.split,
        on_unreadable=choices.on_unreadable,  # type: ignore[arg-type]  # a wrong word is refused there
        progress=tell if sys.stderr.isatty() else None,
        preprocess=preprocess,
    )


def loaded(name: str, data_dir: Path | None, seed: int, validation: float) -> "Splits":
    """The data set, with a download's progress on a terminal and what was passed over as plain lines."""
    from pellucid.data import load

    def tell(file: str, done: int, size: int) -> None:
        print(f"\r{file}: {done / 1e6:.1f} of {size / 1e6:.1f} MB", end="", file=sys.stderr, flush=True)
        if done >= size:
            print(file=sys.stderr)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        progress = tell if sys.stderr.isatty() else None
        splits = load(name, data_dir=data_dir, seed=seed, validation=validation, progress=progress)
    for warning in caught:
        print(plain(f"pellucid: {warning.message}"), file=sys.stderr)
    return splits


def splits_of(run: "Run", data_dir: Path | None) -> "Splits":
    """The pictures a run was trained on, loaded again and found to be the same.

    Where they are parted otherwise now, as after an earlier pellucid, the run's own table of parts is asked.
    """
    from pellucid.runs.run import find_splits
    from pellucid.runs.tables import SPLIT

    recipe = run.recipe
    if told := run.environment.get("reading"):
        try:
            return find_splits(run, lambda: read_again(told, run.folder, data_dir).splits)
        except UsageError:
            as_then = {**told, "choices": {**told["choices"], "split": str(run.folder / SPLIT)}}
            with suppress(UsageError):
                return find_splits(run, lambda: read_again(as_then, run.folder, data_dir).splits)
            raise
    return find_splits(run, lambda: loaded(run.data, data_dir, recipe.seed, recipe.validation))


def with_scaling(preprocess: Any, scaling: str | None) -> Any:
    """A classifier's preprocessing, with the scaling asked for on the command line."""
    from dataclasses import replace

    from pellucid.data.preprocess import SCALING

    if scaling is None:
        return preprocess
    if scaling not in SCALING:
        raise UsageError(f"Unknown scaling '{scaling}'. Known: {', '.join(SCALING)}.")
    return replace(preprocess, scaling=scaling)


def pictures_in(path: Path) -> list[Path]:
    """The file itself, or every picture of a folder, hidden ones left out, in natural order; a folder without
    pictures stays what it is."""
    if not path.is_dir():
        return [path]
    from pellucid.data.sources.tree import folder_tree

    names = folder_tree(path).pictures()
    return [path / name for name in names] or [path]  # who reads an empty folder says that it is none

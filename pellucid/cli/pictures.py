"""How the command line shows that pictures are loaded: progress on a terminal, nothing in a pipe."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pellucid.data.dataset import Choices, Splits
    from pellucid.data.preprocess import Preprocess
    from pellucid.runs.run import Run

Progress = Callable[[str, int, int], None]


def load(
    data: str, choices: "Choices", data_dir: Path | None, *, preprocess: "Preprocess | None" = None
) -> "Splits":
    """The pictures by name or path, with progress on a terminal; read as an earlier run read its own."""
    from pellucid.data import is_known, load_by

    return load_by(data, choices, data_dir=data_dir, preprocess=preprocess, progress=progress(is_known(data)))


def splits_of(run: "Run", data_dir: Path | None, *, other_test: bool = False) -> "Splits":
    """The pictures of a run, loaded again, with progress on a terminal; `other_test` as of `Run.splits`."""
    return run.splits(data_dir, other_test=other_test, progress=progress(run.origin.known))


def progress(downloaded: bool) -> Progress | None:
    """A callback that shows a download in megabytes, or own pictures by their number; None in a pipe."""
    if not sys.stderr.isatty():
        return None

    def show(what: str, done: int, count: int) -> None:
        end = "\n" if done >= count else ""
        amount = (
            f"{done / 1e6:.1f} of {count / 1e6:.1f} MB" if downloaded else f"{done:,} of {count:,} pictures"
        )
        print(f"\r{what}: {amount}", end=end, file=sys.stderr, flush=True)

    return show

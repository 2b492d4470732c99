"""The pictures a command works on: loaded, found again, or fitted to a network."""

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.cli.voice import plain
from pellucid.errors import UsageError

if TYPE_CHECKING:
    from pellucid.data.dataset import Splits
    from pellucid.run import Run


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
    """The pictures a run was trained on, loaded again and found to be the same."""
    from pellucid.run import find_splits

    recipe = run.recipe
    return find_splits(run, lambda: loaded(run.data, data_dir, recipe.seed, recipe.validation))


def with_scaling(preprocess: Any, scaling: str | None) -> Any:
    """A classifier's preprocessing, with the scaling asked for on the command line."""
    from dataclasses import replace

    from pellucid.data.picture import SCALING

    if scaling is None:
        return preprocess
    if scaling not in SCALING:
        raise UsageError(f"Unknown scaling '{scaling}'. Known: {', '.join(SCALING)}.")
    return replace(preprocess, scaling=scaling)

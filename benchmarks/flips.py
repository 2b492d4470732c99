"""Flips bits in, and cuts, every file of a toy run, and counts what opening the run says nothing about.

python benchmarks/flips.py 120     # flips per file
"""

import random
import sys
import tempfile
import warnings
from pathlib import Path

from pellucid.data import load
from pellucid.errors import PellucidError
from pellucid.recipe import Recipe
from pellucid.runs.fit import fit
from pellucid.runs.run import Run


def said_of(folder: Path) -> str:
    """What opening the run says, as an error or as warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            Run.open(folder)
        except PellucidError as error:
            return str(error)
    return " ".join(str(each.message) for each in caught)


def main() -> None:
    """Prints flips and cuts per file, and those that nothing was said about."""
    per_file, generator = int(sys.argv[1]), random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        splits = load("digits")
        run = fit(splits, Recipe(epochs=2, batch_size=64, threads=1), folder=folder)
        run.evaluate(splits.test)
        tried = silent = 0
        for path in sorted(folder.iterdir()):
            content, missed = path.read_bytes(), 0
            for number in range(per_file + 20):
                at, changed = generator.randrange(len(content)), bytearray(content)
                changed[at] ^= 1 << number % 8
                changed = changed if number < per_file else changed[:at]
                path.write_bytes(changed)
                blank = path.name == "manifest.json" and changed.split() == content.split()
                missed += f"{path.name}'" not in said_of(folder) and not blank
            path.write_bytes(content)
            tried, silent = tried + per_file + 20, silent + missed
            print(f"{path.name:24} {missed} of {per_file + 20} not named")
        print(f"{silent} of {tried:,} not named")
    sys.exit(bool(silent))


if __name__ == "__main__":
    main()

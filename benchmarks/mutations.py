"""A hundred thousand mutated pictures, run folders and archives: is each read or refused with a message, soon
and within the memory that is promised?

    python benchmarks/mutations.py                                   # 80,000, 10,000 and 10,000
    python benchmarks/mutations.py --pictures 1000 --runs 100 --archives 100 --first 5000
"""

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.attacks.mutations import MEGABYTES, Kind, attack, of_archives, of_pictures, of_runs


def report(what: str, kind: Kind, count: int, given: argparse.Namespace) -> int:
    """Tries the inputs and prints what became of them; returns how much was wrong."""
    begun = time.monotonic()
    found = attack(kind, count, first=given.first, seconds=60 * given.minutes)
    seconds = max(time.monotonic() - begun, 1e-9)
    print(
        f"{what}: {found.count:,} in {seconds:.0f} s, {found.count / seconds:.0f} per second; up to "
        f"{found.memory:,} MB more; {len(found.wrong)} wrong"
    )
    for name, outcomes in sorted(found.outcomes.items()):
        print(f"  {name}: {', '.join(f'{number:,} {each}' for each, number in sorted(outcomes.items()))}")
    print(*(f"  WRONG {each}" for each in found.wrong), sep="\n", flush=True)
    return len(found.wrong) + (found.memory > MEGABYTES)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=80_000)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--archives", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each kind")
    parser.add_argument("--minutes", type=float, default=math.inf, help="for each kind, at most")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        runs, archives = Path(place) / "runs", Path(place) / "archives"
        runs.mkdir()
        archives.mkdir()
        wrong = 0
        if given.pictures:
            wrong += report("pictures", of_pictures(), given.pictures, given)
        if given.archives:
            wrong += report("archives", of_archives(archives), given.archives, given)
        if given.runs:
            wrong += report("run folders", of_runs(runs), given.runs, given)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

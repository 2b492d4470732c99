"""A fault at every operation on a file of a save, of a resume and of a report: a kill, a full disk, a broken
one, a right that is missing, once and for good. Is it told, and does the next command end in the same bytes?

    python benchmarks/faults.py     # every fault; --every 50: one of fifty; --minutes 30: what that allows

Needs Linux and a C compiler.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


WORKS = ("save", "resume", "report")


def report(works: list[str], every: int, first: int, minutes: float) -> int:
    """Tries the faults and prints what was found; returns how much was wrong."""
    from tests.attacks.faults import attack

    wrong = 0
    for work in works:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as place:
            found = attack(
                work,
                Path(place),
                every=every,
                first=first,
                seconds=60 * minutes,
                tell=partial(print, flush=True),
            )
        seconds = time.monotonic() - begun
        print(f"{work}: {found.operations.total()} operations: {dict(found.operations)}")
        print(
            f"  {found.faults.total():,} of {found.possible:,} faults in {seconds:.0f} s: "
            f"{dict(found.faults)}"
        )
        print(f"  then: {dict(found.outcomes)}")
        print(f"  {len(found.wrong)} wrong", flush=True)
        wrong += len(found.wrong)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", choices=WORKS, action="append", help="save and resume unless given")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="for each kind of work")
    given = parser.parse_args()
    if "FAULTS" in os.environ:
        sys.exit(bool(report(given.work or [*WORKS[:2]], given.every, given.first, given.minutes)))
    from tests.attacks.faults import compiled, preloaded

    with tempfile.TemporaryDirectory() as folder:
        library = compiled(Path(folder))
        if library is None:
            sys.exit("This needs Linux and a C compiler.")
        sys.exit(preloaded(library, Path(__file__), *sys.argv[1:]).returncode)


if __name__ == "__main__":
    main()

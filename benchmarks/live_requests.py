"""30,000 requests at the live page's server, nine of ten mutated: does it answer each as it promises, go on
answering the good ones rightly, and take no more memory?

    python benchmarks/live_requests.py --count 30000

Needs Linux.
"""

import argparse
import asyncio
import math
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.attacks.requests import Found, attack
from tests.attacks.served import drawings, live, make_runs

AT_ONCE = 500  # requests after which the memory is looked at
MEGABYTES = 64  # of bodies that are held at a time


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first request")
    parser.add_argument("--minutes", type=float, default=math.inf, help="at most")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place, found = Path(name), Found()
        make_runs(place)
        known = drawings(place, 20)
        begun, memory = time.monotonic(), []
        with live(place) as server:
            for first in range(given.first, given.first + given.count, AT_ONCE):
                if time.monotonic() > begun + 60 * given.minutes:
                    break
                part = asyncio.run(attack(server, known, min(AT_ONCE, given.count), first=first))
                found.statuses.update(part.statuses)
                found.good.update(part.good)
                found.wrong += part.wrong
                memory.append(server.memory)
                print(f"up to {first + AT_ONCE:,}: {memory[-1]} MB, {len(found.wrong)} wrong", flush=True)
                print(dict(sorted(found.statuses.items())), dict(found.good), flush=True)
                print(*part.wrong, sep="\n", flush=True)
            said = server.errors.read_text()
    sent = found.statuses.total() + found.good["answered"]
    print(f"{sent:,} requests in {time.monotonic() - begun:.0f} s")
    print(f"mutated, by status: {dict(sorted(found.statuses.items()))}")
    print(f"good: {dict(found.good)}")
    print(
        f"memory: {memory[0]} MB after the first {AT_ONCE:,}, {memory[-1]} at the end, {max(memory)} at most"
    )
    print(f"the server said: {said[-1000:]!r}")
    print(f"{len(found.wrong)} wrong")
    sys.exit(bool(found.wrong or said or memory[-1] > memory[0] + MEGABYTES))


if __name__ == "__main__":
    main()

"""32 clients of the live page's server for five minutes, each checking its own answers: is one wrong, that of
another, or lost?

    python benchmarks/live_clients.py --clients 32 --seconds 300

Needs Linux.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.attacks.clients import attack
from tests.attacks.served import drawings, live, make_runs

OWN = 4  # drawings of each client


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--pause", type=float, default=0.5, help="mean seconds between two questions")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_runs(place)
        known = drawings(place, OWN * given.clients)
        with live(place) as server:
            before = server.memory
            work = attack(server, known, given.clients, seconds=given.seconds, pause=given.pause)
            found = asyncio.run(work)
            after, said = server.memory, server.errors.read_text()
    print(
        f"{given.clients} clients, {given.seconds:g} s: {dict(found.answers)}; slowest {found.slowest:.1f} s"
    )
    print(f"memory: {before} MB at the start, {after} at the end; the server said {said[-1000:]!r}")
    print(f"{len(found.wrong)} wrong", *found.wrong, sep="\n")
    sys.exit(bool(found.wrong or said))


if __name__ == "__main__":
    main()

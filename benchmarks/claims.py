"""How soon a command is refused whose run another process writes into, and whether it changed anything.

    python benchmarks/claims.py

A process holds a run's folder; each command is started N times, one after the other, and timed to its exit.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pellucid.recipe import Recipe
from pellucid.runs.fit import fit

N = 10
HOLDER = """
import sys
from pathlib import Path
from pellucid.files import claim
with claim(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""
COMMANDS = (
    ("train", "digits", "--out", "run"),
    ("train", "--resume", "run"),
    ("evaluate", "run"),
    ("report", "run"),
    ("labels", "run"),
)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        fit("digits", Recipe.named("fast", epochs=1, model="tutorial"), folder=run)
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before = {path.name: path.read_bytes() for path in run.iterdir()}
        for words in COMMANDS:
            seconds = []
            for _ in range(N):
                begun = time.perf_counter()
                done = subprocess.run(
                    [sys.executable, "-m", "pellucid", *words], cwd=place, capture_output=True, text=True
                )
                seconds.append(time.perf_counter() - begun)
                assert done.returncode == 1, done
                assert f"is being written by process {holder.pid} on" in done.stderr, done.stderr
            middle, most = statistics.median(seconds), max(seconds)
            print(f"{' '.join(words):<24} {middle:.2f} s, at most {most:.2f}; n = {N}")
        assert {path.name: path.read_bytes() for path in run.iterdir()} == before
        holder.communicate("\n")


if __name__ == "__main__":
    main()

"""How near the time that `pellucid train` says beforehand is to what it takes.

    python benchmarks/estimates.py digits ./photos "digits --model compact"

Each argument is what follows `pellucid train`: a process of its own that finds kernels compiled, but neither
decoded pictures, nor features, nor networks that were tried. Taken is the time from the line that says it to
the last epoch; the test set is judged after that. Printed: said, taken, and the larger as a multiple of the
smaller.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def said_and_taken(command: list[str], home: Path) -> tuple[float, float]:
    """The seconds said before a training and those it took, until its last epoch was judged."""
    words = [sys.executable, "-m", "pellucid", "train", *command, "--json", "--out", str(home / "run")]
    environment = {**os.environ, "PELLUCID_HOME": str(home)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        said, begun, last = 0.0, time.perf_counter(), 0.0
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "plan":
                said, begun = event["seconds"], time.perf_counter()
            elif event["event"] in ("candidate", "epoch"):
                last = time.perf_counter()
            elif event["event"] == "evaluation":
                process.terminate()
        return said, last - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+")
    near = 0
    data = parser.parse_args().data
    print("| command | said, s | taken, s | factor |\n|---|---|---|---|")
    for words in data:
        with tempfile.TemporaryDirectory() as home:
            said_and_taken(["digits", "--epochs", "1"], Path(home))
            shutil.rmtree(Path(home) / "run")
            said, taken = said_and_taken(shlex.split(words), Path(home))
        factor = max(said, taken) / max(min(said, taken), 1e-9)
        near += factor <= 1.5
        print(f"| train {words} | {said:.1f} | {taken:.1f} | {factor:.2f} |", flush=True)
    print(f"\nWithin a factor of 1.5: {near} of {len(data)}.")


if __name__ == "__main__":
    main()

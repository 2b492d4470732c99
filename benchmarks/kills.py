"""SIGKILL at random moments of a training, and of going on with it, until it is complete: does it end in the
bytes of one that was never killed?

    python benchmarks/kills.py 300

Each round begins a training of toy pictures in a child process, kills it after a random time, and goes on
with it in further children, of which many are killed, too. Nothing is ever repaired by hand: a folder whose
training was killed before its first checkpoint is simply trained into again.
"""

import collections
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pellucid.errors import UsageError
from tests.runs.toy_runs import resumed, started
from tests.toys import economical, left


def child(work: Callable[[], object], *, seconds: float) -> int:
    """The exit status of a process that did the work, or was killed after so many seconds; 2: UsageError."""
    pid = os.fork()
    if not pid:
        try:
            with economical():
                work()
            os._exit(0)
        except UsageError:
            os._exit(2)
        finally:
            os._exit(1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(rounds: int) -> None:
    random.seed(1)
    found: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as place:
        begun = time.monotonic()
        assert child(lambda: started(Path(place) / "whole"), seconds=600) == 0
        length, expected = time.monotonic() - begun, left(Path(place) / "whole")
        for number in range(rounds):
            folder = Path(place) / f"{number}"
            while True:
                ready = (folder / "checkpoint.safetensors").exists()
                work = (
                    (lambda folder=folder: resumed(folder))
                    if ready
                    else (lambda folder=folder: started(folder))
                )
                status = child(work, seconds=random.random() * length * 1.5)
                found["killed"] += status == -signal.SIGKILL
                if status == -signal.SIGKILL and folder.exists():
                    if (folder / "checkpoint.safetensors").exists():
                        found["killed with a checkpoint"] += 1
                    elif not (folder / "model.json").exists():
                        found["killed before the first checkpoint"] += 1
                if (folder / "model.json").exists() and not (folder / "checkpoint.safetensors").exists():
                    break
                if status not in (0, -signal.SIGKILL):
                    found[f"ended with {status}"] += 1
                    break
            same = (folder / "metrics.csv").exists() and left(folder) == expected
            found["same bytes" if same else "other bytes"] += 1
            found["temporary files left"] += sum(path.suffix == ".part" for path in folder.iterdir())
            shutil.rmtree(folder)
    print(f"{rounds} trainings of about {length:.1f} s: {dict(found)}")
    sys.exit(bool(found["other bytes"] or found["temporary files left"]))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)

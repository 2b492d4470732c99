"""The most memory that `check` and `train` hold, on pictures made here: `python benchmarks/memory.py`.

Each command runs in a process of its own with an empty cache. Printed is the largest resident memory of the
process itself (as the system counts it), and of it and its decoding workers together, sampled every 50 ms.
Memory that is mapped from the cache's file counts while it is resident. Linux only: it reads /proc.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

COMMANDS = {
    "check": ["check", "--no-page"],
    "check with page": ["check", "--out", "check.html"],
    "train": ["train", "--epochs", "1"],
    "train lite0": ["train", "--model", "lite0"],
}


def make_pictures(folder: Path, count: int, side: int, classes: int = 4) -> None:
    """`count` JPEG files of side x side pixels in one folder per class: coloured noise, smooth and fine."""
    random = np.random.default_rng(0)
    for number in range(count):
        label = number % classes
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        coarse[..., label % 3] //= 1 + label
        picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        path = folder / f"class{label}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=85)


def peak_of(command: list[str], folder: Path) -> tuple[float, float, float, int]:
    """(seconds, MB of the process, MB with its workers, exit code) of one command."""
    environment = {**os.environ, "PELLUCID_CACHE": str(folder / "cache")}
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "pellucid", *command],
        cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    alone = together = 0
    while process.poll() is None:
        sizes = [_resident(process.pid), *map(_resident, _children(process.pid))]
        alone, together = max(alone, sizes[0]), max(together, sum(sizes))
        time.sleep(0.05)
    if process.returncode:
        assert process.stderr is not None
        print(process.stderr.read().decode()[-500:], file=sys.stderr)
    return time.perf_counter() - begun, alone / 1e6, together / 1e6, process.returncode


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _children(pid: int) -> list[int]:
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1200)
    parser.add_argument("--side", type=int, default=1200)
    parser.add_argument("--only", nargs="*", default=list(COMMANDS), choices=list(COMMANDS))
    parser.add_argument("--options", nargs="*", default=[], help="given to every command, as in size=384")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pictures(folder / "pictures", arguments.pictures, arguments.side)
        for title in arguments.only:
            verb, *options = COMMANDS[title]
            more = [word for option in arguments.options for word in f"--{option}".split("=", 1)]
            command = [verb, str(folder / "pictures"), *options, *more]
            seconds, alone, together, code = peak_of(command, folder)
            print(
                f"{title}: {alone:,.0f} MB, with workers {together:,.0f} MB, {seconds:.0f} s, exit {code}",
                flush=True,
            )


if __name__ == "__main__":
    main()

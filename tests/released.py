"""Programs that say they are ready and wait for a line, so that several can be let go at once."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.toys import surroundings

# Claims a folder, writes a file of its own into it, and keeps it until a second line comes.
CLAIMING = """
import sys
from pathlib import Path
from pellucid.errors import PellucidError
from pellucid.files import claim, write_text
folder, name = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
try:
    with claim(folder):
        write_text(folder / name, name)
        print("claimed", flush=True)
        sys.stdin.readline()
except PellucidError as error:
    print(error, flush=True)
"""


def begun(program: str, *words: str | Path) -> subprocess.Popen[str]:
    """A program that has said it is ready, and waits for a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=surroundings(),
    )  # fmt: skip
    assert said(process) == "ready"
    return process


def go(process: "subprocess.Popen[str]") -> None:
    """Gives it the line that it waits for."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def said(process: "subprocess.Popen[str]") -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ended(processes: Iterable["subprocess.Popen[str]"]) -> list[int]:
    """The exit codes, once all of them have ended; none gets another line."""
    for process in processes:
        process.communicate(timeout=100)
    return [process.returncode for process in processes]

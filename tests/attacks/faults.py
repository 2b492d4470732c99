"""Faults at the operations on files: each operation that a training asks of the system, found by counting, is
refused or is the moment at which the process is killed. What follows is what a person would do: the next
command.

The operations are counted and refused by faults.c, which is compiled and preloaded: nothing that goes through
the C library is missed, whoever calls it. `attack` runs in a process that was started with it (`preloaded`).
"""

import collections
import ctypes
import errno
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from pellucid.errors import PellucidError, UsageError
from pellucid.runs.fit import fit, resume
from pellucid.runs.run import Run
from tests.runs.toy_runs import SHORT, TOYS
from tests.toys import at, economical, rows_of, toy_splits

SOURCE = Path(__file__).with_name("faults.c")
PICTURES = toy_splits(60)
RECIPE = replace(SHORT, epochs=1)
SAME = {
    "model.safetensors", "model.json", "recipe.json", "diagnostics.csv", "snapshots.safetensors",
    "margins.csv", "evaluation.json", "predictions.csv", "split.csv", "held_out.csv", "findings.json",
}  # fmt: skip
FOR_PAGES = {"diagnostics.csv", "snapshots.safetensors"}  # without which training goes on, and says so
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES}
MOST = 100_000  # operations that the library remembers
CRASHED = 99  # the exit status of a child that ended in a traceback


class Fault(NamedTuple):
    """What happens at the operation of that number: `error` 0 kills the process."""

    number: int
    operation: str
    error: int
    for_good: bool

    @property
    def name(self) -> str:
        error = errno.errorcode[self.error] if self.error else "SIGKILL"
        return f"{error}{' for good' if self.for_good else ''} at {self.number} ({self.operation})"


class Operation(NamedTuple):
    """What was asked of the system, and the errors that it can be refused with."""

    name: str
    fits: list[str]


class Ended(NamedTuple):
    """How a child ended: its exit status, what it said, and the operations on files that it asked for."""

    status: int
    said: str
    operations: list[Operation]


@dataclass
class Found:
    """What faults did, counted by error, and what was wrong.

    possible  how many faults there are
    """

    possible: int = 0
    operations: collections.Counter[str] = field(default_factory=collections.Counter)
    faults: collections.Counter[str] = field(default_factory=collections.Counter)
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    wrong: list[str] = field(default_factory=list)


def compiled(folder: Path) -> Path | None:
    """The library of faults.c; None where there is no compiler."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        return None
    library = folder / "faults.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def preloaded(library: Path, script: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The script in a process with the library."""
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "FAULTS": str(library),
            "PELLUCID_HOME": home,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        return subprocess.run([sys.executable, script, *words], env=environment, text=True, **options)


def trained(folder: Path) -> None:
    """A training from its beginning, and its evaluation."""
    fit(PICTURES.train, PICTURES.validation, RECIPE, folder=folder, origin=TOYS).evaluate(PICTURES.test)


def gone_on(folder: Path) -> None:
    """What is left of a training, and its evaluation."""
    resume(folder, PICTURES.train, PICTURES.validation).evaluate(PICTURES.test)


def reported(folder: Path) -> str:
    """The report of a run that was judged."""
    from pellucid.report.report import write_report

    run = Run.open(folder)
    evaluation = run.evaluation()
    assert evaluation is not None
    write_report(run, PICTURES, evaluation)
    return "reported"


def next_command(folder: Path) -> str:
    """What a person does whose training ended too early; says whether a folder had to be deleted first."""
    if (folder / "checkpoint.safetensors").exists():
        gone_on(folder)
        return "gone on with"
    if (folder / "model.json").exists():
        run = Run.open(folder)
        if not (folder / "evaluation.json").exists():
            run.evaluate(PICTURES.test)
            return "evaluated"
        return "complete"
    try:
        trained(folder)
        return "trained anew"
    except UsageError:
        shutil.rmtree(folder)
        trained(folder)
        return "trained anew once the folder was deleted"


def what_is_left(folder: Path) -> dict[str, object]:
    """The files of a run by name, as far as they must be the same whatever happened; of others that they are
    there."""
    found: dict[str, object] = {path.name: b"" for path in folder.iterdir() if path.name != ".lock"}
    for name in found.keys() & SAME:
        found[name] = (folder / name).read_bytes()
    if "metrics.csv" in found:
        found["metrics.csv"] = [{**row, "seconds": 0} for row in rows_of(folder / "metrics.csv")]
    return found


WORKS: dict[str, tuple[Callable[[Path], object], Callable[[Path], str]]] = {
    "save": (trained, next_command),
    "resume": (gone_on, next_command),
    "report": (reported, reported),
}  # what is done, and the command that follows


class Injector:
    """Runs work in children that an operation fails in.

    place  is watched: every operation on a file below it counts
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.library = ctypes.CDLL(os.environ["FAULTS"])
        self.library.faults_name.restype = ctypes.c_char_p

    def child(self, work: Callable[[], object], fault: Fault | None = None) -> Ended:
        """A process that did the work."""
        with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as listed:
            pid = os.fork()
            if not pid:
                for number in (1, 2):
                    os.dup2(said.fileno(), number)
                os._exit(self._worked(work, fault, listed))
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            for file in (said, listed):
                file.seek(0)
            return Ended(
                status, said.read(), [Operation(*each) for each in json.loads(listed.read() or "[]")]
            )

    def _worked(self, work: Callable[[], object], fault: Fault | None, listed: TextIO) -> int:
        code = 0
        try:
            with economical():
                warnings.simplefilter("always")
                self._arm(os.fsencode(self.place), fault or Fault(-1, "", 0, for_good=False))
                print(work() or "")
        except PellucidError as refusal:
            print(f"error: {refusal}")
            code = refusal.exit_code
        except OSError as refusal:  # the command line tells it as a message
            print(f"system: {refusal}")
            code = 1
        except BaseException:  # noqa: BLE001  # of a child, which has nobody else to tell
            traceback.print_exc(file=sys.stdout)
            code = CRASHED
        asked = range(min(self.library.faults_asked(), MOST))
        json.dump([self._operation(number) for number in asked], listed)
        self._arm(b"", Fault(-1, "", 0, for_good=False))
        listed.flush()
        sys.stdout.flush()
        return code

    def _arm(self, place: bytes, fault: Fault) -> None:
        self.library.faults_arm(place, ctypes.c_long(fault.number), fault.error, int(fault.for_good))

    def _operation(self, number: int) -> Operation:
        fits = [error for error in ERRORS if self.library.faults_fits(ctypes.c_long(number), ERRORS[error])]
        return Operation(self.library.faults_name(ctypes.c_long(number)).decode(), fits)


def faults_of(operations: Sequence[Operation]) -> Iterator[Fault]:
    """Each operation once as the moment of a kill, and refused for every reason that fits it, once and for
    good."""
    for number, (name, fits) in enumerate(operations):
        yield Fault(number, name, 0, for_good=False)
        for error in fits:
            yield Fault(number, name, ERRORS[error], for_good=False)
            yield Fault(number, name, ERRORS[error], for_good=True)


def attack(
    work: str,
    place: Path,
    *,
    every: int = 1,
    first: int = 0,
    seconds: float = math.inf,
    seed: int = 1,
    tell: Callable[[str], None] = lambda text: None,
) -> Found:
    """Every fault of a save or of a resume, each followed by the next command.

    work   "save": a training from its beginning, with its evaluation; "resume": what is left of one that was
           killed in mid epoch, with the evaluation; "report": the report of a run that has one already
    every  of so many faults one is tried, from that of number `first` on, in an order that the seed decides
    seconds  after which no other is begun
    tell   called with what is wrong, when it is found
    """
    found, begun, folder = Found(), place / "begun", place / "watched" / "run"
    folder.parent.mkdir(parents=True)
    injector = Injector(folder.parent)
    do, follow = WORKS[work]
    if work == "resume":
        assert injector.child(lambda: _killed(begun)).status == -signal.SIGKILL
    elif work == "report":
        assert injector.child(lambda: (trained(begun), reported(begun))).status == 0
    _renew(folder, begun)
    ended = injector.child(lambda: do(folder))
    assert ended.status == 0, ended.said
    expected = what_is_left(folder)
    if work == "resume":  # ends in the bytes of a training that was never killed
        shutil.rmtree(folder)
        assert injector.child(lambda: trained(folder)).status == 0
        assert what_is_left(folder) == expected
    found.operations.update(name for name, _ in ended.operations)
    theirs = folder.parent / "theirs.txt"
    faults, end = list(faults_of(ended.operations)), time.monotonic() + seconds
    random.Random(seed).shuffle(faults)
    found.possible = len(faults)
    for fault in faults[first::every]:
        if time.monotonic() > end:
            break
        _renew(folder, begun)
        theirs.write_text("mine")
        ended = injector.child(lambda: do(folder), fault)
        message = _fault_of_end(ended, fault) + _fault_of_report(folder)
        after = injector.child(lambda: follow(folder))
        found.faults[fault.name.split(" at ")[0]] += 1
        found.outcomes[after.said.splitlines()[-1] if after.status == 0 else "not gone on with"] += 1
        message += _fault_of_result(folder, expected, ended, after, found)
        message += _fault_of_place(folder.parent, theirs, after.said.strip())
        if message:
            found.wrong.append(f"{work}: {fault.name}:{message}")
            tell(found.wrong[-1])
    return found


def _killed(folder: Path) -> None:
    """A training that is killed after its second step, and leaves a checkpoint."""
    fit(
        PICTURES.train, PICTURES.validation, RECIPE, folder=folder, origin=TOYS,
        callbacks=[at(1, signal.SIGKILL)], checkpoint_seconds=1e-9,
    )  # fmt: skip


def _renew(folder: Path, begun: Path) -> None:
    """The folder is as the work finds it."""
    shutil.rmtree(folder.parent)
    folder.parent.mkdir()
    if begun.exists():
        shutil.copytree(begun, folder)


def _fault_of_end(ended: Ended, fault: Fault) -> str:
    """What is wrong about how a process ended that a fault met."""
    if not fault.error:
        return "" if ended.status == -signal.SIGKILL else f" it was not killed but ended with {ended.status}"
    if ended.status not in (0, 1, 2) or "Traceback" in ended.said:
        return f" it ended with {ended.status}: {ended.said[-600:]}"
    if ended.status and not ended.said.strip():
        return f" it ended with {ended.status} without a word"
    return ""


def _fault_of_result(
    folder: Path, expected: dict[str, object], ended: Ended, after: Ended, found: Found
) -> str:
    """What is wrong about the run after the next command."""
    if after.status:
        return f" the next command ended with {after.status}: {after.said[-400:]}"
    result = what_is_left(folder)
    other = {name for name, value in expected.items() if result.get(name) != value}
    other |= result.keys() - expected.keys()
    if other and other <= FOR_PAGES and "what pages show of it is incomplete" in ended.said:
        found.outcomes["without what pages show, as it said"] += 1
        return ""
    return f" other: {sorted(other)}" if other else ""


def _fault_of_report(folder: Path) -> str:
    """What is wrong about the report that is there: the old one, or the new one, must be whole."""
    path = folder / "report.html"
    return "" if not path.exists() or path.read_text().rstrip().endswith("</html>") else " half a report"


def _fault_of_place(place: Path, theirs: Path, next_command: str) -> str:
    """What was left that should not be, or is gone that should not. An empty lock that nobody holds is
    removed by the next command that writes: not by one that found the run complete."""
    message = "" if theirs.exists() and theirs.read_text() == "mine" else " a file of the user is gone"
    ends = (".part",) if next_command == "complete" else (".part", ".lock")
    left = [path.name for path in place.rglob("*") if path.name.endswith(ends)]
    return message + (f" left: {left}" if left else "")

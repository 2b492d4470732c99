"""Hours of training, the live page and the cleaning of the cache side by side, in one home folder.

    python benchmarks/side_by_side.py --minutes 120

Trainings of three recipes follow one another, each in a process of its own; one in four is killed at a
random moment and gone on with, and of one in five the report is written. Meanwhile a server of the live
page answers for two runs, and `pellucid check` and `pellucid cache --clear` build and delete the decoded
pictures that some of the trainings read. Whatever happens: every training of a recipe leaves the same
weights, every answer is the expected one, no command fails, the server's memory stays what it was, and no
temporary file is left. Needs Linux. Processes are forked, so that little of the time goes into loading
torch.
"""

import argparse
import collections
import hashlib
import http.client
import json
import math
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from pellucid.classifier import Classifier
from pellucid.live import serve, served
from pellucid.live.answers import HEAD, NOW
from pellucid.live.app import received_by_all
from pellucid.pad.section import Subject
from pellucid.recipe import Recipe
from pellucid.runs.fit import fit, resume
from tests.toys import toy_dataset, write_picture

RECIPES = (
    ("digits", Recipe(epochs=2, threads=1, model="tutorial")),
    ("toys", Recipe(epochs=2, threads=1, model="compact", batch_size=32)),
    ("digits", Recipe(epochs=2, threads=1, model="compact", batch_size=64, seed=7)),
)
SERVED = ("live-digits", "live-toys")
SHARE = 0.5  # of one core, at most, that trainings take: they rest in between, others need the machine, too
BETWEEN_ANSWERS, BETWEEN_CLEANINGS = 1.0, 20.0  # seconds
PICTURES = 60  # that are asked about
TOLERANCE = 1e-4  # of scores, which the server computes in a batch of one picture


@dataclass
class Work:
    """One kind of work, in a process of its own: until when, what it counted and what was wrong."""

    place: Path
    end: float
    counted: collections.Counter[str] = field(default_factory=collections.Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.end

    def rest(self, seconds: float) -> None:
        time.sleep(max(0.0, min(seconds, self.end - time.monotonic())))

    def run(self, work: Callable[[], object], what: str, *, codes: tuple[int, ...] = (0,)) -> tuple[int, str]:
        """The work in a process; it must have one of these exit codes and leave no traceback."""
        with tempfile.TemporaryFile("w+") as said:
            code = os.waitstatus_to_exitcode(os.waitpid(child(work, said.fileno()), 0)[1])
            said.seek(0)
            text = said.read()
        self.counted[what.split(":")[0]] += 1
        if code not in codes or "Traceback" in text:
            self.wrong.append(f"{what} ended with {code}: {text[-500:]}")
        return code, text


def child(work: Callable[[], object], output: int) -> int:
    """The number of a process that does the work and writes what it says to a file."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        work()
        sys.stdout.flush()
        os._exit(0)
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:  # of a child, which has nobody else to tell
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(99)


def command(*words: str) -> Callable[[], None]:
    """The command line."""

    def run() -> None:
        from pellucid.cli import main

        sys.argv = ["pellucid", *words]
        main()

    return run


def train(work: Work, generator: random.Random) -> None:
    """One training after another, of each recipe in turn."""
    expected: dict[int, str] = {}
    lengths: dict[int, float] = {}
    number = 0
    while work.goes_on:
        which, folder = number % len(RECIPES), Path(f"run-{number}")
        data, recipe = RECIPES[which]
        begun, worked = time.monotonic(), seconds_worked()
        killed = which in expected and number % 4 == 3

        def begin(data: str = data, recipe: Recipe = recipe, folder: Path = folder) -> None:
            fit(data, recipe, folder=folder, checkpoint_seconds=0.2)

        if killed:
            killed_after(work, begin, generator.random() * lengths[which])
        if (folder / "checkpoint.safetensors").exists():
            work.run(lambda folder=folder: resume(folder), f"gone on with: {folder}")
        elif not (folder / "model.json").exists():
            work.run(begin, f"trained: {folder}")
            lengths.setdefault(which, time.monotonic() - begun)
        work.run(command("evaluate", str(folder), "--quiet"), f"evaluated: {folder}")
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        work.counted["trainings ended"] += 1
        if expected.setdefault(which, digest) != digest:
            work.wrong.append(f"{folder}, {RECIPES[which]}{', killed' if killed else ''}: other weights")
        if number % 5 == 4:
            work.run(command("report", str(folder), "--quiet"), f"reported: {folder}")
        work.wrong += [f"left: {path}" for path in folder.rglob("*.part")]
        shutil.rmtree(folder)
        number += 1
        work.rest((seconds_worked() - worked) / SHARE - (time.monotonic() - begun))


def killed_after(work: Work, begin: Callable[[], None], seconds: float) -> None:
    """A training that is killed after so many seconds, unless it ends before."""
    with tempfile.TemporaryFile() as output:
        pid = child(begin, output.fileno())
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if os.waitpid(pid, os.WNOHANG)[0]:
                work.counted["too late to kill"] += 1
                return
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        work.counted["killed"] += 1


def seconds_worked() -> float:
    """Processor time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def clean(work: Work) -> None:
    """Looks at the pictures, which decodes and keeps them, and deletes what was kept."""
    while work.goes_on:
        work.run(command("check", "toys", "--no-page", "--quiet"), "checked")
        work.rest(BETWEEN_CLEANINGS)
        code, said = work.run(command("cache", "--clear"), "cleaned", codes=(0, 1))
        if code and "is being built by another process" not in said:
            work.wrong.append(f"cache --clear: {said[-300:]}")
        work.counted["stores in use, left alone"] += code
        work.rest(BETWEEN_CLEANINGS)


class Page:
    """What asks a live server, and knows what it must answer."""

    def __init__(self, work: Work, port: int) -> None:
        self.work, self.port = work, port
        classifiers = [Classifier.load(work.place / name) for name in SERVED]
        runs = [served("run", Subject(classifier), torch_only=True) for classifier in classifiers]
        self.pictures = sorted((work.place / "toys").rglob("*.png"))[:PICTURES]
        self.received = [received_by_all(runs, path.read_bytes()) for path in self.pictures]
        toys = classifiers[1].preprocess
        self.values = toys.channels * toys.height * toys.width
        self.scores = classifiers[1].logits(self.pictures)  # (N, K)
        self.runs = self.ask("GET", "/runs", b"", "")

    def ask(self, method: str, path: str, body: bytes, kind: str) -> bytes:
        """The body of an answer; empty, and noted, where it is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body or None, {"Content-Type": kind} if kind else {})
            response = connection.getresponse()
            content = response.read()
            self.work.counted["answers"] += 1
            if response.status == 200:
                return content
            self.work.wrong.append(f"{method} {path}: {response.status} {content[:200]!r}")
        except OSError as error:
            self.work.wrong.append(f"{method} {path}: {error!r}")
        finally:
            connection.close()
        return b""

    def check(self, turn: int) -> None:
        """One picture as a file, then as what it became; now and then all that the page needs."""
        place = turn % len(self.pictures)
        received = self.ask("POST", "/picture", self.pictures[place].read_bytes(), "image/png")
        if received != self.received[place]:
            self.work.wrong.append(f"/picture {place}: other pixels")
        question = HEAD.pack(1, 0, NOW, 0, 0, 0) + self.received[place][-self.values :]
        answer = self.ask("POST", "/answer", question, "application/octet-stream")
        if answer:
            (length,) = struct.unpack_from("<I", answer)
            count = json.loads(answer[4 : 4 + length])["classes"]
            scores = struct.unpack_from(f"<{count}f", answer, 4 + length)
            off = float((torch.tensor(scores) - self.scores[place]).abs().max())
            if off > TOLERANCE * float(self.scores[place].abs().max() + 1):
                self.work.wrong.append(f"/answer {place}: off by {off}")
        if turn % 50 == 0 and self.ask("GET", "/runs", b"", "") != self.runs:
            self.work.wrong.append("/runs changed")


def ask(work: Work, port: int, live: int) -> None:
    """One question after the other, at a calm pace; notes the server's memory in MB."""
    page, turn = Page(work, port), 0
    for turn in range(30):
        page.check(turn)
    work.counted["MB of live at the start"] = resident(live)
    while work.goes_on:
        page.check(turn)
        turn += 1
        work.rest(BETWEEN_ANSWERS)
    work.counted["MB of live at the end"] = resident(live)


def resident(pid: int) -> int:
    """Resident memory of a process, in MB."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) // 1024


def temporary_files(place: Path) -> list[str]:
    """What should not be there at the end. torch's compiler makes a folder of its own."""
    temporary = (path for path in (place / "temporary").iterdir() if "torchinductor" not in path.name)
    return [str(path.relative_to(place)) for path in (*place.rglob("*.part"), *temporary)]


def prepare(work: Work) -> None:
    """Pictures in a folder, and two runs to serve."""
    toys = toy_dataset(200, channels=3)
    for number, (image, label) in enumerate(zip(toys.images, toys.labels.tolist(), strict=True)):
        folder = work.place / "toys" / toys.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        write_picture(folder / f"{number:03}.png", image)
    for data, name in zip(("digits", "toys"), SERVED, strict=True):
        recipe = Recipe(epochs=1, threads=1, model="tutorial")
        work.run(
            lambda data=data, name=name, recipe=recipe: fit(data, recipe, folder=name), f"prepared: {name}"
        )


def started_server(place: Path) -> tuple[int, int]:
    """The number of the process that serves the runs, and its port."""
    reading, writing = os.pipe()
    errors = (place / "live.log").open("w")

    def announce(address: str) -> None:
        os.write(writing, address.rstrip("/").rpartition(":")[2].encode())
        os.close(writing)

    def work() -> None:
        runs = [served("run", Subject(Classifier.load(place / name)), torch_only=True) for name in SERVED]
        serve(runs, port=0, open_browser=False, announce=announce)

    pid = child(work, errors.fileno())
    os.close(writing)
    return pid, int(os.read(reading, 10))


def side_by_side(place: Path, minutes: float, seed: int) -> Work:
    """All of the work for so long, and what came of it."""
    all_of_it = Work(place, math.inf)
    prepare(all_of_it)
    live, port = started_server(place)
    end = time.monotonic() + 60 * minutes
    kinds: dict[str, Callable[[Work], None]] = {
        "train": lambda work: train(work, random.Random(seed)),
        "clean": clean,
        "ask": lambda work: ask(work, port, live),
    }
    workers = {}
    for name, do in kinds.items():

        def note(name: str = name, do: Callable[[Work], None] = do) -> None:
            work = Work(place, end)
            try:
                do(work)
            except Exception:  # it is counted as something wrong
                work.wrong.append(traceback.format_exc())
            (place / f"{name}.json").write_text(json.dumps([work.counted, work.wrong]))

        workers[child(note, sys.stdout.fileno())] = name
    while workers:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        if not pid:
            time.sleep(1)
        elif pid == live:
            all_of_it.wrong.append("the server ended")
        else:
            counted, wrong = json.loads((place / f"{workers.pop(pid)}.json").read_text())
            all_of_it.counted.update(counted)
            all_of_it.wrong += wrong
    os.kill(live, signal.SIGINT)
    code = os.waitstatus_to_exitcode(os.waitpid(live, 0)[1])
    if code or (place / "live.log").read_text():
        all_of_it.wrong.append(f"the server ended with {code}: {(place / 'live.log').read_text()[-500:]}")
    all_of_it.wrong += [f"left: {name}" for name in temporary_files(place)]
    return all_of_it


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        (Path(place) / "temporary").mkdir()
        os.environ |= {"PELLUCID_HOME": f"{place}/home", "TMPDIR": f"{place}/temporary"}
        tempfile.tempdir = None  # it is looked up anew
        found = side_by_side(Path(place), given.minutes, given.seed)
    print(f"{given.minutes:g} minutes: {dict(found.counted)}")
    print(f"{len(found.wrong)} things wrong", *found.wrong, sep="\n")
    sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()

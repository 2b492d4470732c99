"""Hours of training, the live page and the cleaning of the cache side by side, in one home folder.

    python benchmarks/side_by_side.py --minutes 120

Trainings of three recipes follow one another, each in a process of its own; one in four is killed at a random
moment and gone on with. Meanwhile `pellucid live` answers for two runs, and `pellucid check` and `pellucid
cache --clear` build and delete the decoded pictures that some of the trainings read. Whatever happens: every
training of a recipe leaves the same weights, every answer is the expected one, no command fails, the server's
memory stays what it was, and no temporary file is left.
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
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from pellucid.classifier import Classifier
from pellucid.live.answers import HEAD, NOW
from pellucid.live.app import received_by_all, served
from pellucid.pad.section import Subject
from tests.toys import ROOT, toy_dataset, write_picture

RECIPES = (
    ("digits", "--epochs", "2"),
    ("toys", "--epochs", "2", "--model", "compact"),
    ("digits", "--epochs", "3", "--batch-size", "64", "--seed", "7", "--model", "compact"),
)
SHARE = 0.5  # of one core, at most, that trainings take: they rest in between, others need the machine, too
BETWEEN_ANSWERS, BETWEEN_CLEANINGS = 1.0, 20.0  # seconds
SHOWN_EVERY = 120.0
TOLERANCE = 1e-4  # of scores, which the server computes in a batch of one picture
SERVER = """
from pellucid.classifier import Classifier
from pellucid.live import serve, served
from pellucid.pad.section import Subject
names = ("live-digits", "live-toys")
runs = [served("run", Subject(Classifier.load(name)), torch_only=True) for name in names]
serve(runs, port=0, open_browser=False, announce=lambda address: print(address, flush=True))
"""
PICTURES = 60  # that are asked about


class Work:
    """What the three kinds of work share: a folder, when to end, what was counted and what was wrong."""

    def __init__(self, place: Path) -> None:
        self.place, self.end = place, math.inf
        self.counted: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        (place / "temporary").mkdir()
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PELLUCID_HOME": str(place / "home"),
            "TMPDIR": str(place / "temporary"),
        }

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.end

    def rest(self, seconds: float) -> None:
        time.sleep(max(0.0, min(seconds, self.end - time.monotonic())))

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Python in the shared folder."""
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=self.place,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, *words: str, codes: tuple[int, ...] = (0,)) -> tuple[int, str]:
        """A command to its end, which must have one of these exit codes and leave no traceback."""
        with self.begin("-m", "pellucid", *words) as process:
            output, errors = process.communicate()
        self.counted[f"pellucid {words[0]}"] += 1
        if process.returncode not in codes or "Traceback" in errors:
            self.wrong.append(f"{' '.join(words)} ended with {process.returncode}: {errors[-500:]}")
        return process.returncode, output + errors


def train(work: Work, generator: random.Random) -> None:
    """One training after another, of each recipe in turn."""
    expected: dict[int, str] = {}
    lengths: dict[int, float] = {}
    number = 0
    while work.goes_on:
        which, folder = number % len(RECIPES), work.place / f"run-{number}"
        begun, worked = time.monotonic(), seconds_worked()
        killed = which in expected and number % 4 == 3
        words = (*RECIPES[which], "--threads", "1", "--quiet", "--checkpoint-seconds", "0.3")
        if killed:
            process = work.begin("-m", "pellucid", "train", *words, "--out", folder.name)
            try:
                process.wait(generator.random() * lengths[which])
                work.counted["too late to kill"] += 1
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                work.counted["killed"] += 1
            process.communicate()
        if not (folder / "model.safetensors").exists() or not finished(folder):
            if (folder / "checkpoint.safetensors").exists():
                work.command("train", "--resume", folder.name, "--quiet")
                work.counted["gone on with"] += 1
            else:
                work.command("train", *words, "--out", folder.name)
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        work.counted["trainings"] += 1
        if expected.setdefault(which, digest) != digest:
            work.wrong.append(f"{folder.name}, {words}{', killed' if killed else ''}: other weights")
        lengths.setdefault(which, time.monotonic() - begun)
        work.wrong += [f"left: {path}" for path in folder.rglob("*.part")]
        shutil.rmtree(folder)
        number += 1
        work.rest((seconds_worked() - worked) / SHARE - (time.monotonic() - begun))


def seconds_worked() -> float:
    """Processor time of the commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def finished(folder: Path) -> bool:
    """Whether a training has nothing left to do."""
    return (folder / "metrics.csv").exists() and not (folder / "checkpoint.safetensors").exists()


def clean(work: Work) -> None:
    """Looks at the pictures, which decodes and keeps them, and deletes what was kept."""
    while work.goes_on:
        work.command("check", "toys", "--no-page", "--quiet")
        work.rest(BETWEEN_CLEANINGS)
        # A store that a training is building is left alone, with a message.
        code, output = work.command("cache", "--clear", codes=(0, 1))
        if code == 1 and "is being built by another process" not in output:
            work.wrong.append(f"cache --clear: {output[-300:]}")
        work.counted["stores in use left alone"] += code
        work.rest(BETWEEN_CLEANINGS)


class Page:
    """What asks a live server, and knows what it must answer."""

    def __init__(self, work: Work, address: str) -> None:
        self.work, self.port = work, int(address.rstrip("/").rpartition(":")[2])
        classifiers = [Classifier.load(work.place / name) for name in ("live-digits", "live-toys")]
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


def watch(work: Work, page: Page) -> None:
    """One question after the other, at a calm pace."""
    turn = 0
    while work.goes_on:
        page.check(turn)
        turn += 1
        work.rest(BETWEEN_ANSWERS)


def resident(process: subprocess.Popen[str]) -> int:
    """Resident memory of a process, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def temporary_files(work: Work) -> list[str]:
    """What should not be there at the end."""
    parts = list(work.place.rglob("*.part"))
    temporary = (path for path in (work.place / "temporary").iterdir() if "torchinductor" not in path.name)
    return [str(path.relative_to(work.place)) for path in (*parts, *temporary)]


def prepare(work: Work) -> None:
    """Pictures in a folder, and two runs to serve."""
    toys = toy_dataset(200, channels=3)
    for number, (image, label) in enumerate(zip(toys.images, toys.labels.tolist(), strict=True)):
        folder = work.place / "toys" / toys.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        write_picture(folder / f"{number:03}.png", image)
    for words in (("digits", "--out", "live-digits"), ("toys", "--out", "live-toys")):
        work.command("train", *words, "--epochs", "1", "--threads", "1", "--quiet")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        work = Work(Path(place))
        prepare(work)
        live = work.begin("-c", SERVER)
        try:
            assert live.stdout is not None
            page = Page(work, live.stdout.readline().strip())
            for turn in range(20):
                page.check(turn)
            before = resident(live)
            print(f"live has {before} MB", flush=True)
            work.end = time.monotonic() + 60 * given.minutes
            threads = [
                threading.Thread(target=train, args=(work, random.Random(given.seed))),
                threading.Thread(target=clean, args=(work,)),
                threading.Thread(target=watch, args=(work, page)),
            ]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                threads[0].join(SHOWN_EVERY)
                threads[1].join(0.1), threads[2].join(0.1)
                print(f"{time.strftime('%H:%M')} {dict(work.counted)}, live {resident(live)} MB", flush=True)
                print("".join(f"WRONG {line}\n" for line in work.wrong), end="", flush=True)
            after = resident(live)
            live.send_signal(signal.SIGINT)
            _, errors = live.communicate(timeout=60)
            if live.returncode or errors:
                work.wrong.append(f"live ended with {live.returncode}: {errors[-500:]}")
        finally:
            live.kill()
        work.wrong += [f"left: {name}" for name in temporary_files(work)]
        print(f"{given.minutes:g} minutes: {dict(work.counted)}; live had {before} MB, then {after}")
        print(f"{len(work.wrong)} things wrong", *work.wrong, sep="\n")
        sys.exit(bool(work.wrong))


if __name__ == "__main__":
    main()

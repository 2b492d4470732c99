"""Folders of few pictures: pellucid's commands against HOG, a forest on pixels, a small CNN and a backbone.

    python benchmarks/own_folders.py FOLDER ... --peers ENV/bin/python --out RESULTS.jsonl
           [--against hog forest cnn backbone] [--options "--model lite0" "--model compact" ""] [--report]
           [--again] [--scratch FOLDER]

FOLDER is what `pellucid train` takes; ENV has scikit-image and scikit-learn. Everybody learns from the
training and validation pictures of pellucid's own split and is judged on the test part that it holds out.
Each of `--options` is one training, a process of its own with an empty cache; with `--again` once more with
what the first left there. It is timed until the test set is judged, and with `--report` until the command
ends; without, it is stopped before it writes the report. Processor seconds count all its threads.

RESULTS.jsonl has a line per training; what stands there is not measured again. `--scratch` keeps caches and
runs. Prints two tables for benchmarks/results.md.
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
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pellucid
from pellucid.evaluation.metrics import wilson
from pellucid.machine import processor

PEER = Path(__file__).parent / "peers" / "folder.py"
PEERS = {
    "hog": "HOG + logistic regression",
    "forest": "forest on pixels",
    "cnn": "small CNN",
    "backbone": "EfficientNet-Lite0 at rest + logistic regression",
}
# Their matrices are small: more threads would only wait for each other.
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Result:
    """One contender on one folder: `correct` of `count` test pictures; seconds on the wall, of processors."""

    folder: str
    contender: str
    learned: int  # training and validation pictures
    classes: int
    correct: int
    count: int
    seconds: float
    processor: float
    chosen: str = ""  # the model, where pellucid chose it
    whole: float = 0.0  # seconds with the report, 0 where it was not waited for
    whole_processor: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--peers", type=Path, help="a Python that has scikit-image and scikit-learn")
    parser.add_argument("--against", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--options", nargs="*", default=["--model lite0", "--model compact", ""])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--scratch", type=Path)
    options = parser.parse_args()
    results = known(options.out)
    for folder in options.folders:
        done = {result.contender for result in results if result.folder == folder.name}
        with tempfile.TemporaryDirectory() as name:
            scratch = options.scratch.absolute() / folder.name if options.scratch else Path(name)
            scratch.mkdir(parents=True, exist_ok=True)
            for result in measured(folder, scratch, options, done):
                results.append(result)
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(result)) + "\n")
                print(
                    f"{result.folder}, {result.contender}: {share(result)}, {result.processor:.0f} s",
                    flush=True,
                )
    print(f"\n{processor()}, {os.cpu_count()} processors\n")
    print(table(results, share), table(results, duration), sep="\n\n")


def known(path: Path) -> list[Result]:
    """What was measured before."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Result(**json.loads(line)) for line in lines]


def measured(folder: Path, scratch: Path, options: argparse.Namespace, done: set[str]) -> Iterator[Result]:
    """Each contender that is not `done` yet."""
    split, learned, classes = written_split(folder, scratch)
    for python, words in ((options.peers, ("hog", "forest")), (sys.executable, ("cnn", "backbone"))):
        wanted = [word for word in words if word in options.against and PEERS[word] not in done]
        if wanted:
            command = [str(python), str(PEER), str(folder), str(split), *wanted]
            told = subprocess.run(command, env=ONE_THREAD, check=True, capture_output=True, text=True).stdout
            for word, line in zip(wanted, told.splitlines(), strict=True):
                yield Result(folder.name, PEERS[word], learned, classes, **json.loads(line))
    for given in options.options:
        cache = scratch / f"cache{given.replace(' ', '')}"
        for time_of in ("", ", again") if options.again else ("",):
            contender = f"pellucid {given}".strip() + time_of
            if contender not in done:
                words = [str(folder), *shlex.split(given)]
                run = scratch / f"run{given.replace(' ', '')}{'-again' if time_of else ''}"
                found = trained(words, cache, run, report=options.report)
                yield Result(folder.name, contender, learned, classes, **found)


def written_split(folder: Path, scratch: Path) -> tuple[Path, int, int]:
    """A file with pellucid's split for the peers; how many pictures they may learn from, how many classes."""
    os.environ["PELLUCID_CACHE"] = str(scratch / "split")
    splits = pellucid.load(str(folder))
    parts: dict[str, list[list[str]]] = {"train": [], "test": []}
    for part, pictures in splits.items():
        labels = (pictures.classes[label] for label in pictures.labels.tolist())
        rows = zip(pictures.sources, labels, strict=True)
        parts["test" if part == "test" else "train"] += [list(row) for row in rows]
    path = scratch / "split.json"
    path.write_text(json.dumps(parts), encoding="utf-8")
    return path, len(parts["train"]), len(splits.train.classes)


def trained(words: list[str], cache: Path, run: Path, *, report: bool) -> dict[str, Any]:
    """`pellucid train` with `words`: what it got right, and how long it took."""
    command = [sys.executable, "-m", "pellucid", "train", *words, "--out", str(run), "--json"]
    shutil.rmtree(run, ignore_errors=True)  # of a measurement that was stopped
    started = time.perf_counter()
    places = {"PELLUCID_CACHE": str(cache), "PELLUCID_HOME": str(cache / "home")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | places) as process:
        found: dict[str, Any] = {}
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "evaluation":
                found = {key: event[key] for key in ("correct", "count")}
                found |= {"seconds": time.perf_counter() - started, "processor": worked(process.pid)}
                if not report:
                    process.terminate()
                    break
        before = os.times()
        process.wait()
        after = os.times()
    if not found:
        raise SystemExit(f"{shlex.join(command)} ended with {process.returncode}, nothing judged")
    recipe = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
    found["chosen"] = recipe["model"] + (", fine-tuned" if recipe["fine_tune"] else "")
    if report:
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        found |= {"whole": time.perf_counter() - started, "whole_processor": spent}
    return found


def worked(process: int) -> float:
    """Processor seconds of a process and of its children that have ended, on Linux."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def table(results: list[Result], cell: Callable[[Result], str]) -> str:
    """A row for each folder, a column for each contender."""
    contenders = list(dict.fromkeys(result.contender for result in results))
    lines = [f"| folder | {' | '.join(contenders)} |", "|---" * (len(contenders) + 1) + "|"]
    for folder in dict.fromkeys(result.folder for result in results):
        found = {result.contender: result for result in results if result.folder == folder}
        any_one = next(iter(found.values()))
        title = f"{folder}, {any_one.classes} classes ({any_one.learned} / {any_one.count})"
        cells = [cell(found[name]) if name in found else "-" for name in contenders]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def share(result: Result) -> str:
    """Accuracy with its interval."""
    low, high = wilson(result.correct / result.count, result.count)
    return f"{result.correct / result.count:.3f} ({low:.2f} to {high:.2f})"


def duration(result: Result) -> str:
    """Seconds on the wall and of processors until judged; then with the report."""
    text = f"{result.seconds:.0f} ({result.processor:.0f})"
    return text + (f"; {result.whole:.0f} ({result.whole_processor:.0f})" if result.whole else "")


if __name__ == "__main__":
    main()

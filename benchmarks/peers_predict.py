"""Predicting 100,000 pictures, and starting up: pellucid, ONNX Runtime, Keras and bare Python, in turn.

    python benchmarks/peers_predict.py --peers ENV/bin/python [--repetitions 3] [--count 100000]

ENV is the peers' environment (benchmarks/peers/requirements.txt). All predict the tutorial network with
random weights on pictures of noise; each repetition runs every contender once, as a process of its own.
Loading and a first batch are not in the seconds of predicting; pellucid's begin with uint8 pictures, scaling
included, while for the peers both are told, of the best of their batch sizes. Prints a table for
benchmarks/results.md.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.machine import processor
from pellucid.models import build

HERE = Path(__file__).parent
PELLUCID = Path(sys.executable).parent / "pellucid"
OURS = """
import json, sys, time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
import torch
from pellucid.classifier import Classifier
classifier = Classifier.load(Path(sys.argv[1]))
shape = (int(sys.argv[2]), 1, 28, 28)
pictures = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
classifier.predict(pictures)
started = time.perf_counter()
classifier.predict(pictures)
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "mebibytes": getrusage(RUSAGE_SELF).ru_maxrss / 1024}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, required=True, help="a Python that has Keras and ONNX Runtime")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--count", type=int, default=100_000)
    options = parser.parse_args()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options.peers)
        for repetition in range(options.repetitions + 1):
            for contender, value in contenders(folder, options):
                if repetition:  # the first round warms the disk's cache
                    found.setdefault(contender, []).append(value)
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
          f"{options.count:,} pictures, n = {options.repetitions}")  # fmt: skip
    print("| | mean ± standard deviation |\n|---|---|")
    for contender, values in found.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"| {contender} | {statistics.mean(values):.3f} ± {spread:.3f} |")


def prepare(folder: Path, peers: Path) -> None:
    """A trained-looking run of ours, and the peer's network and picture."""
    network = build("tutorial", 1, 10, (28, 28), seed=0)
    (folder / "run").mkdir()
    classes = tuple(str(digit) for digit in range(10))
    Classifier(network, classes, Preprocess(1, 28, 28), "tutorial").save(folder / "run")
    keras = HERE / "peers" / "keras_predict.py"
    output(peers, keras, "make", folder / "network.keras", folder / "digit.png")


def contenders(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """Each with what it took, once."""
    run, picture, keras = folder / "run", folder / "digit.png", HERE / "peers" / "keras_predict.py"
    model, many = folder / "network.keras", ["--count", options.count, "--repeats", 1, "--batch-sizes"]
    ours = json.loads(output(sys.executable, "-c", OURS, run, options.count))
    yield "pellucid, uint8 to probabilities, s", ours["seconds"]
    yield "pellucid, peak memory, MiB", ours["mebibytes"]
    out = folder / "onnx.json"
    output(options.peers, HERE / "peers" / "onnx_predict.py", "--out", out, *many, 256, 1024)
    yield from told("ONNX Runtime", json.loads(out.read_text()))
    last = output(options.peers, keras, "many", model, *many, 1024, 4096).splitlines()[-1]
    yield from told("Keras", json.loads(last))
    yield "bare Python, start to end, s", seconds(sys.executable, "-c", "pass")
    yield "pellucid --help, s", seconds(PELLUCID, "--help")
    yield "pellucid predict of one picture, s", seconds(PELLUCID, "predict", run, picture)
    yield "Keras, load and predict one picture, s", seconds(options.peers, keras, "one", model, picture)


def told(name: str, result: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """A peer's figures, of the best of its batch sizes."""
    best = {key: min(timing[key] for timing in result["timings"]) for key in
            ("predict_seconds_median", "scale_and_predict_seconds_median")}  # fmt: skip
    yield f"{name}, float32 to probabilities, s", best["predict_seconds_median"]
    yield f"{name}, uint8 to probabilities, s", best["scale_and_predict_seconds_median"]
    yield f"{name}, peak memory, MiB", result["peak_rss_bytes"] / 2**20


def output(*words: object) -> str:
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


def seconds(*words: object) -> float:
    started = time.perf_counter()
    output(*words)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

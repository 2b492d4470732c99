"""The tutorial network on MNIST: a usual Keras program, a plain PyTorch loop, pellucid, in turn.

    PELLUCID_DATA=folder python benchmarks/peers_tutorial.py --keras ENV/bin/python [--seeds 3]
        [--agree | --accurate] [--out race.json]

Every contender is a process of its own; each seed runs all of them one after the other, so that a slow minute
of the machine meets them alike. With --agree it compares pellucid's `--recipe course` with Keras' same
training on the same split instead; with --accurate, `--recipe accurate` runs beside Keras alone. Prints a
table for benchmarks/results.md; --out keeps every figure and the accuracy by seconds, for plot_race.py.
"""

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--agree", action="store_true")
    parser.add_argument("--accurate", action="store_true")
    parser.add_argument("--out", type=Path, help="where every run's figures go, as JSON")
    parser.add_argument("--keras", type=Path, required=True, help="a Python that has Keras")
    options = parser.parse_args()
    data = Path(os.environ.get("PELLUCID_DATA", "")) / "mnist"
    if not data.is_dir():
        sys.exit("Set PELLUCID_DATA to a folder that holds mnist/ with the four .gz files.")
    contenders = agreeing if options.agree else exacting if options.accurate else racing
    results: dict[str, list[dict[str, Any]]] = {}
    for seed in range(1, options.seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            for name, result in contenders(Path(folder), data, options.keras, seed):
                results.setdefault(name, []).append(result)
                told = {key: value for key, value in result.items() if key != "curve"}
                print(f"seed {seed}, {name}: {json.dumps(told)}", flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    show(results)


def racing(folder: Path, data: Path, keras: Path, seed: int) -> Any:
    """As written by each: the page in Keras, the plain loop to 99 %, pellucid's default recipe."""
    yield "pellucid, fast", pellucid(folder / "fast", seed, "fast")
    page = peer(keras, "keras_tutorial.py", folder, data, seed, "--mode", "page")
    yield "Keras, the page", page
    loop = peer(Path(sys.executable), "torch_loop.py", folder, data, seed, "--until-accuracy", "0.988")
    yield "plain PyTorch loop", loop


def exacting(folder: Path, data: Path, keras: Path, seed: int) -> Any:
    """The most accurate recipe, beside the time Keras takes for the page."""
    yield "pellucid, accurate", pellucid(folder / "accurate", seed, "accurate", "compact")
    yield "Keras, the page", peer(keras, "keras_tutorial.py", folder, data, seed, "--mode", "page")


def agreeing(folder: Path, data: Path, keras: Path, seed: int) -> Any:
    """The page's training on one split, by both."""
    yield "pellucid, course", pellucid(folder / "course", seed, "course")
    split = folder / "course" / "split.csv"
    yield (
        "Keras, same split",
        peer(keras, "keras_tutorial.py", folder, data, seed, "--mode", "honest", "--split", split),
    )


def pellucid(out: Path, seed: int, recipe: str, model: str = "tutorial") -> dict[str, Any]:
    """`pellucid train` as a whole process: training, the one judgement, the report."""
    words = [
        Path(sys.executable).parent / "pellucid",
        "train",
        "mnist",
        "--model",
        model,
        "--recipe",
        recipe,
    ]
    started = time.time()
    judged = out / "evaluation.json"
    seconds, peak, before = timed([*words, "--seed", str(seed), "--out", out, "--quiet"], until=judged)
    evaluated = (out / "evaluation.json").stat().st_mtime - started  # what follows is the report
    lines = (out / "metrics.csv").read_text(encoding="utf-8").splitlines()
    evaluation = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    fit = float(lines[-1].split(",")[1])
    return {
        "fit_seconds": fit,
        "evaluated_seconds": evaluated,
        "process_seconds": seconds,
        "test_accuracy": evaluation["accuracy"],
        "epochs": len(lines) - 1,
        "evaluated_mib": before,
        "peak_mib": peak,
        "curve": [[float(row["seconds"]), float(row["val_accuracy"])] for row in csv.DictReader(lines)],
    }


def peer(
    python: Path, program: str, folder: Path, data: Path, seed: int, *more: str | Path
) -> dict[str, Any]:
    """A peer's program as a whole process."""
    out = folder / f"{program}.json"
    words = [python, HERE / "peers" / program, "--data-dir", data, "--seed", str(seed), "--out", out, *more]
    seconds, peak, _ = timed(words)
    result = json.loads(out.read_text(encoding="utf-8"))
    return {
        "fit_seconds": result["fit_seconds"],
        "evaluated_seconds": seconds,
        "process_seconds": seconds,
        "test_accuracy": result["test_accuracy"],
        "epochs": result["epochs"],
        "evaluated_mib": peak,
        "peak_mib": peak,
        # Judging and checkpoints are part of the seconds, which are shared out evenly.
        "curve": [
            [result["fit_seconds"] * (number + 1) / result["epochs"], accuracy]
            for number, accuracy in enumerate(result["history"]["val_accuracy"])
        ],
    }


def timed(words: list[str | Path], *, until: Path | None = None) -> tuple[float, float, float]:
    """Seconds from start to end of a process, and the most memory it held, in MiB: at all, and before the
    file `until` was there, looked for every 20 ms."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    before = 0.0
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        if until is not None and not until.exists():
            before = max(before, _highest(process.pid))
        time.sleep(0.02)
    _, status, usage = ended
    if status:
        sys.exit(f"{words[1]} failed: status {status}")
    return time.perf_counter() - started, _mebibytes(usage), before


def _highest(process: int) -> float:
    """The most memory a running process held so far, in MiB, where the system tells (Linux)."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0.0


def _mebibytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def show(results: dict[str, list[dict[str, Any]]]) -> None:
    """The table: mean and standard deviation over the seeds."""
    names = [name for name in next(iter(results.values()))[0] if name != "curve"]
    print(f"\n| n = {len(next(iter(results.values())))} | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for contender, runs in results.items():
        cells = []
        for name in names:
            values = [run[name] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            places = 4 if name == "test_accuracy" else 1
            cells.append(f"{statistics.mean(values):.{places}f} ± {spread:.{places}f}")
        print(f"| {contender} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

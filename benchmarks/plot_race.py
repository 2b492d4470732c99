"""Test accuracy by seconds of fitting, every contender and seed: docs/race.svg, for the README.

    python benchmarks/plot_race.py [race.json] [--out docs/race.svg]

Reads benchmarks/race.json, or what `peers_tutorial.py --out` wrote. A dot is one seed: the seconds that
fitting took, and the accuracy on the test set of the weights that were kept. What a contender reached in
between is not drawn: some measured it on validation pictures, Keras' page on the test set itself.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "race", "font.size": 11})

from matplotlib import pyplot  # noqa: E402  after its settings

ROOT = Path(__file__).parents[1]
COLOURS = ("#0a6b4f", "#b3431e", "#3a55a4", "#7a4b94")
MARKERS = ("o", "s", "^", "D")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "benchmarks" / "race.json")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "race.svg")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(options.file.read_text(encoding="utf-8"))
    draw(results.get("contenders", results), options.out)


def label(name: str, runs: list[dict[str, Any]]) -> str:
    """A contender with the means over its seeds."""
    accuracy = statistics.mean(run["test_accuracy"] for run in runs)
    seconds = statistics.mean(run["fit_seconds"] for run in runs)
    return f"{name}: {100 * accuracy:.2f} % after {seconds:.1f} s"


def draw(results: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """The picture: a dot for each seed of each contender."""
    figure, axes = pyplot.subplots(figsize=(8.4, 4.2), layout="constrained")
    for colour, marker, (name, runs) in zip(COLOURS, MARKERS, results.items(), strict=False):
        seconds, accuracies = zip(*((run["fit_seconds"], run["test_accuracy"]) for run in runs), strict=True)
        axes.plot(
            seconds, [100 * value for value in accuracies], marker, color=colour, label=label(name, runs)
        )
    axes.set_xscale("log")
    axes.set_xlim(2, 200)
    axes.set_xlabel("seconds of fitting, validation and checkpoints included (logarithmic)")
    axes.set_ylabel("accuracy on the test set, %")
    ticks = [2, 5, 10, 20, 50, 100, 200]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", ncols=2, frameon=False)
    figure.savefig(out, metadata={"Date": None})
    print(f"Picture: {out}")


if __name__ == "__main__":
    main()

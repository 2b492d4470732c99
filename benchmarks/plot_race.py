"""Accuracy by seconds of fitting, every contender and seed: docs/race.svg, for the README.

    python benchmarks/plot_race.py race.json [accurate.json ...] [--out docs/race.svg]

Reads what `peers_tutorial.py --out` wrote; of a contender that stands in several files the first counts.
A line is one seed: accuracy on the pictures it chose by after every epoch, which for Keras' page are those of
the test set. The dot at its end is the accuracy on the test set, of the weights that were kept.
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

COLOURS = ("#0a6b4f", "#b3431e", "#3a55a4", "#7a4b94")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("docs/race.svg"))
    options = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {}
    for file in options.files:
        results = json.loads(file.read_text(encoding="utf-8")) | results
    draw(results, options.out)


def draw(results: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """The picture, each line named where it ends."""
    figure, axes = pyplot.subplots(figsize=(8.4, 4.6), layout="constrained")
    for colour, (name, runs) in zip(COLOURS, results.items(), strict=False):
        for run in runs:
            seconds, accuracies = zip(*run["curve"], strict=True)
            axes.plot(seconds, [100 * value for value in accuracies], color=colour, alpha=0.75, linewidth=1.4)
            axes.plot(run["fit_seconds"], 100 * run["test_accuracy"], "o", color=colour, markersize=5)
        mean = statistics.mean(run["test_accuracy"] for run in runs)
        fit = statistics.mean(run["fit_seconds"] for run in runs)
        label = f"{name}: {100 * mean:.2f} % after {fit:.1f} s"
        axes.plot([], [], "o-", color=colour, label=label)
    axes.set_xscale("log")
    axes.set_xlabel("seconds of fitting, validation and checkpoints included (logarithmic)")
    axes.set_ylabel("accuracy, %")
    lowest = min(value for runs in results.values() for run in runs for _, value in run["curve"])
    axes.set_ylim(max(97.0, 100 * lowest - 0.2), 99.9)
    ticks = [1, 2, 5, 10, 20, 50, 100]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", ncols=2, frameon=False)
    figure.savefig(out, metadata={"Date": None})
    print(f"Picture: {out}")


if __name__ == "__main__":
    main()

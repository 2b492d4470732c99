"""Every figure in README is one that a file of measurements holds, and its pictures show the same."""

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scipy.stats import t

import pellucid

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = " ".join((ROOT / "benchmarks" / "results.md").read_text(encoding="utf-8").split())
RACE: dict[str, Any] = json.loads((ROOT / "benchmarks" / "race.json").read_text(encoding="utf-8"))[
    "contenders"
]

# A number with its unit, such as "99.10 ± 0.05 %" or "76.3 ± 11.3 s"; 95 % is the level of intervals.
FIGURE = re.compile(r"\d[\d,]*(?:\.\d+)?(?: ± \d+(?:\.\d+)?)? (?:%|s|times)(?!\w)")


def prose(text: str) -> str:
    """A document without its blocks of code, its lines joined."""
    return " ".join(re.sub(r"```.*?```", " ", text, flags=re.DOTALL).split())


def figures(text: str) -> list[str]:
    return [found for found in FIGURE.findall(prose(text)) if found != "95 %"]


def spread(values: list[float], places: int) -> str:
    return f"{statistics.mean(values):.{places}f} ± {statistics.stdev(values):.{places}f}"


def unsupported(text: str, results: str) -> list[str]:
    """The figures of a text that the file of results does not hold in the same digits."""
    return [
        figure
        for figure in figures(text)
        if not re.search(rf"(?<![\d.,±]){re.escape(figure.removesuffix(' s'))}(?![\d.])", results)
    ]


def test_every_figure_of_the_readme_stands_in_the_results() -> None:
    assert len(figures(README)) >= 10
    assert unsupported(README, RESULTS) == []


def test_a_changed_figure_is_noticed() -> None:
    for figure in set(figures(README)):
        changed = re.sub(r"\d(?=\D*$)", lambda digit: str((int(digit[0]) + 1) % 10), figure, count=1)
        other = README.replace(figure, changed, 1) if figure in README else f"{README} {changed}"
        assert unsupported(other, RESULTS) != [] or changed in RESULTS, figure


def test_the_table_of_the_race_is_the_mean_over_its_seeds() -> None:
    for name, runs in RACE.items():
        assert [run["seed"] for run in runs] == [1, 2, 3, 4, 5]
        seconds = spread([run["fit_seconds"] for run in runs], 1)
        accuracy = spread([100 * run["test_accuracy"] for run in runs], 2)
        row = re.search(rf"\| {re.escape(name)} \| ([^|]*) \|(?:[^|]*\|){{2}} ([^|]*) % \|", RESULTS)
        assert row is not None, name
        assert (row[1], row[2]) == (seconds, accuracy), name


def test_the_drawing_of_the_race_shows_test_accuracies_alone() -> None:
    svg = (ROOT / "docs" / "race.svg").read_text(encoding="utf-8")
    assert "accuracy on the test set, %" in svg
    for name, runs in RACE.items():
        accuracy = statistics.mean(100 * run["test_accuracy"] for run in runs)
        seconds = statistics.mean(run["fit_seconds"] for run in runs)
        assert f"{name}: {accuracy:.2f} % after {seconds:.1f} s" in svg
    dots = re.findall(r'<use [^>]*style="fill: #', svg)
    assert len(dots) == sum(map(len, RACE.values())) + len(RACE)  # those of the legend


def test_the_picture_is_of_the_run_whose_accuracy_stands_below_it() -> None:
    with Image.open(ROOT / "docs" / "report.png") as picture:
        facts = dict(picture.info)
    share = f"{100 * int(facts['correct']) / int(facts['count']):.2f} %"
    description = re.search(r"!\[([^\]]*)\]\(docs/report\.png\)", README)
    assert description is not None
    assert f"{share} of {int(facts['count']):,} test pictures right" in description[1]
    assert re.search(rf"Seed 42, the default, has the lowest: {re.escape(share)}", RESULTS)
    assert "train mnist" in facts["command"]
    assert "--recipe" not in facts["command"]  # the command that README names


def test_the_interval_of_a_difference_is_that_of_the_table_above_it() -> None:
    rows = re.findall(r"\| [123] \| (99\.\d\d) %[^|]*\| (99\.\d\d) %", RESULTS)
    ours, theirs = ([float(row[side]) for row in rows] for side in (0, 1))
    assert len(ours) == len(theirs) == 3
    error = (statistics.variance(ours) / 3 + statistics.variance(theirs) / 3) ** 0.5
    difference = abs(statistics.mean(ours) - statistics.mean(theirs))
    assert f"The means differ by {difference:.3f} ± {t.ppf(0.975, 4) * error:.2f} points" in RESULTS


@pytest.mark.parametrize(("name", "data"), [("1,797 handwritten digits", "digits")])
def test_a_data_set_has_as_many_pictures_as_the_readme_says(name: str, data: str) -> None:
    splits = pellucid.load(data)
    assert f"{sum(len(part) for _, part in splits.items()):,}" == name.split()[0]
    assert name in README

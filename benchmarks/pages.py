"""What the pages cost: bytes, time to write, first paint, one stroke. Budgets stand beside each figure.

    PELLUCID_DATA=folder python benchmarks/pages.py RUN [--browser /usr/bin/chromium]

RUN is a run of MNIST with its snapshots. 10,000 mistakes are made up by giving every test picture a wrong
answer: the page is then as full as it gets. Times are of an idle machine or worth nothing; medians of
`--repeat` openings, and of every stroke of the ten recorded digits.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from pellucid import load
from pellucid.data.dataset import Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.exporters.page import export_page
from pellucid.pad.section import Subject
from pellucid.report.context import ReportContext
from pellucid.report.report import render
from pellucid.runs.run import Run, find_splits
from pellucid.training.snapshots import SNAPSHOTS, read_snapshots
from tests.browser.hand import draw
from tests.golden.make_strokes import DIGITS

FRAMES = """() => {
  const frames = pellucid.frames;
  return Object.fromEntries(Object.keys(frames[0]).map((name) => [name, frames.map((frame) => frame[name])]));
}"""


def main() -> None:
    """Measure, and print one line a figure."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("run", type=Path)
    asked.add_argument("--browser", default="/usr/bin/chromium")
    asked.add_argument("--repeat", type=int, default=5)
    given = asked.parse_args()
    run = Run.open(given.run)
    splits = find_splits(
        run, lambda: load(run.origin.data, seed=run.recipe.seed, validation=run.recipe.validation)
    )
    evaluation = run.evaluation() or run.evaluate(splits.test)
    with tempfile.TemporaryDirectory() as folder:
        pages = written(run, splits, evaluation, Path(folder))
        in_browser(pages, given.browser, given.repeat)


def written(run: Run, splits: Splits, evaluation: Evaluation, folder: Path) -> dict[str, Path]:
    """The four pages, with what each took to write and weighs."""
    pages = {}
    past = read_snapshots(run.folder / SNAPSHOTS, run.classifier.network)
    subject = Subject(run.classifier, run.origin.data, splits.train, splits.test, past)
    alone = Subject(run.classifier, run.origin.data, splits.train, splits.test)
    makers = {
        "report": (
            lambda path: path.write_text(render(ReportContext(run, splits, evaluation)), "utf-8"),
            5_000_000,
        ),
        "report, 10,000 mistakes": (
            lambda path: path.write_text(render(ReportContext(run, splits, all_wrong(evaluation))), "utf-8"),
            5_000_000,
        ),
        f"page, {len(past)} snapshots": (lambda path: export_page(subject, path), 3_000_000),
        "page, no snapshots": (lambda path: export_page(alone, path), 700_000),
    }
    for name, (make, budget) in makers.items():
        path = folder / f"{len(pages)}.html"
        begun = time.perf_counter()
        make(path)
        took = time.perf_counter() - begun
        print(f"{name:<28} {path.stat().st_size:>10,} bytes (< {budget:,}), written in {took:.1f} s (< 10)")
        pages[name] = path
    return pages


def all_wrong(evaluation: Evaluation) -> Evaluation:
    """The same answers with every true class turned into the next: no picture is right."""
    labels = (evaluation.predictions + 1) % len(evaluation.classes)
    return Evaluation(evaluation.probabilities, labels, evaluation.classes, evaluation.sources)


def in_browser(pages: dict[str, Path], program: str, repeat: int) -> None:
    """First paint of each page, and every stroke of ten digits on the first."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, path in pages.items():
            paints = [first_paint(chromium, path) for _ in range(repeat)]
            print(f"{name:<28} first paint {statistics.median(paints):.0f} ms (< 300), {repeat} openings")
        strokes(chromium, next(iter(pages.values())))
        chromium.close()


def first_paint(chromium: Any, path: Path) -> float:
    """Milliseconds from the start of loading to the first content on the screen."""
    page = chromium.new_page(viewport={"width": 1200, "height": 900})
    page.goto(path.as_uri(), wait_until="load")
    page.wait_for_timeout(300)
    paint: float = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    page.close()
    return paint


def strokes(chromium: Any, path: Path) -> None:
    """What each frame of drawing the ten digits took: placing, running, evidence, painting."""
    page = chromium.new_page(viewport={"width": 1200, "height": 1600})  # the pad in sight without scrolling
    page.goto(path.as_uri(), wait_until="load")
    page.wait_for_timeout(2500)
    read = ""
    page.evaluate("() => { pellucid.frames.length = 0; }")
    for drawing in DIGITS.values():
        page.get_by_role("button", name="Clear").click(force=True)
        draw(page, drawing)
        page.wait_for_timeout(200)
        read += page.locator(".live-big b").inner_text()
    for name, values in page.evaluate(FRAMES).items():
        ordered = sorted(values)
        median, late = statistics.median(ordered), ordered[int(len(ordered) * 0.95)]
        print(
            f"stroke, {name:<20} median {median:5.1f} ms (< 16), 95th {late:5.1f} (< 30), n = {len(ordered)}"
        )
    print(f"ten digits drawn, read as    {read}")


if __name__ == "__main__":
    main()

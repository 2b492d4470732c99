"""Draws docs/report.png, README's picture: the top of a report, with a drawn 4.

    pellucid train mnist --out RUN
    python docs/make_picture.py RUN

Opens RUN/report.html in Chromium by playwright, draws, waits for the answer. The picture's metadata hold the
run's accuracy and command, by which a test holds README to it.
"""

import io
import json
import os
import sys
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, SCALE = 1200, 1700, 0.8  # three columns; the picture has 960 x 1360 pixels


def main() -> None:
    """Write docs/report.png of the run that is named."""
    run = Path(sys.argv[1])
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    strokes = json.loads((ROOT / "tests" / "golden" / "strokes.json").read_text(encoding="utf-8"))
    four = next(each["strokes"] for each in strokes if each.get("name") == "4")
    with sync_playwright() as playwright:
        program = os.environ.get("PELLUCID_BROWSER") or None
        browser = playwright.chromium.launch(executable_path=program)
        size = {"width": WIDTH, "height": HEIGHT}
        page = browser.new_page(viewport=size, device_scale_factor=SCALE)  # type: ignore[arg-type]
        page.goto((run / "report.html").resolve().as_uri())
        page.locator(".live-status").filter(has_text="Matches PyTorch").wait_for()
        box = page.locator(".live-pad").bounding_box()
        assert box is not None  # the pad is on the page
        for stroke in four:
            places = [
                (box["x"] + x * box["width"] / 280, box["y"] + y * box["height"] / 280) for x, y in stroke
            ]
            page.mouse.move(*places[0])
            page.mouse.down()
            for place in places[1:]:
                page.mouse.move(*place)
            page.mouse.up()
        page.locator(".live-big b").filter(has_text="4").wait_for()
        page.evaluate("() => new Promise((done) => setTimeout(done, 1000))")  # the strip of snapshots follows
        page.evaluate("() => window.scrollTo(0, 0)")
        picture = Image.open(io.BytesIO(page.screenshot()))
        browser.close()
    facts = PngInfo()
    facts.add_text("correct", str(evaluation["correct"]))
    facts.add_text("count", str(evaluation["count"]))
    facts.add_text("command", str(environment.get("command", "")))
    picture.convert("RGB").save(ROOT / "docs" / "report.png", pnginfo=facts, optimize=True)


if __name__ == "__main__":
    main()

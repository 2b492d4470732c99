"""Drawing on a page's pad with the pointer, as a hand does, and waiting for what follows."""

import time
from typing import Any

import pytest

PATIENCE = 60  # seconds: no test waits as long unless it is going to fail


def draw(page: Any, strokes: Any) -> None:
    """Strokes in units of the pad, 280 a side, drawn one after the other; then they are on the screen."""
    page.locator(".live-pad").scroll_into_view_if_needed()
    box = page.locator(".live-pad").bounding_box()
    across, down = box["width"] / 280, box["height"] / 280
    for stroke in strokes:
        page.mouse.move(box["x"] + stroke[0][0] * across, box["y"] + stroke[0][1] * down)
        page.mouse.down()
        for x, y in stroke[1:]:
            page.mouse.move(box["x"] + x * across, box["y"] + y * down)
        page.mouse.up()
    painted(page)


def painted(page: Any) -> None:
    """The next frame is on the screen."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def settled(page: Any) -> None:
    """What follows a stroke is done: the past was asked, the address written, the answer announced."""
    painted(page)
    wait_for(page, "!pellucid.settling")


def wait_for(page: Any, condition: str) -> None:
    """Until `condition` holds; playwright's wait_for_function uses eval, which the page forbids."""
    end = time.monotonic() + PATIENCE
    while not page.evaluate(f"() => Boolean({condition})"):
        if time.monotonic() > end:
            pytest.fail(f"waited {PATIENCE} seconds for {condition}")
        page.wait_for_timeout(20)


def answer(page: Any) -> str:
    """The class that the page answers with, as it shows it."""
    return str(page.locator(".live-big b").inner_text())


def answered(page) -> None:
    settled(page)
    wait_for(page, "pellucid.runs.every((run) => !run.asked)")

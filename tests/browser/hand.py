"""Drawing on a page's pad with the pointer, as a hand does."""

from typing import Any


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

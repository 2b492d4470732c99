"""Whoever follows the README can draw each digit in the report, and it is read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.hand import draw, settled
from tests.golden.make_strokes import CROSSED, DIGITS
from tests.toys import pellucid

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize(
    "data", ["digits", pytest.param("mnist", marks=pytest.mark.mnist)], ids=["make demo", "MNIST"]
)
def test_each_of_ten_digits_drawn_in_the_report_is_read(
    tmp_path: Path, watch: Callable[..., Any], request: pytest.FixtureRequest, data: str
) -> None:
    place = ["--data-dir", str(request.getfixturevalue("real_data"))] if data == "mnist" else []
    done = pellucid("train", data, "--out", "run", *place, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    watched = watch(viewport={"width": 1200, "height": 1000}, offline=True)
    page = watched.page
    page.goto((tmp_path / "run" / "report.html").as_uri(), wait_until="load")
    page.locator(".live-status").filter(has_text="Matches PyTorch").wait_for()
    read = {}
    for name, strokes in {**DIGITS, "7 crossed": CROSSED}.items():
        page.get_by_role("button", name="Clear").click(force=True)
        draw(page, strokes)
        settled(page)
        read[name] = page.locator(".live-big b").inner_text()
    assert read == {name: name[0] for name in read}
    assert (watched.errors, watched.requests) == ([], [])

"""The watch over a page is not blind: without these, "no error and no request" would prove nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture
def opened(tmp_path: Path, watch: Callable[..., Any]) -> Callable[[str], Any]:
    """Opens a page with that body from disk and waits until it is loaded."""

    def open_page(body: str) -> Any:
        path = tmp_path / "page.html"
        path.write_text(
            f"<!doctype html><title>page</title><link rel=icon href=data:,>{body}", encoding="utf-8"
        )
        watched = watch()
        watched.page.goto(path.as_uri(), wait_until="load")
        return watched

    return open_page


def test_a_page_that_needs_nothing_is_clean(opened: Callable[[str], Any]) -> None:
    watched = opened("<img src='data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA='><p>quiet</p>")
    assert (watched.errors, watched.requests) == ([], [])


def test_a_request_is_noted(opened: Callable[[str], Any]) -> None:
    watched = opened("<img src='beside.png'>")
    assert [address.rpartition("/")[2] for address in watched.requests] == ["beside.png"]


@pytest.mark.parametrize("script", ["throw new Error('broken')", "console.error('broken')"])
def test_a_complaint_is_noted(opened: Callable[[str], Any], script: str) -> None:
    assert "broken" in "".join(opened(f"<script>{script}</script>").errors)

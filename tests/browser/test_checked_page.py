"""The page of a check in a real browser: from disk, wide and narrow, light and dark, without JavaScript."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pellucid.report.check_page import write_check
from tests.photographs import faulty

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_check(*faulty(), tmp_path_factory.mktemp("check") / "check.html", name="pets")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200, 2400])
def test_it_opens_clean_and_fits_the_window(
    path: Path, watch: Callable[..., Any], width: int, scheme: str
) -> None:
    watched = watch(viewport={"width": width, "height": 900}, color_scheme=scheme)
    watched.page.goto(path.as_uri(), wait_until="load")
    assert (watched.errors, watched.requests) == ([], [])
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [400, 1200])
def test_the_two_of_a_pair_stand_beside_one_another(
    path: Path, watch: Callable[..., Any], width: int
) -> None:
    page = watch(viewport={"width": width, "height": 900}, java_script_enabled=False).page
    page.goto(path.as_uri(), wait_until="load")
    first, second = (page.locator("#across .group .px").nth(n).bounding_box() for n in range(2))
    assert first["y"] == second["y"]
    assert second["x"] >= first["x"] + first["width"]
    assert first["width"] >= 64

"""The report in a real browser: from disk, with and without JavaScript, wide and narrow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pellucid import Recipe, fit, write_report
from tests.toys import toy_splits

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = toy_splits()
    run = fit(
        splits.train, splits.validation, Recipe(epochs=1), folder=tmp_path_factory.mktemp("run"), data="toy"
    )
    return write_report(run, splits, run.evaluate(splits.test))


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("width", [400, 1200, 2400])
def test_it_opens_clean_and_fits_the_window(
    path: Path, watch: Callable[..., Any], width: int, scripts: bool
) -> None:
    watched = watch(viewport={"width": width, "height": 900}, java_script_enabled=scripts)
    watched.page.goto(path.as_uri(), wait_until="load")
    assert (watched.errors, watched.requests) == ([], [])
    if scripts:
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_cell_of_the_matrix_opens_its_pictures_without_javascript(
    path: Path, watch: Callable[..., Any]
) -> None:
    page = watch(java_script_enabled=False).page
    page.goto(path.as_uri(), wait_until="load")
    cell = page.locator(".matrix a").first
    opened = page.locator(cell.get_attribute("href"))
    assert not opened.is_visible()
    cell.click()
    assert opened.is_visible()
    assert opened.locator("img").count() >= 1


def test_keys_lead_to_sections_and_mistakes(path: Path, watch: Callable[..., Any]) -> None:
    page = watch().page
    page.goto(path.as_uri(), wait_until="load")
    page.keyboard.press("2")
    assert page.url.endswith("#training")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.id") == "mistake-1"
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") in ("light", "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_paper(path: Path, watch: Callable[..., Any], scheme: str) -> None:
    page = watch(color_scheme=scheme).page
    page.goto(path.as_uri(), wait_until="load")
    contrast = page.evaluate(
        """() => {
            const light = (text) => {
                const [r, g, b] = text.match(/[0-9.]+/g).map(Number).map((v) => v / 255)
                    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
            };
            const paper = light(getComputedStyle(document.body).backgroundColor);
            const names = ".answer, .verdict, nav a, summary, figcaption, .verdict a, .tile.wrong b, small";
            return names.split(", ")
                .map((name) => document.querySelector(name)).filter(Boolean)
                .map((element) => light(getComputedStyle(element).color))
                .map((ink) => Math.max(ink, paper) / Math.min(ink, paper));
        }"""
    )
    assert min(contrast) >= 4.5

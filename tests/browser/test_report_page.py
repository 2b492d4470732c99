"""The report in a real browser: from disk, with and without JavaScript, wide and narrow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pellucid import Recipe, fit, write_report
from pellucid.data.dataset import Origin
from tests.toys import toy_splits

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = toy_splits()
    run = fit(
        splits.train,
        splits.validation,
        Recipe(epochs=1),
        folder=tmp_path_factory.mktemp("run"),
        origin=Origin("toy"),
    )
    return write_report(run, splits, run.evaluate(splits.test))


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("width", [320, 400, 1200, 2400])
def test_it_opens_clean_and_fits_the_window(
    path: Path, watch: Callable[..., Any], width: int, scripts: bool
) -> None:
    watched = watch(viewport={"width": width, "height": 900}, java_script_enabled=scripts)
    watched.page.goto(path.as_uri(), wait_until="load")
    assert (watched.errors, watched.requests) == ([], [])
    assert watched.page.locator("#worst .tile").first.is_visible() != scripts
    assert watched.page.locator("#browse").is_visible() == scripts
    if scripts:
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
        watched.page.evaluate("document.documentElement.lang = 'ko'")  # words are kept whole, hashes are not
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
    assert opened.locator("figure [role=img]").first.bounding_box()["width"] >= 16  # type: ignore[index]
    assert not page.locator(".opening .first").is_visible()  # it takes the place of the commonest ones


def test_keys_lead_to_sections_and_mistakes(path: Path, watch: Callable[..., Any]) -> None:
    page = watch().page
    page.goto(path.as_uri(), wait_until="load")
    page.keyboard.press("3")
    assert page.url.endswith("#training")
    page.keyboard.press("j")
    first = page.locator("#browse .tile").first.get_attribute("id")
    assert page.evaluate("document.activeElement.id") == first
    assert page.url.endswith(f"#{first}")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") in ("light", "dark")


def test_mistakes_are_filtered_sorted_and_linked(path: Path, watch: Callable[..., Any]) -> None:
    page = watch().page
    page.goto(path.as_uri(), wait_until="load")
    tiles = page.locator("#browse .tile")
    before = tiles.count()
    last = tiles.last.get_attribute("id")
    page.locator("#browse [name=source]").fill(page.locator("#browse .tile small").first.inner_text())
    assert 1 <= tiles.count() < before
    page.locator("#browse [name=source]").fill("")
    page.locator("#browse [name=order]").select_option("index")
    order = [int(name[1:]) for name in tiles.evaluate_all("tiles => tiles.map((tile) => tile.id)")]
    assert order == sorted(order)
    page.goto(f"{path.as_uri()}#{last}", wait_until="load")
    page.reload()
    assert page.evaluate("document.activeElement.id") == last


def test_a_tile_made_by_the_script_says_what_the_page_said_without_it(
    path: Path, watch: Callable[..., Any]
) -> None:
    with_script, without = watch().page, watch(java_script_enabled=False).page
    for page in (with_script, without):
        page.goto(path.as_uri(), wait_until="load")
    tile = with_script.locator("#browse .tile").first
    same = without.locator(f"#{tile.get_attribute('id')}")
    assert tile.inner_text().split() == same.inner_text().split()
    picture, same_picture = tile.locator("i").first, same.locator("i").first
    assert picture.get_attribute("aria-label") == same_picture.get_attribute("aria-label")
    assert picture.evaluate("p => getComputedStyle(p).backgroundPosition") == same_picture.evaluate(
        "p => getComputedStyle(p).backgroundPosition"
    )


def test_pixels_are_enlarged_by_whole_numbers(path: Path, watch: Callable[..., Any]) -> None:
    page = watch(viewport={"width": 1200, "height": 900}).page
    page.goto(path.as_uri(), wait_until="load")
    widths = page.locator(".px.a-test:visible").evaluate_all("pictures => pictures.map((p) => p.offsetWidth)")
    assert widths
    assert {width % 16 for width in widths} == {0}


def test_the_channels_of_a_layer_stand_side_by_side(path: Path, watch: Callable[..., Any]) -> None:
    page = watch(viewport={"width": 1200, "height": 900}).page
    page.goto(path.as_uri(), wait_until="load")
    columns = "grid => getComputedStyle(grid).gridTemplateColumns.split(' ').length"
    assert page.locator(".grid.maps").first.evaluate(columns) == 4


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


PAPER = 688  # CSS pixels that A4 has between the margins


def test_on_paper_nothing_is_cut_at_the_side_and_an_empty_pad_takes_no_room(
    path: Path, watch: Callable[..., Any]
) -> None:
    page = watch(viewport={"width": PAPER, "height": 970}).page
    page.goto(path.as_uri(), wait_until="load")
    page.emulate_media(media="print")
    wide = """limit => [...document.querySelectorAll("main *")].filter((e) => e.checkVisibility())
        .filter((e) => e.getBoundingClientRect().right > limit + 1).map((e) => e.outerHTML.slice(0, 90))"""
    assert page.evaluate(wide, PAPER) == []
    pad, answers = page.locator(".live-pad"), page.locator(".live-bars > li")
    printed = page.locator(".live-printed")
    assert (printed.is_visible(), pad.is_visible()) == (True, False)
    page.emulate_media(media="screen")
    assert (printed.is_visible(), pad.is_visible()) == (False, True)
    page.locator(".live-thumbs button").first.click()
    page.locator(".live:not(.live-empty)").wait_for()
    page.emulate_media(media="print")
    assert (printed.is_visible(), pad.is_visible(), answers.first.is_visible()) == (False, True, True)
    assert page.evaluate(wide, PAPER) == []

"""Every mistake can be found, opened, drawn on, taken away, and has an address."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid import Dataset, Recipe, Run, Splits, fit, write_report
from pellucid.data.dataset import Origin
from tests.browser.hand import settled, wait_for
from tests.toys import toy_splits

pytestmark = pytest.mark.browser

NAMES = ("막대", 'a "box", open', "cross", "post")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Splits]:
    """A report of a poor network, whose classes have names that need quoting."""
    splits = Splits(
        *(Dataset(part.images, part.labels, NAMES, list(part.sources)) for _, part in toy_splits().items())
    )
    run: Run = fit(
        splits.train,
        splits.validation,
        Recipe(epochs=1),
        folder=tmp_path_factory.mktemp("run"),
        origin=Origin("toy"),
    )
    return write_report(run, splits, run.evaluate(splits.test)), splits


@pytest.fixture
def opened(made: tuple[Path, Splits], watch: Callable[..., Any]) -> Any:
    watched = watch(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    watched.page.goto(made[0].as_uri(), wait_until="load")
    yield watched.page
    assert (watched.errors, watched.requests) == ([], [])


def ids(page: Any) -> list[str]:
    names: list[str] = page.locator("#browse .tile").evaluate_all("tiles => tiles.map((tile) => tile.id)")
    return names


def test_what_is_filtered_sorted_and_opened_is_in_the_address(
    opened: Any, made: tuple[Path, Splits], watch: Callable[..., Any]
) -> None:
    form = opened.locator("#browse form")
    shown = form.locator("[name=label] option").nth(1).get_attribute("value")
    form.locator("[name=label]").select_option(shown)
    form.locator("[name=order]").select_option("close")
    opened.locator("#browse .tile").nth(1).focus()
    opened.keyboard.press("ArrowLeft")
    address = opened.evaluate("location.hash")
    assert address.startswith(f"#mistakes;label={shown};order=close;m=")
    other = watch().page
    other.goto(made[0].as_uri() + address, wait_until="load")
    assert ids(other) == ids(opened)
    assert other.evaluate("document.activeElement.id") == opened.evaluate("document.activeElement.id")
    opened.goto(f"{made[0].as_uri()}#{ids(opened)[-1]}", wait_until="load")  # no filter: all are shown again
    assert form.locator("[name=label]").input_value() == ""


@pytest.mark.parametrize(
    "address",
    ["#m999999", "#mistakes;label=77;order=x;m=a", "#mistakes;source=%E0%A4%A", "#mistakes;from=x;to="],
)
def test_a_broken_address_shows_every_mistake(
    made: tuple[Path, Splits], watch: Callable[..., Any], address: str
) -> None:
    watched = watch()
    watched.page.goto(made[0].as_uri() + address, wait_until="load")
    assert len(ids(watched.page)) > 5
    assert watched.errors == []


def test_a_figure_of_calibration_leads_to_the_mistakes_of_its_confidence(opened: Any) -> None:
    figures = opened.locator("#calibration .numbers a[href*=mistakes]")
    assert figures.count() > 1
    for number in range(figures.count()):
        row = figures.nth(number).locator("xpath=ancestor::tr").inner_text().split("\t")
        wrong = round(int(row[0]) * (1 - float(row[-1].removesuffix(" %")) / 100))
        least = (figures.nth(number).get_attribute("href") or "").split(";")[1].removeprefix("from=")
        figures.nth(number).click()
        wait_for(opened, f"document.querySelector('#browse form').elements.from.value === '{least}'")
        assert len(ids(opened)) == wrong


def test_a_count_of_answers_opens_some_of_them(opened: Any) -> None:
    figures = opened.locator(
        "#refusing .numbers a[href^='#answered-'], #refusing .numbers a[href^='#one-set-']"
    )
    assert figures.count() > 1
    for number in (0, figures.count() - 1):
        address = figures.nth(number).get_attribute("href") or ""
        block = opened.locator(address)
        assert not block.is_visible()
        figures.nth(number).click()
        block.wait_for(state="visible")
        assert block.locator(".tile .px").first.is_visible()
        block.locator(".close").click()
        block.wait_for(state="hidden")


def test_a_mistake_opens_large_and_leads_to_the_next(opened: Any) -> None:
    opened.locator("#browse .tile").first.focus()
    opened.keyboard.press("Enter")
    large = opened.locator("#large")
    assert large.is_visible()
    small = opened.locator("#browse .tile .px").first.bounding_box()["width"]
    assert large.locator(".px").bounding_box()["width"] > 2 * small
    first = large.inner_text()
    large.get_by_role("button", name="Next mistake").click()
    assert large.inner_text() != first
    assert opened.evaluate("location.hash") == f"#{ids(opened)[1]}"
    opened.keyboard.press("ArrowLeft")
    assert large.inner_text() == first
    opened.keyboard.press("Escape")
    assert not large.is_visible()
    assert opened.evaluate("document.activeElement.id") == ids(opened)[0]


def test_a_mistake_can_be_drawn_on_and_asked_about_then(
    opened: Any, made: tuple[Path, Splits], watch: Callable[..., Any]
) -> None:
    opened.locator("#browse .tile").nth(2).click()
    opened.get_by_role("link", name="Draw on it").click()
    wait_for(opened, "pellucid.drawing.test !== null")
    settled(opened)
    index = int(ids(opened)[2][1:])
    pixels = np.array(opened.evaluate("Array.from(pellucid.runs[0].pixels)"), dtype=np.uint8)
    assert torch.equal(torch.from_numpy(pixels), made[1].test.images[index].flatten())
    assert opened.evaluate("pellucid.drawing.label") == made[1].test.classes[made[1].test.labels[index]]
    opened.keyboard.press("[")
    settled(opened)
    address = opened.evaluate("location.hash")
    assert f";t={index};m=" in address
    other = watch().page
    other.goto(made[0].as_uri() + address, wait_until="load")
    wait_for(other, "pellucid.drawing.test !== null")
    settled(other)
    state = "[Array.from(pellucid.runs[0].pixels), pellucid.runs[0].choices.snapshot, pellucid.drawing.test]"
    assert other.evaluate(state) == opened.evaluate(state)


def test_mistakes_are_saved_as_a_table_that_reads_back(opened: Any, made: tuple[Path, Splits]) -> None:
    with opened.expect_download() as waiting:
        opened.get_by_role("button", name="Save as CSV").click()
    text = Path(waiting.value.path()).read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [f"m{row['index']}" for row in rows] == ids(opened)
    for row in rows:
        index = int(row["index"])
        assert row["source"] == made[1].test.sources[index]
        assert row["label"] == NAMES[int(made[1].test.labels[index])]
        assert row["prediction"] != row["label"]
        assert float(row["confidence"]) > float(row["label_probability"])


def test_hovering_tells_what_the_picture_is(opened: Any) -> None:
    title = opened.locator("#browse .tile .px").first.get_attribute("title")
    assert ": labelled " in title
    assert ", predicted " in title


def test_the_keyboard_alone_reaches_every_control(opened: Any) -> None:
    wanted = opened.evaluate("""() => [...document.querySelectorAll(
        "a, button, select, input, summary, [tabindex='0']")]
      .filter((e) => e.checkVisibility() && !e.disabled && !e.closest("dialog")).length""")
    reached = opened.evaluate("() => { window.reached = new Set(); return 0; }")
    for _ in range(wanted + 5):
        opened.keyboard.press("Tab")
        reached = opened.evaluate("() => window.reached.add(document.activeElement).size")
    assert reached >= wanted

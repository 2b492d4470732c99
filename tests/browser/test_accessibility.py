"""What axe-core finds on every page pellucid writes or serves: nothing, on phone and desk, light and dark."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

import pellucid
from pellucid import Recipe, Run, explain, fit, write_report
from pellucid.comparison import compare
from pellucid.data.dataset import Origin, Splits
from pellucid.explanation.counterfactual import counterfactuals
from pellucid.exporters.page import export_page
from pellucid.files import write_text
from pellucid.live import served
from pellucid.pad.section import Subject
from pellucid.report.check_page import write_check
from pellucid.report.compare_page import page as compared_page
from pellucid.report.explain_page import Explained
from pellucid.report.explain_page import page as explained_page
from tests.browser.hand import answered, settled, wait_for
from tests.browser.served import serving
from tests.photographs import faulty
from tests.toys import economical

pytestmark = pytest.mark.browser

SIZES = ((400, "dark"), (1200, "light"))


@dataclass(frozen=True)
class Made:
    """Two runs on the embedded digits, and where pages on them go."""

    folder: Path
    splits: Splits
    runs: tuple[Run, Run]

    def subject(self, place: int) -> Subject:
        return Subject(self.runs[place].classifier, "digits", self.splits.train, self.splits.test)

    def report(self, language: str) -> Path:
        run = self.runs[0]
        return write_report(run, self.splits, run.evaluate(self.splits.test), language=language)

    def drawing(self, language: str) -> Path:
        return export_page(self.subject(0), self.folder / f"draw-{language}.html", language=language)

    def explained(self, language: str) -> Path:
        classifier, image = self.runs[0].classifier, self.splits.test.images[0]
        found = explain(classifier, image)
        others = found.probabilities.argsort(descending=True)[1:4].tolist()
        one = Explained("0.png", found, tuple(counterfactuals(classifier, image, others)))
        path = self.folder / f"explained-{language}.html"
        write_text(path, explained_page([one], language=language))
        return path

    def compared(self, language: str) -> Path:
        first, second = (run.classifier for run in self.runs)
        found = compare(first, second, self.splits.test, names=("one", "two"))
        path = self.folder / f"compared-{language}.html"
        write_text(path, compared_page(found, first, second, language=language))
        return path

    def checked(self, language: str) -> Path:
        return write_check(*faulty(), self.folder / f"check-{language}.html", name="pets", language=language)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    splits, folder = pellucid.load("digits"), tmp_path_factory.mktemp("accessible")
    runs = []
    with economical():
        for seed in (1, 2):
            recipe = Recipe(epochs=3, batch_size=32, threads=1, seed=seed)
            runs.append(
                fit(
                    splits.train,
                    splits.validation,
                    recipe,
                    folder=folder / str(seed),
                    origin=Origin("digits"),
                )
            )
    return Made(folder, splits, (runs[0], runs[1]))


@pytest.fixture(scope="module")
def address(made: Made) -> Iterator[str]:
    runs = [served("one", made.subject(0)), served("two", made.subject(1), torch_only=True)]
    with serving(runs) as found:
        yield found


def found_by_axe(page: Any) -> list[tuple[str, str]]:
    """The rule and the place of everything axe-core objects to."""
    result = Axe().run(page, options={"resultTypes": ["violations"]})
    return [(one["id"], node["html"][:120]) for one in result.response["violations"] for node in one["nodes"]]


# The page itself takes this down the moment it is loaded: axe takes its time, and what comes late would pass.
NAMELESS = """addEventListener("load", () => {
  window.nameless = [...document.querySelectorAll("button")]
    .filter((b) => !b.textContent.trim() && !b.ariaLabel && !b.querySelector("[aria-label]"))
    .map((b) => b.outerHTML.slice(0, 120));
})"""


def opened(watch: Callable[..., Any], address: str, width: int, scheme: str) -> Any:
    page = watch(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True).page
    page.add_init_script(NAMELESS)
    page.goto(address, wait_until="load")
    return page


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("name", ["report", "drawing", "explained", "compared", "checked"])
def test_axe_finds_nothing(made: Made, watch: Callable[..., Any], name: str, language: str) -> None:
    """At load, and where something can be drawn once more, when all is on the page that can be."""
    path = getattr(made, name)(language)
    for width, scheme in SIZES:
        page = opened(watch, path.as_uri(), width, scheme)
        assert page.evaluate("window.nameless") == [], (width, scheme)
        assert found_by_axe(page) == [], (width, scheme)
        if name in ("report", "drawing"):
            drawn_and_opened(page)
            assert found_by_axe(page) == [], (width, scheme)


def test_axe_finds_nothing_on_the_page_that_is_served(address: str, watch: Callable[..., Any]) -> None:
    for width, scheme in SIZES:
        page = opened(watch, address, width, scheme)
        wait_for(page, "window.pellucid")
        page.locator(".live-thumbs button").first.click()
        answered(page)
        for column in page.locator(".live-layers-room").all():
            column.locator(".live-sheet").first.press("Enter")
        assert page.locator(".live-channel").count() == 2
        assert found_by_axe(page) == [], (width, scheme)


def drawn_and_opened(page: Any) -> None:
    """A test picture on the pad and a channel with its arithmetic: the page at its fullest."""
    page.locator(".live-thumbs button").first.click()
    page.locator(".live:not(.live-empty)").wait_for()
    page.locator(".live-sheet").nth(1).press("Enter")
    page.locator(".live-channel").wait_for()
    wait_for(page, "[...document.querySelectorAll('.live-past span')].every((name) => name.textContent)")
    settled(page)

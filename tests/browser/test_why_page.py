"""What a reader can do in a real browser: change an answer, guess it, choose on the map of pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import pellucid
from pellucid import Recipe, fit, write_report
from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset, Origin, Splits
from pellucid.exporters.page import export_page
from pellucid.pad.section import Subject
from tests.browser.hand import settled, wait_for
from tests.toys import economical

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, Path, Path]:
    """A run on the embedded digits: its classifier, its page to draw in, its report."""
    splits = pellucid.load("digits")
    folder = tmp_path_factory.mktemp("why") / "run"
    with economical():
        run = fit(
            splits.train,
            splits.validation,
            Recipe(epochs=8, batch_size=32),
            folder=folder,
            origin=Origin("digits"),
        )
        page = export_page(
            Subject(run.classifier, "digits", splits.train, splits.test), folder.parent / "page.html"
        )
        return run.classifier, page, write_report(run, splits, run.evaluate(splits.test))


def test_a_change_found_in_the_page_is_one_for_torch_and_one_click_applies_it(
    made: tuple[Classifier, Path, Path], watch: Callable[..., Any]
) -> None:
    classifier, page_file, _ = made
    watched = watch(viewport={"width": 1200, "height": 1000}, offline=True)
    page = watched.page
    page.goto(page_file.as_uri())
    page.get_by_role("button", name="Test picture 4, labelled 3").click()
    wait_for(page, "pellucid.drawing.picture !== null")
    settled(page)
    before = page.locator(".live-big b").inner_text()
    page.get_by_role("button", name="Find a small change").click()
    page.get_by_role("status").filter(has_text="confirmed by running it again").wait_for(timeout=60_000)
    first = page.locator(".live-ways button").first
    wanted = first.locator("b").inner_text()
    amounts = [float(text) for text in page.locator(".live-ways span").all_inner_texts()]
    assert amounts == sorted(amounts)
    assert wanted != before
    old = page.evaluate("Array.from(pellucid.runs[0].pixels)")
    first.click()
    settled(page)
    assert page.locator(".live-big b").inner_text() == wanted
    new = page.evaluate("Array.from(pellucid.runs[0].pixels)")
    scores = classifier.logits(torch.tensor(new, dtype=torch.uint8).reshape(1, 1, 8, 8))
    assert classifier.classes[int(scores.argmax())] == wanted
    change = sum(abs(a - b) for a, b in zip(new, old, strict=True)) / 255
    assert change == pytest.approx(amounts[0], abs=0.06)
    assert page.locator(".live-ways li").count() == 0  # they spoke of the picture before
    page.get_by_role("button", name="Undo").click()
    settled(page)
    assert page.evaluate("Array.from(pellucid.runs[0].pixels)") == old
    assert (watched.errors, watched.requests) == ([], [])


SIDE, SPOT = 48, 10


def spotted(count: int, *, seed: int) -> Dataset:
    """Green colour pictures of 48 x 48, every second one with a red spot at a place of its own."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (count, 3, SIDE, SIDE), generator=generator).to(torch.uint8)
    images[:, 1] += 90
    labels = torch.arange(count) % 2
    corners = torch.randint(2, SIDE - SPOT - 2, (count, 2), generator=generator).tolist()
    for image, label, (top, left) in zip(images, labels.tolist(), corners, strict=True):
        if label:
            image[0, top : top + SPOT, left : left + SPOT] = 230
    return Dataset(images, labels, ("meadow", "poppy"), [f"{seed}/{number}" for number in range(count)])


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, Path]:
    """A run on made-up colour pictures: its classifier and its report."""
    splits = Splits(spotted(200, seed=1), spotted(60, seed=2), spotted(40, seed=3))
    recipe = Recipe(model="tutorial", epochs=6, batch_size=16)
    with economical():
        folder = tmp_path_factory.mktemp("coloured") / "run"
        run = fit(
            splits.train,
            splits.validation,
            recipe,
            folder=folder,
            origin=Origin("meadows", augmentation="crop,flip,colour"),
        )
        evaluation = run.evaluate(splits.test)
        assert evaluation.accuracy > 0.9
        return run.classifier, write_report(run, splits, evaluation)


def test_of_a_colour_picture_a_region_is_covered_with_one_click_and_the_answer_turns(
    coloured: tuple[Classifier, Path], watch: Callable[..., Any]
) -> None:
    classifier, path = coloured
    watched = watch(viewport={"width": 1200, "height": 1000}, offline=True)
    page = watched.page
    page.goto(path.as_uri())
    told = page.locator("#counterfactual")
    assert "region covered" in told.inner_text() or "regions covered" in told.inner_text()
    page.get_by_role("button", name="labelled poppy").first.click()
    wait_for(page, "pellucid.drawing.picture !== null")
    settled(page)
    assert page.locator(".live-big b").inner_text() == "poppy"
    old = torch.tensor(page.evaluate("Array.from(pellucid.runs[0].pixels)")).reshape(3, SIDE, SIDE)
    page.get_by_role("button", name="Find a small change").click()
    page.get_by_role("status").filter(has_text="confirmed by running it again").wait_for(timeout=60_000)
    page.locator(".live-ways button").first.click()
    settled(page)
    assert page.locator(".live-big b").inner_text() == "meadow"
    new = torch.tensor(page.evaluate("Array.from(pellucid.runs[0].pixels)")).reshape(3, SIDE, SIDE)
    assert int(classifier.logits(new.to(torch.uint8)[None]).argmax()) == 0
    rows, columns = torch.nonzero((new != old).any(dim=0)).T
    top, left = torch.nonzero(old[0] > 200).amin(dim=0).tolist()  # what was covered lies over the spot
    assert rows.min() < top + SPOT
    assert rows.max() >= top
    assert columns.min() < left + SPOT
    assert columns.max() >= left
    assert len(rows) < SIDE * SIDE / 4
    page.get_by_role("button", name="Undo").click()
    settled(page)
    assert page.locator(".live-big b").inner_text() == "poppy"
    assert (watched.errors, watched.requests) == ([], [])


def test_guesses_are_told_back_with_an_interval_and_stay_in_the_page(
    made: tuple[Classifier, Path, Path], watch: Callable[..., Any]
) -> None:
    watched = watch(viewport={"width": 400, "height": 900}, offline=True)
    page = watched.page
    page.goto(made[2].as_uri())
    questions = page.locator("#guessing .guess")
    count = questions.count()
    kept = page.evaluate("JSON.stringify(localStorage)")
    for number in range(count):
        question = questions.nth(number)
        assert question.is_visible()
        assert question.locator(".hint img, .hint .nothing").first.is_hidden()
        answer = question.get_attribute("data-prediction")
        wrong = next(
            b for b in question.locator(".choices button").all() if b.get_attribute("value") != answer
        )
        wrong.click()
        assert question.locator(".hint img, .hint .nothing").first.is_visible()
        question.locator(f'.choices button[value="{answer}"]').click()
        question.locator(".next").click()
    told = page.locator("#guessing .score .answer").inner_text()
    assert told.startswith("The maps helped you.")
    assert (
        f"You guessed 0 of {count} predictions from the picture alone and {count} with the map: +100 points"
        in told
    )
    assert "95 % interval +" in told
    assert page.evaluate("JSON.stringify(localStorage)") == kept
    page.get_by_role("button", name="Guess again").click()
    assert questions.first.is_visible()
    assert (watched.errors, watched.requests) == ([], [])


def test_choosing_on_one_map_marks_both_and_leaves_only_those_mistakes(
    made: tuple[Classifier, Path, Path], watch: Callable[..., Any]
) -> None:
    watched = watch(viewport={"width": 1200, "height": 900}, offline=True)
    page = watched.page
    page.goto(made[2].as_uri())
    all_mistakes = page.locator(".tally").inner_text()
    plane = page.locator(".plane").nth(1)
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 3, steps=4)
    page.mouse.up()
    chosen = [page.locator(".plane").nth(n).locator(".px.in").count() for n in (0, 1)]
    assert 0 < chosen[0] == chosen[1] < page.locator(".plane").first.locator(".px").count()
    wrong = page.locator(".plane").first.locator(".px.in.wrong").count()
    assert f"Chosen: {chosen[0]} pictures, {wrong} of them mistakes." in page.locator(".picked").inner_text()
    assert page.locator(".tally").inner_text().startswith(f"{wrong} of ")
    page.get_by_role("button", name="Clear the selection").click()
    assert page.locator(".tally").inner_text() == all_mistakes
    assert (watched.errors, watched.requests) == ([], [])


def test_without_scripts_maps_changes_and_answers_can_all_be_seen(
    made: tuple[Classifier, Path, Path], watch: Callable[..., Any]
) -> None:
    page = watch(java_script_enabled=False).page
    page.goto(made[2].as_uri())
    for place in ("#guessing .guess >> nth=1", ".plane >> nth=0", ".change >> nth=0", ".kin >> nth=0"):
        assert page.locator(place).is_visible()
    assert page.locator("#guessing .hint img, #guessing .hint .nothing").first.is_visible()
    assert page.locator("#guessing .choices").first.is_hidden()

"""The page that `pellucid live` serves, in a real browser: a digit is drawn and every run answers it."""

import copy
import io
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid
from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.live import Served, served
from pellucid.live.app import form_of
from pellucid.pad.data import TooLargeForSnapshots
from pellucid.pad.section import Subject, texts
from pellucid.pad.strokes import RULES, place
from pellucid.recipe import Recipe
from pellucid.runs.verdicts import Verdict
from pellucid.serving.received import received
from tests.browser.hand import answer, answered, draw, settled, wait_for
from tests.browser.served import learned, serving
from tests.golden.make_strokes import DIGITS
from tests.networks import classifier

pytestmark = pytest.mark.browser

READY = "window.pellucid"


@pytest.fixture(scope="module")
def subject() -> Subject:
    splits = pellucid.load("digits")
    found = learned("digits", splits, Recipe(epochs=8, batch_size=32, precision="float32", threads=1))
    return replace(found, classifier=replace(found.classifier, temperature=0.6))


@pytest.fixture(scope="module")
def runs(subject: Subject) -> list[Served]:
    """The same network twice, once run by the page and once by torch, and one that has learned nothing."""
    from pellucid.models import build

    untrained = replace(subject.classifier, network=build("tutorial", 1, 10, (8, 8), seed=9).eval())
    return [
        served("digits-tutorial-1", replace(subject, snapshots=()), accuracy=0.98),
        served("digits-tutorial-2", replace(subject, snapshots=()), torch_only=True),
        served("untrained", replace(subject, classifier=untrained, snapshots=()), torch_only=True),
    ]


@pytest.fixture(scope="module")
def address(runs: list[Served]) -> Iterator[str]:
    with serving(runs) as found:
        yield found


@pytest.fixture
def opened(watch: Callable[..., object], address: str):
    """The page, opened; it asks nobody but its own server."""
    watched = watch(viewport={"width": 1300, "height": 1000})
    watched.page.goto(address)
    wait_for(watched.page, READY)
    answered(watched.page)
    yield watched.page
    assert watched.errors == []
    assert [asked for asked in watched.requests if not asked.startswith(address)] == []


def shares(page) -> np.ndarray:
    """What each run answers, (runs, K)."""
    return np.array(page.evaluate("pellucid.runs.map((run) => Array.from(run.answerer.last.probabilities))"))


def pixels(page) -> torch.Tensor:
    seen = np.array(page.evaluate("Array.from(pellucid.runs[0].pixels)"), dtype=np.uint8)
    return torch.from_numpy(seen).reshape(1, 1, 8, 8)


def test_a_drawn_digit_is_answered_by_every_run_as_its_classifier_does(opened, runs, subject) -> None:
    for name in ("3", "0", "7"):
        opened.get_by_role("button", name="Clear").click(force=True)
        draw(opened, DIGITS[name])
        answered(opened)
        strokes = opened.evaluate("pellucid.drawing.strokes")
        assert np.array_equal(pixels(opened).numpy().ravel(), place(strokes, RULES["digits"]).ravel())
        known = [one.subject.classifier.predict(pixels(opened))[0].numpy() for one in runs]
        assert np.abs(shares(opened) - np.array(known)).max() < 1e-4
        assert opened.locator(".live-big b").nth(0).inner_text() == name
    said = opened.locator(".side-verdict").inner_text()
    assert "A 7" in said
    assert opened.locator(".live-hidden[role=status]").inner_text().startswith("A Answer 7")


def test_where_runs_disagree_is_marked(opened) -> None:
    draw(opened, DIGITS["4"])
    answered(opened)
    names = opened.locator(".live-big b").all_inner_texts()
    assert names[0] == names[1] == "4"
    if names[2] == "4":
        pytest.fail("the untrained network happens to agree: choose another seed")
    assert "They disagree" in opened.locator(".side-verdict").inner_text()
    assert "Largest difference on 4" in opened.locator(".side-verdict").inner_text()
    marked = opened.evaluate("pellucid.runs.map((run) => run.view.root.classList.contains('side-alone'))")
    assert marked == [False, False, True]
    assert opened.locator(".side-far .live-name").all_inner_texts() == ["4", "4", "4"]


def test_a_disputed_test_picture_can_be_started_from(opened, runs) -> None:
    opened.locator(".side-draw .live-thumbs").last.locator("button").first.click()
    answered(opened)
    names = opened.locator(".live-big b").all_inner_texts()
    assert len(set(names)) > 1
    assert "They disagree" in opened.locator(".side-verdict").inner_text()


def test_torch_shows_what_the_page_shows(opened) -> None:
    draw(opened, DIGITS["2"])
    answered(opened)
    same = opened.evaluate(
        """() => {
          const [mine, theirs] = pellucid.runs.map((run) => run.answerer);
          const apart = (a, b) => Math.max(...Array.from(a, (value, place) => Math.abs(value - b[place])));
          const [own, far] = [mine, theirs].map((one) => one.layers.find((layer) => layer.name === "conv2"));
          return [apart(mine.last.evidence.cells, theirs.last.evidence.cells),
            far === theirs.last.evidence.layer,
            apart(mine.values(own), theirs.values(far))];
        }"""
    )
    assert same[1]
    assert max(same[0], same[2]) < 1e-4


def test_only_layers_that_are_open_are_asked_for(opened) -> None:
    run = opened.locator(".side-run").nth(1)
    before = opened.evaluate("pellucid.runs[1].answerer.open.size")
    run.locator("summary", has_text="pool1").click()
    draw(opened, DIGITS["5"])
    answered(opened)
    assert opened.evaluate("pellucid.runs[1].answerer.fresh.size") == before + 1
    assert run.locator("details[open] canvas").count() == before + 1
    run.locator("details[open] .live-sheet").first.click(position={"x": 20, "y": 20})
    run.get_by_label("Switch this channel off").check()
    answered(opened)
    assert opened.evaluate(
        "(({ answerer }) => answerer.values(answerer.layers[0]).subarray(0, 64)"
        ".every((value) => value === 0))(pellucid.runs[1])"
    )
    assert np.abs(np.subtract(*shares(opened)[:2])).max() > 1e-6
    run.get_by_label("Switch this channel off").uncheck()


def test_a_dropped_picture_goes_through_preprocess_on_the_server(opened, runs) -> None:
    paper = np.full((90, 70), 235, dtype=np.uint8)
    paper[20:75, 30:40] = 20
    file = io.BytesIO()
    Image.fromarray(paper).save(file, "PNG")
    picture = {"name": "one.png", "mimeType": "image/png", "buffer": file.getvalue()}
    opened.set_input_files("input[type=file]", picture)
    wait_for(opened, "pellucid.drawing.picture !== null")
    answered(opened)
    assert pixels(opened)[0].numpy().tobytes() == received(file.getvalue(), [form_of(runs[0].subject)])


def test_what_is_no_picture_is_told_in_words(watch, address: str) -> None:
    page = watch().page
    page.goto(address)
    wait_for(page, READY)
    page.set_input_files(
        "input[type=file]", {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"}
    )
    wait_for(page, "document.querySelector('[role=alert]').textContent.includes('not a picture')")


def test_an_address_opens_the_same_drawing_and_the_language_turns(opened, watch) -> None:
    draw(opened, DIGITS["6"])
    answered(opened)
    other = watch()
    other.page.goto(opened.evaluate("location.href"))
    wait_for(other.page, READY)
    answered(other.page)
    assert np.allclose(shares(other.page), shares(opened), atol=1e-6)
    other.page.get_by_role("button", name="한국어").click()
    answered(other.page)
    said = other.page.locator("main").inner_text()
    assert "그리기" in said
    assert not [line for line in said.splitlines() if line in ("Draw", "Answer", "Every layer")]
    assert np.allclose(shares(other.page), shares(opened), atol=1e-6)
    assert other.errors == []


def test_one_run_that_the_page_can_run_gets_the_whole_page(watch, subject: Subject) -> None:
    with serving([served("digits-tutorial-1", subject)], language="ko") as address:
        watched = watch(viewport={"width": 1200, "height": 1000})
        watched.page.goto(address)
        wait_for(watched.page, f"{READY} && pellucid.runs[0].answerer.ready")
        draw(watched.page, DIGITS["3"])
        settled(watched.page)
        assert answer(watched.page) == "3"
        assert "PyTorch와 일치" in watched.page.locator(".live-status").inner_text()
        assert watched.page.locator(".live-past button").count() > 3
        assert watched.errors == []


def test_runs_of_other_sizes_and_colours_answer_the_same_drawing(watch, runs: list[Served]) -> None:
    colour = served("colour", Subject(replace(classifier("residual"), preprocess=Preprocess(3, 21, 18))))
    with serving([runs[0], colour]) as address:
        watched = watch(viewport={"width": 400, "height": 800})
        page = watched.page
        page.goto(address)
        wait_for(page, READY)
        page.get_by_role("button", name="Test picture 2, labelled 1").click()
        answered(page)
        seen = page.evaluate("Array.from(pellucid.runs[1].pixels)")
        assert len(seen) == 3 * 21 * 18
        assert any(seen)
        assert page.locator(".side-receives canvas").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        assert watched.errors == []


def test_another_page_cannot_ask(watch, address: str) -> None:
    """A page of another port of this machine: neither its script nor its form gets an answer."""
    with serving([served("x", Subject(classifier("tutorial")), torch_only=True)]) as elsewhere:
        watched = watch()
        watched.page.goto(elsewhere)
        outcome = watched.page.evaluate(
            """async (address) => {
              try { return (await fetch(address + "runs")).status; } catch (error) { return "refused"; }
            }""",
            address,
        )
        assert outcome == "refused"


@pytest.fixture(scope="module")
def past_runs(subject: Subject) -> list[Served]:
    """One network with its past, by the page and by torch, and a small resnet with a made-up past."""
    from pellucid.models import build

    splits = pellucid.load("digits")
    made = build("resnet", 1, 10, (8, 8), seed=4).eval()
    untrained = build("resnet", 1, 10, (8, 8), seed=5).eval().state_dict()
    resnet = Subject(
        Classifier(made, subject.classifier.classes, Preprocess(1, 8, 8), "resnet"),
        "digits",
        test=splits.test,
        snapshots=[("step 0", 0, untrained), ("epoch 1", 10, made.state_dict())],
    )
    return [
        served("page", subject, accuracy=0.98),
        served("torch", subject, torch_only=True),
        served("resnet", resnet, torch_only=True),
    ]


@pytest.fixture
def formed(watch: Callable[..., object], past_runs: list[Served]):
    with serving(past_runs) as address:
        watched = watch(viewport={"width": 1300, "height": 1000})
        watched.page.goto(address)
        wait_for(watched.page, READY)
        draw(watched.page, DIGITS["3"])
        answered(watched.page)
        yield watched.page
        displaced = "status of 409"  # another channel was chosen while one was counted
        assert [error for error in watched.errors if displaced not in error] == []


def chosen(page, run: int, layer: str) -> None:
    """Opens channel 1 of a layer of a run, at one of its first cells."""
    section = page.locator(".side-run").nth(run)
    if run:
        body = section.locator("details").filter(has=page.locator(f"summary b:text-is('{layer}')"))
        if body.get_attribute("open") is None:
            body.locator("summary").click()
        sheet = body.locator(".live-sheet")
    else:
        sheet = (
            section.locator("figure").filter(has=page.locator(f"b:text-is('{layer}')")).locator(".live-sheet")
        )
    sheet.click(position={"x": 12, "y": 12})
    answered(page)
    wait_for(page, f"pellucid.runs[{run}].answerer.trace(pellucid.drawing.choices[{run}].chosen)")


def test_torch_tells_of_a_channel_what_the_page_tells(formed) -> None:
    for at in (0, 1):
        chosen(formed, at, "conv2")
    wait_for(formed, "document.querySelectorAll('.live-channel .live-thumbs').length === 6")
    mine, theirs = formed.evaluate(
        """() => pellucid.runs.slice(0, 2).map(({ answerer, choices }) => {
          const trace = answerer.trace(choices.chosen);
          const { kind, received, row, column, value, after, weights, bias, total, products } = trace;
          const { layer, channel, row: y, column: x } = choices.chosen;
          return { kind, received, row, column, value, after, weights: Array.from(weights), bias, total,
            sums: products.map((one) => one.sum), field: answerer.field(layer, y, x), at: [channel, y, x] };
        })"""
    )
    for name in ("kind", "received", "row", "column", "field", "at"):
        assert mine[name] == theirs[name], name
    for name in ("value", "weights", "bias", "total", "sums"):
        assert np.abs(np.subtract(mine[name], theirs[name])).max() < 1e-4, name
    assert [step["name"] for step in mine["after"]] == [step["name"] for step in theirs["after"]]
    assert abs(sum(theirs["sums"]) + theirs["bias"] - theirs["total"]) < 1e-5
    panels = formed.locator(".live-channel")
    told = [panels.nth(run).locator("p").all_inner_texts() for run in (0, 1)]
    assert "test pictures excite it" in told[1][0]
    assert "Without it, accuracy on" in told[1][1]
    assert panels.nth(1).locator("canvas").first.is_visible()
    assert formed.locator(".side-run").nth(1).locator(".live-thumbs button").count() == 27


def test_a_picture_that_excites_a_channel_can_be_started_from(formed, subject) -> None:
    chosen(formed, 2, "conv1")
    run = formed.locator(".side-run").nth(2)
    wait_for(
        formed, "document.querySelectorAll('.side-run')[2].querySelectorAll('.live-thumbs').length === 3"
    )
    told = run.locator(".live-channel .live-thumbs button").first.get_attribute("title")
    run.locator(".live-channel .live-thumbs button").first.click()
    wait_for(formed, "pellucid.drawing.picture !== null")
    answered(formed)
    test = pellucid.load("digits").test
    place = next(at for at, source in enumerate(test.sources) if f"Test picture {source}," in told)
    assert torch.equal(pixels(formed)[0], test.images[place])


def test_a_layer_of_torch_says_what_follows_its_sum_and_what_a_sum_adds(formed) -> None:
    chosen(formed, 2, "stage 2, block 1: first convolution")
    panel = formed.locator(".side-run").nth(2).locator(".live-channel")
    assert "Then batch norm" in panel.inner_text()
    assert "relu" in panel.inner_text()
    chosen(formed, 2, "stage 2, block 1: sum with what came in")
    assert "from stage 2, block 1: second convolution" in panel.inner_text()
    assert "from stage 2, block 1: shortcut" in panel.inner_text()
    formed.locator(".side-run").nth(2).locator(".live-sheet").first.hover(position={"x": 12, "y": 12})
    assert "It sees rows" in formed.locator(".side-run").nth(2).locator(".live-read").first.inner_text()


def test_every_column_goes_back_to_its_own_past(formed, past_runs) -> None:
    image = pixels(formed)
    for at in (0, 1, 2):
        column = formed.locator(".side-run").nth(at)
        column.locator("input[type=range]").fill("0")
        answered(formed)
        known = past_runs[at].subject
        then = build_then(known)
        expected = then.predict(image)[0].numpy()
        tolerance = 0.02 if at == 0 else 1e-4  # the page keeps the past in few bits
        assert np.abs(shares(formed)[at] - expected).max() < tolerance
        count = len(known.snapshots) + 1
        wait_for(formed, f"pellucid.runs[{at}].pastAnswers")
        assert column.locator(".live-past button").count() == count
        past = formed.evaluate(f"pellucid.runs[{at}].pastAnswers.map((one) => one.prediction)")
        assert past[0] == int(expected.argmax())
        assert past[-1] == int(known.classifier.predict(image)[0].argmax())
    assert "m=0,0,0" in formed.evaluate("location.hash")
    formed.keyboard.press("]")
    answered(formed)
    assert formed.evaluate("pellucid.drawing.choices.map((one) => one.snapshot)") == [1, 1, 1]


def build_then(subject: Subject) -> Classifier:
    """A classifier with the weights of the first snapshot."""
    network = copy.deepcopy(subject.classifier.network)
    network.load_state_dict(dict(subject.snapshots[0][2]))
    return replace(subject.classifier, network=network)


def test_the_scale_over_test_pictures_is_counted_when_it_is_wanted(formed) -> None:
    formed.locator(".side-run").nth(1).get_by_label("Colours").select_option("fixed")
    wait_for(formed, "Object.keys(pellucid.runs[1].data.scales).length > 0")
    mine, theirs = formed.evaluate("pellucid.runs.slice(0, 2).map((run) => run.data.scales.conv2)")
    assert mine == pytest.approx(theirs, rel=0.05, abs=1e-3)


def test_a_network_too_large_to_keep_its_past_says_so(watch, subject: Subject) -> None:
    run = served("large", replace(subject, snapshots=()), torch_only=True)
    run = replace(
        run, data=replace(run.data, too_large_for_snapshots=TooLargeForSnapshots(11_000_000, 2_000_000))
    )
    with serving([run], language="ko") as address:
        watched = watch()
        watched.page.goto(address)
        wait_for(watched.page, READY)
        assert "11,000,000" in watched.page.locator(".live-time").inner_text()
        assert watched.errors == []


@pytest.mark.parametrize("torch_only", [False, True])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_map_that_failed_its_tests_is_drawn_only_when_asked_for(
    watch: Callable[..., object], subject: Subject, torch_only: bool, language: str
) -> None:
    usual = "gradient x activation"
    cases = {
        ("failed", "instead"): {usual: Verdict("failed", 0.1), "occlusion": Verdict("passed", 0.4)},
        ("undecided", "instead"): {usual: Verdict("undecided", 0.1), "occlusion": Verdict("passed", 0.4)},
        ("failed", "vain"): {usual: Verdict("failed", 0.1)},
        ("passed",): {usual: Verdict("passed", 0.5)},
        ("untested",): {},
    }
    named = {"names": texts()[language]["method.occlusion"]}
    for keys, verdicts in cases.items():
        tested = replace(subject, verdicts=verdicts, snapshots=())
        with serving([served("one", tested, torch_only=torch_only)], language) as address:
            watched = watch()
            watched.page.goto(address)
            wait_for(watched.page, READY)
            sentence = " ".join(texts()[language][f"evidence.{key}"].format(**named) for key in keys)
            line = watched.page.get_by_text(sentence, exact=True)
            assert line.count() == 1, keys
            marked = "live-bad" in (line.get_attribute("class") or "")
            assert marked is (len(keys) == 2), keys
            draw(watched.page, DIGITS["3"])
            canvas = watched.page.locator(f'canvas[aria-label="{texts()[language]["evidence"]}"]')
            assert canvas.is_visible() is not marked, (
                keys
            )  # a map that failed is shown to whoever asks for it
            if marked:
                watched.page.get_by_text(texts()[language]["evidence.show"], exact=True).click()
                assert canvas.is_visible()
            assert watched.errors == []

"""The page tells what is unlike anything taught as Python does, and says so in words."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

import pellucid
from pellucid.data.dataset import Dataset
from pellucid.evaluation.novelty import neighbour_distances
from pellucid.explanation.neighbours import hidden_features
from pellucid.exporters.page import export_page
from pellucid.live import served
from pellucid.pad.section import Subject, drawing_section
from pellucid.recipe import Recipe
from pellucid.runs.reference import HeldOutPictures, reference_of
from tests.browser.hand import answer, settled, wait_for
from tests.browser.served import learned, serving

pytestmark = pytest.mark.browser
SENTENCE = "Not like anything it was taught: farther from its nearest training pictures than "
COMPARED = """(pictures) => {
  const [run] = pellucid.runs, bytes = PellucidSnapshots.bytesOf(pictures), each = run.pixels.length;
  const off = new Map(), question = { snapshot: null, off, contrast: false, chosen: null };
  return Array.from({ length: bytes.length / each }, (_, at) => {
    run.answerer.ask({ ...question, pixels: bytes.subarray(at * each, (at + 1) * each) }, () => {});
    const { distance, unlike, nearer, held_out: count } = run.answerer.last.novelty;
    return { distance, unlike, nearer, count };
  });
}"""


@pytest.fixture(scope="module")
def subject() -> Subject:
    """A network that reads the embedded digits, and what its run would have kept to compare with."""
    splits = pellucid.load("digits")
    recipe = Recipe(epochs=10, batch_size=32, precision="float32", threads=1)
    found = learned("digits", splits, recipe)
    held_out = splits.validation
    probabilities, nowhere = found.classifier.predict(held_out.images), torch.full((len(held_out),), -1)
    compared = HeldOutPictures(held_out, probabilities, nowhere)
    reference, _ = reference_of(found.classifier, splits.train, compared, store=None)
    return replace(found, reference=reference, held_out=held_out)


@pytest.fixture(scope="module")
def page(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_page(subject, tmp_path_factory.mktemp("page") / "page.html")


def noise(count: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).integers(0, 256, (count, 1, 8, 8)).astype(np.uint8)


def ordinary(subject: Subject) -> Dataset:
    assert subject.test is not None
    return subject.test[:100]


def test_the_page_compares_as_python_does(subject: Subject, page: Path, watch: Any) -> None:
    watched = watch(offline=True)
    watched.page.goto(page.as_uri())
    wait_for(watched.page, "pellucid.runs[0].answerer.ready")
    images = np.concatenate([ordinary(subject).images.numpy(), noise(50)])
    coded = base64.b64encode(np.ascontiguousarray(images).tobytes()).decode()
    found = watched.page.evaluate(COMPARED, coded)
    pad = drawing_section(subject).pad
    assert pad is not None
    data = pad.novelty
    assert data is not None
    kept = np.frombuffer(base64.b64decode(data.pictures), np.int8).reshape(data.count, data.width)
    bank = functional.normalize(torch.from_numpy(kept.astype(np.float32)), dim=1)
    rows = functional.normalize(hidden_features(subject.classifier, torch.from_numpy(images)), dim=1)
    distances = neighbour_distances(rows, bank).numpy()
    assert [one["distance"] for one in found] == pytest.approx(distances.tolist(), abs=2e-3)
    sure = np.abs(distances - data.threshold) > 2e-3  # weights of a page have 16 bits
    assert sure.mean() > 0.9
    told = np.array([one["unlike"] for one in found])
    assert np.array_equal(told[sure], (distances > data.threshold)[sure])
    assert told[:100].mean() < 0.13
    assert told[100:].mean() > 0.7
    assert {one["count"] for one in found} == {data.held_out}
    assert watched.errors == []


def a_file(path: Path, pixels: np.ndarray[Any, Any]) -> Path:
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("torch_only", [False, True], ids=["page", "torch"])
def test_live_says_so_of_noise_and_not_of_a_digit(
    subject: Subject, watch: Any, tmp_path: Path, *, torch_only: bool
) -> None:
    """With all that the run keeps, whoever runs the network; the same percentage either way."""
    run = served("digits", replace(subject, held_out=None), torch_only=torch_only)
    assert run.data.novelty is None if torch_only else run.data.novelty is not None
    with serving([run]) as address:
        watched = watch()
        watched.page.goto(address)
        wait_for(watched.page, "window.pellucid")
        told(watched.page, subject, tmp_path)
    assert watched.errors == []


def test_a_page_alone_says_so_of_noise_and_not_of_a_digit(
    subject: Subject, page: Path, watch: Any, tmp_path: Path
) -> None:
    watched = watch(offline=True, viewport={"width": 390, "height": 844})
    watched.page.goto(page.as_uri())
    wait_for(watched.page, "pellucid.runs[0].answerer.ready")
    told(watched.page, subject, tmp_path)
    watched.page.locator(".live-status button").click()  # to Korean
    assert watched.page.locator(".live-novelty b").inner_text().startswith("배운 것과 다릅니다")
    wide = watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert wide
    assert watched.errors == []


def told(page: Any, subject: Subject, folder: Path) -> None:
    """Nothing of an empty pad and of a test picture, the sentence of noise; it is read aloud, too."""
    sentence = page.locator(".live-novelty")
    assert not sentence.is_visible()
    assert subject.reference is not None
    test = ordinary(subject)
    usual = int(
        subject.reference.novelty(hidden_features(subject.classifier, test.images)).distances.argmin()
    )
    files = page.locator(".live-file input")
    files.set_input_files(a_file(folder / "digit.png", test.images[usual, 0].numpy()))
    wait_for(page, "pellucid.drawing.picture && !pellucid.runs[0].asked")
    settled(page)
    assert answer(page) == test.label_names[usual]
    assert not sentence.is_visible()
    files.set_input_files(a_file(folder / "noise.png", noise(1)[0, 0]))
    sentence.wait_for(state="visible")
    settled(page)
    assert sentence.locator("b").inner_text().startswith(SENTENCE)
    assert "about 5 %" in sentence.inner_text()
    heard = page.locator("[aria-live=polite]").first.inner_text()
    assert SENTENCE in heard, json.dumps(heard)


def test_of_other_weights_and_without_a_channel_nothing_is_said(
    subject: Subject, page: Path, watch: Any
) -> None:
    watched = watch(offline=True)
    watched.page.goto(page.as_uri())
    wait_for(watched.page, "pellucid.runs[0].answerer.ready")
    silent = watched.page.evaluate(
        """() => {
          const { answerer, pixels } = pellucid.runs[0];
          const plain = { pixels, snapshot: null, off: new Map(), contrast: false, chosen: null };
          const off = new Map([[answerer.layers[0].value, new Set([0])]]);
          return [plain, { ...plain, snapshot: 0 }, { ...plain, off }].map((question) => {
            answerer.ask(question, () => {});
            return answerer.last.novelty === null;
          });
        }"""
    )
    assert silent == [False, True, True]
    plain = drawing_section(replace(subject, reference=None)).pad
    assert plain is not None
    assert plain.novelty is None

"""Pictures that are not square, for a network that is not, from the folder to the report and its pad."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.classifier import Classifier
from pellucid.cli import application
from pellucid.runs.run import Run
from tests.browser.hand import answered, wait_for
from tests.data.folders import planted
from tests.toys import economical

pytestmark = pytest.mark.browser
HEIGHT, WIDTH = 16, 28
TRAIN = (
    "--epochs", "12", "--batch-size", "16", "--threads", "1", "--precision", "float32", "--model", "tutorial",
    "--recipe", "course", "--size", f"{HEIGHT}x{WIDTH}", "--fit", "pad",
)  # fmt: skip


def drawing(number: int) -> bytes:
    """A bar on white paper, upright or lying, on a picture up to four times as long as it is high or wide."""
    random = np.random.default_rng(number)
    long, short = int(random.integers(60, 120)), int(random.integers(30, 40))
    width, height = (long, short) if number // 2 % 2 else (short, long)
    pixels = random.integers(225, 256, (height, width, 3)).astype(np.uint8)
    half = (11, 3) if number % 2 else (3, 11)
    pixels[height // 2 - half[0] : height // 2 + half[0], width // 2 - half[1] : width // 2 + half[1]] = (
        180,
        20,
        20,
    )
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """What `pellucid train` leaves of such pictures."""
    place = tmp_path_factory.mktemp("proportions")
    folder = planted(
        place / "bars", {f"{('lying', 'upright')[n % 2]}/{n:03}.png": drawing(n) for n in range(120)}
    )
    with economical():
        words = ("train", str(folder), *TRAIN, "--out", str(place / "run"), "--quiet")
        application()(list(words), standalone_mode=False)
        yield Run.open(place / "run")


def test_every_command_takes_them_from_training_to_prediction(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = json.loads((run.folder / "recipe.json").read_text())
    assert (settings["size"], settings["fit"]) == ([HEIGHT, WIDTH], "pad")
    preprocess = run.classifier.preprocess
    assert (preprocess.height, preprocess.width, preprocess.fit) == (HEIGHT, WIDTH, "pad")
    assert preprocess.background == 255  # the paper goes on
    application()(["evaluate", str(run.folder), "--json"], standalone_mode=False)
    figures = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    with (run.folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    folder = Path(run.origin.location)
    files = [str(folder / row["source"]) for row in rows[:12]]
    application()(["predict", str(run.folder), *files, "--json"], standalone_mode=False)
    predicted = [json.loads(line) for line in capsys.readouterr().out.strip().splitlines()]
    assert [each["prediction"] for each in predicted] == [row["prediction"] for row in rows[:12]]
    assert figures["accuracy"] >= 0.9
    application()(
        ["explain", str(run.folder), files[0], "--out", str(tmp_path / "why.html"), "--quiet"],
        standalone_mode=False,
    )
    assert (tmp_path / "why.html").stat().st_size > 10_000


def test_the_report_shows_them_in_their_proportions(run: Run, watch: Callable[..., Any]) -> None:
    watched = watch(viewport={"width": 1200, "height": 900})
    watched.page.goto((run.folder / "report.html").as_uri(), wait_until="load")
    assert (watched.errors, watched.requests) == ([], [])
    sides = """(tiles) => tiles.map((tile) => tile.getBoundingClientRect())
      .map(({ width, height }) => [width, height]).filter(([, height]) => height)"""
    boxes = watched.page.locator("#data [role=img]").evaluate_all(sides)
    assert len(boxes) >= 2
    assert all(width / height == pytest.approx(WIDTH / HEIGHT, rel=0.05) for width, height in boxes)


def test_a_picture_dropped_into_the_page_is_read_as_in_training(run: Run, watch: Callable[..., Any]) -> None:
    watched = watch(viewport={"width": 1200, "height": 1000}, offline=True)
    page = watched.page
    page.goto((run.folder / "report.html").as_uri())
    wait_for(page, "pellucid.runs[0].answerer.ready")
    assert page.evaluate("pellucid.runs[0].check.good") is True
    classifier = Classifier.load(run.folder)
    for number in (500, 501, 502, 503):
        content = drawing(number)
        before = page.evaluate("JSON.stringify(Array.from(pellucid.runs[0].pixels))")
        page.set_input_files(
            "input[type=file]", {"name": "bar.png", "mimeType": "image/png", "buffer": content}
        )
        wait_for(page, f"JSON.stringify(Array.from(pellucid.runs[0].pixels)) !== '{before}'")
        answered(page)
        pixels = np.array(page.evaluate("Array.from(pellucid.runs[0].pixels)"), np.uint8)
        assert np.array_equal(pixels, classifier.preprocess.read(content).numpy().ravel())
        answers = page.evaluate("Array.from(pellucid.runs[0].answerer.last.probabilities)")
        assert answers == pytest.approx(classifier.predict(content)[0].tolist(), abs=0.01)
    assert (watched.errors, watched.requests) == ([], [])


def moving(kind: str, size: tuple[int, int]) -> bytes:
    """Two frames, the first with a bar that is upright, the second with one that lies."""
    frames = [Image.open(io.BytesIO(drawing(number))).resize(size) for number in (1, 0)]
    file = io.BytesIO()
    how = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], **how)
    return file.getvalue()


def clear() -> bytes:
    pixels = np.zeros((40, 100, 4), np.uint8)
    pixels[10:30, 40:60] = (180, 20, 20, 255)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_ground_and_first_frame_are_the_same_in_the_page(run: Run, watch: Callable[..., Any]) -> None:
    page = watch(offline=True).page
    page.goto((run.folder / "report.html").as_uri())
    wait_for(page, "pellucid.runs[0].answerer.ready")
    pictures = {
        "png": clear(),
        "gif": moving("GIF", (90, 40)),
        "apng": moving("PNG", (40, 90)),
        "webp": moving("WEBP", (70, 60)),
    }
    for kind, content in pictures.items():
        before = page.evaluate("JSON.stringify(Array.from(pellucid.runs[0].pixels))")
        file = {"name": f"picture.{kind}", "mimeType": f"image/{kind}", "buffer": content}
        page.set_input_files("input[type=file]", file)
        wait_for(page, f"JSON.stringify(Array.from(pellucid.runs[0].pixels)) !== '{before}'")
        answered(page)
        shown = np.array(page.evaluate("Array.from(pellucid.runs[0].pixels)"), np.uint8)
        assert np.array_equal(shown, run.classifier.preprocess.read(content).numpy().ravel()), kind

"""Drawings become pixels by the rule of the data set, and always the same ones."""

import base64
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pellucid
from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.models import build
from pellucid.pad.strokes import PAD, RULES, as_ink, draw_free, measure, place, place_picture
from pellucid.recipe import Recipe
from pellucid.training.loop import train
from tests.golden.make_strokes import DIGITS, drawings, drawn, moved

MNIST = RULES["mnist"]
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "strokes.json").read_text(encoding="utf-8"))
coordinates = st.integers(0, 2 * PAD).map(lambda half: half / 2)
polylines = st.lists(
    st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=12), min_size=1, max_size=4
)


@pytest.mark.parametrize("known", GOLDEN, ids=lambda known: f"{known['rule']} {known['name']}")
def test_a_known_drawing_gives_its_known_bytes(known) -> None:
    assert base64.b64encode(drawn(known)).decode() == known["bytes"]


def test_there_are_fifty_and_the_script_makes_them() -> None:
    assert len(GOLDEN) == 50
    assert json.loads(json.dumps(drawings())) == [
        {k: v for k, v in one.items() if k != "bytes"} for one in GOLDEN
    ]


def test_a_digit_fills_the_box_and_its_mass_is_in_the_middle() -> None:
    for strokes in DIGITS.values():
        figures = measure(place(strokes, MNIST)[None])
        assert figures["size"][0] == 20
        assert 13.4 < figures["row"][0] < 14.6
        assert 13.4 < figures["column"][0] < 14.6
        assert 2.2 < figures["stroke width"][0] < 2.8


@settings(max_examples=60, deadline=None)
@given(polylines)
def test_any_drawing_gives_a_picture_with_full_ink(strokes) -> None:
    for rule in RULES.values():
        pixels = place(strokes, rule)
        assert pixels.shape == (rule.size, rule.size)
        assert pixels.max() == 255


@settings(max_examples=40, deadline=None)
@given(polylines, st.integers(-60, 60), st.integers(-60, 60))
def test_where_on_the_pad_it_is_drawn_makes_no_difference(strokes, right, down) -> None:
    there = [[(x + right, y + down) for x, y in stroke] for stroke in strokes]
    difference = place(strokes, MNIST).astype(int) - place(there, MNIST)
    assert np.abs(difference).max() <= 1 or np.array_equal(
        place(strokes, MNIST).sum(), place(there, MNIST).sum()
    )


def test_nothing_drawn_is_black() -> None:
    assert not place([], MNIST).any()
    assert not place([[]], MNIST).any()
    assert not draw_free([], (5, 7), 2).any()
    assert not place_picture(np.zeros((40, 50), dtype=np.uint8), MNIST).any()
    assert all(value[0] == 0 for value in measure(np.zeros((1, 28, 28), dtype=np.uint8)).values())


def test_a_dot_stays_a_dot() -> None:
    assert (place([[(5.0, 5.0)]], MNIST) > 0).sum() < 20


def test_a_free_drawing_stays_where_it_is() -> None:
    pixels = draw_free([[(0.0, 0.0), (PAD, 0.0)]], (10, 20), 1)
    assert (pixels[0] == 255).all()
    assert not pixels[2:].any()


@pytest.mark.parametrize("times", [3, 10, 17])
def test_a_placed_picture_enlarged_and_moved_is_placed_as_it_was(times: int) -> None:
    for strokes in DIGITS.values():
        pixels = place(strokes, MNIST)
        pad = np.zeros((28 * times + 60, 28 * times + 90), dtype=np.uint8)
        pad[40 : 40 + 28 * times, 11 : 11 + 28 * times] = np.kron(
            pixels, np.ones((times, times), dtype=np.uint8)
        )
        assert np.abs(place_picture(pad, MNIST).astype(int) - pixels).mean() < 6


def test_a_photographed_digit_on_bright_paper_becomes_white_ink() -> None:
    paper = np.full((80, 60), 214, dtype=np.uint8)
    paper[20:60, 28:33] = 35
    ink = as_ink(paper)
    assert ink[40, 30] == 214 - 35
    assert not ink[:15].any()
    assert np.array_equal(place_picture(ink, MNIST), place_picture(as_ink(255 - paper), MNIST))


def test_strokes_and_ink_are_measured() -> None:
    image = np.zeros((1, 28, 28), dtype=np.uint8)
    image[0, 4:24, 10:13] = 255  # a bar of 20 x 3
    figures = measure(image)
    assert figures["size"][0] == 20
    assert figures["ink"][0] == 60
    assert figures["row"][0] == 13.5
    assert figures["column"][0] == 11
    assert figures["stroke width"][0] == pytest.approx(2 * 60 / 46, abs=0.1)


@pytest.fixture(scope="module")
def reader():
    """A network trained on MNIST for one quick pass, with the test set."""
    splits = pellucid.load("mnist")
    network = build("tutorial", 1, 10, (28, 28), seed=1)
    for _ in train(network, splits.train, splits.validation, Recipe(epochs=1, precision="float32")):
        pass
    return Classifier(network, splits.test.classes, Preprocess(1, 28, 28), "tutorial"), splits.test


@pytest.mark.mnist
@pytest.mark.slow
def test_mnist_enlarged_to_the_pad_and_put_through_the_rule_stays_readable(real_data, reader) -> None:
    classifier, test = reader
    chance = np.random.default_rng(0)
    images = test.images[:2000, 0].numpy()
    placed = np.stack([place_picture(_on_a_pad(image, chance), MNIST) for image in images])
    error = np.abs(placed.astype(int) - images).mean()
    labels = test.labels[:2000]
    before = (classifier.predict(test.images[:2000]).argmax(dim=1) == labels).double().mean()
    after = (classifier.predict(torch.from_numpy(placed)[:, None]).argmax(dim=1) == labels).double().mean()
    print(f"mean error {error:.2f}/255, {before:.4f} right before, {after:.4f} after")
    assert error < 3
    assert after > before - 0.01


@pytest.mark.mnist
@pytest.mark.slow
def test_each_of_the_ten_digits_is_read_as_drawn(real_data, reader) -> None:
    classifier, _ = reader
    chance = random.Random(1)
    hands = [
        list(DIGITS.values()),
        *([moved(strokes, chance) for strokes in DIGITS.values()] for _ in range(9)),
    ]
    pixels = np.stack([place(strokes, MNIST) for hand in hands for strokes in hand])
    read = classifier.predict(torch.from_numpy(pixels)[:, None]).argmax(dim=1).reshape(10, 10)
    assert read[0].tolist() == list(range(10))
    assert (read == torch.arange(10)).double().mean() > 0.95


def _on_a_pad(image, chance):
    """The digit enlarged 5 to 13 times without smoothing, somewhere on a black pad."""
    zoom = int(chance.integers(5, 14))
    large = np.kron(image, np.ones((zoom, zoom), dtype=np.uint8))
    pad = np.zeros((420, 420), dtype=np.uint8)
    top, left = chance.integers(0, 420 - large.shape[0], 2)
    pad[top : top + large.shape[0], left : left + large.shape[1]] = large
    return pad

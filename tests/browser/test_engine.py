"""The engine in the page says what torch says, and a person who draws finds every layer answering."""

import base64
import io
import json
import random
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid
from pellucid import formatting
from pellucid.classifier import Classifier
from pellucid.data.preprocess import Fit, Preprocess
from pellucid.errors import UsageError
from pellucid.explanation import counterfactual
from pellucid.explanation.attribution import gradient_times_activation
from pellucid.explanation.channels import at_random
from pellucid.explanation.places import evidence_place
from pellucid.exporters.page import export_page
from pellucid.formatting import percent
from pellucid.inference import scaled
from pellucid.models import build
from pellucid.pad.data import ProgramData, to_json
from pellucid.pad.packing import pack_snapshots, pack_weights
from pellucid.pad.program import lower
from pellucid.pad.section import SCRIPTS, Subject, constants_script
from pellucid.pad.strokes import PAD, RULES, as_ink, measure, place, place_picture
from pellucid.plots import images
from pellucid.recipe import Recipe
from pellucid.task import OneClass
from tests.browser.hand import answer, draw, painted, settled, wait_for
from tests.browser.served import learned
from tests.golden.make_strokes import CROSSED, DIGITS, moved
from tests.networks import SHAPES, Sorting, classifier, network, pictures

pytestmark = pytest.mark.browser

PAGES = Path(pellucid.__file__).parent / "assets"
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "strokes.json").read_text(encoding="utf-8"))
RULES_JSON = {name: to_json(rule) for name, rule in RULES.items()}

BASE64 = """const base64 = (buffer) => {
  const bytes = new Uint8Array(buffer), parts = [], size = 8192;
  for (let at = 0; at < bytes.length; at += size) {
    parts.push(String.fromCharCode(...bytes.subarray(at, at + size)));
  }
  return btoa(parts.join(""));
};"""
RUN = """([program, packed, images, count]) => {
  const net = PellucidProgram.create(program, PellucidSnapshots.unpack(packed, program.tensors));
  const inputs = new Float32Array(PellucidSnapshots.bytesOf(images).buffer), each = inputs.length / count;
  return Array.from({ length: count }, (_, at) => {
    net.run(inputs.subarray(at * each, (at + 1) * each));
    return net.values.map((values) => base64(values.buffer));
  });
}"""
SCORES = """([program, packed, images, count]) => {
  const net = PellucidProgram.create(program, PellucidSnapshots.unpack(packed, program.tensors));
  const bytes = PellucidSnapshots.bytesOf(images), each = bytes.length / count;
  return Array.from({ length: count }, (_, at) =>
    Array.from(net.run(Float32Array.from(bytes.subarray(at * each, (at + 1) * each), (byte) => byte / 255))));
}"""


@pytest.fixture
def engine(watch):
    """An empty page with the engine's scripts in it."""
    watched = watch()
    watched.page.add_script_tag(content=constants_script())
    for name in SCRIPTS:
        watched.page.add_script_tag(content=(PAGES / "pad" / name).read_text(encoding="utf-8"))
    watched.page.add_script_tag(content=BASE64)
    yield watched.page
    assert watched.errors == []


def floats(coded: list[str], shape) -> torch.Tensor:
    """One value of several pictures, as RUN gives it, in the shape it should have."""
    content = b"".join(base64.b64decode(one) for one in coded)
    return torch.frombuffer(bytearray(content), dtype=torch.float32).reshape(shape)


def packed(program, weights, precision="f32") -> list[Any]:
    """The program and its weights as the page takes them."""
    shapes = [list(weight.shape) for weight in weights]
    data = ProgramData(program.shape, program.operations, shapes)
    return [to_json(data), to_json(pack_weights(weights, precision)[0])]


def text(array) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


@pytest.mark.parametrize("name", SHAPES)
def test_every_value_is_torchs(engine, name: str) -> None:
    made, images = network(name), pictures(name, 6)
    program = lower(made, SHAPES[name])
    weights = program.weights(made.state_dict())
    found = engine.evaluate(RUN, [*packed(program, weights), text(images.numpy()), len(images)])
    with torch.no_grad():
        for index, values in enumerate(program.run(images, weights)):
            mine = floats([one[index] for one in found], values.shape)
            near = 1e-4 * max(1.0, float(values.abs().max()) / 10)  # of numbers up to 255, less in proportion
            assert (mine - values).abs().max() < near, (index, program.operations[index - 1])


@pytest.mark.parametrize("name", SHAPES)
def test_probabilities_are_those_of_predict_at_every_temperature(engine, name: str) -> None:
    """Also of a network that ends in a softmax of its own, which is not taken twice."""
    made, images = network(name), pictures(name, 3)
    program = lower(made, SHAPES[name])
    weights = program.weights(made.state_dict())
    scores = classifier(name).logits(images)
    for temperature in (0.4, 1.0, 3.0):
        found = engine.evaluate(
            """([program, packed, images, count, temperature]) => {
              const net = PellucidProgram.create(program, PellucidSnapshots.unpack(packed, program.tensors));
              const inputs = new Float32Array(PellucidSnapshots.bytesOf(images).buffer);
              const each = inputs.length / count;
              return Array.from({ length: count }, (_, at) => {
                net.run(inputs.subarray(at * each, (at + 1) * each));
                return Array.from(PellucidProgram.probabilities(net, temperature));
              });
            }""",
            [*packed(program, weights), text(images.numpy()), len(images), temperature],
        )
        expected = OneClass().probabilities(scores / temperature)
        assert torch.allclose(torch.tensor(found, dtype=torch.float32), expected, atol=1e-3)


@pytest.mark.parametrize("name", SHAPES)
def test_every_gradient_is_torchs(engine, name: str) -> None:
    made, image = network(name), pictures(name, 1)
    program = lower(made, SHAPES[name])
    weights = program.weights(made.state_dict())
    values = program.run(image.requires_grad_(), weights)
    scores = values[-1]
    reached = [index for index, value in enumerate(values[:-2]) if value.requires_grad]
    gradients = torch.autograd.grad(
        scores[0, 1] - scores[0, 0], [values[index] for index in reached], allow_unused=True
    )
    found = engine.evaluate(
        """([program, packed, image]) => {
          const net = PellucidProgram.create(program, PellucidSnapshots.unpack(packed, program.tensors));
          net.run(new Float32Array(PellucidSnapshots.bytesOf(image).buffer));
          const seed = new Float32Array(net.values[net.last].length);
          [seed[0], seed[1]] = [-1, 1];
          return net.values.slice(0, -2).map((_, to) => Array.from(net.backward(seed, to)));
        }""",
        [*packed(program, weights), text(image.detach().numpy())],
    )
    for index, theirs in zip(reached, gradients, strict=True):
        if theirs is not None:
            difference = (torch.tensor(found[index]) - theirs.flatten()).abs().max()
            assert difference < 1e-4 * max(1, theirs.abs().max()), (index, program.operations[index - 1])


@pytest.mark.parametrize(
    ("name", "shape", "where"),
    [
        ("tutorial", (1, 28, 28), "conv2"),
        ("tutorial", (3, 17, 16), "conv2"),
        ("compact", (1, 28, 28), "conv4"),
        ("resnet", (3, 32, 32), "stage4.1.sum"),
    ],
)
def test_the_evidence_of_any_network_is_torchs(
    engine, name: str, shape: tuple[int, int, int], where: str
) -> None:
    made = build(name, shape[0], 5, (shape[1], shape[2]), seed=3).eval()
    program = lower(made, shape)
    weights = program.weights(made.state_dict())
    image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(4))
    found = engine.evaluate(
        """([program, packed, image]) => {
          const net = PellucidProgram.create(program, PellucidSnapshots.unpack(packed, program.tensors));
          net.run(new Float32Array(PellucidSnapshots.bytesOf(image).buffer));
          const found = PellucidProgram.evidence(
            net, PellucidProgram.evidenceLayer(program, net.layers), Float32Array.of(0, 0, 1, 0, 0));
          return { ...found, layer: found.layer.name, cells: Array.from(found.cells) };
        }""",
        [*packed(program, weights), text(image.numpy())],
    )
    assert evidence_place(made, image).name == where
    assert found["layer"] in (where, f"{where}.relu")  # here a function has a name of its own
    theirs = gradient_times_activation(made, image, 2)[0]
    mine = torch.tensor(found["cells"]).reshape(found["height"], found["width"])
    assert torch.allclose(mine, theirs, atol=1e-4 * float(theirs.abs().max()))


def test_what_a_cell_sees_is_what_moves_it(engine) -> None:
    made = network("residual")
    program = lower(made, SHAPES["residual"])
    weights = program.weights(made.state_dict())
    place = program.layers["layer1.relu#2"]
    image = pictures("residual", 1).requires_grad_()
    cell = program.run(image, weights)[place][0, :, 2, 7].sum()
    moved = torch.nonzero(torch.autograd.grad(cell, image)[0][0].abs().sum(dim=0))
    top, left, bottom, right = engine.evaluate(
        """([program, packed, value]) => PellucidProgram.field(
          PellucidProgram.create(program, PellucidSnapshots.unpack(packed, program.tensors)), value, 2, 7)""",
        [*packed(program, weights), place],
    )
    assert (moved.amin(dim=0) >= torch.tensor([top, left])).all()
    assert (moved.amax(dim=0) <= torch.tensor([bottom, right])).all()
    assert (bottom - top + 1) * (right - left + 1) < 21 * 18


def test_half_precision_answers_alike_wherever_the_margin_allows(engine) -> None:
    made = network("tutorial")
    images = torch.randint(0, 256, (1000, 1, 28, 28), generator=torch.Generator().manual_seed(1)).to(
        torch.uint8
    )
    program = lower(made, SHAPES["tutorial"])
    weights = program.weights(made.state_dict())
    found = torch.tensor(
        engine.evaluate(SCORES, [*packed(program, weights, "f16"), text(images.numpy()), 1000])
    )
    with torch.no_grad():
        scores = made(scaled(images))
    tolerance = float((found - scores).abs().max())
    best, second = scores.topk(2, dim=1).values.T
    clear = best - second > 2 * tolerance
    assert tolerance < 0.01
    assert clear.double().mean() > 0.9
    assert torch.equal(found.argmax(dim=1)[clear], scores.argmax(dim=1)[clear])


@pytest.mark.mnist
@pytest.mark.slow
def test_a_thousand_real_pictures_give_torchs_values_in_every_layer(engine, real_data) -> None:
    classifier, test, _ = mnist_reader()
    program = lower(classifier.network, (1, 28, 28))
    weights = program.weights(classifier.network.state_dict())
    worst = 0.0
    with torch.no_grad():
        for start in range(0, 1000, 100):
            images = scaled(test.images[start : start + 100])
            found = engine.evaluate(RUN, [*packed(program, weights), text(images.numpy()), 100])
            for index, values in enumerate(program.run(images, weights)):
                mine = floats([one[index] for one in found], values.shape)
                worst = max(worst, float((mine - values).abs().max()))
    print(f"largest difference of any value over 1,000 pictures: {worst:.2e}")
    assert worst < 1e-4


def test_snapshots_are_unpacked_as_python_unpacks_them(engine) -> None:
    made = network("residual")
    program = lower(made, SHAPES["residual"])
    generator = torch.Generator().manual_seed(2)
    weights = program.weights(made.state_dict())
    snapshots = [[w + 0.3 * n * torch.randn(w.shape, generator=generator) for w in weights] for n in range(4)]
    content, unpacked = pack_snapshots(snapshots)
    shapes = [list(weight.shape) for weight in weights]
    found = engine.evaluate(
        """async ([data, shapes]) => {
          const at = await PellucidSnapshots.unpackSnapshots({ count: 4, data }, shapes);
          return [0, 1, 2, 3].map((snapshot) => at(snapshot).map((values) => Array.from(values)));
        }""",
        [base64.b64encode(content).decode(), shapes],
    )
    for mine, theirs in zip(found, unpacked, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert torch.allclose(torch.tensor(one), other.flatten(), atol=1e-6)


def test_drawings_become_the_same_bytes_as_in_python(engine) -> None:
    found = engine.evaluate(
        """([drawings, rules]) => drawings.map(({ rule, strokes }) => Array.from(rule === "free"
          ? PellucidStrokes.drawFree(strokes, 32, 24, 2.25)
          : PellucidStrokes.place(strokes, rules[rule])))""",
        [GOLDEN, RULES_JSON],
    )
    for mine, known in zip(found, GOLDEN, strict=True):
        assert bytes(mine) == base64.b64decode(known["bytes"]), known["name"]


def test_two_hundred_random_drawings_become_the_same_bytes(engine) -> None:
    chance = random.Random(3)
    hands = [moved(strokes, chance) for _ in range(20) for strokes in DIGITS.values()]
    found = engine.evaluate(
        "([hands, rule]) => hands.map((strokes) => Array.from(PellucidStrokes.place(strokes, rule)))",
        [hands, RULES_JSON["mnist"]],
    )
    wrong = [at for at, one in enumerate(found) if bytes(one) != place(hands[at], RULES["mnist"]).tobytes()]
    assert wrong == []


def test_pictures_are_placed_and_measured_as_in_python(engine) -> None:
    chance = np.random.default_rng(5)
    for number in range(12):
        height, width = (int(side) for side in chance.integers(12, 90, 2))
        pixels = chance.integers(0, 256, (height, width)).astype(np.uint8)
        pixels[: height // 3] = 230 if number % 2 else 0
        found = engine.evaluate(
            """([pixels, height, width, rules]) => {
              const bytes = PellucidSnapshots.bytesOf(pixels);
              const ink = PellucidStrokes.asInk(bytes, height, width);
              return [Array.from(ink), ...["mnist", "digits"].map((name) =>
                Array.from(PellucidStrokes.placePicture(ink, height, width, rules[name]))),
                PellucidStrokes.measure(bytes, height, width)];
            }""",
            [text(pixels), height, width, RULES_JSON],
        )
        ink = as_ink(pixels)
        assert bytes(found[0]) == ink.tobytes()
        for mine, name in zip(found[1:3], ("mnist", "digits"), strict=True):
            assert bytes(mine) == place_picture(ink, RULES[name]).tobytes()
        for name, values in measure(pixels[None]).items():
            assert found[3][name] == pytest.approx(values[0], abs=1e-9)


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_made_to_fit_as_preprocess_does(engine, channels: int, fit: Fit) -> None:
    chance = np.random.default_rng(6)
    for height, width in ((64, 48), (31, 57), (9, 40), (7, 5), (28, 90), (28, 28), (3, 200), (201, 2)):
        pixels = chance.integers(0, 256, (height, width, 3)).astype(np.uint8)
        rgba = np.concatenate([pixels, np.full((height, width, 1), 255, dtype=np.uint8)], axis=2)
        found = engine.evaluate(
            """([rgba, height, width, channels, fit]) => PellucidPreprocess.planes(
              PellucidSnapshots.bytesOf(rgba), height, width, channels).map((plane) => Array.from(
              PellucidPreprocess.fitted(plane, [height, width], [28, 24], { fit, background: 77 })))""",
            [text(rgba), height, width, channels, fit],
        )
        known = Preprocess(channels, 28, 24, fit, 77).read(pixels)
        assert np.array_equal(np.array(found).reshape(channels, 28, 24), known.numpy()), (height, width)


def test_strokes_survive_an_address(engine) -> None:
    found = engine.evaluate(
        """([strokes]) => {
          const text = PellucidStrokes.toText(strokes);
          return [text, PellucidStrokes.fromText(text)];
        }""",
        [GOLDEN[3]["strokes"]],
    )
    assert found[1] == GOLDEN[3]["strokes"]
    assert engine.evaluate("() => PellucidStrokes.fromText('..zzzz.%3C!')") == [[[280, 280]]]


# --- what both languages know


def test_a_probability_and_a_share_read_as_in_python(engine) -> None:
    chance = random.Random(7)
    values = [0.0, 1.0, 0.5, 0.0625, 0.0005, 0.9995, 0.00049999, 0.99949999, 0.1875, 0.3125, 1 / 3, 2 / 3]
    values += [chance.random() for _ in range(2000)] + [place / 4096 for place in range(4097)]
    found = engine.evaluate(
        """(values) => values.map((value) => [PellucidFormatting.chance(value),
          PellucidFormatting.percent(value), PellucidFormatting.percent(value, 10000)])""",
        values,
    )
    known = [[formatting.chance(one), percent(one), percent(one, count=10_000)] for one in values]
    assert found == known


def test_colours_are_those_of_python(engine) -> None:
    for name, anchors in (("viridis", images.VIRIDIS), ("signed", images.SIGNED)):
        words = engine.evaluate(f"Array.from(PellucidImages.COLOURS.{name})")
        mine = np.array([[word & 255, word >> 8 & 255, word >> 16 & 255] for word in words])
        theirs = images.coloured(torch.arange(256.0), 0, 255, colours=anchors).reshape(-1, 3)
        assert np.abs(mine - theirs).max() <= 1


def test_both_languages_read_the_same_numbers(engine) -> None:
    found = engine.evaluate("PellucidConstants")
    assert found["counterfactual"]["radii"] == list(counterfactual.RADII)
    assert found["counterfactual"]["max_edits"] == counterfactual.MAX_EDITS
    assert found["strokes"]["pad"] == PAD
    at_once = "Array.from({ length: PellucidConstants.pictures.random }, (_, at) => at)"
    assert len(engine.evaluate(at_once)) == len(at_random(0, 500))
    assert found == json.loads((PAGES / "constants.json").read_text(encoding="utf-8"))


# --- the page, as a person meets it


def mnist_reader():
    """One quick pass over MNIST: the classifier, the test set, the whole subject."""
    if not hasattr(mnist_reader, "subject"):
        splits = pellucid.load("mnist")
        mnist_reader.subject = learned("mnist", splits, Recipe(epochs=2, precision="float32"))  # type: ignore[attr-defined]
    subject = mnist_reader.subject
    return subject.classifier, subject.test, subject


@pytest.fixture(scope="module")
def digits_page(tmp_path_factory) -> tuple[Subject, Path]:
    """A page that reads the embedded digits, and what it was made from."""
    splits = pellucid.load("digits")
    subject = learned("digits", splits, Recipe(epochs=10, batch_size=32, precision="float32", threads=1))
    return subject, export_page(subject, tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture
def opened(watch, digits_page):
    """The digits page, opened with the network off."""
    watched = watch(viewport={"width": 1200, "height": 1000}, offline=True)
    watched.page.goto(digits_page[1].as_uri())
    wait_for(watched.page, "pellucid.runs[0].answerer.ready")
    yield watched.page
    assert watched.errors == []
    assert watched.requests == []


def pixels(page) -> np.ndarray:
    return np.array(page.evaluate("Array.from(pellucid.runs[0].pixels)"), dtype=np.uint8)


def test_the_page_finds_that_it_matches_pytorch(opened) -> None:
    assert (
        "Matches PyTorch: with the same weights, 16 pictures" in opened.locator(".live-status").inner_text()
    )
    assert opened.evaluate("pellucid.runs[0].check.good") is True
    assert answer(opened) == "–"


def test_digits_drawn_by_hand_are_read_each_stroke_within_a_frame(opened) -> None:
    read = {}
    opened.evaluate("() => { pellucid.frames.length = 0; }")
    for name, strokes in {**DIGITS, "7 crossed": CROSSED}.items():
        opened.get_by_role("button", name="Clear").click(force=True)
        draw(opened, strokes)
        read[name] = answer(opened)
        held = opened.evaluate("pellucid.drawing.strokes")
        assert np.array_equal(pixels(opened), place(held, RULES["digits"]).ravel())
    assert {name: name[0] for name in read} == read
    frames = sorted(frame["total"] for frame in opened.evaluate("pellucid.frames"))
    assert len(frames) > 50
    assert statistics.median(frames) < 16
    assert frames[int(len(frames) * 0.95)] < 30


@pytest.mark.mnist
@pytest.mark.slow
def test_each_of_the_ten_digits_is_read_after_training_on_mnist(watch, tmp_path, real_data) -> None:
    _, _, subject = mnist_reader()
    path = export_page(subject, tmp_path / "page.html")
    watched = watch(viewport={"width": 1200, "height": 1000}, offline=True)
    watched.page.goto(path.as_uri())
    read = []
    for strokes in DIGITS.values():
        watched.page.get_by_role("button", name="Clear").click(force=True)
        draw(watched.page, strokes)
        read.append(answer(watched.page))
    assert read == list("0123456789")
    assert path.stat().st_size < 3_000_000
    alone = export_page(
        Subject(subject.classifier, "mnist", subject.train, subject.test), tmp_path / "alone.html"
    )
    assert alone.stat().st_size < 700_000
    assert (watched.errors, watched.requests) == ([], [])


def test_snapshots_have_their_names_before_they_are_unpacked(watch, digits_page) -> None:
    """And for ever where a browser cannot unpack them; the rest of the page works."""
    never = "() => new Promise(() => {})"
    for script in (f"Response.prototype.arrayBuffer = {never};", "delete window.DecompressionStream;"):
        watched = watch()
        watched.page.add_init_script(script)
        watched.page.goto(digits_page[1].as_uri(), wait_until="load")
        draw(watched.page, DIGITS["3"])
        settled(watched.page)
        buttons = watched.page.locator(".live-past button")
        names = [button.get_attribute("aria-label") for button in buttons.all()]
        assert len(names) == len(digits_page[0].snapshots) + 1
        assert names[0] == "untrained"
        assert names[-1] == "now"
        assert all(names)
        assert answer(watched.page) == "3"
        assert watched.errors == []
    assert "DecompressionStream is not defined" in watched.page.locator(".live-time").inner_text()


def test_the_past_answers_with_the_weights_of_then(opened, digits_page) -> None:
    subject, _ = digits_page
    draw(opened, DIGITS["0"])
    settled(opened)
    program = lower(subject.classifier.network, (1, 8, 8))
    _, unpacked = pack_snapshots([program.weights(state) for _, _, state in subject.snapshots])
    image = torch.from_numpy(pixels(opened)).reshape(1, 1, 8, 8)
    slider = opened.get_by_role("slider", name="Snapshot of training")
    for snapshot in (0, 3):
        slider.fill(str(snapshot))
        settled(opened)
        scores = program.run(scaled(image), unpacked[snapshot])[-1][0].detach()
        found = opened.evaluate("Array.from(pellucid.runs[0].answerer.last.scores)")
        assert torch.allclose(torch.tensor(found), scores, atol=1e-4)
    assert "untrained" in opened.locator(".live-past button").first.get_attribute("title")
    assert len(opened.locator(".live-past button").all()) == len(subject.snapshots) + 1
    assert "First answered 0 at " in opened.locator(".live-time").inner_text()
    opened.get_by_role("button", name="Play").click()
    wait_for(opened, "pellucid.drawing.choices[0].snapshot > 4")
    opened.get_by_role("button", name="Stop").click()


def test_an_address_opens_the_same_drawing_snapshot_and_channel(opened, watch, digits_page) -> None:
    draw(opened, DIGITS["4"])
    opened.locator(".live-sheet").nth(2).click(position={"x": 75, "y": 20})
    opened.get_by_role("slider", name="Snapshot of training").fill("5")
    opened.get_by_label("Switch this channel off").check()
    settled(opened)
    settled(opened)
    address = opened.evaluate("location.href")
    assert "#draw;s=" in address
    other = watch(viewport={"width": 1200, "height": 1000})
    other.page.goto(address)
    wait_for(other.page, "pellucid.runs[0].answerer.ready")
    settled(other.page)
    same = (
        "(({ pixels, answerer, choices }) => [Array.from(pixels), Array.from(answerer.last.probabilities),"
        " choices.snapshot])(pellucid.runs[0])"
    )
    assert other.page.evaluate(same) == opened.evaluate(same)
    assert other.page.get_by_label("Switch this channel off").is_checked()
    assert other.errors == []


@pytest.mark.parametrize(
    "address",
    [
        "#draw;s=!!;e=99;m=-1;c=nowhere,1;o=7.7.7,x",
        "#draw;c=conv2,999,0,0;p=constructor;w=a",
        "#draw;;;=",
        "#x",
    ],
)
def test_a_broken_address_opens_a_sound_page(watch, digits_page, address: str) -> None:
    watched = watch()
    watched.page.goto(digits_page[1].as_uri() + address)
    settled(watched.page)
    assert answer(watched.page) == "–"
    assert watched.errors == []


def test_undo_erase_and_clear(opened) -> None:
    draw(opened, [[(40, 140), (240, 140)]])
    whole = pixels(opened)
    opened.get_by_role("button", name="Eraser").click()
    draw(opened, [[(140, 100), (140, 180)]])
    assert len(opened.evaluate("pellucid.drawing.strokes")) == 2
    opened.get_by_role("button", name="Undo").click()
    settled(opened)
    assert np.array_equal(pixels(opened), whole)
    opened.get_by_role("button", name="Clear").click()
    settled(opened)
    assert not pixels(opened).any()
    opened.get_by_role("button", name="Undo").click()
    settled(opened)
    assert np.array_equal(pixels(opened), whole)


def test_of_an_empty_pad_nothing_is_claimed(opened) -> None:
    claims = opened.locator(".live-asked")
    assert claims.count() == 2  # where the evidence lies, and what would change the answer
    assert not any(claim.is_visible() for claim in claims.all())
    assert opened.locator(".live-big").inner_text().strip() == "–"
    draw(opened, [[(40, 140), (240, 140)]])
    assert all(claim.is_visible() for claim in claims.all())
    opened.get_by_role("button", name="Clear").click()
    settled(opened)
    assert not any(claim.is_visible() for claim in claims.all())


def test_a_test_picture_can_be_started_from_and_drawn_on(opened, digits_page) -> None:
    subject, _ = digits_page
    opened.get_by_role("button", name="Test picture 4, labelled 3").click()
    settled(opened)
    before = pixels(opened)
    assert any(np.array_equal(before, image.numpy().ravel()) for image in subject.test.images)
    draw(opened, [[(140, 10), (140, 270)]])
    assert (pixels(opened) >= before).all()
    assert not np.array_equal(pixels(opened), before)


def test_a_silenced_channel_is_out_of_everything_after_it(opened, digits_page) -> None:
    subject, _ = digits_page
    draw(opened, DIGITS["5"])
    opened.locator(".live-sheet").nth(0).click(position={"x": 20, "y": 20})
    opened.get_by_label("Switch this channel off").check()
    settled(opened)
    made = subject.classifier.network
    halved = {name: value.half().float() for name, value in made.state_dict().items()}
    program = lower(made, (1, 8, 8))
    weights = program.weights(halved)
    values = program.run(scaled(torch.from_numpy(pixels(opened)).reshape(1, 1, 8, 8)), weights)
    silenced = values[program.layers["conv1"]].detach().clone()
    silenced[:, 0] = 0
    scores = program.run_on([*values[: program.layers["conv1"]], silenced], weights)[-1][0].detach()
    found = opened.evaluate("Array.from(pellucid.runs[0].answerer.last.scores)")
    assert torch.allclose(torch.tensor(found), scores, atol=1e-3)
    assert "Channels switched off: 1" in opened.locator(".live-layers-room").inner_text()
    opened.get_by_role("button", name="Switch all on").click()
    painted(opened)
    assert not opened.get_by_label("Switch this channel off").is_checked()


def test_the_evidence_is_that_of_explain(opened, digits_page) -> None:
    subject, _ = digits_page
    draw(opened, DIGITS["2"])
    image = scaled(torch.from_numpy(pixels(opened)).reshape(1, 1, 8, 8))
    first = opened.evaluate("pellucid.runs[0].answerer.last.first")
    evidence = gradient_times_activation(subject.classifier.network, image, first)[0]  # (4, 4), at conv2
    cells = torch.tensor(opened.evaluate("Array.from(pellucid.runs[0].answerer.last.evidence.cells)"))
    assert torch.allclose(cells.reshape(evidence.shape), evidence, atol=0.02)
    assert "The cells add up to" in opened.locator(".live-answers").inner_text()


def test_the_arithmetic_adds_up_to_the_value_shown(opened) -> None:
    draw(opened, DIGITS["8"])
    for sheet in range(len(opened.locator(".live-sheet").all())):
        opened.locator(".live-sheet").nth(sheet).click(position={"x": 8, "y": 8})
        found = opened.evaluate("""() => {
          return pellucid.runs[0].answerer.trace(pellucid.drawing.choices[0].chosen);
        }""")
        if "total" in found:
            relu = max(found["total"], 0)
            assert found["value"] == pytest.approx(relu if sheet < 5 else found["total"], abs=1e-4)
        else:
            assert found["value"] == pytest.approx(max(found["parts"]), abs=1e-6)


def test_hovering_tells_the_value_and_shows_the_field(opened) -> None:
    draw(opened, DIGITS["3"])
    opened.locator(".live-sheet").nth(2).hover(position={"x": 20, "y": 20})
    assert "It sees rows 1 to 7" in opened.locator(".live-read").nth(2).inner_text()
    assert opened.locator(".live-field").is_visible()
    opened.mouse.move(5, 5)
    assert not opened.locator(".live-field").is_visible()


def test_an_unusual_drawing_is_told_so_and_can_be_mended(opened) -> None:
    opened.get_by_label("Place it as digits did").uncheck()
    opened.get_by_label("Pen width").select_option("thin")
    draw(opened, [[(30, 20), (60, 20), (45, 80)]])
    gaps = opened.locator(".live-words li").all_inner_texts()
    assert any(line.startswith("Smaller than") for line in gaps)
    assert any("higher than in" in line for line in gaps)
    opened.get_by_role("button", name="Show it as digits would have it").click()
    settled(opened)
    assert not any(
        line.startswith("Smaller than") for line in opened.locator(".live-words li").all_inner_texts()
    )


def test_a_picture_file_is_placed_by_the_rule(opened) -> None:
    paper = np.full((90, 70), 235, dtype=np.uint8)
    paper[20:75, 30:40] = 20
    opened.set_input_files(
        "input[type=file]", {"name": "one.png", "mimeType": "image/png", "buffer": png(paper)}
    )
    wait_for(opened, "pellucid.drawing.picture !== null")
    settled(opened)
    assert np.array_equal(pixels(opened), place_picture(as_ink(paper), RULES["digits"]).ravel())
    file = {"name": "no.png", "mimeType": "image/png", "buffer": b"no picture"}
    opened.set_input_files("input[type=file]", file)
    wait_for(opened, "document.querySelector('.live [role=alert]').textContent.includes('not a picture')")


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def test_the_keyboard_alone_draws_opens_and_travels(opened) -> None:
    opened.locator(".live-pad").focus()
    for key in (*["ArrowUp"] * 7, " ", *["ArrowDown"] * 14, " "):
        opened.keyboard.press(key)
    settled(opened)
    assert len(opened.evaluate("pellucid.drawing.strokes")) == 1
    assert pixels(opened).any()
    for _ in range(80):
        opened.keyboard.press("Tab")
        if opened.evaluate("document.activeElement.className") == "live-sheet":
            break
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        opened.keyboard.press(key)
    assert opened.locator(".live-channel .live-head").inner_text() == "conv1, channel 3"
    opened.keyboard.press("Tab")
    opened.keyboard.press("Escape")
    assert opened.locator(".live-channel").count() == 0
    assert opened.evaluate("document.activeElement.className") == "live-sheet"
    slider = opened.get_by_role("slider", name="Snapshot of training")
    slider.focus()
    opened.keyboard.press("Home")
    settled(opened)
    assert opened.evaluate("pellucid.drawing.choices[0].snapshot") == 0


def test_it_speaks_korean(opened) -> None:
    draw(opened, DIGITS["1"])
    drawn = pixels(opened)
    opened.get_by_role("button", name="한국어").click()
    wait_for(opened, "pellucid.runs[0].answerer.ready")
    settled(opened)
    said = opened.locator(".live").inner_text()
    assert "PyTorch와 일치" in said
    assert "그리기" in said
    assert not [line for line in said.splitlines() if line in ("Draw", "Answer", "Every layer", "Play")]
    assert np.array_equal(pixels(opened), drawn)
    assert opened.evaluate("document.documentElement.lang") == "ko"


def test_touch_draws_and_does_not_scroll(watch, digits_page) -> None:
    watched = watch(viewport={"width": 400, "height": 800}, has_touch=True, is_mobile=True)
    page = watched.page
    page.goto(digits_page[1].as_uri())
    assert page.evaluate("getComputedStyle(document.querySelector('.live-pad')).touchAction") == "none"
    box = page.locator(".live-pad").bounding_box()
    session = page.context.new_cdp_session(page)
    spots = [{"x": box["x"] + 100, "y": box["y"] + y} for y in range(40, 220, 10)]
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": spots[:1]})
    for spot in spots:
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [spot]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    settled(page)
    assert len(page.evaluate("pellucid.drawing.strokes")) == 1
    assert page.evaluate("scrollY") == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    assert watched.errors == []


def test_a_network_the_page_cannot_run_is_told_in_words(watch, tmp_path) -> None:
    from pellucid.pad.section import drawing_section

    unfit = Subject(Classifier(Sorting().eval(), ("a", "b", "c"), Preprocess(1, 8, 8), "tutorial"))
    with pytest.raises(UsageError):
        export_page(unfit, tmp_path / "page.html")
    (tmp_path / "section.html").write_text(
        f"<!doctype html>{drawing_section(unfit).__html__()}", encoding="utf-8"
    )
    watched = watch()
    watched.page.goto((tmp_path / "section.html").as_uri())
    assert "cannot run 'sort'" in watched.page.locator("#live").inner_text()
    assert "pellucid live RUN" in watched.page.locator("#live").inner_text()
    assert watched.errors == []


def test_a_network_of_tokens_is_shown_whole(watch, tmp_path) -> None:
    """Tokens, attention and units: every layer is drawn, says its cells and how one of them came about."""
    made = classifier("tokens")
    path = export_page(Subject(made), tmp_path / "page.html")
    watched = watch(viewport={"width": 900, "height": 1000}, offline=True)
    watched.page.goto(path.as_uri())
    settled(watched.page)
    assert "Matches PyTorch" in watched.page.locator(".live-status").inner_text()
    assert "13 rows (tokens) of 12 numbers" in watched.page.locator(".live-layers-room").inner_text()
    sheets = watched.page.locator(".live-sheet")
    assert sheets.count() == len(watched.page.evaluate("pellucid.runs[0].answerer.layers"))
    for number in range(sheets.count()):
        sheets.nth(number).click(position={"x": 4, "y": 4}, force=True)
        found = watched.page.evaluate(
            """() => {
              const { answerer, view } = pellucid.runs[0], cell = pellucid.drawing.choices[0].chosen;
              const trace = answerer.trace(cell), [, rows, columns] = [...cell.layer.shape, 1, 1];
              const values = answerer.values(cell.layer);
              return { trace, value: values[(cell.channel * rows + cell.row) * columns + cell.column] };
            }"""
        )
        assert found["trace"]["value"] == pytest.approx(found["value"], abs=1e-6)
        after = found["trace"]["after"]
        if "total" in found["trace"]:
            summed = (
                after[0]["value"] if after and found["trace"]["kind"] == "conv2d" else found["trace"]["total"]
            )
            assert not after or summed is not None
            assert after or found["trace"]["total"] == pytest.approx(found["value"], abs=1e-4)
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= 900
    assert (watched.errors, watched.requests) == ([], [])


def test_weights_of_eight_bits_are_what_python_says_they_are(engine) -> None:
    made = network("residual")
    program = lower(made, SHAPES["residual"])
    weights = program.weights(made.state_dict())
    data, rounded = pack_weights(weights, "i8")
    found = engine.evaluate(
        "([packed, shapes]) => PellucidSnapshots.unpack(packed, shapes).map((values) => Array.from(values))",
        [to_json(data), [list(weight.shape) for weight in weights]],
    )
    for mine, theirs, exact in zip(found, rounded, weights, strict=True):
        assert torch.allclose(torch.tensor(mine), theirs.flatten(), atol=1e-6)
        assert float((theirs - exact).abs().max()) <= float(exact.abs().max()) / 127

"""What torch answers over the wire is what the classifier says, in every layer, and only what is open."""

import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.explanation.activations import record
from pellucid.explanation.attribution import gradient_times_activation
from pellucid.explanation.neighbours import hidden_features
from pellucid.inference import scaled
from pellucid.live.answers import CHANNELS, HEAD, NOW, SIDE, Answerer, InvalidQuestion, Question
from pellucid.live.app import form_of
from pellucid.pad.section import Subject
from pellucid.pad.strokes import RULES, as_ink, place_picture
from pellucid.runs.reference import HeldOutPictures, reference_of
from pellucid.serving.received import received
from tests.live.questions import picture, question, understood
from tests.networks import SHAPES, classifier
from tests.toys import write_picture


@pytest.mark.parametrize("name", ["tutorial", "residual"])
def test_scores_layers_and_evidence_are_those_of_the_classifier(name: str) -> None:
    one, image = classifier(name), picture(name)
    answerer = Answerer(one)
    head, parts = understood(answerer.answer(Question.read(question(image, range(len(answerer.layers))))))
    assert np.abs(parts[0] - one.logits(image[None])[0].numpy()).max() < 1e-4
    best = int(parts[0].argmax())
    evidence = gradient_times_activation(one.network, scaled(image[None]), best)[0]
    assert np.abs(parts[1] - evidence.numpy()).max() < 1e-4
    values = record(one.network, scaled(image[None]), [layer.key for layer in answerer.layers])
    for (place, *shape), mine in zip(head["layers"], parts[2:], strict=True):
        layer = answerer.layers[place]
        assert tuple(shape) == layer.shown
        assert np.abs(mine - values[layer.key][0].numpy()).max() < 1e-4, layer.key


def test_what_is_not_open_is_not_sent() -> None:
    answerer, image = Answerer(classifier("residual")), picture("residual")
    whole = answerer.answer(Question.read(question(image, range(len(answerer.layers)))))
    head, parts = understood(answerer.answer(Question.read(question(image))))
    assert (head["layers"], len(parts)) == ([], 2)
    assert len(answerer.answer(Question.read(question(image, [2])))) < len(whole)


def test_the_runner_up_is_argued_against() -> None:
    one, image = classifier("tutorial"), picture("tutorial")
    _, parts = understood(Answerer(one).answer(Question.read(question(image, contrast=1))))
    best, second = one.logits(image[None])[0].topk(2).indices.tolist()
    evidence = gradient_times_activation(one.network, scaled(image[None]), best, against=second)[0]
    assert np.abs(parts[1] - evidence.numpy()).max() < 1e-4


def test_a_silenced_channel_is_out_of_everything_after_it() -> None:
    one, image = classifier("tutorial"), picture("tutorial")
    answerer = Answerer(one)
    place = answerer.indices["conv1"]
    ask = Question.read(question(image, [place], [(place, 3), (place, 5)]))
    _, parts = understood(answerer.answer(ask))
    assert not parts[2][[3, 5]].any()

    def silence(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output.index_fill(1, torch.tensor([3, 5]), 0.0)

    handle = one.network.get_submodule("conv1").register_forward_hook(silence)
    expected = one.logits(image[None])[0]
    handle.remove()
    assert np.abs(parts[0] - expected.numpy()).max() < 1e-4


class Wide(nn.Module):
    """More and larger maps than a page is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 70, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.gap = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(70, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.gap(self.relu(self.conv(images))).flatten(1))


def test_large_layers_are_sent_as_means_of_their_first_channels() -> None:
    torch.manual_seed(0)
    one = Classifier(Wide().eval(), ("a", "b", "c"), Preprocess(3, 112, 84), "wide")
    answerer = Answerer(one)
    image = torch.randint(0, 256, (3, 112, 84)).to(torch.uint8)
    place = answerer.indices["conv"]
    head, parts = understood(answerer.answer(Question.read(question(image, [place]))))
    assert head["layers"] == [[place, CHANNELS, SIDE, 42]]
    conv = record(one.network, scaled(image[None]))["conv"][0, :CHANNELS]  # before the ReLU changes it
    means = conv.reshape(CHANNELS, SIDE, 2, 42, 2).mean(dim=(2, 4))
    assert np.abs(parts[-1] - means.numpy()).max() < 1e-5
    assert parts[-1].min() < 0


def test_nothing_of_the_network_is_changed_by_an_answer() -> None:
    one, image = classifier("residual"), picture("residual")
    answerer = Answerer(one)
    before = {name: value.clone() for name, value in one.network.state_dict().items()}
    answerer.answer(Question.read(question(image, [0], [(0, 1)])))
    assert all(torch.equal(value, before[name]) for name, value in one.network.state_dict().items())
    assert not any(module._forward_hooks for module in one.network.modules())
    assert all(weight.grad is None for weight in one.network.parameters())


def taken_apart(one: Classifier, image: Tensor, chosen: tuple[int, ...]) -> tuple[dict[str, Any], Any]:
    """What is told of a cell, with its kernel and patch."""
    answerer = Answerer(one)
    head, parts = understood(answerer.answer(Question.read(question(image, chosen=chosen))))
    return head["working"], parts[2:]


@pytest.mark.parametrize(("layer", "channel", "row", "column"), [("conv1", 3, 0, 27), ("conv2", 31, 13, 4)])
def test_a_cell_is_its_kernel_times_what_lies_under_it(
    layer: str, channel: int, row: int, column: int
) -> None:
    one, image = classifier("tutorial"), picture("tutorial")
    place = Answerer(one).indices[layer]
    told, (kernel, patch) = taken_apart(one, image, (place, channel, row, column))
    module = one.network.get_submodule(layer)
    given = scaled(image[None]) if layer == "conv1" else record(one.network, image[None])["pool1"]
    padded = nn.functional.pad(given, (1, 1, 1, 1))[0, :, row : row + 3, column : column + 3]
    assert np.abs(kernel - module.weight[channel].detach().numpy()).max() < 1e-6
    assert np.abs(patch - padded.numpy()).max() < 1e-6
    total = float((kernel.astype(float) * patch).sum()) + told["bias"]
    output = float(record(one.network, image[None], [layer])[layer][0, channel, row, column])
    assert abs(total - told["total"]) < 1e-5
    assert [step["name"] for step in told["after"]] == ["relu"]
    assert abs(max(0.0, total) - output) < 1e-5
    assert abs(told["value"] - output) < 1e-6
    assert told["received"] == [["pool1" if layer == "conv2" else ""]]


class Adding(nn.Module):
    """A block that adds and rectifies outside of any module, and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Module()
        self.block.conv1 = nn.Conv2d(3, 3, 3, padding=1)
        self.block.conv2 = nn.Conv2d(3, 3, 3, padding=1)
        self.block.forward = lambda maps: torch.relu(maps + self.block.conv2(self.block.conv1(maps)))
        self.dense = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.dense(self.block(images).mean((2, 3)))


def test_a_block_tells_which_layers_it_is_made_of() -> None:
    one = Classifier(Adding().eval(), ("a", "b", "c"), Preprocess(3, 12, 12), "adding")
    image = torch.randint(0, 256, (3, 12, 12)).to(torch.uint8)
    answerer = Answerer(one)
    assert [layer.key for layer in answerer.layers] == ["block.conv1", "block.conv2", "block", "dense"]
    told, parts = taken_apart(one, image, (2, 2, 1, 1))
    assert (told["kind"], told["inside"], parts) == ("block", [0, 1], [])
    assert abs(told["value"] - float(record(one.network, image[None], ["block"])["block"][0, 2, 1, 1])) < 1e-6


def test_the_middle_of_what_a_cell_shown_stands_for_is_taken_apart() -> None:
    torch.manual_seed(0)
    one = Classifier(Wide().eval(), ("a", "b", "c"), Preprocess(3, 112, 84), "wide")
    place = Answerer(one).indices["conv"]
    image = torch.randint(0, 256, (3, 112, 84)).to(torch.uint8)
    told, _ = taken_apart(one, image, (place, 5, 10, 41))
    assert told["cell"] == [5, 20, 82]
    assert abs(told["value"] - float(record(one.network, image[None])["conv"][0, 5, 20, 82])) < 1e-5
    seen = Answerer(one).layers[place].data.receptive_field
    assert (seen[0][10], seen[1][41]) == ([19, 22], [81, 83])


def test_a_snapshot_answers_with_the_weights_of_then() -> None:
    one, image = classifier("residual"), picture("residual")
    torch.manual_seed(5)
    states = [
        {name: value + 0.1 * torch.randn_like(value) if value.is_floating_point() else value
         for name, value in one.network.state_dict().items() if "running_var" not in name}
        | {name: value for name, value in one.network.state_dict().items() if "running_var" in name}
        for _ in range(3)
    ]  # fmt: skip
    answerer = Answerer(one, [(f"epoch {step}", step, state) for step, state in enumerate(states)])
    before = {name: value.clone() for name, value in one.network.state_dict().items()}
    place = answerer.indices["stem"]
    every = range(len(answerer.layers))
    content = answerer.snapshot_scores(Question.read(question(image)))
    (length,) = struct.unpack_from("<I", content)
    rows = np.frombuffer(content, np.float32, offset=4 + length).reshape(4, 5)
    for snapshot, state in [*enumerate(states), (NOW, before)]:
        other = classifier("residual")
        other.network.load_state_dict(state)
        asked = question(image, every, snapshot=snapshot, chosen=(place, 1, 2, 3))
        _, parts = understood(answerer.answer(Question.read(asked)))
        _, known = understood(
            Answerer(other).answer(Question.read(question(image, every, chosen=(place, 1, 2, 3))))
        )
        assert all(np.abs(mine - theirs).max() < 1e-5 for mine, theirs in zip(parts, known, strict=True))
        assert np.abs(rows[min(snapshot, 3)] - other.logits(image[None])[0].numpy()).max() < 1e-4
    assert all(torch.equal(value, before[name]) for name, value in one.network.state_dict().items())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\x00\x01",
        HEAD.pack(0, 0, NOW, 0, 1, 0),
        HEAD.pack(0, 2, NOW, 0, 0, 0) + bytes(784),
        HEAD.pack(0, 0, NOW, 2, 0, 0) + bytes(16 + 784),
        HEAD.pack(0, 0, NOW, 0, 65, 0) + bytes(130 + 784),
        HEAD.pack(0, 0, NOW, 0, 0, 4097) + bytes(4 * 4097 + 784),
        HEAD.pack(0, 0, NOW, 0, 0, 0) + bytes(783),
        HEAD.pack(0, 0, NOW, 0, 0, 0) + bytes(785),
        HEAD.pack(0, 0, NOW, 1, 0, 0) + bytes(7),
        question(picture("tutorial"), [999]),
        question(picture("tutorial"), silenced=[(0, 999)]),
        question(picture("tutorial"), silenced=[(999, 0)]),
        question(picture("tutorial"), snapshot=0),
        question(picture("tutorial"), snapshot=254),
        question(picture("tutorial"), chosen=(999, 0, 0, 0)),
        question(picture("tutorial"), chosen=(0, 16, 0, 0)),
        question(picture("tutorial"), chosen=(0, 0, 28, 0)),
        question(picture("tutorial"), chosen=(0, 0, 0, 28)),
    ],
)
def test_a_question_no_page_of_ours_asks_is_refused(body: bytes) -> None:
    answerer = Answerer(classifier("tutorial"))
    with pytest.raises(InvalidQuestion):
        answerer.answer(Question.read(body))


def test_a_dropped_picture_goes_through_the_models_own_preprocess(tmp_path) -> None:
    image = torch.randint(0, 256, (3, 90, 70)).to(torch.uint8)
    content = write_picture(tmp_path / "x.png", image).read_bytes()
    subject = Subject(classifier("residual"), "pets")
    known = replace(subject.classifier.preprocess, fit="stretch").read(content)
    assert received(content, [form_of(subject)]) == known.numpy().tobytes()
    with pytest.raises(UsageError, match="not a picture"):
        received(b"no picture", [form_of(subject)])


def test_dropped_writing_is_placed_as_its_data_set_places_it(tmp_path) -> None:
    paper = torch.full((1, 90, 70), 235, dtype=torch.uint8)
    paper[:, 20:75, 30:40] = 20
    content = write_picture(tmp_path / "x.png", paper).read_bytes()
    placed = place_picture(as_ink(paper[0].numpy()), RULES["mnist"])
    form = form_of(Subject(classifier("tutorial"), "mnist"))
    assert received(content, [form]) == placed.tobytes()
    small = torch.randint(0, 256, (1, 28, 28)).to(torch.uint8)
    content = write_picture(tmp_path / "y.png", small).read_bytes()
    assert received(content, [form]) == small.numpy().tobytes()


def test_a_network_of_another_size_than_its_data_sets_rule_is_given_pixels_of_its_own_size(tmp_path) -> None:
    one = replace(classifier("tutorial"), preprocess=Preprocess(1, 40, 40))
    content = write_picture(tmp_path / "x.png", torch.full((1, 90, 70), 235, dtype=torch.uint8)).read_bytes()
    assert form_of(Subject(one, "mnist")).rule is None
    assert len(received(content, [form_of(Subject(one, "mnist"))])) == 40 * 40


@pytest.mark.parametrize("name", ["tutorial", "residual"])
def test_it_is_told_what_is_unlike_as_the_run_tells_it(name: str) -> None:
    one = classifier(name)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (90, *SHAPES[name]), generator=generator).to(torch.uint8)
    labels = torch.arange(90) % len(one.classes)
    dataset = Dataset(images, labels, one.classes, [str(number) for number in range(90)])
    train, held_out = dataset[:50], dataset[50:]
    compared = HeldOutPictures(held_out, one.predict(held_out.images), torch.full((40,), -1))
    reference, _ = reference_of(one, train, compared, store=None)
    assert reference is not None
    past = [("before", 1, {key: value.clone() for key, value in one.network.state_dict().items()})]
    answerer = Answerer(one, past, reference)
    for image in (held_out.images[0], torch.zeros(SHAPES[name], dtype=torch.uint8)):
        found = reference.novelty(hidden_features(one, image[None]))
        head, _ = understood(answerer.answer(Question.read(question(image))))
        assert head["novelty"]["distance"] == pytest.approx(float(found.distances[0]), abs=1e-5)
        assert head["novelty"]["unlike"] == bool(found.unlike[0])
        assert head["novelty"]["nearer"] == pytest.approx(float(found.percentiles[0]), abs=2.6)
        assert head["novelty"]["held_out"] == 40
    image = held_out.images[0]
    for ask in (question(image, snapshot=0), question(image, [0], [(0, 0)])):  # not the network taught
        assert understood(answerer.answer(Question.read(ask)))[0]["novelty"] is None
    assert understood(Answerer(one).answer(Question.read(question(image))))[0]["novelty"] is None

"""What torch answers over the wire is what the classifier says, in every layer, and only what is open."""

import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.classifier import Classifier, scaled
from pellucid.data.picture import Preprocess
from pellucid.errors import UsageError
from pellucid.explanation.activations import record
from pellucid.explanation.attribution import gradient_times_activation
from pellucid.exporters.page import Subject
from pellucid.live.answers import CHANNELS, SIDE, Answerer, Malformed, Question
from pellucid.live.app import received
from pellucid.strokes import RULES, as_ink, place_picture
from tests.networks import SHAPES, network
from tests.toys import write_picture


def classifier(name: str) -> Classifier:
    made = network(name)
    channels, height, width = SHAPES[name]
    count = made(torch.zeros(1, *SHAPES[name])).shape[1]
    names = tuple(f"class {number}" for number in range(count))
    return Classifier(made, names, Preprocess(channels, height, width), name)


def picture(name: str) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, 256, SHAPES[name], generator=generator).to(torch.uint8)


def question(
    image: Tensor, opened: Any = (), silenced: Any = (), *, contrast: int = 0, run: int = 0
) -> bytes:
    numbers = [*opened, *(number for pair in silenced for number in pair)]
    head = struct.pack(f"<BBHH{len(numbers)}H", run, contrast, len(opened), len(silenced), *numbers)
    return head + image.numpy().tobytes()


def understood(content: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The head and the parts, read as the page reads them."""
    (length,) = struct.unpack_from("<I", content)
    head = json.loads(content[4 : 4 + length])
    assert length % 4 == 0
    shapes = [(head["classes"],), *([head["evidence"]] if head["evidence"] else [])]
    shapes += [shape for _, *shape in head["layers"]]
    parts, at = [], 4 + length
    for shape in shapes:
        count = int(np.prod(shape))
        parts.append(np.frombuffer(content, np.float32, count, at).reshape(shape))
        at += 4 * count
    assert at == len(content)
    return head, parts


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
    place = answerer.places["conv1"]
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
    place = answerer.places["conv"]
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


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\x00\x01",
        struct.pack("<BBHH", 0, 0, 1, 0),
        struct.pack("<BBHH", 0, 2, 0, 0) + bytes(784),
        struct.pack("<BBHH", 0, 0, 65, 0) + bytes(130 + 784),
        struct.pack("<BBHH", 0, 0, 0, 4097) + bytes(4 * 4097 + 784),
        struct.pack("<BBHH", 0, 0, 0, 0) + bytes(783),
        struct.pack("<BBHH", 0, 0, 0, 0) + bytes(785),
        struct.pack("<BBHHH", 0, 0, 1, 0, 999) + bytes(784),
        struct.pack("<BBHHHH", 0, 0, 0, 1, 0, 999) + bytes(784),
        struct.pack("<BBHHHH", 0, 0, 0, 1, 999, 0) + bytes(784),
    ],
)
def test_a_question_no_page_of_ours_asks_is_refused(body: bytes) -> None:
    answerer = Answerer(classifier("tutorial"))
    with pytest.raises(Malformed):
        answerer.answer(Question.read(body))


def test_a_dropped_picture_goes_through_the_models_own_preprocess(tmp_path) -> None:
    image = torch.randint(0, 256, (3, 90, 70)).to(torch.uint8)
    content = write_picture(tmp_path / "x.png", image).read_bytes()
    subject = Subject(classifier("residual"), "pets")
    known = replace(subject.classifier.preprocess, scaling="stretch").read(content)
    assert torch.equal(received(subject, content), known)
    with pytest.raises(UsageError, match="not a picture"):
        received(subject, b"no picture")


def test_dropped_writing_is_placed_as_its_data_set_places_it(tmp_path) -> None:
    paper = torch.full((1, 90, 70), 235, dtype=torch.uint8)
    paper[:, 20:75, 30:40] = 20
    content = write_picture(tmp_path / "x.png", paper).read_bytes()
    placed = place_picture(as_ink(paper[0].numpy()), RULES["mnist"])
    assert np.array_equal(received(Subject(classifier("tutorial"), "mnist"), content)[0].numpy(), placed)
    small = torch.randint(0, 256, (1, 28, 28)).to(torch.uint8)
    content = write_picture(tmp_path / "y.png", small).read_bytes()
    assert torch.equal(received(Subject(classifier("tutorial"), "mnist"), content), small)

"""A page's sample of training pictures calls about as many ordinary pictures unlike as the run does."""

import base64

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.data.preprocess import Preprocess
from pellucid.evaluation.novelty import NEIGHBOURS, Reference, neighbour_distances
from pellucid.explanation.neighbours import hidden_features
from pellucid.models import build
from pellucid.pad import novelty
from pellucid.pad.data import NoveltyData
from pellucid.pad.novelty import in_bytes, novelty_data
from pellucid.pad.program import Program, lower
from pellucid.runs.reference import HeldOutPictures, reference_of
from tests.networks import SHAPES, classifier, network
from tests.toys import CLASSES, SIZE, toy_splits


@pytest.fixture(scope="module")
def one() -> Classifier:
    made = build("tutorial", 1, len(CLASSES), (SIZE, SIZE), seed=1).eval()
    return Classifier(made, CLASSES, Preprocess(1, SIZE, SIZE), "tutorial")


@pytest.fixture(scope="module")
def program(one: Classifier) -> Program:
    return lower(one.network, (1, SIZE, SIZE))


@pytest.fixture(scope="module")
def pictures() -> Dataset:
    return toy_splits(900).train


def taught(one: Classifier, train: Dataset, held_out: Dataset) -> Reference:
    """What a run would have kept."""
    probabilities, nowhere = one.predict(held_out.images), torch.full((len(held_out),), -1)
    reference, _ = reference_of(one, train, HeldOutPictures(held_out, probabilities, nowhere), store=None)
    assert reference is not None
    return reference


def rows_of(data: NoveltyData) -> torch.Tensor:
    """The training pictures of a page, each of length 1."""
    kind = {"i8": np.int8, "f16": np.float16}[data.precision]
    rows = np.frombuffer(base64.b64decode(data.pictures), kind).reshape(data.count, data.width)
    return functional.normalize(torch.from_numpy(rows.astype(np.float32)), dim=1)


def test_without_pictures_held_out_the_page_has_what_the_run_keeps(
    one: Classifier, program: Program, pictures: Dataset
) -> None:
    reference = taught(one, pictures[:300], pictures[300:500])
    data = novelty_data(program, one, reference)
    assert data is not None
    assert data.threshold == reference.threshold
    assert (data.precision, data.count, data.held_out) == ("f16", 300, 200)
    assert torch.allclose(rows_of(data), reference.features.float(), atol=1e-3)
    assert data.percentiles[50] == pytest.approx(float(reference.held_out.distances.median()), abs=1e-3)


def test_a_sample_has_a_threshold_of_its_own_and_keeps_to_its_bytes(
    one: Classifier, program: Program, pictures: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, held_out, new = pictures[:300], pictures[300:500], pictures[500:]
    reference = taught(one, train, held_out)
    width = reference.features.shape[1]
    monkeypatch.setattr(novelty, "MAX_BYTES", 60 * width)
    data = novelty_data(program, one, reference, held_out)
    assert data is not None
    assert (data.precision, data.count, data.width) == ("i8", 60, width)
    assert len(base64.b64decode(data.pictures)) == 60 * width
    assert data.threshold > reference.threshold  # fewer neighbours are farther away
    assert novelty_data(program, one, reference, held_out) == data
    rows = functional.normalize(hidden_features(one, new.images), dim=1)
    unlike = (neighbour_distances(rows, rows_of(data)) > data.threshold).float().mean()
    assert 0.01 <= float(unlike) <= 0.1  # of 400 like those held out


def test_eight_bits_keep_directions(one: Classifier, pictures: Dataset) -> None:
    rows = functional.normalize(hidden_features(one, pictures[:200].images), dim=1)
    kept = functional.normalize(in_bytes(rows).float(), dim=1)
    assert float((rows * kept).sum(dim=1).min()) > 0.9999


@pytest.mark.parametrize("name", ["tutorial", "residual", "enlarged"])
def test_the_value_is_the_last_hidden_layer_of_any_network(name: str) -> None:
    made, shape = classifier(name), SHAPES[name]
    images = torch.randint(0, 256, (60, *shape), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
    labels = torch.arange(60) % len(made.classes)
    dataset = Dataset(images, labels, made.classes, [str(number) for number in range(60)])
    program = lower(network(name), shape)
    data = novelty_data(program, made, taught(made, dataset[:30], dataset[30:]))
    assert data is not None
    with torch.inference_mode():
        values = program.run(images[:3] / 255, program.weights(made.network.state_dict()))[data.value]
    assert values.flatten(2).mean(dim=2).shape == (3, data.width) if values.dim() == 4 else values.dim() == 2


def test_where_it_cannot_be_told_the_page_gets_nothing(
    one: Classifier, program: Program, pictures: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = taught(one, pictures[:300], pictures[300:500])
    assert novelty_data(program, one, reference, pictures[300:310]) is None  # too few held out
    monkeypatch.setattr(novelty, "MAX_BYTES", NEIGHBOURS * reference.features.shape[1])
    assert novelty_data(program, one, reference, pictures[300:500]) is None
    monkeypatch.setattr(novelty, "hidden_features", lambda made, images: torch.ones(len(images), 7))
    assert novelty_data(program, one, reference) is None  # its last hidden layer is something else
    plain = lower(nn.Flatten(), (1, 8, 8))  # no layer has weights
    assert novelty_data(plain, one, reference) is None

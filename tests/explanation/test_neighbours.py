"""Neighbours are those a plain search finds, and what is strange is called strange."""

from dataclasses import replace

import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset, Splits
from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.explanation.activations import record
from pellucid.explanation.embedding import embed
from pellucid.explanation.neighbours import hidden_features, index_pictures, nearest, novelty
from tests.constructions import GRAY, made, maps
from tests.networks import Seeing, seeded, unchanged


def test_the_hidden_layer_is_what_the_last_weights_receive(reader: Classifier, digits: Splits) -> None:
    images = digits.test.images[:7]
    recorded = record(reader.network, images)["dense1"]
    torch.testing.assert_close(hidden_features(reader, images), recorded)


def test_maps_and_tokens_become_one_row_a_picture(reader: Classifier, digits: Splits) -> None:
    images = digits.test.images[:3]
    convolutional = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 10, 1), nn.Flatten())
    assert hidden_features(replace(reader, network=convolutional), images).shape == (3, 6)
    assert hidden_features(replace(reader, network=seeded(Seeing)), images).shape == (3, 8)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    assert hidden_features(replace(reader, network=flat), images).shape == (3, 64)


def hidden_of(name: str, network: nn.Module, images: Tensor) -> Tensor:
    """What the last weights of a construction receive, (N, F), written down by hand."""
    flat = maps(network, images).flatten(1) if hasattr(network, "conv2") else images
    return {
        "a_dense_layer_as_a_function": flat,
        "a_cosine_head": functional.normalize(flat),
        "a_matrix_product": flat,
        "distances_to_prototypes": flat,
        "routed_to_experts": flat,
        "softmax_regression": images.flatten(1),
        "no_weights_at_all": images.flatten(1),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "a_dense_layer_as_a_function",
        "a_cosine_head",
        "a_matrix_product",
        "distances_to_prototypes",
        "routed_to_experts",
        "softmax_regression",
        "no_weights_at_all",
    ],
)
def test_the_last_weights_may_be_those_of_a_function(name: str) -> None:
    network = made(name)
    classifier = Classifier(network, tuple("abcdefghij"), Preprocess(*GRAY), "own:construction")
    images = torch.randint(0, 256, (5, *GRAY), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    with unchanged(network, images), torch.no_grad():
        found = hidden_features(classifier, images)
        expected = hidden_of(name, network, images / 255)
    torch.testing.assert_close(found, expected)


def test_a_network_of_functions_alone_has_a_hidden_layer_and_its_map_loses_neighbours() -> None:
    network = made("functions_alone")
    classifier = Classifier(network, tuple("abcdefghij"), Preprocess(*GRAY), "own:construction")
    images = torch.randint(0, 256, (40, *GRAY), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    features = hidden_features(classifier, images)
    with torch.no_grad():
        expected = functional.relu(functional.conv2d(images / 255, network.w)).mean((2, 3))
    torch.testing.assert_close(features, expected)
    assert embed(classifier, images).preserved < 1


def test_where_no_weights_are_seen_to_run_it_is_said() -> None:
    classifier = Classifier(made("scripted"), tuple("abcdefghij"), Preprocess(*GRAY), "own:construction")
    with pytest.raises(UsageError, match="no layer with weights was seen to run"):
        hidden_features(classifier, torch.zeros(2, *GRAY, dtype=torch.uint8))


def test_neighbours_are_those_of_scikit_learn(reader: Classifier, digits: Splits) -> None:
    index = index_pictures(reader, digits.train, digits.validation)
    images = digits.test.images[:10]
    found = nearest(index, images, 5)
    search = NearestNeighbors(n_neighbors=5, metric="cosine").fit(
        hidden_features(reader, digits.train.images)
    )
    distances, places = search.kneighbors(hidden_features(reader, images))
    assert [[one.index for one in row] for row in found] == places.tolist()
    ours = torch.tensor([[one.similarity for one in row] for row in found])
    torch.testing.assert_close(ours, 1 - torch.from_numpy(distances).float(), atol=1e-5, rtol=0)
    first = found[0][0]
    assert first.label == digits.train.classes[int(digits.train.labels[first.index])]
    assert first.source == digits.train.sources[first.index]


def test_a_training_picture_is_its_own_neighbour_and_noise_is_unlike_all(
    reader: Classifier, digits: Splits, noise_pictures: Dataset
) -> None:
    index = index_pictures(reader, digits.train, digits.validation)
    assert index.held_out
    assert nearest(index, digits.train.images[5:6], 1)[0][0].similarity == pytest.approx(1, abs=1e-5)
    assert novelty(index, digits.test.images).mean() == pytest.approx(50, abs=8)
    assert novelty(index, noise_pictures.images).mean() > 90
    alone = index_pictures(reader, digits.train)
    assert not alone.held_out
    assert novelty(alone, digits.test.images).mean() == pytest.approx(55, abs=10)


def test_too_few_pictures_are_refused_and_the_network_is_left_alone(
    reader: Classifier, digits: Splits
) -> None:
    few = digits.train.subset(torch.arange(5))
    with unchanged(reader.network, few.images):
        hidden_features(reader, few.images)
    with pytest.raises(UsageError, match="more than 5 training pictures to compare with; got 5"):
        index_pictures(reader, few)

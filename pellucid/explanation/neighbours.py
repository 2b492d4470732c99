"""Nearest neighbours: the training pictures most similar to a picture for a network, and how novel it is."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.evaluation.novelty import NEIGHBOURS, evenly_spaced, neighbour_distances
from pellucid.explanation.activations import layers_of, preserved_state, uncompiled
from pellucid.inference import evaluation_mode, fixed_batches
from pellucid.models import PretrainedNetwork
from pellucid.training.transfer import embeddings

REFERENCES = 1000  # pictures whose distances are the reference for novelty, at most
MAX_SAMPLE = 10_000  # training pictures indexed where a reader waits
ROWS_PER_BATCH = 512

CAVEAT = "Similar to the network, not the cause of its prediction; and a familiar picture can be misread."


@dataclass(frozen=True)
class Neighbour:
    """A training picture: its index in the data set, cosine similarity -1..1, class name and source.

    Several labels are one text, as in Dataset.label_names.
    """

    index: int
    similarity: float
    label: str
    source: str


@dataclass(frozen=True, eq=False)
class Index:
    """The features of training pictures, ready to be searched.

    features   float32 (N, F), the last hidden layer, each row of length 1
    dataset    the pictures they come from
    distances  float32 (M,), sorted: mean distance of ordinary pictures from their five nearest
    held_out   whether `distances` was measured on pictures the network was not trained on
    """

    classifier: Classifier
    features: Tensor
    dataset: Dataset
    distances: Tensor
    held_out: bool


def index_pictures(classifier: Classifier, training: Dataset, held_out: Dataset | None = None) -> Index:
    """An index of the pictures of `training`.

    held_out  pictures not trained on, such as the validation set, as the reference for novelty; without them
              the training pictures, each left out in turn, which makes new pictures look a little more novel
              than they are

    Raises UsageError when there are not more than five training pictures.
    """
    if len(training) <= NEIGHBOURS:
        raise UsageError(
            f"Expected more than {NEIGHBOURS} training pictures to compare with; got {len(training)}."
        )
    features = functional.normalize(features_of(classifier, training), dim=1)
    if held_out is not None and len(held_out):
        references = features_of(classifier, held_out.subset(evenly_spaced(len(held_out), REFERENCES)))
        distances = neighbour_distances(functional.normalize(references, dim=1), features)
    else:
        own = evenly_spaced(len(training), REFERENCES)
        distances = neighbour_distances(features[own], features, own)
    measured = held_out is not None and len(held_out) > 0
    return Index(classifier, features, training, distances.sort().values, measured)


def index_sample(classifier: Classifier, training: Dataset, held_out: Dataset | None = None) -> Index:
    """`index_pictures` of at most ten thousand training pictures, evenly spaced."""
    step = max(1, -(-len(training) // MAX_SAMPLE))
    sample = training if step == 1 else training.subset(torch.arange(0, len(training), step))
    return index_pictures(classifier, sample, held_out)


def nearest(index: Index, images: Tensor, count: int = 8) -> list[list[Neighbour]]:
    """For each picture of uint8 (N, C, H, W) the `count` most similar training pictures, nearest first."""
    dataset = index.dataset
    result = []
    for similarities, indices in _nearest(_unit(index, images), index.features, min(count, len(dataset))):
        pairs = zip(similarities.tolist(), indices.tolist(), strict=True)
        result.append(
            [
                Neighbour(at, similarity, dataset.label_names[at], dataset.sources[at])
                for similarity, at in pairs
            ]
        )
    return result


def novelty(index: Index, images: Tensor, *, leave_out_self: bool = False) -> Tensor:
    """How novel each picture of uint8 (N, C, H, W) is: a percentile 0..100, float32 (N,).

    96 means that it is farther from its five nearest than 96 of 100 ordinary pictures are from theirs.
    leave_out_self  for pictures that are in the index: the nearest, which is each itself, does not count
    """
    rows = _unit(index, images)
    own = (rows @ index.features.T).argmax(dim=1) if leave_out_self else None
    distances = neighbour_distances(rows, index.features, own)
    return torch.searchsorted(index.distances, distances).float() * 100 / len(index.distances)


def features_of(classifier: Classifier, dataset: Dataset) -> Tensor:
    """`hidden_features` of a data set; of a pretrained network they are kept from training."""
    network = uncompiled(classifier.network)
    if isinstance(network, PretrainedNetwork):
        with torch.no_grad():
            return network.head.normalized(embeddings(network, dataset))
    return hidden_features(classifier, dataset.images)


def hidden_features(classifier: Classifier, images: Tensor) -> Tensor:
    """The last hidden layer for uint8 pictures (N, C, H, W): the input of the last layer with weights.

    float32 (N, F) on the CPU; maps are averaged over their cells, tokens over the tokens.
    """
    network = uncompiled(classifier.network)
    rows: list[Tensor] = []
    with preserved_state(network), torch.no_grad():
        last = last_with_weights(
            network, next(batch for _, batch, _ in fixed_batches(images, network=network))
        )
        captured: list[Tensor] = []
        handle = last.register_forward_pre_hook(lambda module, inputs: captured.append(inputs[0].detach()))
        try:
            for _, batch, count in fixed_batches(images, network=network):
                captured.clear()
                network(batch)
                rows.append(flat_features(captured[-1][:count]))
        finally:
            handle.remove()
    return torch.cat(rows)


def answers_and_features(classifier: Classifier, pictures: Any) -> tuple[Tensor, Tensor]:
    """What `classifier.predict` gives for pictures, float32 (N, K), and their `hidden_features` (N, F). A
    pretrained network, where that takes long, computes both at once."""
    images, network = classifier.received(pictures), uncompiled(classifier.network)
    if not isinstance(network, PretrainedNetwork):
        return classifier.predict(images), hidden_features(classifier, images)
    rows, scores = [], []
    with evaluation_mode(network), torch.inference_mode():
        for _, batch, count in fixed_batches(images, network=network):
            found = network.features(batch)
            rows.append(network.head.normalized(found)[:count])
            scores.append(network.head(found)[:count])
    if not rows:
        return classifier.predict(images), torch.empty(0, network.head.dense.in_features)
    return classifier.probabilities(torch.cat(scores).clone()), torch.cat(rows).clone()


def last_with_weights(network: nn.Module, batch: Tensor) -> nn.Module:
    """The module with weights that runs last."""
    ran: list[nn.Module] = [network]
    handles = [
        module.register_forward_pre_hook(lambda module, inputs: ran.append(module))
        for module in layers_of(network).values()
        if module is not network and any(True for _ in module.parameters(recurse=False))
    ]
    try:
        network(batch)
    finally:
        for handle in handles:
            handle.remove()
    return ran[-1]


def flat_features(features: Tensor) -> Tensor:
    """A hidden layer as float32 (N, F) on the CPU: maps (N, C, H, W) averaged over their cells, tokens
    (N, T, F) over the tokens."""
    if features.dim() == 4:
        features = features.mean(dim=(2, 3))
    elif features.dim() == 3:
        features = features.mean(dim=1)
    return features.float().cpu()


def _unit(index: Index, images: Tensor) -> Tensor:
    return functional.normalize(hidden_features(index.classifier, images), dim=1)


def _nearest(rows: Tensor, features: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    """Similarities (count,) and indices (count,) of the nearest features, for each row."""
    result = []
    for part in torch.split(rows, ROWS_PER_BATCH):
        similarities, indices = (part @ features.T).topk(count, dim=1)
        result += list(zip(similarities, indices, strict=True))
    return result

"""The training pictures a network holds most alike, and how unlike all of them a picture is."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.explanation.activations import layers_of, original, undisturbed
from pellucid.inference import fixed_batches

FAMILY = 5  # how unlike a picture is, is judged by its five nearest
CALIBRATION = 1000  # pictures that say what distance is usual
SEARCHED = 10_000  # training pictures searched where a reader waits, at most
ROWS_AT_ONCE = 512

CAVEAT = "Alike to the network, not the cause of the answer; and a familiar picture can be misread."


@dataclass(frozen=True)
class Neighbour:
    """A training picture: its place in the data set, cosine similarity -1..1, class and source."""

    index: int
    similarity: float
    label: str
    source: str


@dataclass(frozen=True, eq=False)
class Index:
    """Training pictures as the network holds them, ready to be searched.

    features  float32 (N, F), the last hidden layer, each row of length 1
    dataset   the pictures they come from
    usual     float32 (M,), sorted: how far pictures are, on average, from their five nearest here
    held_out  whether `usual` was measured on pictures the network did not learn from
    """

    classifier: Classifier
    features: Tensor
    dataset: Dataset
    usual: Tensor
    held_out: bool


def index_pictures(classifier: Classifier, training: Dataset, held_out: Dataset | None = None) -> Index:
    """The pictures of `training` as the network holds them.

    held_out  pictures not learned from, such as the validation set, that say what distance is usual; without
              them the training pictures themselves do, each left out in turn, which makes new pictures look
              a little stranger than they are

    Raises UsageError when there are too few pictures for a neighbourhood.
    """
    if len(training) <= FAMILY:
        raise UsageError(
            f"Expected more than {FAMILY} training pictures to compare with; got {len(training)}."
        )
    features = functional.normalize(hidden_features(classifier, training.images), dim=1)
    if held_out is not None and len(held_out):
        others = _spread(len(held_out))
        strangers = functional.normalize(hidden_features(classifier, held_out.images[others]), dim=1)
        usual = _distance(strangers, features)
    else:
        usual = _distance(features[_spread(len(training))], features, but_themselves=True)
    return Index(
        classifier, features, training, usual.sort().values, held_out is not None and len(held_out) > 0
    )


def index_sample(classifier: Classifier, training: Dataset, held_out: Dataset | None = None) -> Index:
    """As `index_pictures`, of ten thousand training pictures at most, taken at even distances."""
    step = max(1, -(-len(training) // SEARCHED))
    sample = training if step == 1 else training.subset(torch.arange(0, len(training), step))
    return index_pictures(classifier, sample, held_out)


def nearest(index: Index, images: Tensor, count: int = 8) -> list[list[Neighbour]]:
    """For each picture of uint8 (N, C, H, W) the `count` training pictures most alike, the nearest first."""
    dataset = index.dataset
    found = []
    for similarities, places in _nearest(_unit(index, images), index.features, min(count, len(dataset))):
        found.append(
            [
                Neighbour(
                    place, similarity, dataset.classes[int(dataset.labels[place])], dataset.sources[place]
                )
                for similarity, place in zip(similarities.tolist(), places.tolist(), strict=True)
            ]
        )
    return found


def novelty(index: Index, images: Tensor) -> Tensor:
    """How unlike the training pictures each of uint8 (N, C, H, W) is: a percentile 0..100, float32 (N,).

    96 means that it is farther from its five nearest than 96 of 100 ordinary pictures are from theirs.
    """
    distances = _distance(_unit(index, images), index.features)
    return torch.searchsorted(index.usual, distances).float() * 100 / len(index.usual)


def hidden_features(classifier: Classifier, images: Tensor) -> Tensor:
    """The last hidden layer for uint8 pictures (N, C, H, W): what the last layer with weights receives.

    float32 (N, F) on the CPU; maps are averaged over their places, tokens over the tokens.
    """
    network = original(classifier.network)
    rows: list[Tensor] = []
    with undisturbed(network), torch.no_grad():
        head = _head(network, next(batch for _, batch, _ in fixed_batches(images)))
        heard: list[Tensor] = []
        handle = head.register_forward_pre_hook(lambda module, inputs: _hear(heard, inputs))
        try:
            for _, batch, filled in fixed_batches(images):
                heard.clear()
                network(batch)
                rows.append(_flat(heard[-1][:filled]))
        finally:
            handle.remove()
    return torch.cat(rows)


def _head(network: nn.Module, batch: Tensor) -> nn.Module:
    """The module with weights that runs last."""
    weighted = {
        name: module
        for name, module in layers_of(network).items()
        if module is not network and any(True for _ in module.parameters(recurse=False))
    }
    ran: list[nn.Module] = [network]
    handles = [
        module.register_forward_pre_hook(lambda module, inputs: ran.append(module))
        for module in weighted.values()
    ]
    try:
        network(batch)
    finally:
        for handle in handles:
            handle.remove()
    return ran[-1]


def _hear(heard: list[Tensor], inputs: tuple[Any, ...]) -> None:
    heard.append(inputs[0].detach())


def _flat(features: Tensor) -> Tensor:
    if features.dim() == 4:
        features = features.mean(dim=(2, 3))
    elif features.dim() == 3:
        features = features.mean(dim=1)
    return features.float().cpu()


def _unit(index: Index, images: Tensor) -> Tensor:
    return functional.normalize(hidden_features(index.classifier, images), dim=1)


def _nearest(rows: Tensor, features: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    found = []
    for part in torch.split(rows, ROWS_AT_ONCE):
        similarities, places = (part @ features.T).topk(count, dim=1)
        found += list(zip(similarities, places, strict=True))
    return found


def _distance(rows: Tensor, features: Tensor, *, but_themselves: bool = False) -> Tensor:
    """1 less the mean similarity to the five nearest, (N,), the row itself left out if it is among them."""
    skipped = int(but_themselves)
    nearest_ones = [part for part, _ in _nearest(rows, features, FAMILY + skipped)]
    return 1 - torch.stack(nearest_ones)[:, skipped:].mean(dim=1)


def _spread(number: int) -> Tensor:
    """Up to a thousand places, evenly spread over `number`."""
    return torch.arange(0, number, max(1, -(-number // CALIBRATION)))

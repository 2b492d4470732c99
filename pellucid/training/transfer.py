"""Learning on a pretrained network: its last layer on what the backbone makes of pictures, then all of it."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from pellucid.cache import cache_folder
from pellucid.data.dataset import Dataset
from pellucid.errors import PellucidError
from pellucid.files import make_folder, write_bytes
from pellucid.inference import evaluating, fixed_batches
from pellucid.models.pretrained import Pretrained
from pellucid.recipe import Recipe
from pellucid.training.loop import Epoch, Progress, Step, refuse_untrainable, train

SLOWER = 0.01  # the rate for the whole network, as a share of that for the last layer


@dataclass(frozen=True, eq=False)
class Embedded:
    """A data set as a backbone sees it: features, float (N, D), where a Dataset has pictures."""

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    counts: dict[str, int]

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor) -> "Embedded":
        """The features at `indices` (int64), in that order."""
        return Embedded(self.images[indices], self.labels[indices], self.classes, self.counts)


def learn(
    network: nn.Module, train_set: Dataset, validation_set: Dataset, recipe: Recipe, *, progress: Progress
) -> Iterator[Step | Epoch]:
    """Train any network: as `training.train` does, a pretrained one in two parts.

    First its last layer alone for `recipe.epochs`, on features that the backbone, at rest, gives once for
    each picture as it is; then, for `recipe.fine_tune` further epochs, the whole network at a hundredth of
    the rate. The weights kept are those of the lowest validation loss over both. Raises what `train` raises.
    """
    if not isinstance(network, Pretrained):
        yield from train(network, train_set, validation_set, recipe, progress=progress)
        return
    refuse_untrainable(train_set, validation_set)
    if not any(name.startswith("backbone.") for name in progress.weights):
        yield from _head(network, train_set, validation_set, recipe, progress)
        if not recipe.fine_tune:
            return
        whole = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        progress.weights, progress.best_weights, progress.optimizer = {}, whole, {}
    tuned = replace(
        recipe,
        epochs=recipe.epochs + recipe.fine_tune,
        fine_tune=0,
        patience=0,
        schedule="constant",
        learning_rate=recipe.learning_rate * SLOWER,
    )
    yield from train(network, train_set, validation_set, tuned, progress=progress)


def _head(
    network: Pretrained, train_set: Dataset, validation_set: Dataset, recipe: Recipe, progress: Progress
) -> Iterator[Step | Epoch]:
    """The last layer trained on features; afterwards it has its best weights."""
    alone = replace(recipe, fine_tune=0, patience=0, augment="none")
    if progress.finished(alone):
        network.head.load_state_dict(progress.best_weights)
        return
    sets = [_embedded(network, dataset) for dataset in (train_set, validation_set)]
    learning, choosing = (
        cast(Dataset, embedded) for embedded in sets
    )  # `train` asks for no more than they have
    if not progress.weights:
        network.head.measure(sets[0].images)
    yield from train(network.head, learning, choosing, alone, progress=progress)


def _embedded(network: Pretrained, dataset: Dataset) -> Embedded:
    features = embeddings(network, dataset)
    return Embedded(features, dataset.labels, dataset.classes, dataset.counts)


def embeddings(network: Pretrained, dataset: Dataset) -> Tensor:
    """What the backbone makes of every picture, at rest, float (N, D): computed once, then from the cache."""
    path = cache_folder() / "embeddings" / f"{_key(network, dataset)}.safetensors"
    with suppress(OSError, SafetensorError, KeyError):
        return load(path.read_bytes())["features"]
    features = torch.empty(len(dataset), network.head.dense.in_features)
    with evaluating(network), torch.inference_mode():
        for start, batch, filled in fixed_batches(dataset.images):
            features[start : start + filled] = network.features(batch)[:filled]
    with suppress(PellucidError):  # a cache that cannot be written costs time, no more
        _keep(path, features)
    return features


def _keep(path: Path, features: Tensor) -> None:
    make_folder(path.parent)
    write_bytes(path, save({"features": features}))


def _key(network: Pretrained, dataset: Dataset) -> str:
    """One name for these weights, this preprocessing, these pictures, and the torch that adds up."""
    digest = hashlib.sha256(f"{torch.__version__} {network.to_json()} {network.resized}".encode())
    digest.update(dataset.fingerprint.encode())
    for name, tensor in sorted(network.backbone.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:40]

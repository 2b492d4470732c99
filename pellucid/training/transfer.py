"""Transfer learning: a new last layer on the features of a pretrained backbone, then the whole network."""

import hashlib
import time
from collections.abc import Callable, Iterator
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
from pellucid.files import make_folder, remove, write_bytes
from pellucid.inference import evaluation_mode, fixed_batches
from pellucid.models import PretrainedNetwork
from pellucid.models.lite0 import Lite0
from pellucid.recipe import Recipe
from pellucid.training.logistic import chosen_penalty, solved
from pellucid.training.loop import Epoch, Progress, Step, check_trainable, loss_and_accuracy, train

FINE_TUNING_RATE = 0.01  # learning rate for the whole network, as a share of that for the last layer
UNFINISHED = ".part.safetensors"  # ends the name of features of which a part is computed
PICTURES_AT_ONCE = 16  # of which features are computed: enlarged, more of them leave the processor's cache


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """The features of a data set: as a Dataset, with float (N, D) in place of pictures."""

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    counts: dict[str, int]

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor) -> "FeatureSet":
        """The features at `indices` (int64), in that order."""
        return FeatureSet(self.images[indices], self.labels[indices], self.classes, self.counts)


OnFeatures = Callable[[int, int], None]  # called with how many pictures are done, and how many in all


def train_network(
    network: nn.Module,
    train_set: Dataset,
    validation_set: Dataset,
    recipe: Recipe,
    *,
    progress: Progress,
    on_features: OnFeatures = lambda done, count: None,
) -> Iterator[Step | Epoch]:
    """Train any network as `train` does, a pretrained one in two stages.

    First its last layer alone, on features that the backbone computes once for each picture, without
    augmentation: for `recipe.epochs`, or solved at once, in one epoch, for lite0. Then, for
    `recipe.fine_tune` further epochs, the whole network at a hundredth of the rate. The weights kept are
    those of the lowest validation loss over both stages. Raises what `train` raises.

    on_features  called while the backbone computes features. What it raises ends the training; the features
                 computed so far are kept
    """
    if not isinstance(network, PretrainedNetwork):
        yield from train(network, train_set, validation_set, recipe, progress=progress)
        return
    check_trainable(train_set, validation_set)
    if not any(name.startswith("backbone.") for name in progress.weights):
        head_only = replace(recipe, fine_tune=0, patience=0, augment="none")
        if progress.finished(head_only):
            network.head.load_state_dict(progress.best_weights)
        else:
            features = _features(network, train_set, validation_set, on_features)
            learn = _solve_head if isinstance(network, Lite0) else _train_head
            yield from learn(network, *features, head_only, progress)
        if not recipe.fine_tune:
            return
        weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        progress.weights, progress.best_weights, progress.optimizer = {}, weights, {}
    fine_tuning = replace(
        recipe,
        epochs=recipe.epochs + recipe.fine_tune,
        fine_tune=0,
        patience=0,
        schedule="constant",
        learning_rate=recipe.learning_rate * FINE_TUNING_RATE,
    )
    yield from train(network, train_set, validation_set, fine_tuning, progress=progress)


def _train_head(
    network: PretrainedNetwork,
    features: FeatureSet,
    validation_features: FeatureSet,
    recipe: Recipe,
    progress: Progress,
) -> Iterator[Step | Epoch]:
    """Trains the last layer on features; afterwards it has its best weights."""
    if not progress.weights:
        network.head.fit_normalization(features.images)
    sets = cast(Dataset, features), cast(Dataset, validation_features)  # `train` uses nothing else of them
    yield from train(network.head, *sets, recipe, progress=progress)


def _solve_head(
    network: PretrainedNetwork,
    features: FeatureSet,
    validation_features: FeatureSet,
    recipe: Recipe,
    progress: Progress,
) -> Iterator[Step | Epoch]:
    """Solves the last layer on features: one epoch, and the same weights whatever the order of pictures."""
    start, head = time.perf_counter(), network.head
    head.fit_normalization(features.images)
    learned, judged = (head.normalized(part.images) for part in (features, validation_features))
    classes, balanced = len(features.classes), recipe.balance != "none"
    labels = features.labels, validation_features.labels
    penalty = chosen_penalty((learned, judged), labels, classes, seed=recipe.seed, balanced=balanced)
    head.put(solved(learned, labels[0], classes, penalty, balanced=balanced))
    figures = (
        *loss_and_accuracy(head, cast(Dataset, features)),
        *loss_and_accuracy(head, cast(Dataset, validation_features)),
    )
    progress.seconds = time.perf_counter() - start
    progress.weights = head.state_dict()
    progress.best_weights = {name: tensor.clone() for name, tensor in progress.weights.items()}
    epoch = Epoch(progress.epoch, progress.seconds, 0.0, *figures, best=True)
    progress.history.append(epoch)
    progress.epoch += 1
    yield epoch


def _features(
    network: PretrainedNetwork, train_set: Dataset, validation_set: Dataset, on_features: OnFeatures
) -> tuple[FeatureSet, FeatureSet]:
    """The features of both, with one count over both."""
    count = len(train_set) + len(validation_set)

    def of(dataset: Dataset, before: int) -> FeatureSet:
        found = embeddings(network, dataset, on_batch=lambda done: on_features(before + done, count))
        return FeatureSet(found, dataset.labels, dataset.classes, dataset.counts)

    return of(train_set, 0), of(validation_set, len(train_set))


def embeddings(
    network: PretrainedNetwork, dataset: Dataset, *, on_batch: Callable[[int], None] = lambda done: None
) -> Tensor:
    """The backbone's features of every picture, float32 (N, D): computed once, then read from the cache.

    on_batch  called with how many pictures are done, while they are computed. If it raises, or Ctrl-C does,
              those done are kept for the next time
    """
    path = embeddings_file(network, dataset)
    unfinished = path.with_suffix(UNFINISHED)
    with suppress(OSError, SafetensorError, KeyError):
        return load(path.read_bytes())["features"]
    features = torch.empty(len(dataset), network.head.dense.in_features)
    done = 0
    with suppress(OSError, SafetensorError, KeyError):
        before = load(unfinished.read_bytes())["features"]
        features[: len(before)], done = before, len(before)
    rest = dataset.subset(slice(done, None)).images
    try:
        with evaluation_mode(network), torch.inference_mode():
            for _, batch, count in fixed_batches(rest, PICTURES_AT_ONCE):
                features[done : done + count] = network.features(batch)[:count]
                done += count
                on_batch(done)
    except BaseException:
        if done:
            _keep(unfinished, features[:done])
        raise
    _keep(path, features)
    with suppress(PellucidError):
        remove(unfinished)
    return features


def _keep(path: Path, features: Tensor) -> None:
    with suppress(PellucidError):  # a cache that cannot be written costs only time
        make_folder(path.parent)
        write_bytes(path, save({"features": features.contiguous()}))


def embeddings_file(network: PretrainedNetwork, dataset: Dataset) -> Path:
    """Where the features of these pictures are kept once they are computed."""
    return cache_folder() / "embeddings" / f"{_cache_key(network, dataset)}.safetensors"


def _cache_key(network: PretrainedNetwork, dataset: Dataset) -> str:
    """A hash of all that the features depend on: weights, preprocessing, pictures, version of torch."""
    digest = hashlib.sha256(f"{torch.__version__} {network.to_json()} {network.resize_to}".encode())
    digest.update(dataset.fingerprint.encode())
    for name, tensor in sorted(network.backbone.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:40]

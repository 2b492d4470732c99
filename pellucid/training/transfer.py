"""Transfer learning: a new last layer on the features of a pretrained backbone, then the whole network."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from pellucid.cache import computed_folder
from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset, content_hashes
from pellucid.errors import PellucidError
from pellucid.files import make_folder, remove, write_bytes
from pellucid.inference import evaluation_mode, fixed_batches
from pellucid.models import PretrainedNetwork
from pellucid.models.head import Head, HeadSettings
from pellucid.recipe import Recipe
from pellucid.task import task_of
from pellucid.tensors import packed, read_tensors
from pellucid.training.logistic import choose_settings, folds, solve
from pellucid.training.loop import NOT_HELD_OUT, Epoch, Progress, Step, check_trainable, refuse_unfit, train
from pellucid.training.timer import CheckpointTimer

FINE_TUNING_RATE = 0.01  # learning rate for the whole network, as a share of that for the last layer
UNFINISHED = ".part.safetensors"  # ends the name of features of which a part is computed
PICTURES_AT_ONCE = 16  # of which features are computed: enlarged, more of them leave the processor's cache


OnFeatures = Callable[[int, int], None]  # called with how many pictures are done, and how many in all


class FeatureStore:
    """The features of some pictures, computed once for several trainings that share a backbone.

    datasets     whose pictures are found again in any part of them, by their pixels
    on_features  called with how many pictures are done, and how many in all, while the backbone computes.
                 What it raises ends the training; the features computed so far are kept
    """

    def __init__(
        self, datasets: Sequence[Dataset], on_features: OnFeatures = lambda done, count: None
    ) -> None:
        self._datasets, self.on_features = datasets, on_features
        self._rows: dict[bytes, int] = {}
        self._features = torch.empty(0)

    def features(self, network: PretrainedNetwork, dataset: Dataset) -> Tensor:
        """float32 (N, D) of the pictures of `dataset`, which are all among those of the store."""
        if not self._rows:
            self._features = self._computed(network)
            digests = [digest for each in self._datasets for digest in content_hashes(each)]
            self._rows = {digest: row for row, digest in enumerate(digests)}
        return self._features[[self._rows[digest] for digest in content_hashes(dataset)]]

    def _computed(self, network: PretrainedNetwork) -> Tensor:
        found: list[Tensor] = []
        count = sum(map(len, self._datasets))
        for dataset in self._datasets:
            before = sum(map(len, found))
            on_batch = partial(lambda before, done: self.on_features(before + done, count), before)
            found.append(embeddings(network, dataset, on_batch=on_batch))
        return torch.cat(found)


def held_out_logits(
    classifier: Classifier, dataset: Dataset, store: FeatureStore | None, *, at_rest: bool
) -> Tensor:
    """What `classifier.logits` gives for pictures, float32 (N, K); of a backbone `at_rest` from the features
    of the store, if there is one."""
    network = classifier.network
    if store is None or not at_rest or not isinstance(network, PretrainedNetwork):
        return classifier.logits(dataset.images)
    with evaluation_mode(network), torch.inference_mode():
        logits: Tensor = network.head(store.features(network, dataset))
    return logits.clone()


def left_out_probabilities(
    network: PretrainedNetwork, dataset: Dataset, settings: HeadSettings, seed: int
) -> Tensor:
    """What last layers solved without a picture give for it, float32 (N, K): each of five learns from four
    fifths of the training pictures `dataset`, in the way that was chosen for all of them."""
    features = network.head.normalized(embeddings(network, dataset))  # (N, D)
    classes = len(dataset.classes)
    probabilities = torch.empty(len(dataset), classes)
    for held_out in folds(dataset.labels, seed):
        weights = solve(features[~held_out], dataset.labels[~held_out], classes, settings)  # (K, D + 1)
        logits = features[held_out].double() @ weights[:, :-1].T + weights[:, -1]
        probabilities[held_out] = logits.softmax(dim=1).float()
    return probabilities


def train_network(
    network: nn.Module,
    train_set: Dataset,
    validation_set: Dataset | None,
    recipe: Recipe,
    *,
    progress: Progress,
    store: FeatureStore | None = None,
) -> Iterator[Step | Epoch]:
    """Train any network as `train` does, a pretrained one in two stages.

    First its last layer alone, solved at once, in one epoch, on features that the backbone computes once for
    each picture, without augmentation. Then, for `recipe.fine_tune` further epochs, the whole network at a
    hundredth of the rate. The weights kept are those of the lowest validation loss over both stages.

    store  where features are taken from, if several trainings share them

    Raises what `train` raises.
    """
    if not isinstance(network, PretrainedNetwork):
        yield from train(network, train_set, validation_set, recipe, progress=progress)
        return
    check_trainable(train_set, validation_set)
    recipe = replace(recipe, epochs=1)
    if not any(name.startswith("backbone.") for name in progress.weights):
        if progress.epoch > 1:
            refuse_unfit(progress.best_weights, network.head.state_dict())
            network.head.load_state_dict(progress.best_weights)
        else:
            datasets = [train_set] if validation_set is None else [train_set, validation_set]
            yield _solve_head(
                network, train_set, validation_set, recipe, progress, store=store or FeatureStore(datasets)
            )
        if progress.finished(replace(recipe, patience=0)):
            return
        weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        progress.weights, progress.best_weights, progress.optimizer = {}, weights, {}
    balanced = recipe.balance == "auto" and progress.head is not None and progress.head.balanced
    fine_tuning = replace(
        recipe,
        balance="weights" if balanced else recipe.balance,
        epochs=1 + recipe.fine_tune,
        fine_tune=0,
        patience=0,
        schedule="constant",
        learning_rate=recipe.learning_rate * FINE_TUNING_RATE,
    )
    yield from train(network, train_set, validation_set, fine_tuning, progress=progress)


def _solve_head(
    network: PretrainedNetwork,
    train_set: Dataset,
    validation_set: Dataset | None,
    recipe: Recipe,
    progress: Progress,
    *,
    store: FeatureStore,
) -> Epoch:
    """Solves the last layer on features: one epoch, and the same weights whatever the order of pictures."""
    start, head = time.perf_counter(), network.head
    learned = store.features(network, train_set)
    head.fit_normalization(learned)
    parts = [(head.normalized(learned), train_set.labels)]
    if validation_set is not None:
        parts.append((head.normalized(store.features(network, validation_set)), validation_set.labels))
    classes = len(train_set.classes)
    if progress.head is None:
        progress.head = choose_settings(parts, classes, seed=recipe.seed, balance=recipe.balance)
    head.put(solve(*parts[0], classes, progress.head))
    figures = [_loss_and_accuracy(head, *part) for part in parts]
    progress.seconds = time.perf_counter() - start
    progress.weights = head.state_dict()
    progress.best_weights = {name: tensor.clone() for name, tensor in progress.weights.items()}
    val_loss, val_accuracy = figures[1] if validation_set is not None else NOT_HELD_OUT
    epoch = Epoch(progress.epoch, progress.seconds, 0.0, *figures[0], val_loss, val_accuracy, best=True)
    progress.history.append(epoch)
    progress.epoch += 1
    return epoch


def _loss_and_accuracy(head: Head, normalized: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean loss in nats and accuracy 0..1 of the last layer on normalised features (N, D)."""
    task = task_of(labels)
    with torch.inference_mode():
        logits = head.dense(normalized)  # (N, K)
        return float(task.loss(logits, labels)), int(task.right(logits, labels).sum()) / len(labels)


def embeddings(
    network: PretrainedNetwork, dataset: Dataset, *, on_batch: Callable[[int], None] = lambda done: None
) -> Tensor:
    """The backbone's features of every picture, float32 (N, D): computed once, then read from the cache.

    on_batch  called with how many pictures are done, while they are computed. If it raises, or Ctrl-C does,
              those done are kept for the next time; should the process be killed, those of a minute before
    """
    path = embeddings_file(network, dataset)
    unfinished = path.with_suffix(UNFINISHED)
    with suppress(OSError, PellucidError, KeyError):
        return read_tensors(path)[0]["features"]
    features = torch.empty(len(dataset), network.head.dense.in_features)
    done = 0
    with suppress(OSError, PellucidError, KeyError, RuntimeError):
        before = read_tensors(unfinished)[0]["features"]
        features[: len(before)], done = before, len(before)
    rest, timer = dataset.subset(slice(done, None)).images, CheckpointTimer()
    try:
        with evaluation_mode(network), torch.inference_mode():
            for _, batch, count in fixed_batches(rest, PICTURES_AT_ONCE):
                features[done : done + count] = network.features(batch)[:count]
                done += count
                if timer.due:
                    with timer.writing():
                        _keep(unfinished, features[:done])
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
        write_bytes(path, packed({"features": features}))


def embeddings_file(network: PretrainedNetwork, dataset: Dataset) -> Path:
    """Where the features of these pictures are kept once they are computed."""
    return computed_folder() / "embeddings" / f"{_cache_key(network, dataset)}.safetensors"


def _cache_key(network: PretrainedNetwork, dataset: Dataset) -> str:
    """A hash of all that the features depend on: weights, preprocessing, pictures, versions of torch and of
    pellucid, whose forward pass it is."""
    count = network.head.dense.in_features
    facts = f"{torch.__version__} {version('pellucid')} {network.to_json()} {network.resize_to} {count}"
    digest = hashlib.sha256(facts.encode())
    digest.update(dataset.fingerprint.encode())
    for name, tensor in sorted(network.backbone.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:40]

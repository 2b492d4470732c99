"""The training loop: an iterator of what happens, a step at a time and an epoch at a time.

Nothing here can reach a test set. The order of pictures and every random draw of a step are functions of
(seed, epoch, step) alone, so a training that was stopped and goes on sees what it would have seen.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.data.dataset import Dataset
from pellucid.errors import PellucidError, UsageError
from pellucid.inference import evaluating, fixed_batches, modes_kept, scaled
from pellucid.machine import keep_memory, multiplies_bfloat16
from pellucid.models.kernels.build import prepare
from pellucid.models.kernels.fused import unseen_layers
from pellucid.recipe import DEFAULT, Precision, Recipe
from pellucid.training.augment import augmented, named, suited
from pellucid.training.diagnostics import LayerDiagnostics, diagnostics, weights_now
from pellucid.training.optimizers import Optimizers
from pellucid.training.sampling import (
    balanced_order,
    class_weights,
    drawing_from,
    generator_for,
    sample_order,
)
from pellucid.training.schedule import learning_rate

WATCHED = 5_000  # training pictures on which an epoch's training loss and accuracy are measured


@dataclass(frozen=True)
class Step:
    """One update of the weights: the `step`th of `steps` in this epoch, both counted from 1."""

    epoch: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    images_per_second: float


@dataclass(frozen=True)
class Epoch:
    """One pass over the training pictures, judged with fixed weights in evaluation mode, without dropout.

    seconds             since training began, judging included
    loss, accuracy      on the training pictures (on a fixed sample of 5,000 where there are more)
    val_loss, val_accuracy  on the validation pictures
    best                whether `val_loss` is the lowest so far: these weights are kept
    """

    epoch: int
    seconds: float
    learning_rate: float
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    best: bool


@dataclass
class Progress:
    """Where a training stands: all that a resumed one needs to go on as if it had never stopped.

    epoch    the one being worked on, from 1
    step     how many of its steps are done
    """

    epoch: int = 1
    step: int = 0
    seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)
    diagnostics: list[LayerDiagnostics] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Tensor] = field(default_factory=dict)

    @property
    def best(self) -> Epoch | None:
        """The judged epoch with the lowest validation loss, whose weights are `best_weights`."""
        return next((epoch for epoch in reversed(self.history) if epoch.best), None)

    def finished(self, recipe: Recipe) -> bool:
        """Whether all epochs are done, or `patience` of them brought no lower validation loss."""
        waited = self.epoch - 1 - (self.best.epoch if self.best else 0)
        return self.epoch > recipe.epochs + recipe.fine_tune or 0 < recipe.patience <= waited

    def to_tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything as named tensors and plain values, for a file."""
        groups = {"weights": self.weights, "best_weights": self.best_weights, "optimizer": self.optimizer}
        tensors = {f"{group}/{name}": t for group, named in groups.items() for name, t in named.items()}
        facts = {"epoch": self.epoch, "step": self.step, "seconds": self.seconds}
        epochs, steps = [asdict(one) for one in self.history], [asdict(one) for one in self.diagnostics]
        return tensors, {**facts, "history": epochs, "diagnostics": steps}

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> "Progress":
        """What `to_tensors` took apart. Raises KeyError or TypeError when a piece is missing."""
        progress = Progress(facts["epoch"], facts["step"], facts["seconds"])
        progress.history = [Epoch(**epoch) for epoch in facts["history"]]
        progress.diagnostics = [LayerDiagnostics(**entry) for entry in facts.get("diagnostics", [])]
        for name, tensor in tensors.items():
            group, _, key = name.partition("/")
            {
                "weights": progress.weights,
                "best_weights": progress.best_weights,
                "optimizer": progress.optimizer,
            }[group][key] = tensor
        return progress


def train(
    network: nn.Module,
    train_set: Dataset,
    validation_set: Dataset,
    recipe: Recipe = DEFAULT,
    *,
    progress: Progress | None = None,
) -> Iterator[Step | Epoch]:
    """Train `network` in place, yielding a Step after every update and an Epoch after every pass.

    Stop whenever you like: `break` ends it. However it ends, the network holds the weights of the epoch
    with the lowest validation loss, or, before the first epoch was judged, the weights reached.
    `progress` is kept up to date; one that was saved goes on where it stood.

    Raises UsageError when the pictures cannot train this network, and PellucidError when the loss or its
    gradient is no longer finite: before the update, so the weights kept are good.
    """
    refuse_untrainable(train_set, validation_set)
    recipe = replace(recipe, augment=resolved_augment(recipe, train_set))
    progress = progress if progress is not None else Progress()
    begun = time.perf_counter() - progress.seconds
    keep_memory()
    prepare()
    optimizers = Optimizers(network, recipe)
    _put_back(network, optimizers, progress)
    steps = math.ceil(len(train_set) / recipe.batch_size)
    with modes_kept(network), _best_in_the_end(network, progress):
        while not progress.finished(recipe):
            order = _order(train_set, recipe, progress.epoch)
            for batch in torch.split(order, recipe.batch_size)[progress.step :]:
                lap = time.perf_counter()
                rate = learning_rate(recipe, (progress.epoch - 1) * steps + progress.step, steps)
                middle = progress.step == steps // 2
                before = weights_now(network) if middle else {}
                loss = _update(network, optimizers, train_set, batch, rate, recipe, progress)
                progress.step += 1
                if middle:
                    progress.diagnostics += diagnostics(network, before, progress.epoch)
                now = time.perf_counter()
                progress.seconds = now - begun
                yield Step(progress.epoch, progress.step, steps, loss, rate, len(batch) / (now - lap))
            yield _judge(network, train_set, validation_set, recipe, progress, begun)


@contextmanager
def _best_in_the_end(network: nn.Module, progress: Progress) -> Iterator[None]:
    """However the block ends, the network holds the best weights, and `progress` still those reached."""
    try:
        yield
    finally:
        network.zero_grad()
        if progress.best_weights:
            progress.weights = {name: tensor.clone() for name, tensor in progress.weights.items()}
            network.load_state_dict(progress.best_weights)


def first_batch(train_set: Dataset, recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
    """What the first step trains on: which pictures (B,), how they look, float 0..1 (B, C, H, W), and their
    labels (B,), or, of mixed ones, the shares of every class (B, K)."""
    recipe = replace(recipe, augment=resolved_augment(recipe, train_set))
    batch = _order(train_set, recipe, 1)[: recipe.batch_size]
    return batch, *_batch(train_set, batch, recipe, Progress())


def resolved_augment(recipe: Recipe, train_set: Dataset) -> str:
    """The augmentations by name, or "none". Raises UsageError for an unknown name."""
    names = suited(train_set.channels) if recipe.augment == "auto" else recipe.augment
    return ",".join(named(names)) or "none"


def resolved_precision(recipe: Recipe) -> Precision:
    """ "float32" or "bfloat16": what "auto" means on this processor.

    bfloat16 pays where the processor multiplies it natively; elsewhere it is emulated and slower.
    """
    if recipe.precision != "auto":
        return recipe.precision
    return "bfloat16" if multiplies_bfloat16() else "float32"


def judge(network: nn.Module, dataset: Dataset) -> tuple[float, float]:
    """Mean cross-entropy in nats and accuracy 0..1 of `network` on `dataset`, in evaluation mode, float32."""
    total, right = 0.0, 0
    with evaluating(network), unseen_layers(), torch.inference_mode():
        for start, batch, filled in fixed_batches(dataset.images):
            logits = network(batch)[:filled].float()  # (B, K)
            labels = dataset.labels[start : start + filled]
            total += float(functional.cross_entropy(logits, labels, reduction="sum"))
            right += int((logits.argmax(dim=1) == labels).sum())
    return total / len(dataset), right / len(dataset)


def _update(
    network: nn.Module,
    optimizers: Optimizers,
    train_set: Dataset,
    batch: Tensor,
    rate: float,
    recipe: Recipe,
    progress: Progress,
) -> float:
    """One step down the gradient on the pictures at `batch` (B,); gives the loss before it."""
    network.train()
    images, targets = _batch(train_set, batch, recipe, progress)
    weight = class_weights(train_set.labels, len(train_set.classes)) if recipe.balance == "weights" else None
    known = [buffer.clone() for buffer in network.buffers()]  # of batch norm: they change before the loss
    network.zero_grad()
    low = resolved_precision(recipe) == "bfloat16"
    with (
        drawing_from(recipe.seed, progress.epoch, progress.step),
        torch.autocast("cpu", torch.bfloat16, enabled=low),
    ):
        logits = network(images).float()  # (B, K)
        loss = functional.cross_entropy(logits, targets, weight, label_smoothing=recipe.label_smoothing)
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    value, slope = loss.item(), torch.nn.utils.get_total_norm(gradients).item()
    if not math.isfinite(value) or not math.isfinite(slope):
        for buffer, before in zip(network.buffers(), known, strict=True):
            buffer.copy_(before)
        what = f"step {progress.step + 1}: the loss is {value} and its gradient {slope}, before the update"
        raise _diverged(what, rate, progress)
    optimizers.step(rate)
    progress.optimizer = optimizers.tensors()
    return value


def _order(train_set: Dataset, recipe: Recipe, epoch: int) -> Tensor:
    if recipe.balance == "sampler":
        return balanced_order(train_set.labels, recipe.seed, epoch)
    return sample_order(len(train_set), recipe.seed, epoch)


def _batch(train_set: Dataset, batch: Tensor, recipe: Recipe, progress: Progress) -> tuple[Tensor, Tensor]:
    """The pictures at `batch`, float (B, C, H, W), and their labels (B,) or shares (B, K), augmented."""
    images = scaled(train_set.images.index_select(0, batch))  # the quickest way to copy some
    labels = train_set.labels[batch]
    names = named(recipe.augment)
    generator = generator_for(recipe.seed, "augment", progress.epoch, progress.step)
    return augmented(images, labels, names, classes=len(train_set.classes), generator=generator)


def _judge(
    network: nn.Module,
    train_set: Dataset,
    validation_set: Dataset,
    recipe: Recipe,
    progress: Progress,
    begun: float,
) -> Epoch:
    """The epoch that has just run, judged and noted in `progress`; its weights are kept when the best."""
    watched = sample_order(len(train_set), recipe.seed, 0)[:WATCHED]
    loss, accuracy = judge(network, train_set.subset(watched.sort().values))
    val_loss, val_accuracy = judge(network, validation_set)
    steps = math.ceil(len(train_set) / recipe.batch_size)
    rate = learning_rate(recipe, progress.epoch * steps - 1, steps)
    if not math.isfinite(val_loss):
        raise _diverged(f"its end: the validation loss is {val_loss}", rate, progress)
    best = progress.best is None or val_loss < progress.best.val_loss
    if best:
        progress.best_weights = {name: t.clone() for name, t in network.state_dict().items()}
    progress.seconds = time.perf_counter() - begun
    epoch = Epoch(progress.epoch, progress.seconds, rate, loss, accuracy, val_loss, val_accuracy, best)
    progress.history.append(epoch)
    progress.epoch, progress.step = progress.epoch + 1, 0
    return epoch


def _diverged(what: str, rate: float, progress: Progress) -> PellucidError:
    kept = f"of epoch {progress.best.epoch}, the best before" if progress.best else "reached before"
    return PellucidError(
        f"Training stopped at epoch {progress.epoch}, {what}. The weights kept are those {kept}. "
        f"Try a smaller --learning-rate (it was {rate:.2g}) or --precision float32."
    )


def refuse_untrainable(train_set: Dataset, validation_set: Dataset) -> None:
    """Raises UsageError when there is nothing to tell apart, to learn from or to choose by."""
    if train_set.classes != validation_set.classes:
        raise UsageError(
            f"Expected the same classes in training and validation; got {', '.join(train_set.classes)} "
            f"and {', '.join(validation_set.classes)}."
        )
    if train_set.images.shape[1:] != validation_set.images.shape[1:]:
        raise UsageError(
            f"Expected validation pictures of (C, H, W) {tuple(train_set.images.shape[1:])} as in training; "
            f"got {tuple(validation_set.images.shape[1:])}."
        )
    shown = [name for name, count in train_set.counts.items() if count]
    if len(shown) < 2:
        raise UsageError(
            f"Expected training pictures of at least two classes; got {len(train_set)} pictures of "
            f"{', '.join(shown) or 'none'}. A classifier needs something to tell apart."
        )
    if not len(validation_set):
        raise UsageError(
            f"No validation pictures beside {len(train_set)} training ones. Add pictures or hold more out "
            "with --validation 0.3."
        )


def _put_back(network: nn.Module, optimizers: Optimizers, progress: Progress) -> None:
    if progress.weights:
        network.load_state_dict(progress.weights)
        optimizers.restore(progress.optimizer)
    progress.weights = network.state_dict()  # live: it follows every step

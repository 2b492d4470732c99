"""The training loop: an iterator that yields a Step after every update and an Epoch after every pass.

Nothing here can reach a test set. The order of pictures and every random draw of a step are functions of
(seed, epoch, step) alone, so a resumed training sees exactly what an uninterrupted one would have seen.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.data.dataset import Dataset
from pellucid.errors import PellucidError, UsageError
from pellucid.inference import evaluation_mode, fixed_batches, laid_out_for, restored_modes, scaled
from pellucid.machine import keep_memory, multiplies_bfloat16
from pellucid.models.head import HeadSettings
from pellucid.models.kernels.build import prepare
from pellucid.models.kernels.fused import fast_path
from pellucid.recipe import DEFAULT, Precision, Recipe, refuse_unknown_keywords
from pellucid.task import task_of
from pellucid.training.augment import apply_augmentations, default_augmentations, parse_augmentations
from pellucid.training.diagnostics import LayerDiagnostics, diagnostics, weights_now
from pellucid.training.margins import Margins
from pellucid.training.memory import pictures_at_once
from pellucid.training.optimizers import Optimizers
from pellucid.training.sampling import (
    balanced_order,
    class_weights,
    generator_for,
    sample_order,
    seeded_random_numbers,
)
from pellucid.training.schedule import learning_rate

NOT_HELD_OUT = (math.nan, math.nan)  # validation loss and accuracy where nothing is held out
TRAINING_SAMPLE = 5_000  # training pictures on which the training loss and accuracy of an epoch are measured


class Diverged(PellucidError):
    """The loss, or its gradient, is no longer a finite number. The weights kept are good."""


@dataclass(frozen=True)
class Step:
    """One update of the weights: the `step`th of `steps` in this epoch, both counted from 1.

    loss               mean cross-entropy in nats on the batch, before the update; of several labels per
                       picture, binary cross-entropy, its mean over labels
    images_per_second  of this step alone
    stage              which training of a run of several: "fold 2 of 5", "first training", "all pictures"
    """

    epoch: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    images_per_second: float
    stage: str = ""


@dataclass(frozen=True)
class Epoch:
    """One pass over the training pictures, evaluated with fixed weights in evaluation mode, without dropout.

    seconds             since training began, evaluation included
    loss, accuracy      on the training pictures (on a fixed sample of 5,000 where there are more)
    val_loss, val_accuracy  on the validation pictures, nan where none were held out; where these have several
                        labels, a picture counts as right when each is given that has a probability of one
                        half, and no other
    best                whether `val_loss` is the lowest so far: these weights are kept. Without validation
                        pictures always True: the weights kept are the last
    stage               which training of a run of several, as in Step
    """

    epoch: int
    seconds: float
    learning_rate: float
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    best: bool
    stage: str = ""


@dataclass
class Progress:
    """The state of a training: all that a resumed one needs to go on as if it had never stopped.

    epoch    the current epoch, from 1
    step     how many of its steps are done
    until    the epoch it ends after, whatever the recipe's number of epochs; 0: by the recipe
    head     of a pretrained network, how its last layer was solved, or is to be; None: still to be chosen
    margins  how probable the label of each picture was so far; None where it was not counted
    """

    epoch: int = 1
    step: int = 0
    seconds: float = 0.0
    until: int = 0
    head: HeadSettings | None = None
    margins: Margins | None = None
    history: list[Epoch] = field(default_factory=list)
    diagnostics: list[LayerDiagnostics] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Tensor] = field(default_factory=dict)

    @property
    def best(self) -> Epoch | None:
        """The epoch with the lowest validation loss, whose weights are `best_weights`."""
        return next((epoch for epoch in reversed(self.history) if epoch.best), None)

    def finished(self, recipe: Recipe) -> bool:
        """Whether all epochs are done, or `patience` of them brought no lower validation loss."""
        if self.until:
            return self.epoch > self.until
        epochs_since_best = self.epoch - 1 - (self.best.epoch if self.best else 0)
        return self.epoch > recipe.epochs + recipe.fine_tune or 0 < recipe.patience <= epochs_since_best

    def to_tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything as named tensors and plain values, for a file."""
        groups = {"weights": self.weights, "best_weights": self.best_weights, "optimizer": self.optimizer}
        if self.margins is not None:
            groups["margins"] = self.margins.to_tensors()
        tensors = {f"{group}/{name}": t for group, state in groups.items() for name, t in state.items()}
        values = {
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "until": self.until,
            "head": asdict(self.head) if self.head else None,
            "history": [asdict(epoch) for epoch in self.history],
            "diagnostics": [asdict(entry) for entry in self.diagnostics],
        }
        return tensors, values

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> "Progress":
        """What `to_tensors` took apart. Raises KeyError or TypeError when a piece is missing."""
        head = HeadSettings(**values["head"]) if values["head"] else None
        progress = Progress(values["epoch"], values["step"], values["seconds"], values["until"], head)
        progress.history = [Epoch(**epoch) for epoch in values["history"]]
        progress.diagnostics = [LayerDiagnostics(**entry) for entry in values.get("diagnostics", [])]
        margins: dict[str, Tensor] = {}
        groups = {
            "weights": progress.weights,
            "best_weights": progress.best_weights,
            "optimizer": progress.optimizer,
            "margins": margins,
        }
        for key, tensor in tensors.items():
            group, _, name = key.partition("/")
            groups[group][name] = tensor
        progress.margins = Margins.from_tensors(margins) if margins else None
        return progress


@refuse_unknown_keywords
def train(
    network: nn.Module,
    train_set: Dataset,
    validation_set: Dataset | None,
    recipe: Recipe = DEFAULT,
    *,
    progress: Progress | None = None,
) -> Iterator[Step | Epoch]:
    """Train `network` in place, yielding a Step after every update and an Epoch after every pass.

    Stop whenever you like: `break` ends it. However it ends, the network holds the weights of the epoch
    with the lowest validation loss, or, before the first epoch was evaluated, the weights reached. With no
    validation pictures (None) nothing is chosen by them: the weights are those of the last epoch.
    `progress` is kept up to date; pass a saved one to resume.

    Raises UsageError when the pictures cannot train this network, and Diverged when the loss or its
    gradient is no longer finite: before the update, so that the weights kept are good.
    """
    check_trainable(train_set, validation_set)
    recipe = replace(recipe, augment=resolved_augment(recipe, train_set))
    progress = progress if progress is not None else Progress()
    start = time.perf_counter() - progress.seconds
    keep_memory()
    prepare()
    optimizers = Optimizers(network, recipe)
    batch_size, low = min(recipe.batch_size, len(train_set)), resolved_precision(recipe) == "bfloat16"
    at_once = pictures_at_once(network, train_set.images, batch_size, bfloat16=low)
    if progress.weights:
        for saved in (progress.weights, progress.best_weights):
            refuse_unfit(saved, network.state_dict())
        refuse_unfit(progress.optimizer, optimizers.state_dict())
        network.load_state_dict(progress.weights)
        optimizers.load_state_dict(progress.optimizer)
    progress.weights = network.state_dict()  # live: it follows every step
    if progress.margins is None and not train_set.multi_label:
        progress.margins = Margins.of(len(train_set))
    steps = math.ceil(len(train_set) / recipe.batch_size)  # per epoch
    with restored_modes(network), _best_weights_at_the_end(network, progress):
        while not progress.finished(recipe):
            order = _order(train_set, recipe, progress.epoch)  # (N,)
            for indices in torch.split(order, recipe.batch_size)[progress.step :]:
                step_start = time.perf_counter()
                rate = learning_rate(recipe, (progress.epoch - 1) * steps + progress.step, steps)
                halfway = progress.step == steps // 2
                weights_before = weights_now(network) if halfway else {}
                loss = _backward(network, train_set, indices, recipe, progress, rate=rate, at_once=at_once)
                optimizers.step(rate)
                progress.optimizer = optimizers.state_dict()
                progress.step += 1
                if halfway:
                    progress.diagnostics += diagnostics(network, weights_before, progress.epoch)
                now = time.perf_counter()
                progress.seconds = now - start
                speed = len(indices) / (now - step_start)
                yield Step(progress.epoch, progress.step, steps, loss, rate, speed)
            yield _evaluate_epoch(network, train_set, validation_set, recipe, progress, start=start)


def refuse_unfit(saved: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises PellucidError unless tensors that were saved, if any, have the names and shapes expected."""
    shapes = [{name: tuple(tensor.shape) for name, tensor in each.items()} for each in (saved, expected)]
    if saved and shapes[0] != shapes[1]:
        odd = sorted(name for name in shapes[0] | shapes[1] if shapes[0].get(name) != shapes[1].get(name))
        raise PellucidError(
            f"The checkpoint does not fit this network: {', '.join(odd[:3])[:200]} is missing or of another "
            "shape. Restore it, or train again."
        )


@contextmanager
def _best_weights_at_the_end(network: nn.Module, progress: Progress) -> Iterator[None]:
    """However the block ends, the network holds the best weights, and `progress` still those reached."""
    try:
        yield
    finally:
        network.zero_grad()
        if progress.best_weights:
            progress.weights = {name: tensor.clone() for name, tensor in progress.weights.items()}
            network.load_state_dict(progress.best_weights)


def _order(train_set: Dataset, recipe: Recipe, epoch: int) -> Tensor:
    if recipe.balance == "sampler":
        return balanced_order(train_set.labels, recipe.seed, epoch)
    return sample_order(len(train_set), recipe.seed, epoch)


def _batch(train_set: Dataset, indices: Tensor, recipe: Recipe, progress: Progress) -> tuple[Tensor, Tensor]:
    """The pictures at `indices` (B,), float (B, C, H, W), augmented, and their labels (B,), or, of mixed
    pictures, the shares of every class (B, K)."""
    images = scaled(train_set.images.index_select(0, indices))  # the fastest way to copy a few pictures
    labels = train_set.labels[indices]
    names = parse_augmentations(recipe.augment)
    generator = generator_for(recipe.seed, "augment", progress.epoch, progress.step)
    return apply_augmentations(images, labels, names, classes=len(train_set.classes), generator=generator)


def _backward(
    network: nn.Module,
    train_set: Dataset,
    indices: Tensor,
    recipe: Recipe,
    progress: Progress,
    *,
    rate: float,
    at_once: int,
) -> float:
    """Puts the gradient of the loss on the pictures at `indices` (B,) into the network; gives the loss.

    at_once  how many pictures go through the network together: of more, the gradients are added up, and batch
             norm sees each part by itself

    Raises Diverged, naming the learning rate, where either is not finite; batch norm's statistics are
    then as they were.
    """
    network.train()
    images, targets = _batch(train_set, indices, recipe, progress)
    task = task_of(train_set.labels)
    weight = class_weights(train_set.labels, len(train_set.classes)) if recipe.balance == "weights" else None
    buffers_before = [buffer.clone() for buffer in network.buffers()]  # batch norm changes them in `forward`
    network.zero_grad()
    low, value = resolved_precision(recipe) == "bfloat16", 0.0
    counted = torch.ones(len(indices)) if weight is None or targets.dim() == 2 else weight[targets]  # (B,)
    parts, said = math.ceil(len(indices) / at_once), list[Tensor]()
    with seeded_random_numbers(recipe.seed, progress.epoch, progress.step):
        pieces = (tensor.tensor_split(parts) for tensor in (images, targets, counted))
        for part, labels, share in zip(*pieces, strict=True):
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                logits = network(laid_out_for(network, part)).float()  # (B, K)
                loss = task.loss(logits, labels, weight, smoothing=recipe.label_smoothing)
            said.append(logits.detach())
            if parts > 1:  # the mean over a part, as it counts in that over all
                loss = loss * (share.sum() / counted.sum())
            loss.backward()  # type: ignore[no-untyped-call]
            value += loss.item()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients).item()
    if not math.isfinite(value) or not math.isfinite(norm):
        for buffer, before in zip(network.buffers(), buffers_before, strict=True):
            buffer.copy_(before)
        what = f"step {progress.step + 1}: the loss is {value} and its gradient {norm}, before the update"
        raise _diverged(what, rate, progress)
    if progress.margins is not None and targets.dim() == 1:  # a mixture of pictures says nothing of one label
        progress.margins.add(indices, targets, torch.cat(said))
        if recipe.balance == "sampler":  # which shows some pictures more than once in an epoch
            progress.margins.count()
    return value


def _evaluate_epoch(
    network: nn.Module,
    train_set: Dataset,
    validation_set: Dataset | None,
    recipe: Recipe,
    progress: Progress,
    *,
    start: float,
) -> Epoch:
    """The epoch that has just run, evaluated and added to `progress`; its weights are kept when the best."""
    if progress.margins is not None:
        progress.margins.count()
    sample = sample_order(len(train_set), recipe.seed, 0)[:TRAINING_SAMPLE].sort().values
    loss, accuracy = loss_and_accuracy(network, train_set.subset(sample))
    val_loss, val_accuracy = loss_and_accuracy(network, validation_set) if validation_set else NOT_HELD_OUT
    steps = math.ceil(len(train_set) / recipe.batch_size)
    rate = learning_rate(recipe, progress.epoch * steps - 1, steps)
    if not math.isfinite(val_loss if validation_set else loss):
        which, value = ("validation", val_loss) if validation_set else ("training", loss)
        raise _diverged(f"its end: the {which} loss is {value}", rate, progress)
    best = validation_set is None or progress.best is None or val_loss < progress.best.val_loss
    if best:
        progress.best_weights = {name: t.clone() for name, t in network.state_dict().items()}
    progress.seconds = time.perf_counter() - start
    epoch = Epoch(progress.epoch, progress.seconds, rate, loss, accuracy, val_loss, val_accuracy, best)
    progress.history.append(epoch)
    progress.epoch, progress.step = progress.epoch + 1, 0
    return epoch


def _diverged(what: str, rate: float, progress: Progress) -> Diverged:
    kept = f"of epoch {progress.best.epoch}, the best before" if progress.best else "reached before"
    return Diverged(
        f"Training stopped at epoch {progress.epoch}, {what}. The weights kept are those {kept}. "
        f"Try a smaller `learning_rate` (it was {rate:.2g}) or `precision=float32`."
    )


def loss_and_accuracy(network: nn.Module, dataset: Dataset) -> tuple[float, float]:
    """Mean loss in nats and accuracy 0..1 of `network` on `dataset`, in evaluation mode, float32."""
    total, correct, task = 0.0, 0, task_of(dataset.labels)
    with evaluation_mode(network), fast_path(), torch.inference_mode():
        for start, batch, count in fixed_batches(dataset.images, network=network):
            logits = network(batch)[:count].float()  # (B, K)
            labels = dataset.labels[start : start + count]
            total += float(task.total_loss(logits, labels))
            correct += int(task.right(logits, labels).sum())
    return total / len(dataset), correct / len(dataset)


def first_batch(train_set: Dataset, recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
    """What the first step trains on: the pictures' indices (B,), the augmented pictures, float 0..1
    (B, C, H, W), and their labels (B,), or, of mixed pictures, the shares of every class (B, K)."""
    recipe = replace(recipe, augment=resolved_augment(recipe, train_set))
    indices = _order(train_set, recipe, 1)[: recipe.batch_size]
    return indices, *_batch(train_set, indices, recipe, Progress())


def resolved_augment(recipe: Recipe, train_set: Dataset) -> str:
    """The augmentations by name, or "none". Raises UsageError for an unknown name."""
    names = default_augmentations(train_set.channels) if recipe.augment == "auto" else recipe.augment
    return ",".join(parse_augmentations(names)) or "none"


def resolved_precision(recipe: Recipe) -> Precision:
    """ "float32" or "bfloat16": what "auto" means on this processor.

    bfloat16 pays where the processor multiplies it natively; elsewhere it is emulated and slower.
    """
    if recipe.precision != "auto":
        return recipe.precision
    return "bfloat16" if multiplies_bfloat16() else "float32"


def check_trainable(train_set: Dataset, validation_set: Dataset | None) -> None:
    """Raises UsageError when the two sets differ in classes, kind of labels or shape, or when either has too
    few pictures.

    Without validation pictures (None) nothing is asked of them.
    """
    if validation_set is not None:
        _check_alike(train_set, validation_set)
    present = [name for name, count in train_set.counts.items() if count]
    if len(present) < 2:
        raise UsageError(
            f"Expected training pictures of at least two classes; got {len(train_set)} pictures of "
            f"{', '.join(present) or 'none'}. A classifier needs something to tell apart."
        )
    if validation_set is not None and not len(validation_set):
        raise UsageError(
            f"No validation pictures beside {len(train_set)} training ones. Add pictures or hold more out "
            "with `validation=0.3`."
        )


def _check_alike(train_set: Dataset, validation_set: Dataset) -> None:
    if train_set.classes != validation_set.classes:
        raise UsageError(
            f"Expected the same classes in training and validation; got {', '.join(train_set.classes)} "
            f"and {', '.join(validation_set.classes)}."
        )
    if train_set.labels.dim() != validation_set.labels.dim():
        raise UsageError(
            "Expected several labels per picture in both training and validation, or one in both; got "
            f"labels {tuple(train_set.labels.shape)} and {tuple(validation_set.labels.shape)}."
        )
    if train_set.images.shape[1:] != validation_set.images.shape[1:]:
        raise UsageError(
            f"Expected validation pictures of (C, H, W) {tuple(train_set.images.shape[1:])} as in training; "
            f"got {tuple(validation_set.images.shape[1:])}."
        )

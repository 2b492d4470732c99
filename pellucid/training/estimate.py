"""How long a training will take, by its first steps: on a copy, before it begins."""

import time
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from statistics import median

import torch
from torch import nn

from pellucid.data.dataset import Dataset
from pellucid.errors import PellucidError
from pellucid.inference import evaluation_mode, fixed_batches
from pellucid.machine import torch_threads
from pellucid.models import PretrainedNetwork
from pellucid.recipe import Recipe
from pellucid.training.logistic import FEW
from pellucid.training.loop import TRAINING_SAMPLE, Step, loss_and_accuracy, train
from pellucid.training.transfer import PICTURES_AT_ONCE, embeddings_file

WARMING, MEASURED = 2, 5  # steps: the first are slower
SHORTEST, LONGEST = (
    0.3,
    2.0,
)  # seconds of measuring: more of quick steps, of slow ones what there was time for
JUDGED = 64  # pictures
MANY = 1_000  # epochs, of which the first few steps are taken
SOLVING = 1e-7  # seconds for each picture and weight of a last layer that is solved, its penalty chosen
BY_FOLDS = 2  # times as many where folds choose it


def seconds_to_train(
    network: nn.Module, train_set: Dataset, validation_set: Dataset, recipe: Recipe
) -> float:
    """The seconds that `train_network` will take on this machine as busy as it now is.

    Measured on a copy of the network, which takes a second or two where a step takes long. `recipe` must be
    resolved. Early stopping is not foreseen.
    """
    seconds = 0.0
    if isinstance(network, PretrainedNetwork):
        seconds += _seconds_at_rest(network, train_set, validation_set)
        if not recipe.fine_tune:
            return seconds
    with torch_threads(recipe.threads):
        trial = deepcopy(network)
        judging = _seconds_to_judge(trial, train_set)
        step, end = _seconds_of_steps(trial, train_set, validation_set, recipe)
    if end is None:
        end = min(len(train_set), TRAINING_SAMPLE) * judging
    epoch = len(train_set) / recipe.batch_size * step + end + len(validation_set) * judging
    return seconds + (recipe.fine_tune or recipe.epochs) * epoch


def _seconds_of_steps(
    network: nn.Module, train_set: Dataset, validation_set: Dataset, recipe: Recipe
) -> tuple[float, float | None]:
    """The median time of a step of a whole batch, and, if epochs are so short that some ended meanwhile, that
    of an epoch's end: its training pictures are judged, and the weights are kept."""
    recipe = replace(recipe, epochs=MANY, fine_tune=0, patience=0)
    begun = last = time.perf_counter()
    taken: list[float] = []
    ends: list[float] = []
    events = train(network, train_set, validation_set.subset(torch.arange(1)), recipe)
    with suppress(PellucidError):  # a loss that is no number: training itself says so
        for event in events:
            now = time.perf_counter()
            if not isinstance(event, Step):
                ends.append(now - last)
            elif event.step < event.steps or event.steps == 1:
                taken.append(now - last)
            last = now
            enough = WARMING + (MEASURED if now - begun < LONGEST else 1)
            if len(taken) >= enough and now - begun > SHORTEST:
                break
    events.close()  # type: ignore[attr-defined]
    return median(taken[WARMING:] or taken or [0.0]), median(ends[1:] or ends) if ends else None


def _seconds_to_judge(network: nn.Module, dataset: Dataset) -> float:
    """The time a picture takes in evaluation mode."""
    few = dataset.subset(torch.arange(min(JUDGED, len(dataset))))
    loss_and_accuracy(network, few.subset(torch.arange(1)))  # the first time is slower
    begun = time.perf_counter()
    loss_and_accuracy(network, few)
    return (time.perf_counter() - begun) / len(few)


def _seconds_at_rest(network: PretrainedNetwork, train_set: Dataset, validation_set: Dataset) -> float:
    """The features of all pictures that have none yet, by those of a few; then the last layer."""
    weights = min(network.head.dense.in_features, len(train_set)) * len(train_set.classes)
    solving = SOLVING * weights * len(train_set) * (1 if len(validation_set) >= FEW else BY_FOLDS)
    missing = sum(
        len(part) for part in (train_set, validation_set) if not embeddings_file(network, part).is_file()
    )
    if not missing:
        return solving
    few = train_set.images[:PICTURES_AT_ONCE]
    with evaluation_mode(network), torch.inference_mode():
        for _ in range(2):  # the first time is slower
            begun = time.perf_counter()
            for _, batch, _ in fixed_batches(few, PICTURES_AT_ONCE):
                network.features(batch)
    return solving + (time.perf_counter() - begun) / len(few) * missing

"""Which network suits the pictures: several are trained within a budget of time and compared on validation.

The test set is not reached from here. The choice is a recipe; trained again by `fit`, it gives the same
network, because a training depends on nothing else.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from pellucid.data.dataset import Dataset
from pellucid.errors import PellucidError
from pellucid.inference import evaluation_mode, scaled
from pellucid.models import PretrainedNetwork, build, is_pretrained
from pellucid.recipe import BUDGET, Recipe, fast
from pellucid.training.loop import Epoch, Progress, Step
from pellucid.training.transfer import PICTURES_AT_ONCE, embeddings_file, train_network

UPDATES = 750  # that a network trained from the start gets, at least
MOST_EPOCHS = 150
FINE_TUNED_EPOCHS = 6
RESIDUAL_PICTURES = 2_000  # from so many on, resnet has been seen to win from the start
RESIDUAL_SIDE = 64
JUDGING = 0.4  # time of judging a picture, as a share of that of learning from it
# After the first step, which is slower, and before the rest is estimated; four times as many of quick ones.
MEASURED_STEPS, MEASURED_SECONDS = 3, 1.0


@dataclass(frozen=True)
class Candidate:
    """A network that was tried, and how it did on the validation pictures.

    model         its name, and "fine-tuned" where all of it was trained further
    seconds       that it took; `estimated`, what was expected after its first steps
    val_accuracy, val_loss  None where there was no time to finish it
    chosen        whether the run trains this one
    """

    model: str
    seconds: float
    estimated: float
    val_accuracy: float | None = None
    val_loss: float | None = None
    chosen: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Candidate":
        """What `to_json` wrote. Raises PellucidError when it is damaged."""
        try:
            return Candidate(**values)
        except TypeError as error:
            raise PellucidError(f"A candidate in environment.json is damaged: {error}.") from error


@dataclass(frozen=True)
class Choice:
    """The recipe of the candidate that did best on validation, and all that were tried, in order."""

    recipe: Recipe
    candidates: tuple[Candidate, ...]


def choose(
    train_set: Dataset,
    validation_set: Dataset,
    settings: Mapping[str, Any],
    *,
    budget: float = BUDGET,
    resolve: Callable[[Recipe], Recipe] = lambda recipe: recipe,
    on_start: Callable[[str, float], None] = lambda name, estimated: None,
    on_end: Callable[[Candidate], None] = lambda candidate: None,
) -> Choice:
    """Train candidates, one after the other, and choose by validation accuracy, then validation loss.

    settings  of a Recipe, changed in every candidate
    budget    seconds for all of them and for training the chosen one again; one that would not fit is dropped
              after its first steps. The first is always finished
    resolve   fills in what a recipe leaves at "auto"
    on_start  called with a candidate's name and how many seconds it will take
    on_end    called with each candidate when it is done or dropped
    """
    begun, threads = time.perf_counter(), torch.get_num_threads()
    tried: list[tuple[Recipe, Candidate]] = []
    for recipe in candidate_recipes(train_set):
        recipe = resolve(replace(recipe, **settings))
        left = budget - (time.perf_counter() - begun)
        allowed = left / 2 if any(candidate.val_loss is not None for _, candidate in tried) else math.inf
        candidate = _tried(recipe, train_set, validation_set, allowed, on_start)
        tried.append((recipe, candidate))
        on_end(candidate)
    torch.set_num_threads(threads)
    finished = [
        (candidate.val_accuracy, -candidate.val_loss, -place)
        for place, (_, candidate) in enumerate(tried)
        if candidate.val_accuracy is not None and candidate.val_loss is not None
    ]
    best = -max(finished)[2]
    marked = tuple(replace(candidate, chosen=place == best) for place, (_, candidate) in enumerate(tried))
    return Choice(tried[best][0], marked)


def candidate_recipes(train_set: Dataset) -> list[Recipe]:
    """What is tried on these pictures, the most promising first."""
    count, shape = len(train_set), (train_set.channels, *train_set.size)
    at_rest = fast(count, shape, "lite0")
    compact, tutorial = (_lengthened(fast(count, shape, name), count) for name in ("compact", "tutorial"))
    fine_tuned = replace(at_rest, fine_tune=FINE_TUNED_EPOCHS, learning_rate=1e-2)
    recipes = [at_rest, compact, tutorial, fine_tuned]
    if count >= RESIDUAL_PICTURES and max(train_set.size) <= RESIDUAL_SIDE:
        recipes.append(fast(count, shape, "resnet"))
    return recipes if train_set.channels in (1, 3) else [r for r in recipes if not is_pretrained(r.model)]


def _lengthened(recipe: Recipe, count: int) -> Recipe:
    """Epochs enough for UPDATES, however few pictures there are: it is updates that teach."""
    updates = math.ceil(count / recipe.batch_size)
    return replace(recipe, epochs=min(MOST_EPOCHS, max(recipe.epochs, math.ceil(UPDATES / updates))))


def _tried(
    recipe: Recipe,
    train_set: Dataset,
    validation_set: Dataset,
    allowed: float,
    on_start: Callable[[str, float], None],
) -> Candidate:
    """One candidate, trained unless it would take longer than `allowed` seconds; then dropped."""
    name = f"{recipe.model}, fine-tuned" if recipe.fine_tune else recipe.model
    begun = time.perf_counter()
    torch.set_num_threads(recipe.threads or torch.get_num_threads())
    network = build(
        recipe.model, train_set.channels, len(train_set.classes), train_set.size, seed=recipe.seed
    )
    estimated = 0.0
    if isinstance(network, PretrainedNetwork):
        estimated = _seconds_at_rest(network, train_set, validation_set)
        if not recipe.fine_tune:
            on_start(name, estimated)
    progress, announced = Progress(), False
    steps = math.ceil(len(train_set) / recipe.batch_size)
    events = train_network(network, train_set, validation_set, recipe, progress=progress)
    for since, done in _steps(events):
        enough = done >= MEASURED_STEPS and (since * done >= MEASURED_SECONDS or done >= 4 * MEASURED_STEPS)
        if enough and not announced:
            announced = True
            epochs = recipe.fine_tune or recipe.epochs
            judging = JUDGING * (1 + len(validation_set) / len(train_set))
            estimated = time.perf_counter() - begun + since * steps * (1 + judging) * epochs
            on_start(name, estimated)
            if estimated > allowed:
                break
        if time.perf_counter() - begun > allowed:
            break
    events.close()  # type: ignore[attr-defined]
    seconds = time.perf_counter() - begun
    best = progress.best
    if best is None or not progress.finished(recipe):
        return Candidate(name, seconds, estimated)
    return Candidate(name, seconds, estimated, best.val_accuracy, best.val_loss)


def _steps(events: Iterator[Step | Epoch]) -> Iterator[tuple[float, int]]:
    """(seconds a step took, on average since the first; how many there were since) after every step."""
    first, done = 0.0, -1
    for event in events:
        if isinstance(event, Step):
            done += 1
            first = first or time.perf_counter()
            yield (time.perf_counter() - first) / max(done, 1), done


def _seconds_at_rest(network: PretrainedNetwork, train_set: Dataset, validation_set: Dataset) -> float:
    """How long the features of all pictures will take, by those of the first few."""
    if all(embeddings_file(network, dataset).is_file() for dataset in (train_set, validation_set)):
        return 1.0
    few = min(PICTURES_AT_ONCE, len(train_set))
    images = scaled(train_set.images[:few])
    with evaluation_mode(network):
        network.features(images).detach()  # the first time is slower
        begun = time.perf_counter()
        network.features(images).detach()
    return (time.perf_counter() - begun) / few * (len(train_set) + len(validation_set)) + 1.0

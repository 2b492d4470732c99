"""Which network suits the pictures: several are trained within a budget of time and compared on validation.

The test set is not reached from here. The choice is a recipe; its training is kept in the cache, where `fit`
finds it. Where it does not, `fit` trains again and gets the same network, because a training depends on
nothing else. Without a budget of one's own, what is tried follows from
the number of pictures and their size, not from a clock: the same pictures give the same run.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from torch import nn

from pellucid.data.dataset import Dataset, Origin
from pellucid.errors import PellucidError, UsageError
from pellucid.files import make_folder
from pellucid.machine import torch_threads
from pellucid.models import PretrainedNetwork, build, is_pretrained
from pellucid.models.compact import averaged
from pellucid.models.lite0 import resized
from pellucid.recipe import AUTO, BUDGET, RESIDUAL_PICTURES, NamedRecipe, Recipe, fast
from pellucid.records import Share, Within, record_from
from pellucid.runs.kept import KeptTraining
from pellucid.training.estimate import seconds_to_train
from pellucid.training.loop import Diverged, Epoch, Progress
from pellucid.training.memory import check_memory
from pellucid.training.snapshots import SnapshotRecorder
from pellucid.training.transfer import train_network

# Settings of networks that are trained step by step: who gives one has such a training in mind.
OF_STEPS = {
    "epochs", "batch_size", "optimizer", "learning_rate", "schedule", "weight_decay", "label_smoothing",
    "fine_tune", "patience", "augment",
}  # fmt: skip
UPDATES, FEW_AT_ONCE = 500, 32  # that compact gets, at least, and pictures in each, where pictures are few
FINE_TUNED_EPOCHS = 6
LARGEST = 64  # pixels a side, of pictures for tutorial and resnet
# On two cores, for each pixel of a picture that a step learns from, judging included; of a backbone at rest,
# for each that it looks at. Fixed, so that no clock decides; measured as benchmarks/results.md says.
NANOSECONDS = {"tutorial": 150, "compact": 650, "resnet": 2_900, "lite0": 240}
FINE_TUNING = 3.5  # times the work of looking at a picture
# After half of its epochs a network is given up if it is so far behind the best before it, in accuracy on
# validation pictures, and in pictures: none that came to win was, see docs/decisions.md.
FAR_BEHIND, FAR_BEHIND_PICTURES = 0.1, 3
FEWEST_EPOCHS = 6  # of a training that may be given up
HALF_OR_ALL = 0.75  # of such a training, what is expected beforehand: it may be half or all


@dataclass(frozen=True)
class Candidate:
    """A network that was tried, and how it did on the validation pictures.

    model      its name, and "fine-tuned" where all of it was trained further
    seconds    that it took; of one that does not fit the budget, about what it would take
    val_accuracy, val_loss  of the weights kept; None of one that was not tried, as it does not fit the
               budget, and of one that failed
    chosen     whether the run trains this one
    failed     why its training broke off, such as a loss that is no number; "" where it did not
    half_accuracy  on the validation pictures, the best of the first half of its epochs; None where it has too
               few epochs to ask
    pruned     whether it was given up after these, far behind another; or, without `half_accuracy`, not
               begun, as another had every validation picture right
    """

    model: str
    seconds: Annotated[float, Within(0)]
    val_accuracy: Share | None = None
    val_loss: float | None = None
    chosen: bool = False
    failed: str = ""
    half_accuracy: Share | None = None
    pruned: bool = False

    @property
    def tried(self) -> bool:
        """Whether it was trained, to its end, until it failed or until it was given up."""
        given_up = self.pruned and self.half_accuracy is not None
        return self.val_accuracy is not None or bool(self.failed) or given_up

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Candidate":
        """What `to_json` wrote. Raises PellucidError when it is damaged."""
        try:
            return record_from(Candidate, values)
        except ValueError as error:
            raise PellucidError(f"A candidate in environment.json is damaged: {error}.") from error


@dataclass(frozen=True)
class Choice:
    """The recipe of the candidate that did best on validation, and all that were tried, in order."""

    recipe: Recipe
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Listener:
    """What is called while a network is chosen.

    planned  before the first, with the names of all that will be tried and the seconds that they will take
    tried    with each candidate when it is done, or will not be
    """

    planned: Callable[[list[str], float], None] | None = None
    tried: Callable[[Candidate], None] = lambda candidate: None


def leaves_open(recipe: NamedRecipe, origin: Origin) -> bool:
    """Whether a recipe leaves it to `choose` which network is trained on these pictures.

    "fast" does for your own pictures, as long as neither the network nor its training is said.
    """
    if "model" in recipe.settings:
        return bool(recipe.settings["model"] == AUTO)
    return recipe.name == "fast" and not origin.known and not OF_STEPS & recipe.settings.keys()


def choose(
    train_set: Dataset,
    validation_set: Dataset,
    settings: Mapping[str, Any],
    *,
    budget: float | None = None,
    resolve: Callable[[Recipe], Recipe] = lambda recipe: recipe,
    listener: Listener = Listener(),
) -> Choice:
    """Train candidates, one after the other, and choose by validation accuracy, then validation loss.

    One that is far behind after half of its epochs is given up, and none is begun once another has every
    validation picture right.

    settings  of a Recipe, changed in every candidate, whatever the `model` among them
    budget    seconds for all of them: what does not fit by its first steps is not tried, but for the first.
              Without one, BUDGET, counted by the size of the work, so that the choice does not depend on the
              clock, and no fine-tuning, which has not been seen to win
    resolve   fills in what a recipe leaves at "auto"

    A training whose loss is no longer a number is left out. Raises PellucidError where all of them are.
    What is done when Ctrl-C is pressed need not be done again: it is kept as soon as it is complete.
    """
    begun = time.perf_counter()
    changes = {name: value for name, value in settings.items() if name != "model"}
    recipes = [resolve(replace(recipe, **changes)) for recipe in candidate_recipes(train_set)]
    recipes = [recipe for recipe in recipes if _fits(recipe, train_set)]
    work = {recipe: _work(recipe, train_set, validation_set) for recipe in recipes}
    quick = {recipe: work[recipe] for recipe in recipes if not recipe.fine_tune}
    planned = _within(BUDGET, quick or work) if budget is None else _within(budget, work)
    seconds = work
    if budget is not None or listener.planned:
        seconds = {**work, **{recipe: _measured(recipe, train_set, validation_set) for recipe in planned}}
    if listener.planned:
        shares = [HALF_OR_ALL if index and _half(recipe) else 1.0 for index, recipe in enumerate(planned)]
        expected = sum(share * seconds[recipe] for share, recipe in zip(shares, planned, strict=True))
        listener.planned([_name(recipe) for recipe in planned], expected)
    tried: dict[Recipe, Candidate] = {}
    for recipe in [*planned, *(recipe for recipe in recipes if recipe not in planned)]:
        left = math.inf if budget is None or not tried else budget - (time.perf_counter() - begun)
        best_before = max((candidate.val_accuracy or 0.0 for candidate in tried.values()), default=0.0)
        if best_before == 1:
            tried[recipe] = Candidate(_name(recipe), 0.0, pruned=True)
        elif recipe not in planned or seconds[recipe] > left:
            tried[recipe] = Candidate(_name(recipe), seconds[recipe])
        else:
            tried[recipe] = _tried(recipe, train_set, validation_set, best_before=best_before)
        listener.tried(tried[recipe])
    best = max(tried, key=lambda recipe: _score(tried[recipe]))
    if tried[best].val_accuracy is None:
        raise PellucidError(f"None of the networks could be trained: {tried[best].failed}")
    for recipe in tried.keys() - {best}:
        KeptTraining.of(recipe, train_set, validation_set).forget_training()
    tried[best] = replace(tried[best], chosen=True)
    return Choice(best, tuple(tried.values()))


def expected_seconds(recipe: Recipe, train_set: Dataset, validation_set: Dataset) -> float:
    """How long the training will take on this machine, by its first steps. `recipe` must be resolved.

    Raises UsageError when a step does not fit in memory.
    """
    network = _network(recipe, train_set)
    if not isinstance(network, PretrainedNetwork) or recipe.fine_tune:
        check_memory(network, train_set, recipe)
    return seconds_to_train(network, train_set, validation_set, recipe)


def candidate_recipes(train_set: Dataset) -> list[Recipe]:
    """What may be tried on these pictures, the most promising for its time first."""
    count, shape = len(train_set), (train_set.channels, *train_set.size)
    small = max(train_set.size) <= LARGEST
    at_rest = replace(fast(count, shape, "lite0"), use_all=not train_set.multi_label)
    recipes = [_compact(count, shape)]
    if small:
        recipes.append(fast(count, shape, "tutorial"))
    if train_set.channels in (1, 3):
        recipes = [at_rest, *recipes]
    if small and count >= RESIDUAL_PICTURES:
        recipes.append(fast(count, shape, "resnet"))
    if train_set.channels in (1, 3):
        tuned = replace(at_rest, fine_tune=FINE_TUNED_EPOCHS, learning_rate=1e-2, use_all=False)
        recipes.append(tuned)
    return recipes


def _compact(count: int, shape: tuple[int, int, int]) -> Recipe:
    """Small batches where pictures are few: it is updates that teach."""
    recipe = fast(count, shape, "compact")
    if count >= UPDATES * FEW_AT_ONCE:
        return recipe
    epochs = max(2, math.ceil(UPDATES * FEW_AT_ONCE / count))
    return replace(recipe, batch_size=FEW_AT_ONCE, epochs=epochs)


def _work(recipe: Recipe, train_set: Dataset, validation_set: Dataset) -> float:
    """The seconds that a training takes on two cores of an ordinary machine, by the size of the work."""
    if is_pretrained(recipe.model):
        height, width = resized(train_set.size)
        once = (len(train_set) + len(validation_set)) * height * width
        passes = 1 + FINE_TUNING * recipe.fine_tune
    else:
        factor = averaged(train_set.size) if recipe.model == "compact" else 1
        once = len(train_set) * train_set.size[0] * train_set.size[1] // factor**2
        passes = recipe.epochs
    return once * passes * NANOSECONDS.get(recipe.model, NANOSECONDS["resnet"]) / 1e9


def _within(budget: float, work: Mapping[Recipe, float]) -> list[Recipe]:
    """The recipes that together fit the budget; the quickest at least."""
    planned: list[Recipe] = []
    for recipe in work:
        if sum(work[one] for one in [*planned, recipe]) <= budget:
            planned.append(recipe)
    return planned or [min(work, key=lambda recipe: work[recipe])]


def _fits(recipe: Recipe, train_set: Dataset) -> bool:
    """Whether a step of its training fits in memory."""
    if is_pretrained(recipe.model) and not recipe.fine_tune:
        return True
    try:
        check_memory(_network(recipe, train_set), train_set, recipe)
    except UsageError:
        return False
    return True


def _measured(recipe: Recipe, train_set: Dataset, validation_set: Dataset) -> float:
    """How long it will take by its first steps; nothing where its result is known from an earlier choice."""
    if _remembered(KeptTraining.of(recipe, train_set, validation_set)) is not None:
        return 0.0
    return expected_seconds(recipe, train_set, validation_set)


def _tried(recipe: Recipe, train_set: Dataset, validation_set: Dataset, *, best_before: float) -> Candidate:
    """One candidate, trained; or what an earlier choice on the same pictures found.

    best_before  the highest validation accuracy so far; far behind it, the candidate is given up. What is
                 remembered is judged by it again, so that a choice never depends on those before
    """
    kept = KeptTraining.of(recipe, train_set, validation_set)
    least = best_before - max(FAR_BEHIND, FAR_BEHIND_PICTURES / len(validation_set))
    known = _remembered(kept)
    if known is not None and known.half_accuracy is not None and known.half_accuracy < least:
        return replace(known, val_accuracy=None, val_loss=None, pruned=True)
    if known is not None and not known.pruned:
        return known
    begun, network, progress = time.perf_counter(), _network(recipe, train_set), Progress()
    steps = math.ceil(len(train_set) / recipe.batch_size)
    recorder = SnapshotRecorder.start(kept.snapshots, network, recipe.epochs, steps)
    candidate = Candidate(_name(recipe), 0.0)
    events = train_network(network, train_set, validation_set, recipe, progress=progress)
    try:
        with torch_threads(recipe.threads), closing(events):  # type: ignore[type-var]  # a generator
            for event in events:
                recorder.on_event(event)
                if isinstance(event, Epoch) and event.epoch == _half(recipe):
                    best = max(epoch.val_accuracy for epoch in progress.history)
                    candidate = replace(candidate, half_accuracy=best, pruned=best < least)
                    if candidate.pruned:
                        break
    except Diverged as error:
        candidate = replace(candidate, failed=str(error))
    candidate = replace(candidate, seconds=time.perf_counter() - begun)
    if not candidate.failed and not candidate.pruned:
        best_epoch = progress.best
        assert best_epoch is not None  # an epoch was judged, or `train_network` raised
        candidate = replace(candidate, val_accuracy=best_epoch.val_accuracy, val_loss=best_epoch.val_loss)
        with suppress(PellucidError):  # a cache that cannot be written costs only time
            make_folder(kept.snapshots.parent)
            recorder.write()
            kept.keep_training(progress)
    kept.keep_result(candidate.to_json())
    return candidate


def _half(recipe: Recipe) -> int:
    """The epoch after which it may be given up; 0 for never."""
    of_steps = not is_pretrained(recipe.model) and recipe.epochs >= FEWEST_EPOCHS
    return math.ceil(recipe.epochs / 2) if of_steps else 0


def _remembered(kept: KeptTraining) -> Candidate | None:
    with suppress(PellucidError):
        return Candidate.from_json(kept.result() or {})
    return None


def _network(recipe: Recipe, train_set: Dataset) -> nn.Module:
    shape = train_set.channels, len(train_set.classes), train_set.size
    return build(recipe.model, *shape, seed=recipe.seed)


def _name(recipe: Recipe) -> str:
    return f"{recipe.model}, fine-tuned" if recipe.fine_tune else recipe.model


def _score(candidate: Candidate) -> tuple[float, float]:
    """What a choice goes by; below any network's where it failed, and below that where it was not tried."""
    if candidate.val_accuracy is None or candidate.val_loss is None:
        return (-1.0 if candidate.failed else -2.0, 0.0)
    return (candidate.val_accuracy, -candidate.val_loss)

"""Several trainings for one answer: the folder they share, the network they share, and who hears of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pellucid.data.dataset import Splits
from pellucid.errors import UsageError
from pellucid.files import CLAIM, claim, claim_numbered_folder, make_folder, read_object, write_json
from pellucid.recipe import NamedRecipe, Recipe
from pellucid.runs.choose import Candidate, Listener, choose, expected_seconds, leaves_open
from pellucid.runs.fit import resolved
from pellucid.runs.session import Activity, Callback
from pellucid.runs.stages import rounds
from pellucid.training.loop import Epoch, Step, check_trainable


@dataclass(frozen=True)
class PlannedTraining:
    """A training that is yet to be done.

    name     such as "seed 2 of 5"; the `stage` of its events begins with it
    epochs   at most
    seconds  that it will take on this machine as busy as it now is
    """

    name: str
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Watch:
    """What is called while several trainings are done.

    choosing  while a network is chosen, which comes first where the recipe leaves it open
    planned   before the first training, with all that are yet to be done
    features  with the activity, the number of pictures so far and of all, while a pretrained network computes
              their features
    """

    choosing: Listener = field(default_factory=Listener)
    planned: Callable[[Sequence[PlannedTraining]], None] | None = None
    features: Activity | None = None


def chosen(
    splits: Splits, recipe: Recipe | NamedRecipe, watch: Watch
) -> tuple[Recipe | NamedRecipe, tuple[Candidate, ...]]:
    """The recipe with the network that does best on the validation pictures, and all that were tried; or the
    recipe as it is, where it leaves nothing open."""
    check_trainable(splits.train, splits.validation)
    if not isinstance(recipe, NamedRecipe) or not leaves_open(recipe, splits.origin):
        return recipe, ()
    resolve = partial(resolved, train=splits.train, origin=splits.origin)
    choice = choose(
        splits.train, splits.validation, recipe.settings, resolve=resolve, listener=watch.choosing
    )
    return choice.recipe, choice.candidates


def settled(recipe: Recipe | NamedRecipe, splits: Splits) -> Recipe:
    """The recipe for these training pictures, with nothing left at "auto"."""
    if isinstance(recipe, NamedRecipe):
        recipe = recipe.resolve(len(splits.train), (splits.train.channels, *splits.train.size))
    return resolved(recipe, splits.train, splits.origin)


def planned(name: str, recipe: Recipe | NamedRecipe, splits: Splits) -> PlannedTraining:
    """One training with its estimate, by its first steps."""
    final = settled(recipe, splits)
    seconds = expected_seconds(final, splits.train, splits.validation)
    seconds *= rounds(final, len(splits.train), len(splits.validation))
    return PlannedTraining(name, final.epochs + final.fine_tune, seconds)


def under_name(name: str, callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks, called with events whose `stage` begins with the training's name."""

    def renamed(callback: Callback, event: Step | Epoch) -> None:
        callback(replace(event, stage=f"{name}, {event.stage}" if event.stage else name))

    return [partial(renamed, callback) for callback in callbacks]


@contextmanager
def claimed(folder: str | Path | None, name: str, file: str, wanted: dict[str, Any]) -> Iterator[Path]:
    """The folder in which these trainings were begun, or a new one in which `file` says what they are of; no
    other process trains there inside the block.

    folder  of one's own choice; without one, `runs/<name>-<n>`
    wanted  what must be the same for trainings to be gone on with

    Raises UsageError when the folder holds something else, PellucidError when another process trains there.
    """
    if folder is None:
        same = (path.parent for path in sorted(Path("runs").glob(f"{name}-*/{file}")) if _is_of(path, wanted))
        folder = next(same, None) or claim_numbered_folder(Path("runs"), name)
    folder = Path(folder)
    if not (folder / file).is_file():
        _refuse_other(folder)
        make_folder(folder)
    with claim(folder):
        if not (folder / file).is_file():
            _refuse_other(folder)
            write_json(folder / file, wanted)
        elif not _is_of(folder / file, wanted):
            raise UsageError(
                f"'{folder}' holds trainings on other pictures or by another recipe. Name another folder "
                "with `folder`."
            )
        yield folder


def _refuse_other(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(path.name != CLAIM for path in folder.iterdir())):
        raise UsageError(f"'{folder}' is not empty. Expected a new folder: name another with `folder`.")


def described(recipe: Recipe | NamedRecipe) -> dict[str, Any]:
    """The recipe without its seed, as plain values."""
    if isinstance(recipe, Recipe):
        return {name: value for name, value in recipe.to_json().items() if name != "seed"}
    settings = {name: value for name, value in recipe.settings.items() if name != "seed"}
    return {"name": recipe.name, "settings": settings}


def seeded(recipe: Recipe | NamedRecipe, seed: int) -> Recipe | NamedRecipe:
    """The recipe with another seed."""
    if isinstance(recipe, NamedRecipe):
        return NamedRecipe(recipe.name, {**recipe.settings, "seed": seed})
    return replace(recipe, seed=seed)


def _is_of(path: Path, wanted: dict[str, Any]) -> bool:
    facts = read_object(path)
    return all(facts.get(name) == value for name, value in wanted.items())

"""One recipe trained with several seeds: each a run of its own, done once, and their scores together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.classifier import MANIFEST
from pellucid.data import load_by
from pellucid.data.dataset import Choices
from pellucid.errors import UsageError
from pellucid.evaluation.repeated import RecipeDifference, SeedScores, compare_recipes
from pellucid.files import claim_numbered_folder, make_folder, read_object, write_json
from pellucid.recipe import READING, NamedRecipe, Recipe, refuse_unknown_keywords
from pellucid.runs.checkpoint import CHECKPOINT
from pellucid.runs.fit import fit, resume
from pellucid.runs.run import Run
from pellucid.runs.session import Callback

REPEAT = "repeat.json"


@dataclass(frozen=True, eq=False)
class Repetition:
    """Runs of one recipe on the same pictures that differ in nothing but their seed.

    folder   holds a run in `seed-1`, `seed-2` ... each, and repeat.json with the figures
    runs     in the order of the seeds
    scores   which test pictures each predicts correctly: mean, spread, intervals
    sources  the test pictures, in the order of the scores
    """

    folder: Path
    runs: tuple[Run, ...]
    scores: SeedScores
    sources: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Repetition('{self.folder}', {self.scores.verdict})"

    @staticmethod
    def open(folder: str | Path) -> "Repetition":
        """The runs that `repeat` left in `folder`. Raises UsageError when there is none that was judged."""
        folder = Path(folder)
        if not (folder / REPEAT).is_file():
            raise UsageError(
                f"'{folder}' holds no {REPEAT}. Expected the folder that 'pellucid repeat' or repeat() wrote."
            )
        numbered = {int(path.name[5:]): path for path in folder.glob("seed-*") if path.name[5:].isdecimal()}
        return _together(folder, [Run.open(path) for _, path in sorted(numbered.items()) if _is_done(path)])

    def against(self, other: "Repetition") -> RecipeDifference:
        """The mean accuracy of these runs less that of `other`'s, with its interval.

        Raises UsageError when the two were judged on other test pictures, or one has a single seed.
        """
        if self.sources != other.sources:
            raise UsageError(
                f"'{self.folder}' and '{other.folder}' were judged on other test pictures "
                f"({len(self.sources):,} and {len(other.sources):,}). Expected two recipes on the same data."
            )
        if min(len(self.runs), len(other.runs)) < 2:
            raise UsageError("Recipes are compared by two seeds each, or more; got a single one.")
        return compare_recipes(other.scores, self.scores)


@refuse_unknown_keywords
def repeat(
    data: str | Path,
    recipe: Recipe | NamedRecipe | str = "fast",
    *,
    seeds: int = 5,
    folder: str | Path | None = None,
    data_dir: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    done: Callable[[Run], None] = lambda run: None,
) -> Repetition:
    """Train with the seeds 1, 2 ... `seeds`, judge each run on the test pictures, and sum their scores up.

    data       what `load` takes by name or path; the seed decides the validation part, never the test part
    recipe     as `fit` takes it; where it leaves the network open, that is chosen with the first seed
    folder     of all runs; without one, the `runs/<name>-repeat-<n>` where this was begun, or a new one
    callbacks  called with every Step and Epoch
    done       called with each run when it is judged

    Runs that are done are not done again, and one that was stopped is gone on with: calling it again goes
    on, or adds seeds. Ctrl-C raises Stopped. Raises UsageError when `folder` holds another recipe's runs.
    """
    asked = Recipe.named(recipe) if isinstance(recipe, str) else recipe
    settings = asked.resolve(1) if isinstance(asked, NamedRecipe) else asked
    if settings.folds or seeds < 1:
        raise UsageError(
            f"Expected one seed or more and a test part, so no `folds`; got {seeds} seeds, {settings.folds} "
            "folds."
        )
    wanted = {"data": str(data), "recipe": _described(asked)}
    place = _claimed(Path(folder) if folder is not None else None, wanted)
    runs: list[Run] = []
    for seed in range(1, seeds + 1):
        choices = Choices(**{name: getattr(_seeded(settings, seed), name) for name in READING})
        own, run = place / f"seed-{seed}", None
        if _is_done(own):
            run = Run.open(own)
        else:
            splits = load_by(str(data), choices, data_dir=data_dir)
            if not len(splits.test):
                raise UsageError(
                    f"'{data}' has no test pictures to judge the runs on. Expected at least one."
                )
            if (own / CHECKPOINT).is_file():
                run = resume(own, splits, callbacks=callbacks)
            elif (own / MANIFEST).is_file():
                run = Run.open(own)
            elif own.is_dir() and any(own.iterdir()):
                raise UsageError(
                    f"'{own}' was cut off before anything was saved to go on with. Delete it, then repeat."
                )
            else:
                # The first run's recipe leaves nothing open: every seed trains the same network.
                own_recipe = _seeded(runs[0].recipe if runs else asked, seed)
                run = fit(splits, own_recipe, folder=own, callbacks=callbacks)
            run.evaluate(splits.test)
        runs.append(run)
        done(run)
    repetition = _together(place, runs)
    write_json(place / REPEAT, {**wanted, **repetition.scores.to_json()})
    return repetition


def _together(folder: Path, runs: list[Run]) -> Repetition:
    evaluations = [evaluation for run in runs if (evaluation := run.evaluation()) is not None]
    if not evaluations:
        raise UsageError(f"'{folder}' holds no run that was judged. Go on with it first, by pellucid repeat.")
    sources = tuple(evaluations[0].sources)
    for run, evaluation in zip(runs, evaluations, strict=True):
        if tuple(evaluation.sources) != sources:
            raise UsageError(
                f"'{run.folder}' was judged on other test pictures than '{runs[0].folder}'. Repeat in a new "
                "folder."
            )
    right = np.stack([evaluation.right.numpy() for evaluation in evaluations])
    return Repetition(folder, tuple(runs), SeedScores(right, tuple(run.recipe.seed for run in runs)), sources)


def _is_done(folder: Path) -> bool:
    """Whether the run in `folder` was trained to its end and judged."""
    finished = (folder / MANIFEST).is_file() and not (folder / CHECKPOINT).is_file()
    return finished and Run.open(folder).evaluation() is not None


def _claimed(folder: Path | None, wanted: dict[str, Any]) -> Path:
    """The folder in which these runs were begun, or a new one."""
    if folder is None:
        name = f"{Path(wanted['data']).resolve().name}-repeat"
        for begun in sorted(Path("runs").glob(f"{name}-*/{REPEAT}")):
            if _same(begun, wanted):
                return begun.parent
        folder = claim_numbered_folder(Path("runs"), name)
    elif (folder / REPEAT).is_file():
        if not _same(folder / REPEAT, wanted):
            raise UsageError(
                f"'{folder}' holds runs of other pictures or another recipe. Name another folder "
                "with `folder`."
            )
        return folder
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"'{folder}' is not empty. Expected a new folder: name another with `folder`.")
    make_folder(folder)
    write_json(folder / REPEAT, wanted)
    return folder


def _same(path: Path, wanted: dict[str, Any]) -> bool:
    facts = read_object(path)
    return all(facts.get(name) == value for name, value in wanted.items())


def _described(recipe: Recipe | NamedRecipe) -> dict[str, Any]:
    """The recipe without its seed, as plain values."""
    if isinstance(recipe, Recipe):
        return {name: value for name, value in recipe.to_json().items() if name != "seed"}
    settings = {name: value for name, value in recipe.settings.items() if name != "seed"}
    return {"name": recipe.name, "settings": settings}


def _seeded(recipe: Any, seed: int) -> Any:
    if isinstance(recipe, NamedRecipe):
        return NamedRecipe(recipe.name, {**recipe.settings, "seed": seed})
    return replace(recipe, seed=seed)

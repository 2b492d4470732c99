"""One recipe trained with several seeds: each a run of its own, done once, and their scores together."""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pellucid.classifier import MANIFEST
from pellucid.data import load_by
from pellucid.data.dataset import Choices, Splits
from pellucid.errors import UsageError
from pellucid.evaluation.repeated import RecipeDifference, SeedScores, compare_recipes
from pellucid.files import write_json
from pellucid.recipe import READING, NamedRecipe, Recipe, read_recipe, refuse_unknown_keywords
from pellucid.runs.checkpoint import CHECKPOINT
from pellucid.runs.choose import Candidate
from pellucid.runs.environment import changes, in_words
from pellucid.runs.fit import fit, resume
from pellucid.runs.run import RECIPE, Run
from pellucid.runs.session import Activity, Callback
from pellucid.runs.several import Watch, chosen, claimed, described, planned, seeded, under_name
from pellucid.runs.tables import SPLIT, read_split, split_rows

REPEAT, MOST_SEEDS = "repeat.json", 1_000
Start = tuple[Recipe | NamedRecipe, tuple[Candidate, ...]]  # a recipe, and the networks tried for it


@dataclass(frozen=True, eq=False)
class Repetition:
    """Runs of one recipe on the same pictures that differ in nothing but their seed.

    folder   holds a run in `seed-1`, `seed-2` ... each, and repeat.json with the figures
    runs     in the order of the seeds
    scores   which test pictures each predicts correctly: mean, spread, intervals
    sources  the test pictures, in the order of the scores
    copies   how many test pictures are left out, as what was learned from has copies of them
    """

    folder: Path
    runs: tuple[Run, ...]
    scores: SeedScores
    sources: tuple[str, ...]
    copies: int = 0

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
        own, others = (_pictures_of(each.runs[0].folder).test for each in (self, other))
        if self.sources != other.sources or own != others:
            raise UsageError(
                f"'{self.folder}' and '{other.folder}' were judged on other test pictures "
                f"({len(self.sources):,} and {len(other.sources):,}, or others of the same names). Expected "
                "two recipes on the same data."
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
    watch: Watch | None = None,
    done: Callable[[Run], None] = lambda run: None,
) -> Repetition:
    """Train with the seeds 1, 2 ... `seeds`, judge each run on the test pictures, and sum their scores up.

    data       what `load` takes by name or path; the seed decides the validation part, never the test part
    recipe     as `fit` takes it; where it leaves the network open, that is chosen with the first seed
    folder     of all runs; without one, the `runs/<name>-repeat-<n>` where this was begun, or a new one
    callbacks  called with every Step and Epoch; their `stage` begins with "seed 2 of 5" and the like
    watch      what is called while a network is chosen, and with the estimate of what is left to do
    done       called with each run when it is judged

    Runs that are done are not done again, and one that was stopped is gone on with: calling it again goes
    on, or adds seeds. Ctrl-C raises Stopped. Raises UsageError when `folder` holds another recipe's runs, or
    runs on other pictures, even of the same names. Warns where runs were trained by other versions or on
    another processor.
    """
    watch = watch or Watch()
    asked = Recipe.named(recipe) if isinstance(recipe, str) else recipe
    settings = asked.resolve(1) if isinstance(asked, NamedRecipe) else asked
    if settings.folds or not 1 <= seeds <= MOST_SEEDS:
        raise UsageError(
            f"Expected from 1 to {MOST_SEEDS:,} seeds and a test part, so no `folds`; got {seeds} seeds, "
            f"{settings.folds} folds."
        )
    wanted = {"data": str(data), "recipe": described(asked)}
    with claimed(folder, f"{Path(data).resolve().name}-repeat", REPEAT, wanted) as place:
        names = {seed: f"seed {seed} of {seeds}" for seed in range(1, seeds + 1)}
        left = [seed for seed in names if not _is_done(_folder_of(place, seed))]
        runs: list[Run] = []
        for seed, name in names.items():
            own = _folder_of(place, seed)
            if seed in left:
                splits = _splits(data, settings, seed, data_dir)
                for earlier in runs[:1]:
                    expected, now = _pictures_of(earlier.folder), _pictures_in(splits)
                    _refuse_other_pictures(earlier.folder, expected, now, f"'{data}' now")
                start = _start(own, splits, seeded((runs[0].recipe if runs else None) or asked, seed), watch)
                if watch.planned and seed == left[0]:
                    first = planned(name, start[0], splits)
                    watch.planned([replace(first, name=names[each]) for each in left])
                run = _trained(own, splits, start, under_name(name, callbacks), watch.features)
                run.evaluate(splits.test)
            else:
                run = Run.open(own)
            runs.append(run)
            done(run)
        repetition = _together(place, runs)
        write_json(place / REPEAT, {**wanted, **repetition.scores.to_json(), "copies": repetition.copies})
        return repetition


def _splits(data: str | Path, settings: Recipe, seed: int, data_dir: str | Path | None) -> Splits:
    """The pictures as this seed splits them. Raises UsageError when none is left to judge on."""
    reading = {name: getattr(settings, name) for name in READING}
    splits = load_by(str(data), Choices(**{**reading, "seed": seed}), data_dir=data_dir)
    if not len(splits.test):
        raise UsageError(f"'{data}' has no test pictures to judge the runs on. Expected at least one.")
    return splits


def _start(own: Path, splits: Splits, recipe: Recipe | NamedRecipe, watch: Watch) -> Start:
    """The recipe that the run in `own` was begun with, or the given one, its network chosen."""
    if (own / CHECKPOINT).is_file() or (own / MANIFEST).is_file():
        return read_recipe(own / RECIPE), ()
    return chosen(splits, recipe, watch)


def _trained(
    own: Path, splits: Splits, start: Start, callbacks: Sequence[Callback], features: Activity | None
) -> Run:
    """The run in `own`, begun, gone on with, or as it was left."""
    if (own / CHECKPOINT).is_file():
        return resume(own, splits, callbacks=callbacks, progress=features)
    if (own / MANIFEST).is_file():
        return Run.open(own)
    recipe, candidates = start
    return fit(splits, recipe, folder=own, candidates=candidates, callbacks=callbacks, progress=features)


def _together(folder: Path, runs: list[Run]) -> Repetition:
    evaluations = [evaluation for run in runs if (evaluation := run.evaluation()) is not None]
    if not evaluations:
        raise UsageError(f"'{folder}' holds no run that was judged. Go on with it first, by pellucid repeat.")
    copies = {source for run in runs for source in run.basis().copies}
    left = [evaluation.without(copies) if copies else evaluation for evaluation in evaluations]
    evaluations = [each for each in left if each is not None] or evaluations
    sources = tuple(evaluations[0].sources)
    expected = _pictures_of(runs[0].folder)
    for run in runs[1:]:
        _refuse_other_pictures(runs[0].folder, expected, _pictures_of(run.folder), f"'{run.folder}'")
        if changed := changes(runs[0].environment, run.environment):
            warnings.warn(
                f"'{run.folder}' was not trained as '{runs[0].folder}' was ({in_words(changed)}): a part of "
                "what the seeds seem to change may be due to that.",
                stacklevel=3,
            )
    right = np.stack([evaluation.right.numpy() for evaluation in evaluations])
    scores = SeedScores(right, tuple(run.seed for run in runs))
    return Repetition(folder, tuple(runs), scores, sources, len(copies) if left[0] is not None else 0)


class _Pictures(NamedTuple):
    """A hash of the pictures learned from and chosen by, with their labels, however the seed divides them;
    and one of the test pictures."""

    learned: str
    test: str


def _pictures_of(folder: Path) -> _Pictures:
    return _digests(read_split(folder / SPLIT))


def _pictures_in(splits: Splits) -> _Pictures:
    return _digests(row for part, dataset in splits.items() for row in split_rows(part, dataset))


def _digests(rows: Iterable[Sequence[str]]) -> _Pictures:
    parts: dict[bool, list[str]] = {False: [], True: []}
    for _, label, part, content in rows:
        parts[part == "test"].append(f"{content} {label}")
    return _Pictures(
        *(hashlib.sha256("\n".join(sorted(part)).encode()).hexdigest() for part in parts.values())
    )


def _refuse_other_pictures(first: Path, expected: _Pictures, pictures: _Pictures, name: str) -> None:
    """Raises UsageError unless these are the pictures, by content and label, that the run in `first` has."""
    differ = "to learn from" if expected.learned != pictures.learned else "to be judged on"
    if pictures != expected:
        raise UsageError(
            f"{name} has other pictures {differ} than '{first}', or other labels, even if the names are the "
            "same: not the seed alone would differ. Bring them back as they were, or name another folder."
        )


def _folder_of(place: Path, seed: int) -> Path:
    return place / f"seed-{seed}"


def _is_done(folder: Path) -> bool:
    """Whether the run in `folder` was trained to its end and judged."""
    finished = (folder / MANIFEST).is_file() and not (folder / CHECKPOINT).is_file()
    return finished and Run.open(folder).evaluation() is not None

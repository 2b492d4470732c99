"""How many more pictures: one recipe trained on shares of the training pictures, and what the curve says."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pellucid.classifier import Classifier
from pellucid.data import load_by
from pellucid.data.audit.findings import audit
from pellucid.data.audit.record import record_of
from pellucid.data.dataset import Choices, Dataset, Splits
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.evaluation.intervals import MIN_GROUPS, groups_of
from pellucid.evaluation.learning_curve import LearningCurve
from pellucid.evaluation.ledger import number_judged, weights_digest
from pellucid.evaluation.metrics import copies_note
from pellucid.files import read_csv, read_object, write_csv, write_json
from pellucid.formatting import plural
from pellucid.machine import torch_threads
from pellucid.models import build
from pellucid.recipe import READING, NamedRecipe, Recipe, refuse_unknown_keywords
from pellucid.runs.basis import without_sources
from pellucid.runs.session import Callback
from pellucid.runs.several import (
    PlannedTraining,
    Watch,
    chosen,
    claimed,
    described,
    planned,
    seeded,
    settled,
    under_name,
)
from pellucid.task import task_of
from pellucid.training.loop import Progress
from pellucid.training.transfer import FeatureStore, held_out_logits, train_network

Key = tuple[int, int]  # a training: on how many pictures, and which repeat of it
FORECAST, ANSWERS = "forecast.json", "forecast.csv"
SHARES = (8, 4, 2, 1)  # of the training pictures: an eighth, a quarter ...
REPEATS = 3  # trainings on each, with other seeds, and other pictures where it is a share
MIN_OF_A_CLASS = 16  # training pictures: two of them in an eighth
MIN_TEST = 20  # pictures, or groups of them, that a forecast can rest on


@dataclass(frozen=True, eq=False)
class Forecast:
    """What more training pictures would bring, by trainings on shares of those there are.

    folder   holds forecast.json with the figures, and forecast.csv with every answer of every training
    curve    what the trainings say: `ahead` for two and four times as many, `classes_ahead`, `verdict`
    sources  the test pictures, in the order of the curve's
    """

    folder: Path
    curve: LearningCurve
    sources: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Forecast('{self.folder}', {self.curve.verdict})"

    @staticmethod
    def open(folder: str | Path) -> "Forecast":
        """What `forecast` left in `folder`. Raises UsageError when its trainings are not done, PellucidError
        when a file of it is damaged."""
        folder = Path(folder)
        if not (folder / FORECAST).is_file():
            raise UsageError(
                f"'{folder}' holds no {FORECAST}. Expected the folder that 'pellucid forecast' or forecast() "
                "wrote."
            )
        facts = read_object(folder / FORECAST)
        if "shares" not in facts:
            raise UsageError(f"The trainings in '{folder}' are not done. Run the same forecast again first.")
        repeats = range(1, REPEATS + 1)
        try:
            classes = tuple(map(str, facts["class_names"]))
            rows = read_csv(folder / ANSWERS)
            labels = np.array([classes.index(row["label"]) for row in rows])
            groups = np.array([int(row["group"]) for row in rows]) if rows[0]["group"] else None
            counts = tuple(int(share["pictures"]) for share in facts["shares"])
            right = tuple(
                np.array([[row[_column((count, each))] == row["label"] for row in rows] for each in repeats])
                for count in counts
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise PellucidError(
                f"The forecast in '{folder}' is damaged: {error!r}. Delete the folder and run it again."
            ) from error
        curve = LearningCurve(right, counts, labels, classes, groups)
        return Forecast(folder, curve, tuple(row["source"] for row in rows))


@dataclass(frozen=True)
class ShareTraining:
    """A training on a share of the pictures: how many, which repeat of it, and its accuracy on the test
    pictures."""

    pictures: int
    repeat: int
    accuracy: float


@refuse_unknown_keywords
def forecast(
    data: Splits | str | Path,
    recipe: Recipe | NamedRecipe | str = "fast",
    *,
    folder: str | Path | None = None,
    data_dir: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    watch: Watch | None = None,
    done: Callable[[ShareTraining], None] = lambda training: None,
) -> Forecast:
    """Train on an eighth, a quarter, half and all of the training pictures, three times each, and say what
    twice and four times as many would bring, for which class.

    data       what `load` takes by name or path, or the Splits it gives
    recipe     as `fit` takes it, for each number of pictures what it says of so many; where it leaves the
               network open, that is chosen once, with all pictures
    folder     for the result; without one, the `runs/<name>-forecast-<n>` where this was begun, or a new one
    callbacks  called with every Step and Epoch; their `stage` is "training 2 of 12" and the like
    watch      what is called while a network is chosen, and with the estimate of what is left to do
    done       called with each training when it is judged

    Trainings are judged on the test pictures, their weights not kept. What is done is not done again: after
    Ctrl-C, calling it once more goes on. Raises UsageError where pictures are too few to say anything, or
    can have several labels.
    """
    watch = watch or Watch()
    asked = Recipe.named(recipe) if isinstance(recipe, str) else recipe
    settings = asked.resolve(1) if isinstance(asked, NamedRecipe) else asked
    if settings.folds or settings.use_all:
        raise UsageError(
            "A forecast judges trainings on shares of the pictures: leave `folds` and `use_all` out."
        )
    splits, given = _loaded(data, settings, data_dir)
    splits = _without_copies(splits)
    groups = groups_of(splits.test)
    _refuse_few(splits, groups)
    parts = {part: each.fingerprint for part, each in splits.items()}
    wanted = {"data": given, "recipe": described(asked), "seed": settings.seed, "pictures": parts}
    with claimed(folder, f"{Path(given).resolve().name}-forecast", FORECAST, wanted) as place:
        study = Study(place, splits, _network(place, splits, asked, watch), settings.seed, groups)
        answers = study.answers()
        left = [each for each in study.trainings if each not in answers]
        if watch.planned and left:
            watch.planned(study.plan(left))
        store = FeatureStore([each for _, each in splits.items()])
        if watch.features:
            store.on_features = partial(watch.features, "features")
        for each in study.trainings:
            if each in left:
                heard = under_name(study.name(each), callbacks)
                answers[each] = study.trained(each, heard, store)
                study.write(answers)
            accuracy = np.mean(
                [one == other for one, other in zip(answers[each], splits.test.label_names, strict=True)]
            )
            done(ShareTraining(*each, float(accuracy)))
        return study.finished(answers)


def _loaded(data: Splits | str | Path, settings: Recipe, data_dir: str | Path | None) -> tuple[Splits, str]:
    """The pictures, and what `load` takes to find them again, or their name."""
    if isinstance(data, Splits):
        return data, data.origin.data or data.origin.name
    choices = Choices(**{each: getattr(settings, each) for each in READING})
    return load_by(str(data), choices, data_dir=data_dir), str(data)


def _without_copies(splits: Splits) -> Splits:
    """The pictures without test pictures that are copies of others. Warns where there are such."""
    found = audit(splits)
    near = {leak.source for leak in record_of(found, splits).near_leaks}
    test = without_sources(splits.test, near.union(found.leaking))
    if len(test) < len(splits.test):
        warnings.warn(str(copies_note(len(splits.test) - len(test))), stacklevel=4)
    return replace(splits, test=test)


def _refuse_few(splits: Splits, groups: Tensor | None) -> None:
    """Raises UsageError where there are too few pictures for a forecast, or they can have several labels."""
    if splits.train.multi_label:
        raise UsageError("A forecast is for pictures of one class each; these can have several labels.")
    name, count = min(splits.train.counts.items(), key=lambda item: item[1])
    if count < MIN_OF_A_CLASS:
        has = plural(count, "training picture", "training pictures")
        raise UsageError(
            f"Too few pictures to forecast from: '{name}' has {has}. Expected {MIN_OF_A_CLASS} of every "
            "class, as an eighth of them has to teach something. Add pictures first."
        )
    units = len(splits.test) if groups is None else int(groups.max()) + 1
    least, what = (MIN_TEST, "test pictures") if groups is None else (MIN_GROUPS, "groups of test pictures")
    if units < least:
        raise UsageError(
            f"Too few test pictures to forecast from: {len(splits.test):,}"
            f"{'' if groups is None else f' in {units} groups'}. Expected {least} {what} or more."
        )


def _network(place: Path, splits: Splits, asked: Recipe | NamedRecipe, watch: Watch) -> Recipe | NamedRecipe:
    """The recipe with one network for all shares: where it is left open, the one that does best when trained
    on all pictures. It is noted in `place`."""
    facts = read_object(place / FORECAST)
    if "chosen" in facts:
        try:
            return Recipe.named("fast", **facts["chosen"])
        except (TypeError, UsageError) as error:
            raise PellucidError(
                f"'{place / FORECAST}' is damaged: {error}. Delete the folder and run it again."
            ) from error
    best, candidates = chosen(splits, asked, watch)
    if not candidates or not isinstance(asked, NamedRecipe) or not isinstance(best, Recipe):
        return asked
    settings = {**asked.settings, "model": best.model}
    if best.fine_tune:
        settings |= {"fine_tune": best.fine_tune, "learning_rate": best.learning_rate}
    write_json(place / FORECAST, {**facts, "chosen": settings})
    return Recipe.named("fast", **settings)


@dataclass(frozen=True, eq=False)
class Study:
    """The trainings of a forecast: what each learns from, and where their answers are kept.

    recipe  for any number of pictures
    groups  int64 (N,) of the test pictures that were not drawn one by one
    """

    folder: Path
    splits: Splits
    recipe: Recipe | NamedRecipe
    seed: int
    groups: Tensor | None

    @property
    def counts(self) -> list[int]:
        """How many pictures a training learns from, ascending."""
        return [len(self.splits.train) // share for share in SHARES]

    @property
    def trainings(self) -> list[Key]:
        """Every training: on how many pictures, and which repeat of it, from 1."""
        return [(count, each) for each in range(1, REPEATS + 1) for count in self.counts]

    def name(self, training: Key) -> str:
        """How its events call it."""
        return f"training {self.trainings.index(training) + 1} of {len(self.trainings)}"

    def plan(self, left: Sequence[Key]) -> list[PlannedTraining]:
        """What is left to do, each with its estimate: that of the first on as many pictures."""
        estimates: dict[int, PlannedTraining] = {}
        for count, repeat in left:
            if count not in estimates:
                estimates[count] = planned("", *self._part((count, repeat)))
        return [replace(estimates[each[0]], name=self.name(each)) for each in left]

    def trained(self, training: Key, callbacks: Sequence[Callback], store: FeatureStore) -> list[str]:
        """The class that a training predicts for each test picture. Its network is entered into the record
        of those judged on them."""
        recipe, part = self._part(training)
        settings = settled(recipe, part)
        train, test = part.train, part.test
        network = build(settings.model, train.channels, len(train.classes), train.size, seed=settings.seed)
        with torch_threads(settings.threads):
            events = train_network(
                network, train, part.validation, settings, progress=Progress(), store=store
            )
            with closing(events):  # type: ignore[type-var]  # a generator
                for event in events:
                    for callback in callbacks:
                        callback(event)
            preprocess = part.origin.preprocess or Preprocess(train.channels, *train.size)
            classifier = Classifier(network, train.classes, preprocess, settings.model, task_of(train.labels))
            logits = held_out_logits(classifier, test, store, at_rest=not settings.fine_tune)
        number_judged(test.fingerprint, weights_digest(network))
        return [train.classes[index] for index in logits.argmax(dim=1).tolist()]

    def _part(self, training: Key) -> tuple[Recipe | NamedRecipe, Splits]:
        count, repeat = training
        order = stratified_order(self.splits.train, seed=self.seed + repeat)
        part = replace(self.splits, train=self.splits.train.subset(order[:count].sort().values))
        return seeded(self.recipe, self.seed + repeat - 1), part

    def answers(self) -> dict[Key, list[str]]:
        """What was predicted by every training that is done."""
        if not (self.folder / ANSWERS).is_file():
            return {}
        rows = read_csv(self.folder / ANSWERS)
        columns = {each: _column(each) for each in self.trainings if rows and _column(each) in rows[0]}
        return {each: [row[column] for row in rows] for each, column in columns.items()}

    def write(self, answers: Mapping[Key, list[str]]) -> None:
        """forecast.csv with all answers so far."""
        test = self.splits.test
        groups = [""] * len(test) if self.groups is None else self.groups.tolist()
        header = ["source", "label", "group", *map(_column, answers)]
        rows = zip(test.sources, test.label_names, groups, *answers.values(), strict=True)
        write_csv(self.folder / ANSWERS, header, rows)

    def finished(self, answers: Mapping[Key, list[str]]) -> Forecast:
        """The forecast, once every training is done; forecast.json has its figures."""
        test = self.splits.test
        names = np.array(test.label_names)
        right = tuple(
            np.stack([np.array(answers[count, each]) == names for each in range(1, REPEATS + 1)])
            for count in self.counts
        )
        groups = None if self.groups is None else self.groups.numpy()
        curve = LearningCurve(right, tuple(self.counts), test.labels.numpy(), test.classes, groups)
        facts = read_object(self.folder / FORECAST)
        write_json(self.folder / FORECAST, {**facts, "class_names": list(test.classes), **curve.to_json()})
        return Forecast(self.folder, curve, tuple(test.sources))


def _column(training: Key) -> str:
    return f"{training[0]}/{training[1]}"


def stratified_order(dataset: Dataset, *, seed: int) -> Tensor:
    """The pictures in a random order of which every beginning has each class by about its share, int64 (N,);
    pictures of one group follow one another."""
    generator = torch.Generator().manual_seed(seed)
    groups = groups_of(dataset)
    owners = torch.arange(len(dataset)) if groups is None else groups
    first = torch.full((int(owners.max()) + 1,), len(dataset)).scatter_reduce(
        0, owners, torch.arange(len(dataset)), "amin"
    )
    labels = dataset.labels[first]  # of each group, that of its first picture
    keys = torch.empty(len(labels), dtype=torch.float64)
    for label in range(len(dataset.classes)):
        own = torch.nonzero(labels == label)[:, 0]
        start = torch.rand(1, generator=generator, dtype=torch.float64)
        keys[own] = (torch.randperm(len(own), generator=generator) + start) / len(own)
    return keys[owners].argsort(stable=True)

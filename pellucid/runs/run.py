"""A run as one handle on its folder: the classifier, the recipe and the history, where they are known."""

import math
import shlex
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from torch import nn

from pellucid.classifier import MANIFEST, Classifier
from pellucid.data import load_again
from pellucid.data.audit.record import AuditRecord
from pellucid.data.dataset import Dataset, Origin, Splits
from pellucid.data.folds import everything
from pellucid.errors import PellucidError, UsageError
from pellucid.evaluation import EVALUATION, PREDICTIONS
from pellucid.evaluation.calibration import NOT_FITTED, NOT_GIVEN, STOPPED, TemperatureFit
from pellucid.evaluation.conformal import PredictionSets, prediction_sets
from pellucid.evaluation.drift import Drift, drift
from pellucid.evaluation.evaluation import AnyEvaluation, Evaluation, add_facts, evaluate
from pellucid.evaluation.facts import read_facts, read_facts_if_sound
from pellucid.evaluation.held_out import HeldOut
from pellucid.evaluation.label_errors import LabelErrors
from pellucid.evaluation.ledger import number_judged, weights_digest
from pellucid.evaluation.multi_label import MultiLabelEvaluation
from pellucid.evaluation.novelty import (
    LEAST_PICTURES,
    NO_REFERENCE,
    Novelty,
    PictureSample,
    Reference,
    ReferenceFit,
)
from pellucid.evaluation.selective import Threshold, threshold_for_coverage, threshold_for_error
from pellucid.evaluation.shortcuts import Shortcuts, shortcuts
from pellucid.evaluation.slices import Slices, slices
from pellucid.evaluation.stress import Stress, stress
from pellucid.explanation.causes import MistakeCauses, causes_of_mistakes
from pellucid.explanation.neighbours import answers_and_features, hidden_features
from pellucid.files import claim, read_object, write_csv
from pellucid.manifest import RESTORE, DamagedFile, damage, name_damages
from pellucid.models import Build
from pellucid.models.head import HeadSettings
from pellucid.public import public
from pellucid.recipe import DEFAULT, Recipe, read_recipe
from pellucid.runs.basis import Basis, basis_in, basis_of, basis_of_folds, without_copies
from pellucid.runs.checkpoint import CHECKPOINT
from pellucid.runs.elsewhere import OPENED, in_classes, known_parts
from pellucid.runs.environment import ENVIRONMENT, origin_in
from pellucid.runs.history import History
from pellucid.runs.tables import (
    METRICS,
    SPLIT,
    SPLIT_HEADER,
    read_diagnostics,
    read_history,
    read_split,
    split_rows,
)
from pellucid.runs.trained import AllPictures, summary_of, trained_in
from pellucid.task import SeveralLabels
from pellucid.training.diagnostics import LayerDiagnostics
from pellucid.training.loop import Epoch
from pellucid.training.snapshots import SNAPSHOTS, Snapshot, read_snapshots

RECIPE = "recipe.json"


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training: its classifier, the recipe that led to it, and its history; or what `open_module`
    made of a network that was trained elsewhere.

    folder       the run's folder
    classifier   with the weights of the best epoch
    recipe       every setting, with nothing left at "auto"; None of a network that was trained elsewhere
    history      one Epoch each; `history["val_loss"]` is a list of numbers, one per epoch. With `use_all` it
                 is that of the first training, which chose; with `folds`, where nothing is held out, nan
    environment  versions, machine, threads, fingerprints of the data, the command
    origin       where the pictures came from, and how they were read
    ended        why training ended before its last epoch, such as a loss that was not finite; else ""
    head         how the last layer of a pretrained network was solved
    all_pictures  of `use_all` and `folds`, the training on all pictures that gave the weights
    calibration  how the classifier came to its temperature
    reference_fit  what `reference` is made of, or why there is none
    epochs       how many `history` had when it was written: it is empty where metrics.csv is lost
    given        the pictures that `open_module` was given, as long as this handle is; else None
    """

    folder: Path
    classifier: Classifier
    recipe: Recipe | None
    history: History
    environment: dict[str, Any]
    origin: Origin
    ended: str = ""
    head: HeadSettings | None = None
    all_pictures: AllPictures | None = None
    calibration: TemperatureFit = NOT_FITTED
    reference_fit: ReferenceFit = NO_REFERENCE
    epochs: int = 0
    given: Splits | None = None

    def __repr__(self) -> str:
        return f"Run('{self.folder}', {self.summary})"

    def _repr_html_(self) -> str:
        return f"<p><b>{escape(str(self.folder))}</b><br>{escape(self.summary)}</p>"

    @staticmethod
    def open(folder: str | Path, *, model: nn.Module | Build | None = None) -> "Run":
        """The run in `folder`, such as "runs/latest".

        model  for a run that trained a network of your own: that network, or the function that builds it

        Raises UsageError when there is no run, PellucidError when it is damaged.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise UsageError(
                f"'{folder}' is not a folder. Expected the folder of a run: train one first, as with "
                "'pellucid train digits', and name the folder that it prints."
            )
        if not (folder / MANIFEST).is_file() and (folder / CHECKPOINT).is_file():
            raise UsageError(
                f"'{folder}' was cut off before its model was saved. "
                f"Go on with: pellucid train --resume {shlex.quote(str(folder))}"
            )
        damaged = name_damages(folder)
        classifier = Classifier.load(folder, model=model)
        environment = read_object(folder / ENVIRONMENT)
        recipe = None if OPENED in environment else read_recipe(folder / RECIPE)
        origin = origin_in(environment, folder)
        training = trained_in(folder)
        try:
            history = History() if recipe is None else read_history(folder, training.epochs)
        except PellucidError as error:  # the network is whole, and can be judged
            history = History()
            if METRICS not in damaged:
                warnings.warn(str(error), stacklevel=2)
        return Run(
            folder, classifier, recipe, history, environment, origin, training.ended or "",
            head=training.head, all_pictures=training.all_pictures, calibration=training.calibration,
            reference_fit=training.reference, epochs=training.epochs,
        )  # fmt: skip

    @property
    def folds(self) -> int:
        """Into how many parts all pictures were divided to judge each by a network that had not learned from
        it; 0 where a test part is held out."""
        return self.recipe.folds if self.recipe else 0

    @property
    def seed(self) -> int:
        """What draws pictures and damages at random, wherever some are drawn."""
        return self.recipe.seed if self.recipe else DEFAULT.seed

    @property
    def best(self) -> Epoch | None:
        """The epoch whose weights the classifier has: the one with the lowest validation loss. With `use_all`
        that of the first training, with `folds` the last."""
        return next((epoch for epoch in reversed(self.history) if epoch.best), None)

    @property
    def summary(self) -> str:
        """The training in one sentence."""
        return summary_of(self.recipe, self.history, self.best, self.all_pictures, self.epochs)

    def diagnostics(self) -> list[LayerDiagnostics]:
        """The gradient norm of each layer and its update ratio, halfway through every epoch.

        Empty for a run that left no diagnostics.csv. Raises PellucidError when that is damaged.
        """
        return read_diagnostics(self.folder)

    def snapshots(self) -> list[Snapshot]:
        """The snapshots of the weights before the best epoch, oldest first.

        Raises PellucidError when snapshots.safetensors is damaged.
        """
        if self.recipe is None:
            return []
        pictures = sum(self.environment["pictures"]["train"].values())
        if self.classifier.multi_label:  # there a picture counts once for each of its labels
            pictures = sum(row[2] == "train" for row in read_split(self.folder / SPLIT))
        if self.all_pictures:
            pictures = self.all_pictures.pictures
        steps = math.ceil(pictures / self.recipe.batch_size)
        before = self.best.epoch * steps if self.best else None
        return read_snapshots(self.folder / SNAPSHOTS, self.classifier.network, before=before)

    def splits(
        self,
        data_dir: str | Path | None = None,
        *,
        other_test: bool = False,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Splits:
        """The pictures of this run, loaded again. Of a run by folds all of them are both in `train` and in
        `test`: each was judged by a network that had not learned from it.

        data_dir    the pictures' folder now, where your own were moved; or the folder of known data sets
        other_test  whether test pictures may be others than those that it was judged on
        progress    called with the name of a step, the count done and the total

        Raises UsageError when they are not the pictures of the run, or came from memory.
        """

        def load_splits(origin: Origin) -> Splits:
            found = load_again(origin, data_dir=data_dir, split_file=self.folder / SPLIT, progress=progress)
            return everything(found) if self.folds else self.known_parts(found)

        if self.given is not None:
            return self.given

        try:
            return self._check_unchanged(load_splits(self.origin), other_test=other_test)
        except UsageError as first:
            # An update may split the same pictures differently; the run's own table decides then.
            if self.origin.known or not self.origin.data:
                raise
            choices = replace(self.origin.choices, split_file=str(self.folder / SPLIT))
            try:
                found = load_splits(replace(self.origin, choices=choices))
                return self._check_unchanged(found, other_test=other_test)
            except UsageError:
                raise first from None

    def known_parts(self, splits: Splits) -> Splits:
        """`splits`; of a network trained elsewhere without the parts that were not given with it."""
        return known_parts(splits, self.environment, self.classifier.classes)

    def _check_unchanged(self, splits: Splits, *, other_test: bool) -> Splits:
        """`splits`. Raises UsageError when they are not the pictures of the run."""
        found = {"train": splits.train.fingerprint, "validation": splits.validation.fingerprint}
        if found != self.environment.get("fingerprints"):
            raise UsageError(
                f"'{self.origin.data}' is no longer what '{self.folder}' was trained on: its fingerprint has "
                "changed. Bring the pictures back as they were, or train again."
            )
        if not other_test and not self.folds and not self.is_own_test(splits.test):
            raise UsageError(
                f"'{self.origin.data}' has other test pictures than '{self.folder}' was judged on"
                f"{self._changed_in(splits.test)}. Bring them back as they were, or judge the run on those "
                f"that are there now: pellucid evaluate {shlex.quote(str(self.folder))} --again"
            )
        return splits

    def _changed_in(self, test_set: Dataset) -> str:
        """How many test pictures are not as they were judged, in words; "" where it never was."""
        judged = {row for row in read_split(self.folder / SPLIT) if row[2] == "test"}
        kept = len(judged.intersection(split_rows("test", test_set)))
        return f": {len(judged) - kept:,} of {len(judged):,} are gone or changed" if judged else ""

    def is_own_test(self, test_set: Dataset) -> bool:
        """Whether these are the test pictures that the run was judged on, or that lay beside those that it
        learned from; of a run that has had none yet, any are."""
        return self._own_test() in ("", test_set.fingerprint)

    def plot(self) -> Any:
        """Loss and accuracy by epoch as a matplotlib figure. Raises UsageError where nothing is known of the
        training."""
        if self.recipe is None:
            raise UsageError(f"'{self.folder}' has no history: its network was trained elsewhere.")
        from pellucid.plots.figures import plot_history  # matplotlib is slow to import, so only when needed

        return plot_history(self.history)

    def report(
        self,
        splits: Splits | None = None,
        *,
        language: str = "en",
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Path:
        """Write report.html, evaluating on the test set first if that was never done; gives its path.

        splits    the run's pictures; loaded again when omitted
        progress  as `write_report` takes it
        """
        path: Path = public("write_report")(self, splits, language=language, progress=progress)
        return path

    def evaluation(self) -> AnyEvaluation | None:
        """The evaluation that `evaluate` saved; None if the run was never evaluated, or with other weights.

        Raises PellucidError when evaluation.json or predictions.csv is damaged.
        """
        if not self._was_opened:
            return None
        facts = read_facts(self.folder)
        if facts.weights != self._weights:
            return None
        classes, task = self.classifier.classes, self.classifier.task
        evaluation: AnyEvaluation = (
            MultiLabelEvaluation.load(self.folder, classes, task)
            if isinstance(task, SeveralLabels)
            else Evaluation.load(self.folder, classes)
        )
        if (facts.count, facts.correct) != (evaluation.count, evaluation.correct):
            theirs = f"{evaluation.correct:,} of {evaluation.count:,}"
            what = f"it has {facts.correct:,} of {facts.count:,} right, but '{PREDICTIONS}' {theirs}"
            raise damage(self.folder / EVALUATION, what)
        return evaluation

    def evaluate(self, test_set: Dataset | None = None) -> AnyEvaluation:
        """Evaluate the classifier on the test set, and save the result as the run's own.

        test_set  the run's own, loaded again, when omitted. Any other pictures, a part of the test set too,
                  are evaluated and nothing is saved: the run's own evaluation stays as it is.

        evaluation.json lists test pictures that are also in the training or validation set, or in those of a
        run that this one began from, as "leaking", those that are almost the same as one of them as
        "near_leaking", and has the result on the others as "clean". "network_number" says the how-manieth
        network it is of those judged on these pictures. `basis` gives all of it as one record.
        Of a run by folds it gives what they found: no picture is left to judge its network by. Raises
        UsageError when the folds were not completed.
        """
        if self.folds:
            return self._out_of_fold()
        if test_set is None:
            test_set = self.splits().test
        test_set = test_set if self.recipe else in_classes(test_set, self.classifier.classes)
        if not self.is_own_test(test_set):
            return evaluate(self.classifier, test_set)
        with claim(self.folder):
            evaluation = evaluate(self.classifier, test_set)
            basis = self._basis_on(test_set)
            kept = [row for row in read_split(self.folder / SPLIT) if row[2] != "test"]
            write_csv(self.folder / SPLIT, SPLIT_HEADER, [*kept, *split_rows("test", test_set)])
            evaluation.save(
                self.folder,
                weights=self._weights,
                fingerprint=test_set.fingerprint,
                test_excluded=self.origin.test_excluded,
                test_relabelled=self.origin.test_relabelled,
                **basis.facts(evaluation),
            )
        return evaluation

    def basis(self, test_set: Dataset | None = None) -> Basis:
        """What the run's score rests on: copies of training pictures among the test pictures, what the audit
        warned of, how many networks were judged on them.

        test_set  other pictures than its own

        Raises UsageError where the run was never evaluated and no pictures are given, PellucidError when a
        file of it is damaged.
        """
        if test_set is not None and test_set.fingerprint != self._own_test():
            return self._basis_on(test_set)
        if not self._was_opened:
            if test_set is None:
                raise UsageError(f"'{self.folder}' has no evaluation yet: call `run.evaluate()` first.")
            return self._basis_on(test_set)
        return basis_in(self.folder)

    def held_out(self) -> HeldOut:
        """What was predicted of the pictures held out of training, by which thresholds and sets are chosen:
        the validation pictures; with `use_all` as the first training predicts them; with `folds` all,
        out of fold.

        Raises UsageError where training was cut off before that, PellucidError when held_out.csv is damaged.
        """
        if self.calibration.reason == NOT_GIVEN:
            raise UsageError(
                f"'{self.folder}' has no pictures to choose thresholds by. Give `validation` to open_module."
            )
        if self.calibration.reason == STOPPED:
            raise UsageError(
                f"The training of '{self.folder}' was cut off before its validation pictures were looked at, "
                "so no threshold can be chosen. Go on with it, or train again."
            )
        return HeldOut.load(self.folder, self.calibration.pictures)

    def threshold(self, *, coverage: float | None = None, max_error: float | None = None) -> Threshold:
        """The confidence from which to answer, chosen on the pictures held out: so that a share `coverage` of
        them is answered, or so that fewer than `max_error` of those answered are wrong (see
        `selective.threshold_for_error` for what is promised).

        Raises UsageError unless exactly one of the two is given, and where no threshold does it.
        """
        if (coverage is None) == (max_error is None):
            raise UsageError("Expected either a coverage or a largest error, such as coverage=0.95.")
        if coverage is not None:
            return threshold_for_coverage(self.held_out(), coverage)
        assert max_error is not None
        return threshold_for_error(self.held_out(), max_error)

    def prediction_sets(self, coverage: float) -> PredictionSets:
        """Sets of classes that hold the label with probability `coverage`, by the pictures held out.

        Raises UsageError for a coverage that is not between 0 and 1, and where pictures can have several
        labels.
        """
        if self.classifier.multi_label:
            raise UsageError(
                "This network gives any number of labels; sets of classes are for one label per picture."
            )
        return prediction_sets(self.held_out(), coverage)

    def _basis_on(self, test_set: Dataset) -> Basis:
        number = number_judged(test_set.fingerprint, weights_digest(self.classifier.network))
        facts = read_facts_if_sound(self.folder)
        if facts and (facts.weights, facts.fingerprint) == (self._weights, test_set.fingerprint):
            # What was known when it was first judged stands, though the cache was emptied since.
            number = max(filter(None, (number, facts.network_number)), default=None)
        return basis_of(self.folder, test_set, number)

    def _own_test(self) -> str:
        """The fingerprint of the run's test pictures; "" where there were none yet."""
        if known := AuditRecord.read(self.folder).test:
            return known
        facts = read_facts_if_sound(self.folder)
        return facts.fingerprint if facts else ""

    def reference(self) -> Reference:
        """What new pictures are compared with: training pictures as the network sees them, and pictures that
        were held out.

        Raises UsageError where the run has none, such as one that learned from all its pictures;
        PellucidError when reference.safetensors is damaged.
        """
        if self.reference_fit.reason:
            raise UsageError(
                f"'{self.folder}' cannot tell what is unlike its training pictures: "
                f"{self.reference_fit.reason}. It takes training pictures, and at least {LEAST_PICTURES} "
                "held out of them as `validation`."
            )
        return Reference.load(self.folder, weights=self._weights)

    def novelty(self, pictures: Any) -> Novelty:
        """How unlike anything taught pictures are, of what `Classifier.predict` takes. Raises what
        `reference` raises."""
        images = self.classifier.received(pictures)
        return self.reference().novelty(hidden_features(self.classifier, images))

    def sample(self, pictures: Any) -> PictureSample:
        """What `drift` compares of pictures, of what `Classifier.predict` takes: a few numbers of each, so
        that many can be read in parts. Raises what `reference` raises."""
        reference, classifier = self.reference(), self.classifier
        images = classifier.received(pictures)
        probabilities, features = answers_and_features(classifier, images)
        confidence = classifier.task.confidence(probabilities)
        return reference.sample(features, probabilities, confidence, images)

    def drift(self, pictures: Any) -> Drift:
        """Whether pictures are like those the run was taught on: tests of features, answers and appearance
        against pictures held out of training, which take the pictures to be independent of each other.

        pictures  what `Classifier.predict` takes, or what `sample` gave

        Raises UsageError for fewer than ten pictures, and what `reference` raises.
        """
        new = pictures if isinstance(pictures, PictureSample) else self.sample(pictures)
        return drift(self.reference(), new, self.classifier.classes)

    def _out_of_fold(self) -> AnyEvaluation:
        try:
            evaluation = self.evaluation()
        except DamagedFile as error:
            evaluation = self._saved_again(error)
        if evaluation is None:
            raise UsageError(
                f"'{self.folder}' has no evaluation: its folds were not completed, and every picture is one "
                "that it learned from. Train again, or go on with it where it was stopped."
            )
        return evaluation

    def _saved_again(self, damaged: DamagedFile) -> AnyEvaluation:
        """The evaluation of a run by folds from its predictions, from which evaluation.json is written anew.
        Raises PellucidError when they are what is damaged: no picture is left to predict."""
        try:
            evaluation = Evaluation.load(self.folder, self.classifier.classes)
        except DamagedFile as error:
            raise PellucidError(
                f"{error.reason} These were predicted by the folds, none of which is kept. {RESTORE}"
            ) from damaged
        fingerprint = self.environment["fingerprints"]["train"]
        basis = basis_of_folds(
            self.folder, number_judged(fingerprint, weights_digest(self.classifier.network))
        )
        with claim(self.folder):
            facts = basis.facts(evaluation)
            evaluation.save(self.folder, weights=self._weights, fingerprint=fingerprint, **facts)
        return evaluation

    def slices(
        self,
        splits: Splits | None = None,
        *,
        columns: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Slices:
        """Accuracy by slices of the test pictures, copies left out, and which are weak; into evaluation.json
        as "slices", too.

        splits   the run's pictures; loaded again when omitted
        columns  what else is known of them: by name, the value of each picture by its source

        By what they look like, the size of the original, the folder, and the columns of the table that named
        them. Raises UsageError before the run was evaluated.
        """
        evaluation, splits = self._judged(splits)
        found = slices(evaluation, splits.test, splits.origin, columns=columns)
        add_facts(self.folder, slices=found.to_json())
        return found

    def stress(self, splits: Splits | None = None, *, pictures: int | None = None) -> Stress:
        """How accuracy falls as test pictures are damaged; into evaluation.json as "stress", too.

        splits    the run's pictures; loaded again when omitted
        pictures  how many; None: up to 1,000, fewer for a large network

        Of a run by folds the network learned from these pictures. Raises UsageError before the run was
        evaluated.
        """
        _, splits = self._judged(splits)
        found = stress(self.classifier, splits.test, pictures=pictures, seed=self.seed)
        add_facts(self.folder, stress=found.to_json())
        return found

    def shortcuts(self, splits: Splits | None = None) -> Shortcuts:
        """What mean colour, border, file facts or a thumbnail alone tell of the class; into evaluation.json
        as "shortcuts", too.

        splits  the run's pictures; loaded again when omitted

        Raises UsageError before the run was evaluated, and where pictures can have several labels.
        """
        evaluation, splits = self._judged(splits)
        if not isinstance(evaluation, Evaluation):
            raise UsageError(
                f"'{self.folder}' has pictures with several labels. Shortcuts are looked for where each "
                "picture has one class."
            )
        found = shortcuts(self.classifier, splits, evaluation, seed=self.seed)
        add_facts(self.folder, shortcuts=found.to_json())
        return found

    def _judged(self, splits: Splits | None) -> tuple[AnyEvaluation, Splits]:
        """The run's evaluation and its pictures, both without copies of pictures that were learned from."""
        evaluation = self.evaluation()
        if evaluation is None:
            raise UsageError(
                f"'{self.folder}' is not evaluated yet. Evaluate it first: `run.evaluate()`, or pellucid "
                f"evaluate {shlex.quote(str(self.folder))}"
            )
        splits = self.known_parts(splits or self.splits())
        if self.folds:
            return evaluation, splits
        return without_copies(self.basis(splits.test), evaluation, splits)

    def causes(self, splits: Splits | None = None) -> MistakeCauses:
        """What may lie behind each mistake on the test pictures, copies left out, by rules that are stated in
        CAUSES; counts are added to evaluation.json, and causes.csv has each mistake.

        splits  the run's pictures; loaded again when omitted

        Raises UsageError before the run was evaluated, and where pictures can have several labels.
        """
        evaluation, splits = self._judged(splits)
        if not isinstance(evaluation, Evaluation):
            raise UsageError(
                f"'{self.folder}' has pictures with several labels. Causes are looked for where each picture "
                "has one class."
            )
        validated = self.all_pictures is None
        causes = causes_of_mistakes(self.classifier, splits, evaluation, validated=validated)
        causes.save(self.folder)
        return causes

    def label_errors(self, splits: Splits | None = None) -> LabelErrors:
        """The labels that look wrong in the run's pictures, as `pellucid.label_errors` finds them.

        splits  the run's pictures; loaded again when omitted
        """
        found: LabelErrors = public("label_errors")(self, splits)
        return found

    @property
    def _was_opened(self) -> bool:
        return (self.folder / EVALUATION).is_file()

    @property
    def _weights(self) -> str:
        return str(read_object(self.folder / MANIFEST).get("sha256"))

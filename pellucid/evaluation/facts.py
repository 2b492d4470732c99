"""What evaluation.json holds, as records: every key, kind and number of it is checked before it is believed.

docs/evaluation.md has what each key means.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pellucid.data.audit.record import NearLeak
from pellucid.errors import PellucidError, UsageError
from pellucid.evaluation import EVALUATION, FORMAT
from pellucid.evaluation.calibration import Calibration
from pellucid.evaluation.metrics import AverageScore, Bounds, ClassScore, Confusion, FoldScore, LabelScore
from pellucid.files import read_object
from pellucid.language import Message, message_from_json
from pellucid.manifest import damage
from pellucid.records import (
    ABSENT,
    ROUNDED,
    Ascending,
    Count,
    Digest,
    Interval,
    Share,
    Within,
    record_from,
)

Loss = Annotated[float, Within(-ROUNDED)]  # in nats
Number = Annotated[int, Within(1)]
SCORE_NAMES = re.compile(
    "accuracy|balanced_accuracy|calibration_error|hamming_loss|loss|macro_f1|mean_average_precision|micro_f1|"
    "top_[235]|weighted_f1"
)


@dataclass(frozen=True)
class ScoreFacts:
    """A score with its interval, and why it has none."""

    value: Loss
    interval: Annotated[tuple[Loss, Loss], Ascending()] | None
    too_few: str


@dataclass(frozen=True)
class CleanFacts:
    """The result without copies."""

    verdict: str
    count: Number
    correct: Count
    accuracy: Share
    interval: Interval | None


@dataclass(frozen=True)
class AccuracyFacts:
    """An accuracy with its interval."""

    accuracy: Share
    interval: Interval | None


@dataclass(frozen=True)
class SliceFacts:
    """One slice of the test pictures."""

    measure: str
    value: str | Annotated[Bounds, Ascending()]
    count: Number
    correct: Count
    accuracy: Share
    interval: Interval | None
    rest: Share
    p_value: Share
    weak: bool


@dataclass(frozen=True)
class SlicesFacts:
    """All slices."""

    verdict: str
    remark: str
    count: Count
    slices: tuple[SliceFacts, ...]
    too_few: tuple[str, ...]


@dataclass(frozen=True)
class PointFacts:
    """One strength of one damage."""

    strength: float
    correct: Count
    accuracy: Share
    interval: Interval | None
    p_value: Share
    lower: bool


@dataclass(frozen=True)
class StressFacts:
    """Accuracy on damaged pictures."""

    verdict: str
    remark: str
    count: Number
    available: Number
    undamaged: AccuracyFacts
    curves: Mapping[str, tuple[PointFacts, ...]]


@dataclass(frozen=True)
class CueFacts:
    """What one cue tells of the class."""

    correct: Count
    accuracy: Share
    interval: Interval | None
    suspicious: bool


@dataclass(frozen=True)
class ViewFacts:
    """The network on a part of each picture."""

    count: Number
    correct: Count
    accuracy: Share
    interval: Interval | None


@dataclass(frozen=True)
class ShortcutsFacts:
    """What simple cues tell of the class."""

    verdict: str
    remark: str
    count: Number
    learned: Number
    network: AccuracyFacts
    chance: AccuracyFacts
    cues: Mapping[str, CueFacts]
    only: Mapping[str, ViewFacts]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class CausesFacts:
    """How many mistakes have each cause."""

    examined: Count
    mistakes: Count
    twin: Count
    label: Count
    border: Count
    unlike: Count
    shift: Count
    plain: Count


@dataclass(frozen=True)
class EvaluationFacts:
    """What every evaluation.json holds; docs/evaluation.md says what each key is."""

    format: Literal[1]
    leaking: tuple[str, ...]
    near_leaking: tuple[NearLeak, ...]
    unsearched: Mapping[str, Any] | None
    clean: CleanFacts | None
    network_number: Number | None
    test_excluded: Annotated[Count | None, ABSENT]
    test_relabelled: Annotated[Count | None, ABSENT]
    weights: Digest
    fingerprint: Digest
    verdict: str
    count: Number
    correct: Count
    accuracy: Share
    interval: Interval | None
    groups: Count | None
    loss: Loss
    macro_f1: Share
    calibration: Calibration
    scores: Mapping[str, ScoreFacts]
    most_confused: tuple[Confusion, ...]
    confusions: tuple[Confusion, ...]
    classes: tuple[str, ...]
    slices: Annotated[SlicesFacts | None, ABSENT]
    stress: Annotated[StressFacts | None, ABSENT]
    shortcuts: Annotated[ShortcutsFacts | None, ABSENT]
    causes: Annotated[CausesFacts | None, ABSENT]

    @property
    def unsearched_message(self) -> Message | None:
        """What was not searched for copies, in words; None where all was. Raises UsageError when damaged."""
        return None if self.unsearched is None else message_from_json(self.unsearched)


@dataclass(frozen=True)
class ClassFacts:
    """What it holds besides where each picture has one class."""

    balanced_accuracy: Share
    per_class: tuple[ClassScore, ...]
    averages: tuple[AverageScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    folds: Annotated[tuple[FoldScore, ...] | None, ABSENT]


@dataclass(frozen=True)
class LabelFacts:
    """What it holds besides where pictures have several labels."""

    mean_average_precision: Share
    mean_average_precision_interval: Interval | None
    hamming_loss: Share
    micro_f1: Share
    per_label: tuple[LabelScore, ...]
    together: tuple[tuple[int, ...], ...]


def read_facts(folder: Path) -> EvaluationFacts:
    """What evaluation.json in a run's folder holds.

    Raises DamagedFile, with the key and what to do, when a key is missing, not known, of another kind or out
    of bounds, and when its numbers do not fit together; PellucidError when the file is absent.
    """
    path = folder / EVALUATION
    values = read_object(path)
    if values.get("format") != FORMAT:
        what = f"it has format {values.get('format')!r}; this pellucid reads format {FORMAT}"
        raise damage(path, what)
    try:
        kind: type[ClassFacts | LabelFacts] = LabelFacts if "per_label" in values else ClassFacts
        names = {field.name for field in fields(kind)}
        found = record_from(
            EvaluationFacts, {name: value for name, value in values.items() if name not in names}
        )
        own = record_from(kind, {name: values[name] for name in values.keys() & names})
        if fault := next(_faults(found, own), ""):
            raise ValueError(fault)
        str(found.unsearched_message)  # which a sentence without its values is not
    except (ValueError, KeyError, UsageError) as error:
        raise damage(path, str(error)) from error
    return found


def read_facts_if_sound(folder: Path) -> EvaluationFacts | None:
    """The same; None where there are none, or they are damaged."""
    try:
        return read_facts(folder)
    except PellucidError:
        return None


def _faults(facts: EvaluationFacts, own: ClassFacts | LabelFacts) -> Iterator[str]:
    """What does not fit together, a sentence each."""
    yield from _misfit("", facts.correct, facts.count, facts.accuracy, facts.interval)
    if facts.clean is not None:
        clean = facts.clean
        yield from _misfit("clean.", clean.correct, clean.count, clean.accuracy, clean.interval)
        if clean.count > facts.count or clean.correct > facts.correct:
            yield f"'clean' has {clean.correct:,} of {clean.count:,}, more than all pictures"
    if facts.groups is not None and facts.groups > facts.count:
        yield f"'groups' is {facts.groups:,} of {facts.count:,} pictures"
    if facts.groups != facts.calibration.groups:
        yield f"'groups' is {facts.groups}, 'calibration.groups' {facts.calibration.groups}"
    yield from _misfit_scores(facts, own)
    yield from _misfit_classes(facts, own)
    yield from _misfit_sections(facts)


def _misfit(
    within: str, correct: int, count: int, accuracy: float, interval: tuple[float, float] | None
) -> Iterator[str]:
    if correct > count:
        yield f"'{within}correct' is {correct:,} of {count:,}"
    if abs(accuracy - correct / count) > ROUNDED:
        yield f"'{within}accuracy' is {accuracy:.6g}, but {correct:,} of {count:,} are correct"
    if interval is not None and not interval[0] - ROUNDED <= accuracy <= interval[1] + ROUNDED:
        yield f"'{within}interval' does not hold the accuracy {accuracy:.6g}"


def _misfit_scores(facts: EvaluationFacts, own: ClassFacts | LabelFacts) -> Iterator[str]:
    """Each score has a known name, and is the one that stands by itself."""
    for name, score in facts.scores.items():
        if not SCORE_NAMES.fullmatch(name):
            yield f"'scores' has {name[:60]!r}, which is not known"
        if name != "loss" and (score.value > 1 + ROUNDED or (score.interval or (0, 0))[1] > 1 + ROUNDED):
            yield f"'scores.{name}' is {score.value:.6g}"
    alone = {name: getattr(facts, name) for name in ("accuracy", "loss", "macro_f1")}
    names = ("balanced_accuracy",) if isinstance(own, ClassFacts) else ("hamming_loss", "micro_f1")
    alone |= {name: getattr(own, name) for name in names}
    for name, value in alone.items():
        if name not in facts.scores:
            yield f"'scores.{name}' is missing"
        elif abs(facts.scores[name].value - value) > ROUNDED:
            yield f"'{name}' is {value:.6g}, 'scores.{name}' {facts.scores[name].value:.6g}"


def _misfit_classes(facts: EvaluationFacts, own: ClassFacts | LabelFacts) -> Iterator[str]:
    """Every count of pictures by class is that of the others."""
    classes, scores = facts.classes, own.per_class if isinstance(own, ClassFacts) else own.per_label
    if len(classes) < 2 or len(set(classes)) < len(classes):
        yield "'classes' are fewer than two, or not distinct"
    if tuple(score.name for score in scores) != classes:
        yield "the scores of classes are not of 'classes', in their order"
    cells = own.confusion if isinstance(own, ClassFacts) else own.together
    name = "confusion" if isinstance(own, ClassFacts) else "together"
    if len(cells) != len(classes) or any(len(row) != len(classes) or min(row) < 0 for row in cells):
        yield f"'{name}' is no table of a count for each two classes"
        return
    predictions = facts.count * (1 if isinstance(own, ClassFacts) else len(classes))
    if facts.calibration.count != predictions:
        yield f"'calibration.count' is {facts.calibration.count:,}; expected {predictions:,}"
    diagonal = [row[k] for k, row in enumerate(cells)]
    if isinstance(own, LabelFacts):
        if [score.support for score in own.per_label] != diagonal or max(diagonal) > facts.count:
            yield "'together' does not have the counts of 'per_label'"
        return
    if (sum(map(sum, cells)), sum(diagonal)) != (facts.count, facts.correct):
        yield f"'confusion' does not have {facts.correct:,} of {facts.count:,} correct"
    if [(score.support, score.predicted) for score in own.per_class] != list(
        zip(map(sum, cells), map(sum, zip(*cells, strict=True)), strict=True)
    ):
        yield "'confusion' does not have the counts of 'per_class'"
    wrong = {
        (classes[row], classes[column]): count
        for row, counts in enumerate(cells)
        for column, count in enumerate(counts)
        if count and row != column
    }
    told = {(pair.label, pair.prediction): pair.count for pair in facts.confusions}
    if (
        told != wrong
        or len(told) != len(facts.confusions)
        or not set(facts.most_confused) <= set(facts.confusions)
    ):
        yield "'confusions' and 'most_confused' are not those of 'confusion'"
    if own.folds is not None:
        sums = sum(fold.count for fold in own.folds), sum(fold.correct for fold in own.folds)
        numbers = [fold.fold for fold in own.folds]
        if sums != (facts.count, facts.correct) or numbers != list(range(1, len(numbers) + 1)):
            yield f"'folds' add up to {sums[1]:,} of {sums[0]:,}"
        for fold in own.folds:
            yield from _misfit(f"folds.{fold.fold}.", fold.correct, max(1, fold.count), fold.accuracy, None)


def _misfit_sections(facts: EvaluationFacts) -> Iterator[str]:
    """What the report added has counts that fit."""
    if facts.slices and facts.slices.count > facts.count:
        yield f"'slices.count' is {facts.slices.count:,} of {facts.count:,}"
    for each in facts.slices.slices if facts.slices else ():
        yield from _misfit("slices.", each.correct, each.count, each.accuracy, each.interval)
    if facts.stress:
        if facts.stress.count > facts.stress.available:
            yield f"'stress.count' is {facts.stress.count:,} of {facts.stress.available:,}"
        for damaged, points in facts.stress.curves.items():
            for point in points:
                yield from _misfit(
                    f"stress.curves.{damaged}.",
                    point.correct,
                    facts.stress.count,
                    point.accuracy,
                    point.interval,
                )
    if facts.shortcuts:
        for cue in facts.shortcuts.cues.values():
            yield from _misfit(
                "shortcuts.cues.", cue.correct, facts.shortcuts.count, cue.accuracy, cue.interval
            )
        for view in facts.shortcuts.only.values():
            yield from _misfit("shortcuts.only.", view.correct, view.count, view.accuracy, view.interval)
    if causes := facts.causes:
        told = causes.twin + causes.label + causes.border + causes.unlike + causes.shift + causes.plain
        most = facts.count - facts.correct
        if told != causes.examined or not causes.examined <= causes.mistakes <= most:
            yield (
                f"'causes' has {told:,} of {causes.examined:,} examined, of {causes.mistakes:,} mistakes of "
                f"{most:,}"
            )

"""What a command prints: progress on a terminal, plain lines in a pipe, JSON lines for a program."""

import errno
import math
import os
import re
import select
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console

from pellucid.errors import CheckFailed, Interrupted
from pellucid.formatting import brief, decimal, json_line, percent, plain, plural
from pellucid.recipe import Recipe

if TYPE_CHECKING:
    from rich.progress import Progress

    from pellucid.data.audit.findings import Audit
    from pellucid.data.dataset import Dataset, Origin, Splits
    from pellucid.evaluation.evaluation import AnyEvaluation
    from pellucid.evaluation.gates import Gate
    from pellucid.evaluation.metrics import Bounds
    from pellucid.evaluation.multi_label import MultiLabelEvaluation
    from pellucid.runs.basis import Basis
    from pellucid.runs.run import Run
    from pellucid.runs.several import PlannedTraining, Watch
    from pellucid.runs.warm_start import WarmStart
    from pellucid.training.loop import Epoch, Step

# What writing to a pipe that nobody reads ends in, and to a terminal that was closed.
READER_LEFT = (errno.EPIPE, errno.EIO)
WIDE, NARROW = 100, 60  # columns that a bar with all its figures takes; below NARROW: step and time left
CLASSES_SHOWN = 20


class Output:
    """Prints what happens: progress on a terminal, plain lines in a pipe, JSON lines, or nothing.

    When the reader of the output leaves, as `head` does, the rest is dropped; `reader_left` tells.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self.reader_left = self.stopping = False
        self.console = Console(highlight=False, soft_wrap=True, emoji=False)

    def line(self, text: str) -> None:
        """One line for a person."""
        if self.quiet or self.as_json:
            return
        with self._until_the_reader_leaves():
            if self.console.is_terminal:  # above a progress bar
                self.console.print(plain(with_flags(text)), markup=False)
            else:
                print(plain(with_flags(text)), flush=True)

    def object(self, facts: Mapping[str, Any]) -> None:
        """One JSON object for a program."""
        if self.as_json and not self.quiet:
            with self._until_the_reader_leaves():
                print(json_line(facts), flush=True)

    def event(self, kind: str, **facts: Any) -> None:
        """One JSON object for a program, of a command that prints several kinds."""
        self.object({"event": kind, **facts})

    @contextmanager
    def stage(self, text: str, *, again: str) -> Iterator[Callable[[str], None]]:
        """Shows on a terminal what is being done, and each part of it by the function it gives.

        again  the command that does it again: what a person reads who presses Ctrl-C meanwhile
        """
        try:
            if self.quiet or self.as_json or not self.console.is_terminal:
                yield lambda part: None
            else:
                with self.console.status(text) as status:
                    yield lambda part: status.update(f"{text}: {part}")
        except KeyboardInterrupt as interruption:
            raise Interrupted(f"Stopped by Ctrl-C. To do this part again: {again}") from interruption

    def origin(self, origin: "Origin") -> None:
        """What was understood of pictures of your own, before anything is done with them."""
        if origin.known:
            for note in origin.notes:  # on corrections
                self.line(f"{note}.")
            return
        self.event("origin", **origin.to_json())
        for note in origin.notes:
            # one line per note, whatever a file is called
            self.line(f"{str(note).rstrip('.')}.".replace("\n", "\\n"))
        unreadable = len(origin.unreadable)
        read = origin.found - unreadable
        self.line(f"Pictures found: {origin.found:,} = {read:,} read + {unreadable:,} unreadable.")

    def data(self, name: str, splits: "Splits", found: "Audit | None" = None) -> None:
        """What the pictures are: shape, type, classes and how many; and what is wrong with them."""
        facts = facts_of(splits)
        findings = [finding.brief for finding in found.findings] if found else []
        self.event("data", data=name, **facts, **({"findings": findings} if found else {}))
        channels, height, width = facts["shape"]
        kind = "gray" if channels == 1 else f"{channels} channels"
        sizes = ", ".join(f"{part} {len(dataset):,}" for part, dataset in splits.items())
        self.line(f"{name}: {width}x{height} {kind} uint8, {sizes} pictures")
        shown = facts["classes"][:CLASSES_SHOWN]
        hidden = len(facts["classes"]) - len(shown)
        more = f"; and {plural(hidden, 'class', 'classes')} more" if hidden else ""
        counts = "; ".join(f"'{name}' {splits.train.counts[name]:,}" for name in shown)
        kind_of_classes = "labels" if splits.train.multi_label else "classes"
        self.line(f"{len(facts['classes'])} {kind_of_classes}, training pictures of each: {counts}{more}")
        if found and found.findings:
            self.findings(found)
            self.line(f"Look at them with: pellucid check {shlex.quote(name)}")

    def findings(self, found: "Audit") -> None:
        """One line for each thing that is wrong with the pictures, the gravest first."""
        for finding in found.findings:
            self.line(f"{finding.severity}: {finding.sentence} [{finding.kind}]")
        if not found.findings:
            self.line("Nothing found that is wrong.")

    def recipe(self, recipe: Recipe) -> None:
        """How training will go: the network, how long, and what is done with the pictures."""
        self.event("recipe", **asdict(recipe))
        changes = "not augmented" if recipe.augment == "none" else f"augmented: {recipe.augment}"
        balance = "" if recipe.balance in ("none", "auto") else f"; balanced by {recipe.balance}"
        epochs = plural(recipe.epochs, "epoch", "epochs")
        self.line(f"{recipe.model}: {epochs}, batches of {recipe.batch_size}; {changes}{balance}")

    def folds(self, folds: int, pictures: int) -> None:
        """How pictures are judged of which none is held out."""
        self.line(
            f"{folds} folds: each of all {pictures:,} pictures is judged by a network that learned from the "
            f"other folds; the network kept then learns from all. Parts of the data's own play no role."
        )

    def warm_start(self, taken: "WarmStart") -> None:
        """What was taken from an earlier run."""
        self.event("warm_start", **taken.to_json())
        self.line(str(taken))

    def counts(self, splits: "Splits") -> None:
        """How many pictures of each class each split has."""
        self.line("Pictures per class (train, validation, test):")
        for name in splits.train.classes:
            numbers = [f"{part.counts.get(name, 0):>7,}" for _, part in splits.items()]
            self.line(f"  {name:<16} {' '.join(numbers)}")

    @contextmanager
    def training(
        self, recipe: Recipe
    ) -> Iterator[tuple[Callable[["Step | Epoch"], None], Callable[[str, int, int], None]]]:
        """A callback that shows every event of a training as it happens, and one that shows how many pictures
        have their features, which comes before.

        When the reader of the output leaves, or the terminal is closed, training is stopped as by SIGTERM:
        saved after the step at hand, to be resumed.
        """
        if self.quiet or self.as_json or not self.console.is_terminal:
            yield (lambda event: self._show_event(event, recipe)), (lambda activity, done, count: None)
            return
        from pellucid.training.loop import Step

        with self._bar() as progress:
            task = progress.add_task("", total=None, figures="", left="")

            def show_pictures(activity: str, done: int, count: int) -> None:
                what = f"{activity} {done:,}/{count:,}"
                progress.update(task, completed=done, total=count, description=what)
                show_left()
                if done == count:
                    progress.reset(task, total=None, figures="", left="")

            def show_left() -> None:
                remaining = progress.tasks[0].time_remaining
                progress.update(task, left="" if remaining is None else f"{duration(remaining)} left")

            def show(event: "Step | Epoch") -> None:
                if isinstance(event, Step):
                    progress.update(
                        task,
                        completed=(event.epoch - 1) * event.steps + event.step,
                        total=recipe.epochs * event.steps,
                        description=f"{_stage(event)}epoch {event.epoch}/{recipe.epochs}, "
                        f"step {event.step}/{event.steps}",
                        figures=f"loss {event.loss:.3f}, {event.images_per_second:,.0f} pictures/s",
                    )
                    show_left()
                self._show_event(event, recipe)

            yield show, show_pictures

    @contextmanager
    def _bar(self) -> "Iterator[Progress]":
        """A progress bar, gone after the block, also from a terminal that was closed meanwhile."""
        progress = self._progress()
        progress.start()
        try:
            yield progress
        finally:
            with self._until_the_reader_leaves():
                progress.stop()

    def _progress(self) -> "Progress":
        from rich.progress import BarColumn, Progress, TextColumn

        step, left = TextColumn("{task.description}"), TextColumn("{task.fields[left]}")
        figures = TextColumn("{task.fields[figures]}")
        width = self.console.width
        columns = [step, BarColumn(), figures, left] if width >= WIDE else [step, figures, left]
        if width < NARROW:
            columns = [step, left]
        return Progress(*columns, console=self.console, transient=True)

    def _show_event(self, event: "Step | Epoch", recipe: Recipe) -> None:
        from pellucid.training.loop import Epoch

        if isinstance(event, Epoch):
            facts = {name: value for name, value in asdict(event).items() if value != ""}
            held_out = not math.isnan(event.val_loss)
            self.event("epoch", **(facts if held_out else facts | {"val_loss": None, "val_accuracy": None}))
            judged = f"  val_loss {event.val_loss:.4f}  val_accuracy {event.val_accuracy:.4f}"
            mark = "  best so far" if event.best else ""
            self.line(
                f"{_stage(event)}epoch {event.epoch:>2}/{recipe.epochs + recipe.fine_tune}  "
                f"{event.seconds:6.1f} s  loss {event.loss:.4f}  accuracy {event.accuracy:.4f}"
                f"{judged + mark if held_out else ''}"
            )
        self._stop_if_unread()

    def _stop_if_unread(self) -> None:
        if not self.stopping and not self.quiet and (self.reader_left or _reader_has_left()):
            self.stopping = True
            problem("Whoever read this output has left, so training stops.")
            # The loop finishes its step and saves; where nothing waits for SIGTERM, Ctrl-C has its words.
            noted = signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
            signal.raise_signal(signal.SIGTERM if noted else signal.SIGINT)

    @contextmanager
    def trainings(self) -> Iterator[tuple["Watch", Callable[["Step | Epoch"], None]]]:
        """What hears of several trainings: how long they will take, and, on a terminal, how far they are."""
        from pellucid.runs.choose import Listener
        from pellucid.runs.several import PlannedTraining, Watch

        plan: dict[str, PlannedTraining] = {}

        def announce(trainings: Sequence[PlannedTraining]) -> None:
            plan.update((each.name, each) for each in trainings)
            seconds = sum(each.seconds for each in trainings)
            self.event("plan", trainings=[asdict(each) for each in trainings], seconds=seconds)
            count = plural(len(trainings), "training", "trainings")
            self.line(f"{count} to do, about {duration(max(1.0, seconds))} in all.")

        def choosing(names: list[str], seconds: float) -> None:
            self.event("choosing", models=names, seconds=seconds)
            self.line(
                f"First a network is chosen by the validation pictures: {', '.join(names)}; about "
                f"{duration(max(1.0, seconds))}."
            )

        listener = Listener(choosing)
        if self.quiet or self.as_json or not self.console.is_terminal:
            yield Watch(listener, announce), lambda event: self._stop_if_unread()
            return
        with self._bar() as progress:
            task = progress.add_task("", total=None, figures="", left="")

            def show_features(activity: str, done: int, count: int) -> None:
                progress.update(task, description=f"{activity} {done:,}/{count:,}")

            def show(event: "Step | Epoch") -> None:
                _advance(progress, event, plan)
                self._stop_if_unread()

            yield Watch(listener, announce, show_features), show

    def evaluation(self, run: "Run", evaluation: "AnyEvaluation", basis: "Basis") -> None:
        """The verdict on the test set, without copies of training pictures first, and what it rests on."""
        clean = basis.clean(evaluation)
        if self.as_json and not self.quiet:
            verdict = clean.verdict if clean is not None and basis.copies else None
            rests_on = [str(sentence) for sentence in basis.sentences]
            notes = {"ended": run.ended, "clean": verdict, "rests_on": rests_on}
            notes["test_corrections"] = run.origin.test_corrections
            self.event("evaluation", run=str(run.folder), **notes, **evaluation.to_json())
        if run.ended:
            self.line(f"Training ended before its last epoch: {run.ended}")
        name = "Out of fold" if evaluation.fold_scores else "Test set"
        if clean is not None and basis.copies:
            self.line(f"{name} without copies of pictures that were learned from: {clean.verdict}")
        self.line(f"{name}{', copies included' if basis.copies else ''}: {evaluation.verdict}")
        if clean is None:
            self.line("Every test picture was also used in training: this says nothing about new pictures.")
        for sentence in basis.sentences:
            self.line(f"  {sentence}")
        if evaluation.fold_scores:
            self.line(
                "The interval is for networks that learn from all folds but one; the network kept learned "
                "from all pictures, and nothing is left to judge it by."
            )
        if run.all_pictures and not evaluation.fold_scores:
            self.line(
                "The test score is that of the network that also learned from the validation pictures; the "
                "validation figures are those of the first training."
            )
        if run.origin.test_corrections and not evaluation.fold_scores:
            self.line(run.origin.test_corrections)
        if uneven := (clean or evaluation).uneven:
            self.line(uneven)
        from pellucid.evaluation.multi_label import MultiLabelEvaluation

        if isinstance(evaluation, MultiLabelEvaluation):
            self._labels(evaluation)
        else:
            self.line((clean or evaluation).calibration.sentence)

    def scores(self, evaluation: "AnyEvaluation") -> None:
        """Every score with its 95 % interval; class by class, where each picture has one."""
        from pellucid.evaluation.evaluation import Evaluation
        from pellucid.evaluation.score_names import figure_of, interval_of, title_of

        self.line("Scores with their 95 % intervals:")
        for name, score in evaluation.scores.items():
            figure, interval = (
                figure_of(name, score.value, evaluation.count), interval_of(name, score, evaluation.count)
            )  # fmt: skip
            self.line(f"  {title_of(name)!s:<32} {figure:>8}  {interval}".rstrip())
        if not isinstance(evaluation, Evaluation):
            return
        self.line("Class by class: pictures; precision, recall and F1, each with its 95 % interval:")
        for each in evaluation.per_class[:CLASSES_SHOWN]:
            figures = (
                percent(each.precision, count=each.predicted)
                + _ends(each.precision_interval, each.predicted),
                percent(each.recall, count=each.support) + _ends(each.recall_interval, each.support),
                decimal(each.f1) + _ends(each.f1_interval, 0),
            )
            self.line(f"  {brief(each.name, 24):<16} {each.support:>6,}  {'  '.join(figures)}")
        hidden = len(evaluation.classes) - CLASSES_SHOWN
        if hidden > 0:
            self.line(f"  and {plural(hidden, 'class', 'classes')} more, in evaluation.json")

    def remarks(self, run: "Run") -> None:
        """What the report found in slices, under stress and of shortcuts, a line each; nothing where it found
        nothing, or was not written since the run was evaluated."""
        from pellucid.evaluation.facts import read_facts_if_sound

        facts = read_facts_if_sound(run.folder)
        for found in (facts.slices, facts.shortcuts, facts.stress) if facts else ():
            if found is not None and found.remark:
                self.line(found.remark)

    def gates(self, gates: "list[Gate]") -> None:
        """Each limit that was asked for, and whether it was kept. Raises CheckFailed where one was not."""
        for gate in gates:
            self.event("gate", **gate.to_json())
            self.line(gate.sentence)
        failed = [gate for gate in gates if not gate.passed]
        if failed:
            words = "; ".join(gate.sentence.removeprefix("failed: ") for gate in failed)
            raise CheckFailed(f"{plural(len(failed), 'limit', 'limits')} not kept: {words}.")

    def _labels(self, evaluation: "MultiLabelEvaluation") -> None:
        """The scores of each label, in lines."""
        self.line("Label by label: average precision and F1, each with its 95 % interval, threshold:")
        for each in evaluation.per_label[:CLASSES_SHOWN]:
            precision = "no test picture has it"
            if each.average_precision is not None and each.average_precision_interval is not None:
                low, high = each.average_precision_interval
                precision = f"{decimal(each.average_precision)} ({decimal(low)} to {decimal(high)})"
            elif each.average_precision is not None:
                precision = decimal(each.average_precision)
            f1 = decimal(each.f1) + _ends(each.f1_interval, 0)
            self.line(f"  {each.name:<16} {precision}  F1 {f1}  from {each.threshold:.2f}")
        hidden = len(evaluation.classes) - CLASSES_SHOWN
        if hidden > 0:
            self.line(f"  and {plural(hidden, 'label', 'labels')} more, in evaluation.json")

    @contextmanager
    def _until_the_reader_leaves(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in READER_LEFT:
                raise
            self.reader_left = True
            _drop(sys.stdout)


def _drop(stream: TextIO) -> None:
    """What was and will be printed to this stream is dropped; else Python's exit would fail to print it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _reader_has_left() -> bool:
    """Whether the pipe or terminal that is printed to has lost its other end, though nothing was printed."""
    try:
        waiting = select.poll()  # not on Windows
        waiting.register(sys.stdout.fileno(), 0)
        return any(state & (select.POLLERR | select.POLLHUP) for _, state in waiting.poll(0))
    except (AttributeError, OSError, ValueError):  # no file, as in a notebook or a test
        return False


def _ends(interval: "Bounds | None", count: int) -> str:
    """The ends of an interval in brackets: in percent of `count` pictures, of a score if that is 0."""
    if interval is None:
        return " (too few)"
    low, high = (percent(end, count=count) if count else decimal(end) for end in interval)
    return f" ({low.removesuffix(' %')} to {high.removesuffix(' %')})"


def _advance(progress: "Progress", event: "Step | Epoch", plan: Mapping[str, "PlannedTraining"]) -> None:
    """Moves the only bar to where several trainings stand, by the seconds each was estimated to take."""
    from pellucid.training.loop import Step

    names = list(plan)
    current = next((name for name in names if event.stage.split(",")[0] == name), None)
    if current is None or not isinstance(event, Step):
        return
    done = (event.epoch - 1 + event.step / event.steps) / plan[current].epochs
    seconds = sum(plan[name].seconds for name in names[: names.index(current)])
    seconds += plan[current].seconds * min(1.0, done)
    (task,) = progress.tasks
    progress.update(
        task.id,
        completed=max(task.completed, seconds),
        total=sum(each.seconds for each in plan.values()),
        description=f"{event.stage}: epoch {event.epoch}/{plan[current].epochs}",
        figures=f"loss {event.loss:.3f}",
    )
    remaining = task.time_remaining
    progress.update(task.id, left="" if remaining is None else f"{duration(remaining)} left")


def _stage(event: "Step | Epoch") -> str:
    """Which of several trainings an event belongs to, before its figures; "" for the only one."""
    return f"{event.stage}: " if event.stage else ""


def problem(message: object) -> None:
    """A message on the error stream, where somebody still reads it. What follows a line break, which may be
    one in a file's name, is indented: no other line begins as a message does."""
    text = re.sub(r"\n(?! )", "\n  ", plain(with_flags(f"pellucid: {message}")))
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError as error:
        if error.errno not in READER_LEFT:
            raise
        _drop(sys.stderr)


def duration(seconds: float) -> str:
    """How long, in units: "7 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def facts_of(splits: "Splits") -> dict[str, Any]:
    """What pictures there are, as plain values: shape, classes, counts."""
    parts: dict[str, Dataset] = dict(splits.items())
    return {
        "shape": list(splits.train.images.shape[1:]),
        "type": "uint8",
        "classes": list(splits.train.classes),
        "pictures": {name: len(part) for name, part in parts.items()},
        "counts": {name: part.counts for name, part in parts.items()},
    }


FLAGS = {"split_file": "split", "folder": "out"}  # arguments whose flag has another name


def with_flags(text: str) -> str:
    """What the library says in Python's words, in those of the command line: `size=64` as --size 64."""

    def flag(found: "re.Match[str]") -> str:
        value = "" if found[2] is None else f" {found[2]}"
        return f"--{FLAGS.get(found[1], found[1]).replace('_', '-')}{value}"

    return re.sub(r"`([a-z_]+)(?:=([^`]*))?`", flag, text)

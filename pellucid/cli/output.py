"""What a command says: progress on a terminal, plain lines in a pipe, JSON lines for a program."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pellucid.formatting import plain
from pellucid.recipe import Recipe

if TYPE_CHECKING:
    from pellucid.data.audit.findings import Audit
    from pellucid.data.dataset import Dataset, Origin, Splits
    from pellucid.evaluation.evaluation import Evaluation
    from pellucid.runs.run import Run
    from pellucid.training.loop import Epoch, Step


class Voice:
    """Says what happens: progress on a terminal, plain lines in a pipe, JSON lines, or nothing."""

    def __init__(self, quiet: bool, as_json: bool) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self.console = Console(highlight=False, soft_wrap=True, emoji=False)

    def line(self, text: str) -> None:
        """One line for a person."""
        if not self.quiet and not self.as_json:
            self.console.print(plain(with_flags(text)), markup=False)

    def event(self, kind: str, **facts: Any) -> None:
        """One JSON object for a program."""
        if self.as_json and not self.quiet:
            print(json.dumps({"event": kind, **facts}, ensure_ascii=False), flush=True)

    def origin(self, origin: "Origin") -> None:
        """What was understood of one's own pictures, before anything is made of them."""
        if origin.known:
            return
        self.event("origin", **origin.to_json())
        for note in origin.notes:
            # one line a note, whatever a file is called
            self.line(f"{str(note).rstrip('.')}.".replace("\n", "\\n"))
        unreadable = len(origin.unreadable)
        read = origin.found - unreadable
        self.line(f"Pictures found: {origin.found:,} = {read:,} read + {unreadable:,} unreadable.")

    def data(self, name: str, splits: "Splits", found: "Audit | None" = None) -> None:
        """What the pictures are: shape, type, classes and how many; and what is wrong with them."""
        facts = facts_of(splits)
        told = [finding.brief for finding in found.findings] if found else []
        self.event("data", data=name, **facts, **({"findings": told} if found else {}))
        channels, height, width = facts["shape"]
        kind = "gray" if channels == 1 else f"{channels} channels"
        sizes = ", ".join(f"{part} {len(dataset):,}" for part, dataset in splits.items())
        self.line(f"{name}: {width}x{height} {kind} uint8, {sizes} pictures")
        shown = facts["classes"][:20]
        more = f" and {len(facts['classes']) - 20} more" if len(facts["classes"]) > 20 else ""
        counts = ", ".join(f"{name} {splits.train.counts[name]:,}" for name in shown)
        self.line(f"{len(facts['classes'])} classes, training pictures of each: {counts}{more}")
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
        changes = "not augmented" if recipe.augment == "none" else f"augmented: {recipe.augment}"
        balance = "" if recipe.balance == "none" else f"; balanced by {recipe.balance}"
        self.line(
            f"{recipe.model}: {recipe.epochs} epochs, batches of {recipe.batch_size}; {changes}{balance}"
        )

    def counts(self, splits: "Splits") -> None:
        """How many pictures of each class each split has."""
        self.line("Pictures per class (train, validation, test):")
        for name in splits.train.classes:
            numbers = [f"{part.counts.get(name, 0):>7,}" for _, part in splits.items()]
            self.line(f"  {name:<16} {' '.join(numbers)}")

    @contextmanager
    def training(self, recipe: Recipe) -> Iterator[Callable[["Step | Epoch"], None]]:
        """A callback that shows every event of a training as it happens."""
        if self.quiet or self.as_json or not self.console.is_terminal:
            yield lambda event: self._told(event, recipe)
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        from pellucid.training.loop import Step

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"))
        with Progress(*columns, TimeRemainingColumn(), console=self.console, transient=True) as bar:
            task = bar.add_task("training", total=None, figures="")

            def show(event: "Step | Epoch") -> None:
                if isinstance(event, Step):
                    done = (event.epoch - 1) * event.steps + event.step
                    figures = f"loss {event.loss:.3f}, {event.images_per_second:,.0f} pictures/s"
                    title = f"epoch {event.epoch}/{recipe.epochs}, step {event.step}/{event.steps}"
                    total = recipe.epochs * event.steps
                    bar.update(task, completed=done, total=total, description=title, figures=figures)
                else:
                    self._told(event, recipe)

            yield show

    def _told(self, event: "Step | Epoch", recipe: Recipe) -> None:
        from pellucid.training.loop import Epoch

        if not isinstance(event, Epoch):
            return
        self.event("epoch", **asdict(event))
        mark = "  best so far" if event.best else ""
        self.line(
            f"epoch {event.epoch:>2}/{recipe.epochs}  {event.seconds:6.1f} s  loss {event.loss:.4f}  "
            f"accuracy {event.accuracy:.4f}  val_loss {event.val_loss:.4f}  "
            f"val_accuracy {event.val_accuracy:.4f}{mark}"
        )

    def evaluation(self, run: "Run", evaluation: "Evaluation") -> None:
        """The verdict on the test set."""
        if self.as_json and not self.quiet:
            figures = evaluation.to_json()
            notes = {"ended": run.ended, "without_leaking": run.without_leaking()}
            self.event("evaluation", run=str(run.folder), **notes, **figures)
        if run.ended:
            self.line(f"Training ended before its last epoch: {run.ended}")
        self.line(f"Test set: {evaluation.verdict}")
        without = run.without_leaking()
        if without:
            self.line(f"Without test pictures that were also used in training or validation: {without}")
        if evaluation.uneven:
            self.line(evaluation.uneven)


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


FLAGS = {"split_file": "split"}  # settings whose flag has another name


def with_flags(text: str) -> str:
    """What the library says in Python's words, in those of the command line: `size=64` as --size 64."""

    def flag(found: "re.Match[str]") -> str:
        value = "" if found[2] is None else f" {found[2]}"
        return f"--{FLAGS.get(found[1], found[1]).replace('_', '-')}{value}"

    return re.sub(r"`([a-z_]+)(?:=([^`]*))?`", flag, text)

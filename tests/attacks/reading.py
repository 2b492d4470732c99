"""Everything that pellucid reads of a run, at once."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError
from pellucid.runs.run import Run
from pellucid.runs.tables import read_margins, seen_contents
from pellucid.runs.verdicts import read_verdicts
from tests.attacks.canary import listening, unharmed, within
from tests.runs.toy_runs import SPLITS
from tests.toys import economical


def read_all(folder: Path) -> list[str]:
    """Everything that pellucid reads of a run, and what it says while it does. Errors are messages, or this
    raises them; nothing is asked of a network, nothing waits for ever, the file beside the run stays."""
    said: list[str] = []

    def attempt(reading: Callable[[], object]) -> Any:
        try:
            return reading()
        except PellucidError as error:
            said.append(str(error))
            return None

    with (
        unharmed(folder.parent), listening() as asked, within(30), economical(),
        warnings.catch_warnings(record=True) as caught,
    ):  # fmt: skip
        warnings.simplefilter("always")
        run = attempt(lambda: Run.open(folder))
        if run is not None:
            for reading in (
                run.evaluation, run.basis, run.held_out, run.snapshots, run.diagnostics, run.reference,
                lambda: seen_contents(folder), lambda: read_verdicts(folder),
                lambda: read_margins(folder, run.classifier.classes), lambda: run.prediction_sets(0.9),
                lambda: run.classifier.predict(SPLITS.test.images[:2]), lambda: run.summary,
                lambda: run.splits(),
            ):  # fmt: skip
                attempt(reading)
    assert asked == []
    return said + [str(each.message) for each in caught]

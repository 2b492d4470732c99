"""A history reads as in Keras, and as the list of epochs it is."""

from pathlib import Path

import pytest

from pellucid.errors import UsageError
from pellucid.runs.run import Run


def test_history_reads_as_in_keras(finished: Path) -> None:
    run = Run.open(finished)
    assert run.history["val_loss"] == [epoch.val_loss for epoch in run.history]
    assert run.history[-1].epoch == len(run.history) == 2
    with pytest.raises(UsageError, match=r"No 'val_acc' in the history\. Did you mean 'val_accuracy'\?"):
        run.history["val_acc"]

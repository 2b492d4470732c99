"""A history reads as in Keras, and as the list of epochs it is."""

from pathlib import Path

import pytest

from pellucid.errors import UsageError
from pellucid.runs.history import COLUMNS, History
from pellucid.runs.run import Run
from tests.toys import HISTORY


def test_history_reads_as_in_keras(finished: Path) -> None:
    run = Run.open(finished)
    assert run.history["val_loss"] == [epoch.val_loss for epoch in run.history]
    assert run.history[-1].epoch == len(run.history) == 2
    with pytest.raises(UsageError, match=r"No 'val_acc' in the history\. Did you mean 'val_accuracy'\?"):
        run.history["val_acc"]


@pytest.mark.parametrize("name", COLUMNS)
def test_each_figure_is_that_of_every_epoch(name: str) -> None:
    assert History(HISTORY)[name] == [getattr(epoch, name) for epoch in HISTORY]


def test_it_is_a_sequence_of_epochs() -> None:
    history = History(HISTORY)
    assert (list(history), len(history)) == (HISTORY, 4)
    assert (history[0], history[-1]) == (HISTORY[0], HISTORY[3])
    assert HISTORY[2] in history
    assert list(reversed(history)) == HISTORY[::-1]
    assert history.index(HISTORY[1]) == 1
    with pytest.raises(IndexError):
        history[4]


def test_a_slice_is_a_history_too() -> None:
    part = History(HISTORY)[1:3]
    assert isinstance(part, History)
    assert list(part) == HISTORY[1:3]
    assert part["epoch"] == [2, 3]
    assert len(History(HISTORY)[:0]) == 0
    assert History()["loss"] == []


def test_histories_of_the_same_epochs_are_equal_and_none_is_a_list() -> None:
    history = History(HISTORY)
    assert history == History(iter(HISTORY))
    assert hash(history) == hash(History(HISTORY))
    assert history != History(HISTORY[:3])
    assert history != HISTORY


def test_it_is_named_by_its_length_and_its_figures() -> None:
    names = "epoch, seconds, learning_rate, loss, accuracy, val_loss, val_accuracy, best"
    assert repr(History(HISTORY)) == f"History(4 epochs: {names})"
    assert repr(History(HISTORY[:1])) == f"History(1 epoch: {names})"


def test_what_was_given_can_change_without_it() -> None:
    epochs = list(HISTORY)
    history = History(epochs)
    epochs.clear()
    assert len(history) == 4

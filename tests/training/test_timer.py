"""What was reached is saved again after so long, and saving takes one hundredth of the time at most."""

import pytest

from pellucid.training import timer as timer_module
from pellucid.training.timer import CheckpointTimer
from tests.toys import Clock


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(timer_module, "clock", made)
    return made


def test_a_checkpoint_is_due_after_so_many_seconds_and_after_none_never(time: Clock) -> None:
    timer, never = CheckpointTimer(60), CheckpointTimer(0)
    time.now = 59.9
    assert not timer.due
    time.now = 60
    assert timer.due
    assert not never.due
    with timer.writing():
        time.now += 0.3
    time.now += 59.9
    assert not timer.due, "it is counted from the last, whatever that was written for"
    time.now += 0.2
    assert timer.due


def test_writing_checkpoints_takes_one_hundredth_of_the_time_at_most(time: Clock) -> None:
    timer, writing = CheckpointTimer(60), 0.0
    for second in range(50_000):
        time.now = max(time.now, second)
        if timer.due:
            with timer.writing():
                time.now += 5
                writing += 5
    assert 0.008 < writing / time.now < 0.0101

"""When it is time to save again what would be lost if the process were killed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

CHECKPOINT_SECONDS = 60.0  # between two of them
MOST_OF_THE_TIME = 0.01  # that writing them between epochs may take
clock = time.monotonic


@dataclass
class CheckpointTimer:
    """Tells when the next checkpoint is due: so many `seconds` after the last, later where writing one takes
    so long that it would be more than one hundredth of the time. With 0 seconds none is ever due."""

    seconds: float = CHECKPOINT_SECONDS
    _last: float = field(default_factory=lambda: clock())
    _cost: float = 0.0

    @property
    def due(self) -> bool:
        """Whether a checkpoint should be written now."""
        return self.seconds > 0 and clock() - self._last >= max(self.seconds, self._cost / MOST_OF_THE_TIME)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A block that writes one: it is timed, and the next is counted from its end."""
        begun = clock()
        yield
        self._last = clock()
        self._cost = self._last - begun

"""Ctrl-C and SIGTERM: the step at hand is finished, then everything is saved."""

import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pellucid.errors import PellucidError
from pellucid.runs.checkpoint import CHECKPOINT


class Stopped(PellucidError):
    """Training was asked to stop (Ctrl-C or SIGTERM), finished its step and saved what it had."""

    def __init__(self, folder: Path, signal_number: int) -> None:
        place = shlex.quote(str(folder))
        unfinished = (folder / CHECKPOINT).is_file()
        rest = f" Go on with: pellucid train --resume {place};" if unfinished else ""
        super().__init__(
            f"Stopped and saved in '{folder}'.{rest} Judge what was reached with: pellucid evaluate {place}"
        )
        self.exit_code = 128 + signal_number


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """A list that holds the number of the first SIGINT or SIGTERM received inside the block.

    A second one acts at once. Outside the main thread, where Python takes no signals, it stays empty.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""How a training ends early: by Ctrl-C, SIGTERM or SIGHUP after the step at hand, or by a callback's wish."""

import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pellucid.runs.checkpoint import CHECKPOINT


class StopTraining(Exception):
    """Raise it in a callback of `fit` to end the training there; the best weights are kept."""


class Stopped(KeyboardInterrupt):
    """Training was interrupted (Ctrl-C, SIGTERM or SIGHUP), finished its step and saved what it had.

    folder     the run's folder, from which `resume` goes on
    exit_code  128 and the signal's number, as shells have it
    judged     whether there is an epoch yet, whose weights can be judged
    """

    def __init__(self, folder: Path, signal_number: int, *, judged: bool = True) -> None:
        path = shlex.quote(str(folder))
        unfinished = (folder / CHECKPOINT).is_file()
        rest = f" Go on with: pellucid train --resume {path}" if unfinished else ""
        judge = f" Judge what was reached with: pellucid evaluate {path}" if judged else ""
        super().__init__(f"Stopped and saved in '{folder}'.{rest}{';' if rest and judge else ''}{judge}")
        self.folder = folder
        self.exit_code = 128 + signal_number


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """A list that holds the number of the first SIGINT, SIGTERM or SIGHUP received inside the block.

    A second SIGINT or SIGTERM acts at once; a SIGHUP does not: a terminal that is closed may send several,
    and a system that shuts down sends one after SIGTERM. One that the process was told to ignore, as by
    `nohup`, stays ignored. Outside the main thread, where Python takes no signals, the list stays empty.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    hang_up = getattr(signal, "SIGHUP", None)

    def note(number: int, frame: FrameType | None) -> None:
        if number != hang_up and any(earlier != hang_up for earlier in received):
            raise KeyboardInterrupt
        received.append(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        numbers.append(hang_up)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""A Python process of one's own that answers on pipes: it loads what one function needs, and outlives nobody.

It reads requests on its standard input and answers on its standard output. It never outlives the process that
started it: Linux kills it at once, elsewhere it ends with its input.
"""

import ctypes
import os
import signal
import subprocess
import sys
import warnings
from contextlib import suppress
from typing import IO, BinaryIO

PIPE_BYTES = 1 << 20  # buffered in each pipe, where the system allows it
PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal to receive when the parent ends


def command(module: str, *arguments: int) -> str:
    """The code of a process that runs `serve(parent, *arguments)` of a module and nothing of the caller's."""
    words = ", ".join(["int(sys.argv[1])", *map(str, arguments)])
    return f"import sys; sys.path[:] = sys.argv[2:]; from {module} import serve; serve({words})"


class WorkerProcess:
    """A process that runs the code of `command`.

    requests   its standard input
    responses  its standard output

    Raises OSError when it cannot be started. On Linux it ends with the thread that started it.
    """

    def __init__(self, code: str) -> None:
        if os.name != "posix" or not sys.executable or getattr(sys, "frozen", False):
            raise OSError("this Python cannot be started again")
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(os.getpid()), *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=PIPE_BYTES,
            process_group=0,  # Ctrl-C goes to the caller alone
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.requests, self.responses = self._process.stdin, self._process.stdout
        for pipe in (self.requests, self.responses):
            _enlarge(pipe)

    @property
    def runs(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process, whatever it is doing: it has no state to lose. Any thread may."""
        self._process.kill()

    def close(self) -> None:
        """Kill the process, wait for its end and close its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self.requests, self.responses):
            with suppress(OSError):
                pipe.close()


def _enlarge(pipe: IO[bytes]) -> None:
    if sys.platform == "linux":
        import fcntl  # exists only on POSIX systems

        with suppress(OSError):  # above this user's limit
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


# What runs in the worker


def started_by(parent: int) -> tuple[BinaryIO, BinaryIO]:
    """The requests and responses of a worker that ends with the process `parent`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the call above
            os._exit(1)
    warnings.simplefilter("ignore")
    return os.fdopen(0, "rb", PIPE_BYTES), os.fdopen(1, "wb", PIPE_BYTES)

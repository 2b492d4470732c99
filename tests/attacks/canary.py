"""What no attack may touch or reach: a file that must stay as it is, and a network that must not be asked."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CANARY = "canary"


@contextmanager
def unharmed(folder: Path) -> Iterator[Path]:
    """A file beside the attacked that holds what it held when the block is left, whatever was raised."""
    canary = folder / CANARY
    canary.write_text("sings")
    before = canary.stat()
    try:
        yield canary
    finally:
        after = canary.stat()
        assert canary.read_text() == "sings"
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@contextmanager
def listening() -> Iterator[list[Any]]:
    """Every address that is asked for or connected to, in a block in which nothing can be reached."""
    asked: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> Any:
        asked.append(arguments)
        raise OSError("there is no network here")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, refuse)
        for name in ("getaddrinfo", "gethostbyname", "create_connection"):
            patch.setattr(socket, name, refuse)
        yield asked


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """A block that must end in so many seconds, even if it waits for what never comes."""

    def late(*_: object) -> None:
        raise AssertionError(f"it took longer than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

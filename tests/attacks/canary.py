"""What no attack may touch or reach: a file that must stay as it is, and a network that must not be asked."""

import hashlib
import json
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


def resealed(folder: Path) -> None:
    """The manifest of a folder as its attacker would write it: every file is listed as it is now."""
    path = folder / "manifest.json"
    if not path.is_file():
        return
    files = {
        each.name: {"size": each.stat().st_size, "sha256": hashlib.sha256(each.read_bytes()).hexdigest()}
        for each in sorted(folder.iterdir())
        if each.is_file() and each != path
    }
    content = {"format": 1, "files": files}
    content["sha256"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(content))


def rewritten(path: Path, **changes: Any) -> None:
    """A JSON file with some entries replaced, its folder sealed again."""
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}))
    resealed(path.parent)

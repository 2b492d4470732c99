"""Each test of this room starts in an empty folder, and may ask two mirrors on this machine."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.data.known.toy import (
    Mirrors,
    ranged,
)


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The current folder is empty: ./data and ./Toy/raw are places that are looked in."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mirrors() -> Iterator[Mirrors]:
    state = Mirrors()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            host = self.headers["Host"].split(".")[0]
            name = self.path.rsplit("/", 1)[-1].removesuffix(".gz")
            state.asked.append(f"{host} {name}")
            state.ranges.append(self.headers.get("Range", ""))
            with contextlib.suppress(ConnectionError):  # the client may be gone
                state.faults.get(host, ranged)(self, state.contents[name])

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()

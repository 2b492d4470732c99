"""The loop that listens: uvicorn on loopback, with time limits of its own, ended by Ctrl-C."""

import asyncio
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pellucid.errors import PellucidError, UsageError
from pellucid.serving import limits
from pellucid.serving.guard import App, Refusal

PORT = 8765  # unless it is taken


def listening_socket(port: int | None) -> socket.socket:
    """A socket on 127.0.0.1 at `port`; 0 or, where PORT is taken, None: any that is free.

    Raises UsageError for a port that is taken or not for everyone.
    """
    if port is not None and port != 0 and not 1024 <= port <= 65_535:
        raise UsageError(f"Port {port} cannot be used. Expected 1024 to 65535, or 0 for any that is free.")
    try:
        return socket.create_server(("127.0.0.1", PORT if port is None else port))
    except OSError as error:
        if port is None:
            return socket.create_server(("127.0.0.1", 0))
        raise UsageError(
            f"Port {port} cannot be used: {error.strerror or error}. "
            "Name another with --port, or leave it out."
        ) from error


def server_of(app: App) -> uvicorn.Server:
    """A server that asks `app`, with every limit set; `run` starts it."""
    config = uvicorn.Config(
        app,
        http=_Patient,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(limits.HEAD_SECONDS),
        timeout_graceful_shutdown=limits.END_SECONDS,
        h11_max_incomplete_event_size=limits.MOST_HEADER_BYTES,
    )
    return _Server(config)


def run(
    server: uvicorn.Server,
    listener: socket.socket,
    *,
    tell: Callable[[str], None] = lambda address: None,
    open_browser: bool = False,
) -> None:
    """Serve until Ctrl-C or SIGTERM; requests in hand are answered first, a second signal waits for none.

    `tell` is given the address as soon as a signal would end it cleanly.
    """
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with _ended_by_signals(server), listener:
        tell(address)
        if open_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        asyncio.run(server.serve(sockets=[listener]))
    if not server.started:
        raise PellucidError("The server could not be started.")


class _Server(uvicorn.Server):
    """Leaves signals to `run`: uvicorn raises them once more at the end, which prints a traceback."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


@contextmanager
def _ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Patient(H11Protocol):
    """uvicorn's protocol, but its patience ends: with slow heads, slow readers, and too many at once."""

    deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """One more, if there is room."""
        if len(self.connections) >= limits.MOST_CONNECTIONS:
            transport.abort()
            return
        super().connection_made(transport)
        # Head and body are written one after the other: without this the second waits for 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect(limits.HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is waited for."""
        self._expect(None)
        if self.transport is not None:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A head that is whole begins an exchange, which has its own time."""
        if self.transport is None or self.transport.is_closing():
            return
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before and not self.cycle.response_complete:
            self._expect(limits.EXCHANGE_SECONDS)

    def on_response_complete(self) -> None:
        """From here the next head is waited for; it may have come already."""
        before = self.cycle
        self._expect(limits.HEAD_SECONDS)
        super().on_response_complete()
        if self.cycle is not before:
            self._expect(limits.EXCHANGE_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is told so with the same headers as everything else, where it still can be."""
        import h11

        refusal = Refusal(400, "http", "This is not a valid request.")
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            head = h11.Response(status_code=400, headers=refusal.headers, reason=b"Bad Request")
            for event in (head, h11.Data(data=refusal.body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _expect(self, seconds: float | None) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
        self.deadline = None if seconds is None else self.loop.call_later(seconds, self._cut)

    def _cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()

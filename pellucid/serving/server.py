"""The server: uvicorn on loopback, with time limits of its own, ended by Ctrl-C."""

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
    """A socket on 127.0.0.1 at `port`; for 0, or for None where PORT is taken, at any free port.

    Raises UsageError for a port that is taken or out of range.
    """
    if port is not None and port != 0 and not 1024 <= port <= 65_535:
        raise UsageError(f"Port {port} cannot be used. Expected 1024 to 65535, or 0 for any free one.")
    try:
        return socket.create_server(("127.0.0.1", PORT if port is None else port))
    except OSError as error:
        if port is None:
            return socket.create_server(("127.0.0.1", 0))
        raise UsageError(
            f"Port {port} cannot be used: {error.strerror or error}. "
            "Choose another with --port, or leave it out."
        ) from error


def server_of(app: App) -> uvicorn.Server:
    """A server for `app` with all limits set; `run` starts it."""
    config = uvicorn.Config(
        app,
        http=_LimitedProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(limits.HEAD_SECONDS),
        timeout_graceful_shutdown=limits.SHUTDOWN_SECONDS,
        h11_max_incomplete_event_size=limits.MAX_HEADER_BYTES,
    )
    return _Server(config)


def run(
    server: uvicorn.Server,
    listener: socket.socket,
    *,
    announce: Callable[[str], None] = lambda address: None,
    open_browser: bool = False,
) -> None:
    """Serve until Ctrl-C or SIGTERM; open requests are answered first, unless a second signal comes.

    `announce` is called with the address as soon as a signal would end the server cleanly.
    """
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with _ended_by_signals(server), listener:
        announce(address)
        if open_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        asyncio.run(server.serve(sockets=[listener]))
    if not server.started:
        raise PellucidError("The server could not be started.")


class _Server(uvicorn.Server):
    """Leaves signals to `run`: uvicorn would raise them again at the end, which prints a traceback."""

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


class _LimitedProtocol(H11Protocol):
    """uvicorn's protocol with limits for slow headers, slow readers and the number of connections."""

    deadline: asyncio.TimerHandle | None = None
    since = 0.0  # when the server began to wait for this client's next request

    def connection_made(self, transport: Any) -> None:
        """Accepts the connection. Where there are too many, the client that has been waited for longest is
        cut off, so that slow ones keep nobody out; this one, where all the others are being answered."""
        if len(self.connections) >= limits.MAX_CONNECTIONS:
            waiting = [each for each in self.connections if isinstance(each, _LimitedProtocol) and each.waits]
            if not waiting:
                transport.abort()
                return
            min(waiting, key=lambda each: each.since)._abort()
        super().connection_made(transport)
        self.since = self.loop.time()
        # Headers and body are written separately: without this the body waits for 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._set_deadline(limits.HEAD_SECONDS)

    @property
    def waits(self) -> bool:
        """Whether the client has yet to send its request, or the rest of it."""
        open_transport = self.transport is not None and not self.transport.is_closing()
        return open_transport and (self.cycle is None or self.cycle.response_complete or self.cycle.more_body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Clears the deadline."""
        self._set_deadline(None)
        if self.transport is not None:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Complete headers begin an exchange, which has a deadline of its own."""
        if self.transport is None or self.transport.is_closing():
            return
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before and not self.cycle.response_complete:
            self._set_deadline(limits.EXCHANGE_SECONDS)

    def on_response_complete(self) -> None:
        """Waits for the next headers, which may have arrived already."""
        before, self.since = self.cycle, self.loop.time()
        self._set_deadline(limits.HEAD_SECONDS)
        super().on_response_complete()
        if self.cycle is not before:
            self._set_deadline(limits.EXCHANGE_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """Answers what is not HTTP with the same headers as everything else, where that is still possible."""
        import h11

        refusal = Refusal(400, "http", "This is not a valid request.")
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            head = h11.Response(status_code=400, headers=refusal.headers, reason=b"Bad Request")
            for event in (head, h11.Data(data=refusal.body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _set_deadline(self, seconds: float | None) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
        self.deadline = None if seconds is None else self.loop.call_later(seconds, self._abort)

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

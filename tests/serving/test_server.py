"""The real server, over real sockets: what is no request of ours is cut off, and Ctrl-C ends it cleanly."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

import pytest

from pellucid.errors import UsageError
from pellucid.live.app import ENDPOINTS
from pellucid.runs.fit import fit
from pellucid.serving import limits, server
from pellucid.serving.guard import SECURITY_HEADERS, Guard
from pellucid.serving.server import listening_socket, run, server_of
from tests.data.store.packing import until, workers_of
from tests.serving.asking import everything
from tests.serving.decoders import DECODER_COMMAND
from tests.toys import QUICK, ROOT, economical, surroundings, toy_splits, write_picture

COMMAND = "from pellucid.cli import main; main()"


class Started:
    """`pellucid live` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        words = [
            sys.executable,
            "-c",
            COMMAND,
            "live",
            str(folder),
            "--no-open",
            "--port",
            "0",
            "--lang",
            "en",
        ]
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings()
        )
        assert self.process.stdout is not None
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                self.port = int(found[1])
                return
        pytest.fail(f"no address: {self.said}{self.process.communicate()[1]}")

    def end(self, number: int) -> tuple[int, str, str]:
        """Its exit code, and what it said after the signal."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose pictures no command finds again."""
    splits = toy_splits(80)
    with economical():
        made = fit(splits.train, splits.validation, QUICK, folder=tmp_path_factory.mktemp("run") / "toys-1")
    return made.folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Started]:
    started = Started(folder)
    yield started
    code, out, err = started.end(signal.SIGINT)
    assert (code, err) == (0, "")
    assert out == "Ended.\n"


def exchange(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What comes back for these bytes, up to the end of the connection."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            while piece := connection.recv(1 << 16):
                got += piece
        except ConnectionError:  # cut off: what came before counts
            pass
    return got


def request(port: int, line: str = "GET / HTTP/1.1", *headers: str, host: str | None = None) -> bytes:
    lines = [line, f"Host: {host or f'127.0.0.1:{port}'}", *headers, "Connection: close", "", ""]
    return "\r\n".join(lines).encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def is_strict(answer: bytes) -> bool:
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return all(name + b": " + value.lower() in head for name, value in SECURITY_HEADERS.items())


def test_the_page_its_parts_and_its_runs_are_served(live: Started) -> None:
    for path, kind in {
        "/": b"text/html; charset=utf-8",
        "/page.css": b"text/css; charset=utf-8",
        "/page.js": b"text/javascript; charset=utf-8",
        "/icon.svg": b"image/svg+xml",
        "/runs": b"application/json",
    }.items():
        answer = exchange(live.port, request(live.port, f"GET {path} HTTP/1.1"))
        assert status(answer) == 200
        assert b"content-type: " + kind in answer
        assert is_strict(answer)
        assert b"server:" not in answer.partition(b"\r\n\r\n")[0].lower()
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert [run["name"] for run in told["runs"]] == ["toys-1"]
    assert told["language"] == "en"


def test_a_picture_is_read_and_nothing_of_the_disk_is_told(
    live: Started, tmp_path: Path, folder: Path
) -> None:
    picture = write_picture(tmp_path / "x.png", toy_splits(80).test.images[0]).read_bytes()
    headers = ("Content-Type: image/png", f"Content-Length: {len(picture)}")
    answer = exchange(live.port, request(live.port, "POST /picture HTTP/1.1", *headers) + picture)
    assert status(answer) == 200
    assert answer.partition(b"\r\n\r\n")[2] == toy_splits(80).test.images[0].numpy().tobytes()
    runs = exchange(live.port, request(live.port, "GET /runs HTTP/1.1"))
    assert str(folder.parent).encode() not in runs


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_however_the_server_ends_the_process_that_decoded_for_it_ends_too(
    folder: Path, number: signal.Signals
) -> None:
    live = Started(folder)
    headers = ("Content-Type: image/png", "Content-Length: 5")
    answer = exchange(live.port, request(live.port, "POST /picture HTTP/1.1", *headers) + b"hello")
    assert status(answer) == 422
    assert len(workers_of(live.process.pid, DECODER_COMMAND)) == 1
    live.end(number)
    assert until(lambda: not workers_of(live.process.pid, DECODER_COMMAND))


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (lambda port: request(port, host=f"evil.test:{port}"), 421),
        (lambda port: request(port, "GET / HTTP/1.1", f"Host: 127.0.0.1:{port}"), 400),
        (lambda port: b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        (lambda port: request(port, "GET http://evil.test/ HTTP/1.1"), 404),
        (lambda port: request(port, "OPTIONS * HTTP/1.1"), 404),
        (lambda port: request(port, "HEAD / HTTP/1.1"), 200),
        (lambda port: request(port, "GET / HTTP/1.0"), 505),
        (lambda port: request(port, "DELETE / HTTP/1.1"), 405),
        (lambda port: request(port, "GET / HTTP/1.1", "Origin: null"), 403),
        (lambda port: request(port, "GET /runs HTTP/1.1", "Sec-Fetch-Site: same-site"), 403),
        (lambda port: request(port, "GET / HTTP/1.1", "Cookie: " + "x" * 20_000), 431),
        (lambda port: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (lambda port: b"GET / HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n", 400),
        (lambda port: b"GET /\x00 HTTP/1.1\r\n\r\n", 400),
        (
            lambda port: (
                b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n\r\n" % port
            ),
            400,
        ),
        (
            lambda port: request(
                port,
                "POST /picture HTTP/1.1",
                "Content-Type: image/png",
                "Content-Length: 999999999999",
                "Expect: 100-continue",
            ),
            413,
        ),
        (
            lambda port: (
                request(
                    port, "POST /picture HTTP/1.1", "Content-Type: image/png", "Transfer-Encoding: chunked"
                )
                + b"5\r\nhello\r\n"
            ),
            411,
        ),
        (
            lambda port: (
                request(
                    port,
                    "POST /picture HTTP/1.1",
                    "Content-Type: image/png",
                    "Content-Length: 4",
                    "Content-Length: 5",
                )
                + b"hello"
            ),
            400,
        ),
        (
            lambda port: (
                request(
                    port,
                    "POST /answer HTTP/1.1",
                    "Content-Type: application/octet-stream",
                    "Content-Length: 7",
                )
                + b"\x09\x00\x00\x00\x00\x00x"
            ),
            422,
        ),
        (
            lambda port: (
                request(port, "POST /picture HTTP/1.1", "Content-Type: image/png", "Content-Length: 5")
                + b"hello"
            ),
            422,
        ),
    ],
)
def test_whatever_is_sent_the_answer_has_strict_headers(live: Started, sent, code: int) -> None:
    answer = exchange(live.port, sent(live.port))
    assert status(answer) == code, answer
    assert is_strict(answer)
    assert b"100 Continue" not in answer


def test_of_requests_sent_at_once_each_is_judged(live: Started) -> None:
    own = f"GET /icon.svg HTTP/1.1\r\nHost: 127.0.0.1:{live.port}\r\n\r\n".encode()
    foreign = b"GET /runs HTTP/1.1\r\nHost: evil.test\r\n\r\n"
    answer = exchange(live.port, own + own + foreign + own)
    statuses = re.findall(rb"HTTP/1\.1 (\d+)", answer)
    assert statuses == [b"200", b"200", b"421"]  # after a refusal nothing more is read


def test_it_serves_on_after_all_that(live: Started) -> None:
    assert status(exchange(live.port, request(live.port))) == 200


def test_nothing_listens_beyond_loopback() -> None:
    with listening_socket(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_told_and_another_is_found_where_none_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with listening_socket(0) as first:
        taken = first.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {taken} cannot be used"):
            listening_socket(taken)
        monkeypatch.setattr(server, "PORT", taken)
        with listening_socket(None) as second:
            assert second.getsockname()[1] != taken
    for port in (-1, 80, 70_000):
        with pytest.raises(UsageError, match="Expected 1024 to 65535"):
            listening_socket(port)


@pytest.fixture
def strict(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server that waits so many seconds for a head and has room for four connections; its port."""
    monkeypatch.setattr(limits, "HEAD_SECONDS", request.param)
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 4)
    with listening_socket(0) as listener:
        port = listener.getsockname()[1]
        made = server_of(Guard(everything, port=port, endpoints=ENDPOINTS))
        thread = threading.Thread(target=run, args=(made, listener))
        thread.start()
        yield port
        made.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def answered(port: int, *parts: bytes) -> bytes:
    """What comes back, asked again until the server answers: on a busy machine it may cut off anybody."""
    end = time.monotonic() + 60
    while not (answer := exchange(port, *parts)) and time.monotonic() < end:
        pass
    return answer


def test_the_limits_are_those_that_are_promised() -> None:
    """Other tests set limits of their own; these are the ones that a person's server has."""
    promises = " ".join((ROOT / "SECURITY.md").read_text("utf-8").split())
    assert (
        f"A head has {limits.HEAD_SECONDS:g} seconds to arrive, a body {limits.BODY_SECONDS:g}, a request "
        f"with its answer {limits.EXCHANGE_SECONDS:g}; {limits.MAX_CONNECTIONS} connections are open at a "
        f"time and {limits.MAX_HELD_BYTES >> 20} MB of bodies held, a head has at most "
        f"{limits.MAX_HEADERS} lines and {limits.MAX_HEADER_BYTES:,} bytes"
    ) in promises
    assert (
        f"it may take {limits.DECODE_SECONDS:g} seconds and {limits.DECODE_BYTES >> 30} GB of memory. "
        f"{limits.MAX_WAITING_PICTURES} more may wait"
    ) in promises


@pytest.mark.parametrize("strict", [0.3], indirect=True)
def test_a_slow_head_and_an_idle_connection_are_cut_off(strict: int) -> None:
    assert exchange(strict, b"GET / HT") == b""
    assert exchange(strict, b"") == b""
    own = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{strict}\r\n\r\n".encode()
    assert answered(strict, own).startswith(b"HTTP/1.1 200")
    assert answered(strict, own, b"GET / HT").count(b"HTTP/1.1") == 1
    dripping = [bytes([byte]) for byte in own[:20]]
    assert exchange(strict, *dripping, pause=0.05) == b""


@pytest.mark.parametrize("strict", [300], indirect=True)
def test_a_request_that_is_not_done_in_its_time_is_cut_off(
    strict: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word: a body that is late would be answered with 408, but later."""
    monkeypatch.setattr(limits, "EXCHANGE_SECONDS", 0.3)
    head = f"POST /picture HTTP/1.1\r\nHost: 127.0.0.1:{strict}\r\nContent-Type: image/png\r\n"
    assert exchange(strict, f"{head}Content-Length: 10\r\n\r\nx".encode()) == b""
    own = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{strict}\r\n\r\n".encode()
    assert exchange(strict, own, f"{head}Content-Length: 10\r\n\r\nx".encode()).count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("strict", [300], indirect=True)
def test_whoever_keeps_the_server_waiting_longest_makes_room_for_others(strict: int) -> None:
    own = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{strict}\r\n\r\n".encode()

    def asks(connection: socket.socket) -> None:
        """From its answer on, which is read whole, the server waits for it again."""
        connection.sendall(own)
        answer = HTTPResponse(connection)
        answer.begin()
        assert (answer.status, bool(answer.read())) == (200, True)

    with ExitStack() as stack:
        kept, *slow = (
            stack.enter_context(socket.create_connection(("127.0.0.1", strict), timeout=60)) for _ in range(4)
        )
        for connection in (kept, *slow, kept):  # the first to come has asked since
            asks(connection)
        for connection in slow:
            connection.sendall(b"GET / HT")
        assert status(exchange(strict, request(strict))) == 200
        assert slow[0].recv(1) == b""
        for connection in slow[1:]:
            connection.sendall(own[len(b"GET / HT") :])
            assert connection.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("strict", [300], indirect=True)
def test_two_hundred_slow_clients_keep_nobody_out(strict: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 64)
    posting = f"POST /picture HTTP/1.1\r\nHost: 127.0.0.1:{strict}\r\nContent-Type: image/png\r\n"
    beginnings = (b"", b"GET / HT", f"{posting}Content-Length: 10000000\r\n\r\nx".encode())
    with ExitStack() as stack:
        for number in range(200):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", strict)))
            slow.sendall(beginnings[number % 3])
            assert status(exchange(strict, request(strict))) == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_either_signal_ends_it_and_leaves_the_handlers_as_they_were(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(number)
    told: list[str] = []
    opened: list[str] = []
    monkeypatch.setattr(server.webbrowser, "open", opened.append)
    with listening_socket(0) as listener:
        port = listener.getsockname()[1]
        made = server_of(Guard(everything, port=port, endpoints=ENDPOINTS))

        def signalled() -> None:
            while not made.started:
                time.sleep(0.01)
            with socket.create_connection(("127.0.0.1", port)) as idle:
                idle.sendall(b"GET / HT")
                os.kill(os.getpid(), number)
                time.sleep(0.3)

        thread = threading.Thread(target=signalled, daemon=True)
        thread.start()
        run(made, listener, announce=told.append, open_browser=True)
        thread.join(10)
    assert told == opened == [f"http://127.0.0.1:{port}/"]
    assert made.should_exit
    assert signal.getsignal(number) is before

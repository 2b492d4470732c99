"""Requests with random changes, as no page of ours sends them: whatever comes, the server answers as it
promises, and every good request between them is answered rightly."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from pellucid.serving.guard import SECURITY_HEADERS
from tests.attacks.mutations import mutated, pictures
from tests.attacks.served import Drawing, Live, asking_scores, exchange, is_right
from tests.live.questions import question

GOOD = 10  # one request of so many is a good one
AT_ONCE = 64
LEAVING, SECONDS = 0.1, 1.0  # some of us go away after that time, whatever is on its way
CLOSED_AFTER = 180.0  # until the server has answered or closed the connection, on a busy machine
REFUSALS = {400, 403, 404, 405, 408, 409, 411, 413, 415, 421, 422, 431, 503, 505}
PATHS = (
    "/", "/runs", "/page.js", "/page.css", "/icon.svg", "/answer", "/past", "/channel", "/scales", "/test",
    "/picture",
)  # fmt: skip
ODD_PATHS = (
    "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//", "/answer/", "/ANSWER", "/answer?x=1", "/#a", "*",
    "http://evil.test/", "/\x00", "/" + "a" * 9_000, "/%00", "/é", "", "/answer;x", "/.", "file:///etc/passwd",
)  # fmt: skip
METHODS = (
    "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "G\x00T", "",
    "X" * 5_000, "PRI", "POST POST",
)  # fmt: skip
VERSIONS = ("HTTP/1.1",) * 6 + ("HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "http/1.1", "HTTP/1.1 x", "", "HTTP/")
LENGTHS = (
    "-1", "0", "00", "+5", "0x5", "5, 5", "5,6", "1e3", "99999999999999999999", "999999999999", " 5", "5 5",
    "", "٣",
)  # fmt: skip
ODD_LINES = (
    "Connection: close", "Connection: upgrade", "Upgrade: websocket", "Expect: 100-continue", "TE: trailers",
    "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: identity",
    "Transfer-Encoding : chunked", "Content-Encoding: gzip", "Cookie: " + "x" * 9_000, "X: \x00", "X\x01: a",
    " folded", "no colon", ": no name", "X: é", "Range: bytes=0-1", "Trailer: X",
    "X-Forwarded-Host: evil.test",
    "Origin: null", "Origin: http://evil.test", "Origin: http://127.0.0.1", "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate", "Host: evil.test", "Host: localhost", "Host:",
    "Host: 127.0.0.1:1", "Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded",
    "Content-Type: image/png; charset=x", "Keep-Alive: timeout=9999", "HTTP2-Settings: AAA",
    "Forwarded: for=x",
)  # fmt: skip
RAW = (
    b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\r\n" * 50, bytes(5_000), b"GET", b"\n\n\n", b"A" * 20_000, b"SSH-2.0-x\r\n", b"\xff\xfe\xfd\r\n\r\n",
)  # fmt: skip


@dataclass
class Found:
    """How requests were answered, by status (0: cut off; -1: we went away), and what was wrong."""

    statuses: Counter[int] = field(default_factory=Counter)
    good: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Requests:
    """The mutated request of a number."""

    def __init__(self, port: int, known: list[Drawing]) -> None:
        self.port, self.known = port, known
        self.files = list(pictures().values())

    def of(self, number: int) -> bytes:
        """The same number, the same request."""
        generator = random.Random(f"request {number}")
        if generator.random() < 0.03:
            return generator.choice(RAW)
        body, kind, path = self._body(generator)
        lines = [f"Host: 127.0.0.1:{self.port}", f"Origin: http://127.0.0.1:{self.port}"]
        method, version = "POST" if body else "GET", "HTTP/1.1"
        if body:
            lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        for _ in range(generator.choice((0, 1, 1, 2))):
            change = generator.randrange(8)
            if change == 0:
                method = generator.choice(METHODS)
            elif change == 1:
                path = generator.choice((*PATHS, *ODD_PATHS))
            elif change == 2:
                version = generator.choice(VERSIONS)
            elif change == 3 and body:
                lines[-1] = f"Content-Length: {self._length(body, generator)}"
            elif change == 4 and body:
                body, lines = self._chunked(body, generator), [*lines[:-1], "Transfer-Encoding: chunked"]
            elif change == 5:
                del lines[generator.randrange(len(lines))]
                lines = lines or ["X: y"]
            elif change == 6:
                lines += [f"X-{n}: y" for n in range(generator.choice((40, 60, 1_000)))]
            else:
                lines.insert(generator.randrange(len(lines) + 1), generator.choice(ODD_LINES))
        end = generator.choice(("\r\n",) * 9 + ("\n", "\r"))
        text = end.join([f"{method} {path} {version}", *lines, "", ""])
        sent = text.encode("utf-8", "surrogateescape") + body
        if generator.random() < 0.15:
            sent = mutated(sent, generator, self.files)
        return sent * generator.choice((1,) * 19 + (3,))

    def _body(self, generator: random.Random) -> tuple[bytes, str, str]:
        """A body, mostly not quite right, its kind and where it is sent."""
        path = generator.choice(PATHS)
        kind = "application/octet-stream"
        body = b""
        if path in ("/answer", "/past"):
            body = question(generator.choice(self.known).pixels, run=generator.randrange(4))
        elif path == "/picture":
            body, kind = generator.choice(self.files), "image/png"
        elif path in ("/channel", "/test", "/scales"):
            body = generator.randbytes(generator.choice((1, 3, 5)))
        if body and generator.random() < 0.6:
            body = mutated(body, generator, self.files)
        return body, kind, path

    def _length(self, body: bytes, generator: random.Random) -> str:
        other = str(max(0, len(body) + generator.choice((-5, -1, 1, 5, 1_000, 4_000_000))))
        return generator.choice((*LENGTHS, other, other, other))

    def _chunked(self, body: bytes, generator: random.Random) -> bytes:
        size = generator.choice((f"{len(body):x}", "0", "-1", "fffffffffffffffff", "zz", "5;x=y", ""))
        return f"{size}\r\n".encode() + body + b"\r\n0\r\n\r\n"


def fault_of(sent: bytes, answer: bytes, status: int) -> str:
    """What is wrong about an answer to a mutated request."""
    head = answer.lower()
    if status not in REFUSALS | {200}:
        return f"status {status}"
    if not all(name + b": " + value.lower() in head for name, value in SECURITY_HEADERS.items()):
        return f"{status} without the headers that every answer has"
    return ""


async def attack(live: Live, known: list[Drawing], count: int, *, first: int = 0) -> Found:
    """So many requests, one of ten a good one, many at a time."""
    found, requests = Found(), Requests(live.port, known)
    room = asyncio.Semaphore(AT_ONCE)

    async def send(number: int) -> None:
        async with room:
            if number % GOOD == 0:
                await _ask(live, known, number, found)
                return
            sent = requests.of(number)
            leaves = random.Random(number).random() < LEAVING
            try:
                answer = await exchange(live.port, sent, seconds=SECONDS if leaves else CLOSED_AFTER)
            except OSError as error:
                found.wrong.append(f"{number}: {error!r}")
                return
            if answer is None:
                found.statuses[-1] += 1
                if not leaves:
                    found.wrong.append(f"{number}: not cut off in {CLOSED_AFTER:g} s: {sent[:300]!r}")
            else:
                found.statuses[answer.status] += 1
                fault = fault_of(sent, answer.head, answer.status) if answer.status else ""
                if fault:
                    found.wrong.append(f"{number}: {fault}: {sent[:300]!r}: {answer.head[:200]!r}")

    await asyncio.gather(*(send(number) for number in range(first, first + count)))
    return found


async def _ask(live: Live, known: list[Drawing], number: int, found: Found) -> None:
    """A good request, asked again where a newer question came between."""
    drawing, run = known[number // GOOD % len(known)], number // GOOD % 3
    while True:
        answer = await exchange(live.port, asking_scores(drawing, run, live.port, "Connection: close"))
        if answer is None or answer.status not in (0, 200, 409, 503):
            found.wrong.append(f"{number}: a good request got {answer}")
            return
        if answer.status == 200:
            found.good["answered"] += 1
            if not is_right(answer, drawing, run):
                found.wrong.append(f"{number}: a good request got a wrong answer")
            return
        found.good[f"asked again after {answer.status}"] += 1
        await asyncio.sleep(1.0)

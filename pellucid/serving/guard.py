"""Who may ask what: a request is judged by its raw bytes before anything is routed or read.

A server on loopback is reached by every page open in the person's browser. So a request must name this
server (Host), come from its own page or from the person (Origin, Sec-Fetch-Site), and be one of a short list;
a body must be of the announced kind and size. Every answer, also a refusal, carries the same strict headers.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from pellucid.serving import limits

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
STRICT: dict[bytes, bytes] = {
    b"content-security-policy": CONTENT_SECURITY_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=()",
    b"cache-control": b"no-store",
}
PICTURES = frozenset({b"image/png", b"image/jpeg", b"image/webp", b"image/gif", b"image/bmp"})
BYTES = frozenset({b"application/octet-stream"})

LOG = logging.getLogger("pellucid.live")


@dataclass(frozen=True)
class Door:
    """What may be asked under one path: by which methods, with a body of which kinds and how many bytes."""

    methods: tuple[str, ...] = ("GET", "HEAD")
    kinds: frozenset[bytes] = frozenset()
    limit: int = 0


@dataclass(eq=False)
class Refusal(Exception):
    """Why a request is not answered: a status and a fixed text, in which nothing of the request appears."""

    status: int
    code: str
    message: str
    more: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def body(self) -> bytes:
        """As JSON."""
        return json.dumps({"error": {"code": self.code, "message": self.message}}).encode()

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """With the strict ones; the connection is closed, for a body may be left on it."""
        length = str(len(self.body)).encode()
        kind = (b"content-type", b"application/json")
        return [kind, (b"content-length", length), (b"connection", b"close"), *self.more, *STRICT.items()]


class Guard:
    """Lets `app` see only what passes; hands it the body whole."""

    def __init__(self, app: App, *, port: int, doors: Mapping[bytes, Door]) -> None:
        self.app = app
        self.hosts = frozenset({f"127.0.0.1:{port}".encode(), f"localhost:{port}".encode()})
        self.doors = doors
        self.in_hand = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one refusal."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        sent = _Sent(send)
        try:
            length = self.judge(scope)
            await self._answer(scope, receive, sent, length)
        except Refusal as refusal:
            await sent.refuse(refusal, bodiless=scope["method"] == "HEAD")
        except Exception:
            LOG.exception("A request failed.")
            failed = Refusal(500, "failed", "This request failed here. The terminal says why.")
            await sent.refuse(failed, bodiless=scope["method"] == "HEAD")
        return None

    async def _answer(self, scope: Scope, receive: Receive, sent: "_Sent", length: int) -> None:
        if not length:
            return await self.app(scope, _given(b"", receive), sent)
        if self.in_hand >= limits.MOST_AT_ONCE:
            raise Refusal(503, "busy", "Too many requests at once.", ((b"retry-after", b"1"),))
        self.in_hand += 1
        try:
            body = await _read(receive, length)
            return await self.app(scope, _given(body, receive), sent)
        finally:
            self.in_hand -= 1

    def judge(self, scope: Scope) -> int:
        """How many bytes of body to read. Raises Refusal for what may not be asked."""
        headers = _by_name(scope)
        if scope.get("http_version") != "1.1":
            raise Refusal(505, "version", "HTTP/1.1 is spoken here.")
        host = self._own_host(headers.get(b"host", []))
        self._refuse_foreign(scope, headers, host)
        door = self.doors.get(bytes(scope["raw_path"]))
        if door is None:
            raise Refusal(404, "not-found", "There is nothing here.")
        if scope["method"] not in door.methods:
            allowed = ", ".join(door.methods).encode()
            raise Refusal(405, "method", "This cannot be done here.", ((b"allow", allowed),))
        if scope["query_string"]:
            raise Refusal(400, "query", "Nothing is asked by a query here.")
        if b"upgrade" in headers:
            raise Refusal(400, "upgrade", "The protocol is not changed here.")
        if door.kinds:
            return _announced(headers, door)
        if b"transfer-encoding" in headers or headers.get(b"content-length", [b"0"]) != [b"0"]:
            raise Refusal(413, "body", "No body is read here.")
        return 0

    def _own_host(self, hosts: list[bytes]) -> bytes:
        if len(hosts) != 1:
            raise Refusal(400, "host", "Exactly one Host is expected.")
        if hosts[0] not in self.hosts:
            raise Refusal(421, "host", "This server does not go by that name.")
        return hosts[0]

    def _refuse_foreign(self, scope: Scope, headers: dict[bytes, list[bytes]], host: bytes) -> None:
        """No page but our own may ask; a link elsewhere may open the page, as a whole and in sight."""
        if headers.get(b"origin", [b"http://" + host]) != [b"http://" + host]:
            raise Refusal(403, "origin", "Another page may not ask here.")
        site = headers.get(b"sec-fetch-site", [b"none"])
        opens = (
            scope["method"] in ("GET", "HEAD")
            and bytes(scope["raw_path"]) == b"/"
            and headers.get(b"sec-fetch-mode") == [b"navigate"]
            and headers.get(b"sec-fetch-dest") == [b"document"]
        )
        known = len(site) == 1 and site[0] in (b"cross-site", b"same-site")
        if site not in ([b"none"], [b"same-origin"]) and not (opens and known):
            raise Refusal(403, "site", "Another site may not ask here.")


class _Sent:
    """The way out: adds the strict headers, and knows whether an answer has begun."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.begun = self.done = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.done = not message.get("more_body", False)
        if message["type"] == "http.response.start":
            self.begun = True
            kept = [pair for pair in message.get("headers", []) if bytes(pair[0]).lower() not in STRICT]
            message = {**message, "headers": [*kept, *STRICT.items()]}
        await self.send(message)

    async def refuse(self, refusal: Refusal, *, bodiless: bool) -> None:
        """Answers with the refusal, unless another answer has begun: then the connection is cut."""
        if self.done:
            return
        if self.begun:
            raise ConnectionAbortedError
        start = {"type": "http.response.start", "status": refusal.status, "headers": refusal.headers}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": b"" if bodiless else refusal.body})


def _by_name(scope: Scope) -> dict[bytes, list[bytes]]:
    pairs = scope["headers"]
    if (
        len(pairs) > limits.MOST_HEADERS
        or sum(len(name) + len(value) for name, value in pairs) > limits.MOST_HEADER_BYTES
    ):
        raise Refusal(431, "headers", "Too many headers.")
    found: dict[bytes, list[bytes]] = {}
    for name, value in pairs:
        found.setdefault(bytes(name).lower(), []).append(bytes(value))
    return found


def _announced(headers: dict[bytes, list[bytes]], door: Door) -> int:
    """The announced length of a body of a kind that is read here."""
    kind = headers.get(b"content-type", [])
    if len(kind) != 1 or kind[0] not in door.kinds or b"content-encoding" in headers:
        raise Refusal(415, "kind", "A body of this kind is not read here.")
    length = headers.get(b"content-length", [])
    if len(length) != 1 or b"transfer-encoding" in headers or not length[0].isdigit():
        raise Refusal(411, "length", "The length of the body is expected, once.")
    if len(length[0]) > 12 or int(length[0]) > door.limit:
        raise Refusal(413, "size", "The body is too large.")
    if int(length[0]) == 0:
        raise Refusal(400, "empty", "The body is empty.")
    return int(length[0])


async def _read(receive: Receive, length: int) -> bytes:
    """The body, counted while it arrives."""
    body = bytearray()
    try:
        async with asyncio.timeout(limits.BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise Refusal(400, "gone", "The body was cut off.")
                body += message.get("body", b"")
                if len(body) > length:
                    raise Refusal(413, "size", "The body is larger than announced.")
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise Refusal(408, "slow", "The body took too long.") from None
    if len(body) != length:
        raise Refusal(400, "size", "The body is smaller than announced.")
    return bytes(body)


def _given(body: bytes, receive: Receive) -> Receive:
    """Hands out a body that has been read; then whatever follows."""
    given = False

    async def hand_over() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return hand_over

"""Request checks: a request is accepted or refused by its raw bytes before anything is routed or read.

Every page open in the user's browser can reach a server on loopback. So a request must name this server
(Host), come from its own page or from the user (Origin, Sec-Fetch-Site), and use one of a short list of
endpoints; a body must have the declared type and size. Every response, refusals too, carries
SECURITY_HEADERS.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
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
SECURITY_HEADERS: dict[bytes, bytes] = {
    b"content-security-policy": CONTENT_SECURITY_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=()",
    b"cache-control": b"no-store",
}
PICTURE_TYPES = frozenset({b"image/png", b"image/jpeg", b"image/webp", b"image/gif", b"image/bmp"})
BYTE_TYPES = frozenset({b"application/octet-stream"})

LOG = logging.getLogger("pellucid.serving")


@dataclass(frozen=True)
class Endpoint:
    """What one path accepts.

    methods  HTTP methods
    types    content types of a body; empty: no body is accepted
    limit    of a body, in bytes
    """

    methods: tuple[str, ...] = ("GET", "HEAD")
    types: frozenset[bytes] = frozenset()
    limit: int = 0


@dataclass(eq=False)
class Refusal(Exception):
    """A refused request: a status and a fixed text, in which nothing of the request appears."""

    status: int
    code: str
    message: str
    extra_headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def body(self) -> bytes:
        """The response body, as JSON."""
        return json.dumps({"error": {"code": self.code, "message": self.message}}).encode()

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The response headers; the connection is closed, because part of a body may be left on it."""
        length = str(len(self.body)).encode()
        kind = (b"content-type", b"application/json")
        return [
            kind,
            (b"content-length", length),
            (b"connection", b"close"),
            *self.extra_headers,
            *SECURITY_HEADERS.items(),
        ]


class Guard:
    """Passes accepted requests on to `app`, each with its whole body."""

    def __init__(self, app: App, *, port: int, endpoints: Mapping[bytes, Endpoint]) -> None:
        self.app = app
        self.hosts = frozenset({f"127.0.0.1:{port}".encode(), f"localhost:{port}".encode()})
        self.endpoints = endpoints
        self.held = 0  # bytes of bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or refuses it."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        sent = _GuardedSend(send)
        try:
            length = self.checked_length(scope)
            await self._answer(scope, receive, sent, length)
        except Refusal as refusal:
            await sent.refuse(refusal, bodiless=scope["method"] == "HEAD")
        except Exception:
            LOG.exception("A request failed.")
            failed = Refusal(500, "failed", "This request failed. See the terminal for details.")
            await sent.refuse(failed, bodiless=scope["method"] == "HEAD")
        return None

    async def _answer(self, scope: Scope, receive: Receive, sent: "_GuardedSend", length: int) -> None:
        if not length:
            return await self.app(scope, _replayed(b"", receive), sent)
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(limits.BODY_SECONDS):
                    async for part in _parts_of_body(receive, length):
                        # What has arrived counts, not what was announced: who sends nothing takes nothing.
                        if self.held + len(part) > limits.MAX_HELD_BYTES:
                            raise Refusal(
                                503, "busy", "Too many requests at once.", ((b"retry-after", b"1"),)
                            )
                        body += part
                        self.held += len(part)
            except TimeoutError:
                raise Refusal(408, "slow", "The body took too long to arrive.") from None
            return await self.app(scope, _replayed(bytes(body), receive), sent)
        finally:
            self.held -= len(body)

    def checked_length(self, scope: Scope) -> int:
        """The declared length of the body in bytes. Raises Refusal for a request that is not allowed."""
        headers = _headers_by_name(scope)
        if scope.get("http_version") != "1.1":
            raise Refusal(505, "version", "Only HTTP/1.1 is supported.")
        host = self._checked_host(headers.get(b"host", []))
        self._check_origin(scope, headers, host)
        endpoint = self.endpoints.get(bytes(scope["raw_path"]))
        if endpoint is None:
            raise Refusal(404, "not-found", "There is nothing at this address.")
        if scope["method"] not in endpoint.methods:
            allowed = ", ".join(endpoint.methods).encode()
            raise Refusal(405, "method", "This method is not allowed here.", ((b"allow", allowed),))
        if scope["query_string"]:
            raise Refusal(400, "query", "Queries are not accepted.")
        if b"upgrade" in headers:
            raise Refusal(400, "upgrade", "Protocol upgrades are not accepted.")
        if endpoint.types:
            return _checked_content_length(headers, endpoint)
        if b"transfer-encoding" in headers or headers.get(b"content-length", [b"0"]) != [b"0"]:
            raise Refusal(413, "body", "No body is accepted here.")
        return 0

    def _checked_host(self, hosts: list[bytes]) -> bytes:
        """The value of the Host header. Raises Refusal unless it names this server."""
        if len(hosts) != 1:
            raise Refusal(400, "host", "Expected exactly one Host header.")
        if hosts[0] not in self.hosts:
            raise Refusal(421, "host", "This server does not have that name.")
        return hosts[0]

    def _check_origin(self, scope: Scope, headers: dict[bytes, list[bytes]], host: bytes) -> None:
        """Raises Refusal unless our own page sends the request, or a link elsewhere navigates to it."""
        if headers.get(b"origin", [b"http://" + host]) != [b"http://" + host]:
            raise Refusal(403, "origin", "Requests from other pages are not accepted.")
        site = headers.get(b"sec-fetch-site", [b"none"])
        is_navigation = (
            scope["method"] in ("GET", "HEAD")
            and bytes(scope["raw_path"]) == b"/"
            and headers.get(b"sec-fetch-mode") == [b"navigate"]
            and headers.get(b"sec-fetch-dest") == [b"document"]
        )
        is_recognized_site = len(site) == 1 and site[0] in (b"cross-site", b"same-site")
        if site not in ([b"none"], [b"same-origin"]) and not (is_navigation and is_recognized_site):
            raise Refusal(403, "site", "Requests from other sites are not accepted.")


class _GuardedSend:
    """Sends a response with SECURITY_HEADERS, and keeps track of whether it has begun."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.started = self.done = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.done = not message.get("more_body", False)
        if message["type"] == "http.response.start":
            self.started = True
            own = [
                pair for pair in message.get("headers", []) if bytes(pair[0]).lower() not in SECURITY_HEADERS
            ]
            message = {**message, "headers": [*own, *SECURITY_HEADERS.items()]}
        await self.send(message)

    async def refuse(self, refusal: Refusal, *, bodiless: bool) -> None:
        """Responds with the refusal, or cuts the connection if another response has begun."""
        if self.done:
            return
        if self.started:
            raise ConnectionAbortedError
        start = {"type": "http.response.start", "status": refusal.status, "headers": refusal.headers}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": b"" if bodiless else refusal.body})


def _headers_by_name(scope: Scope) -> dict[bytes, list[bytes]]:
    pairs = scope["headers"]
    if (
        len(pairs) > limits.MAX_HEADERS
        or sum(len(name) + len(value) for name, value in pairs) > limits.MAX_HEADER_BYTES
    ):
        raise Refusal(431, "headers", "Too many headers.")
    headers: dict[bytes, list[bytes]] = {}
    for name, value in pairs:
        headers.setdefault(bytes(name).lower(), []).append(bytes(value))
    return headers


def _checked_content_length(headers: dict[bytes, list[bytes]], endpoint: Endpoint) -> int:
    """The declared length of a body. Raises Refusal where type or length is not accepted."""
    kind = headers.get(b"content-type", [])
    if len(kind) != 1 or kind[0] not in endpoint.types or b"content-encoding" in headers:
        raise Refusal(415, "kind", "This content type is not accepted here.")
    length = headers.get(b"content-length", [])
    if len(length) != 1 or b"transfer-encoding" in headers or not length[0].isdigit():
        raise Refusal(411, "length", "Expected exactly one Content-Length header.")
    if len(length[0]) > 12 or int(length[0]) > endpoint.limit:
        raise Refusal(413, "size", "The body is too large.")
    if int(length[0]) == 0:
        raise Refusal(400, "empty", "The body is empty.")
    return int(length[0])


async def _parts_of_body(receive: Receive, length: int) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises Refusal when it is cut off, or longer or shorter than declared."""
    arrived, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Refusal(400, "gone", "The body was cut off.")
        part, more = message.get("body", b""), message.get("more_body", False)
        arrived += len(part)
        if arrived > length:
            raise Refusal(413, "size", "The body is larger than its Content-Length.")
        yield part
    if arrived != length:
        raise Refusal(400, "size", "The body is smaller than its Content-Length.")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that first returns a body already read."""
    replayed = False

    async def replay() -> Message:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay

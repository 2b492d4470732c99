"""Asking the application without a server: a scope as uvicorn builds it, raw header bytes included."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PORT = 8765
OWN = f"127.0.0.1:{PORT}".encode()


@dataclass(frozen=True)
class Answer:
    """A status, its headers and its body; `read` tells whether the body of the request was asked for."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    read: bool

    @property
    def code(self) -> str:
        """What an error calls itself."""
        return str(json.loads(self.body)["error"]["code"])

    def header(self, name: str) -> list[bytes]:
        """Every value under this name."""
        return [value for key, value in self.headers if key.lower() == name.encode()]


def ask(
    app: Any,
    method: str = "GET",
    path: bytes = b"/",
    headers: Sequence[tuple[bytes, bytes]] = ((b"host", OWN),),
    *,
    body: bytes = b"",
    pieces: Sequence[bytes] | None = None,
    query: bytes = b"",
    version: str = "1.1",
) -> Answer:
    """One request and its answer."""
    return asyncio.run(asked(app, method, path, headers, list(pieces or [body]), query, version))


async def asked(
    app: Any,
    method: str,
    path: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    pieces: list[bytes],
    query: bytes = b"",
    version: str = "1.1",
) -> Answer:
    """One request and its answer, inside a loop that is running."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": version,
        "method": method,
        "scheme": "http",
        "root_path": "",
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "headers": list(headers),
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", PORT),
        "state": {},
    }
    sent: list[Any] = []
    read = False

    async def receive() -> Any:
        nonlocal read
        read = True
        if not pieces:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], list(sent[0]["headers"]), body, read)


def posting(kind: bytes, length: int | bytes, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The headers that our own page sends with a body."""
    size = length if isinstance(length, bytes) else str(length).encode()
    own = [(b"host", OWN), (b"origin", b"http://" + OWN), (b"sec-fetch-site", b"same-origin")]
    return [*own, (b"content-type", kind), (b"content-length", size), *more]


async def everything(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers whatever reaches it, with the body it got and loose headers."""
    message = await receive()
    headers = [(b"content-type", b"text/plain"), (b"Cache-Control", b"public"), (b"x-own", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"reached " + message["body"]})

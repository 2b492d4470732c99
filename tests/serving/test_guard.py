"""No page but our own and nobody but this machine's browser is answered, whatever is combined."""

import asyncio
import itertools
import json
from typing import Any

import pytest

from pellucid.live.app import ENDPOINTS
from pellucid.serving import limits
from pellucid.serving.guard import SECURITY_HEADERS, Guard
from tests.serving.asking import OWN, PORT, Answer, ask, asked, everything, posting

PLAIN = b"application/octet-stream"


@pytest.fixture
def app() -> Guard:
    return Guard(everything, port=PORT, endpoints=ENDPOINTS)


def is_strict(answer: Answer) -> bool:
    """Each strict header once, nothing that opens the answer to other origins."""
    foreign = [name for name, _ in answer.headers if name.lower().startswith(b"access-control")]
    return not foreign and all(
        answer.header(name.decode()) == [value] for name, value in SECURITY_HEADERS.items()
    )


HOSTS: dict[str, list[bytes]] = {
    "own": [OWN],
    "localhost": [f"localhost:{PORT}".encode()],
    "none": [],
    "twice": [OWN, OWN],
    "rebound": [f"evil.test:{PORT}".encode()],
    "no port": [b"127.0.0.1"],
    "other port": [b"127.0.0.1:80"],
    "upper case": [f"LOCALHOST:{PORT}".encode()],
    "trailing dot": [f"localhost.:{PORT}".encode()],
    "six": [f"[::1]:{PORT}".encode()],
    "any": [f"0.0.0.0:{PORT}".encode()],
    "short": [f"127.1:{PORT}".encode()],
    "with a name": [f"x@127.0.0.1:{PORT}".encode()],
    "with a path": [OWN + b"/x"],
    "blank": [b""],
}
ORIGINS: dict[str, list[bytes]] = {
    "none": [],
    "own": [b"http://" + OWN],
    "null": [b"null"],
    "elsewhere": [b"https://evil.test"],
    "other port": [b"http://127.0.0.1:8000"],
    "https": [b"https://" + OWN],
    "longer": [b"http://" + OWN + b".evil.test"],
    "twice": [b"http://" + OWN, b"https://evil.test"],
}
SITES: dict[str, list[bytes]] = {
    "none": [],
    "same-origin": [b"same-origin"],
    "by hand": [b"none"],
    "same-site": [b"same-site"],
    "cross-site": [b"cross-site"],
    "unknown": [b"friendly"],
    "twice": [b"same-origin", b"cross-site"],
}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get")
TOLD = {"code", "message"}
ASKED = (b"/answer", b"/past", b"/channel", b"/scales", b"/test", b"/picture")
PATHS = (b"/", b"/runs", *ASKED, b"/nowhere")


def expected(host: str, origin: str, site: str, method: str, path: bytes) -> int:
    """The table of the design, written once more and apart from the code."""
    if host in ("none", "twice"):
        return 400
    if host not in ("own", "localhost"):
        return 421
    mine = origin == "none" or (origin == "own" and host == "own")
    if not mine or site not in ("none", "same-origin", "by hand"):
        return 403
    if path == b"/nowhere":
        return 404
    allowed = ("POST",) if path in ASKED else ("GET", "HEAD")
    return 200 if method in allowed else 405


def test_every_combination_of_host_origin_site_method_and_path_is_answered_as_the_table_says(
    app: Guard,
) -> None:
    wrong: list[Any] = []
    cells = list(itertools.product(HOSTS, ORIGINS, SITES, METHODS, PATHS))

    async def ask_all() -> None:
        for host, origin, site, method, path in cells:
            headers = [
                *((b"host", value) for value in HOSTS[host]),
                *((b"origin", value) for value in ORIGINS[origin]),
                *((b"sec-fetch-site", value) for value in SITES[site]),
            ]
            if method == "POST":
                headers += [(b"content-type", PLAIN), (b"content-length", b"1")]
            wanted = expected(host, origin, site, method, path)
            answer = await asked(app, method, path, headers, [b"h" if method == "POST" else b""])
            told = wanted == 200 or method == "HEAD" or set(json.loads(answer.body)["error"]) == TOLD
            if (
                answer.status != wanted
                or not is_strict(answer)
                or (wanted != 200 and answer.read)
                or not told
            ):
                wrong.append((host, origin, site, method, path, answer.status, wanted))

    asyncio.run(ask_all())
    assert wrong == []
    assert len(cells) > 50_000


def test_the_matrix_names_every_address_that_takes_a_body() -> None:
    assert {path for path, endpoint in ENDPOINTS.items() if endpoint.types} == set(ASKED)


@pytest.mark.parametrize(
    ("mode", "dest", "method", "path", "status"),
    [
        (b"navigate", b"document", "GET", b"/", 200),  # a link on another page, opened in a tab
        (b"navigate", b"iframe", "GET", b"/", 403),
        (b"navigate", b"document", "GET", b"/runs", 403),
        (b"navigate", b"document", "POST", b"/answer", 403),
        (b"no-cors", b"script", "GET", b"/page.js", 403),
        (b"no-cors", b"image", "GET", b"/", 403),
        (b"cors", b"empty", "GET", b"/", 403),
        (b"websocket", b"websocket", "GET", b"/", 403),
    ],
)
def test_a_link_elsewhere_may_open_the_page_and_nothing_else(
    app: Guard, mode: bytes, dest: bytes, method: str, path: bytes, status: int
) -> None:
    headers = [
        (b"host", OWN),
        (b"sec-fetch-site", b"cross-site"),
        (b"sec-fetch-mode", mode),
        (b"sec-fetch-dest", dest),
    ]
    assert ask(app, method, path, headers).status == status


@pytest.mark.parametrize(
    "path",
    [
        b"//", b"/.", b"/..", b"/../etc/passwd", b"/%2e%2e/x", b"/runs/", b"/RUNS", b"/runs%00", b"/page.js/",
        b"http://evil.test/", b"*", b"", b"/page.js;x", b"/\\x", b"/runs#x", b"/docs", b"/openapi.json",
        b"/favicon.ico", b"/static/page.js",
    ],
)  # fmt: skip
def test_only_the_listed_addresses_lead_anywhere(app: Guard, path: bytes) -> None:
    assert ask(app, path=path).status == 404


@pytest.mark.parametrize("path", [b"/", b"/runs", b"/page.js"])
def test_a_query_is_refused(app: Guard, path: bytes) -> None:
    assert ask(app, path=path, query=b"url=http://evil.test").code == "query"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (posting(b"text/plain", 2), 415),  # what a form or a fetch without preflight can send
        (posting(b"application/x-www-form-urlencoded", 2), 415),
        (posting(b"multipart/form-data; boundary=x", 2), 415),
        (posting(b"application/json", 2), 415),
        (posting(b"application/octet-stream; x=y", 2), 415),
        (posting(PLAIN, 2, (b"content-encoding", b"gzip")), 415),
        (posting(PLAIN, 2, (b"content-type", PLAIN)), 415),
        ([*posting(PLAIN, 2)[:3], (b"content-length", b"2")], 415),
        (posting(PLAIN, 2)[:4], 411),
        (posting(PLAIN, 2, (b"transfer-encoding", b"chunked")), 411),
        (posting(PLAIN, 2, (b"content-length", b"2")), 411),
        (posting(PLAIN, b"-2"), 411),
        (posting(PLAIN, b"0x2"), 411),
        (posting(PLAIN, b"2 "), 411),
        (posting(PLAIN, "²".encode()), 411),
        (posting(PLAIN, b"0"), 400),
        (posting(PLAIN, 4_000_001), 413),
        (posting(PLAIN, b"9" * 400), 413),
        (posting(PLAIN, 2, (b"upgrade", b"h2c")), 400),
    ],
)
def test_a_body_of_another_kind_or_size_is_refused_before_it_is_read(
    app: Guard, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    answer = ask(app, "POST", b"/answer", headers, body=b"hi")
    assert (answer.status, answer.read) == (status, False)
    assert answer.header("connection") == [b"close"]
    assert is_strict(answer)


@pytest.mark.parametrize(
    ("path", "most"), [(b"/channel", 5), (b"/scales", 1), (b"/test", 3), (b"/past", 4_000_000)]
)
def test_an_address_reads_no_more_than_its_question_is_long(app: Guard, path: bytes, most: int) -> None:
    assert ask(app, "POST", path, posting(PLAIN, most + 1), body=b"hi").status == 413
    assert ask(app, "POST", path, posting(b"image/png", 2), body=b"hi").status == 415


def test_a_body_that_is_not_as_long_as_announced_is_refused(app: Guard) -> None:
    assert ask(app, "POST", b"/answer", posting(PLAIN, 4), pieces=[b"ab", b"cd"]).body == b"reached abcd"
    assert ask(app, "POST", b"/answer", posting(PLAIN, 4), pieces=[b"abc", b"de"]).status == 413
    assert ask(app, "POST", b"/answer", posting(PLAIN, 4), pieces=[b"ab", b"c"]).status == 400


def test_a_body_that_does_not_come_is_not_waited_for(app: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.05)

    async def slow() -> tuple[int, int]:
        sent: list[Any] = []

        async def never() -> Any:
            await asyncio.sleep(30)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "http_version": "1.1", "method": "POST", "raw_path": b"/answer"}
        headers = {"query_string": b"", "headers": posting(PLAIN, 4)}
        await app({**scope, **headers}, never, send)
        return sent[0]["status"], app.held

    assert asyncio.run(slow()) == (408, 0)


def test_more_bodies_at_once_than_there_is_memory_for_are_told_to_come_again(app: Guard) -> None:
    app.held = limits.MAX_HELD_BYTES - 1
    answer = ask(app, "POST", b"/answer", posting(PLAIN, 2), body=b"hi")
    assert (answer.status, answer.header("retry-after")) == (503, [b"1"])
    assert app.held == limits.MAX_HELD_BYTES - 1
    assert ask(app, "POST", b"/answer", posting(PLAIN, 1), body=b"h").status == 200
    assert app.held == limits.MAX_HELD_BYTES - 1


def test_what_was_announced_and_does_not_come_takes_nothing_from_others(app: Guard) -> None:
    """Two hundred clients that announce the largest body and send a byte of it."""

    async def slow() -> int:
        async def first_byte() -> Any:
            if waiting:
                await waiting[0].wait()
            waiting.append(asyncio.Event())
            return {"type": "http.request", "body": b"h", "more_body": True}

        async def nothing(message: Any) -> None:
            pass

        async def keep(message: Any) -> None:
            sent.append(message)

        async def body() -> Any:
            return {"type": "http.request", "body": b"hi", "more_body": False}

        scope = {"type": "http", "http_version": "1.1", "method": "POST", "raw_path": b"/answer"}
        scope |= {"query_string": b""}
        waiting: list[asyncio.Event] = []
        tasks = []
        for _ in range(200):
            waiting = []
            tasks.append(
                asyncio.create_task(app({**scope, "headers": posting(PLAIN, 4_000_000)}, first_byte, nothing))
            )
            await asyncio.sleep(0)
        sent: list[Any] = []
        await app({**scope, "headers": posting(PLAIN, 2)}, body, keep)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return int(sent[0]["status"])

    assert asyncio.run(slow()) == 200
    assert app.held == 0


@pytest.mark.parametrize("length", [b"1", b"10"])
def test_a_question_without_a_body_may_have_none(app: Guard, length: bytes) -> None:
    assert ask(app, headers=[(b"host", OWN), (b"content-length", length)]).status == 413
    assert ask(app, headers=[(b"host", OWN), (b"transfer-encoding", b"chunked")]).status == 413


def test_too_many_headers_and_other_versions_are_refused(app: Guard) -> None:
    many = [(b"host", OWN), *((f"x-{n}".encode(), b"1") for n in range(60))]
    assert ask(app, headers=many).status == 431
    assert ask(app, headers=[(b"host", OWN), (b"cookie", b"x" * 9000)]).status == 431
    assert ask(app, version="1.0").status == 505


def test_answers_carry_the_strict_headers_once_and_keep_their_own(app: Guard) -> None:
    answer = ask(app)
    assert (answer.status, answer.body) == (200, b"reached ")
    assert is_strict(answer)
    assert answer.header("x-own") == [b"1"]
    policy = SECURITY_HEADERS[b"content-security-policy"].decode()
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "frame-ancestors 'none'" in policy


def test_what_fails_inside_is_told_without_a_word_of_it(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("/home/somebody/secret")

    answer = ask(Guard(broken, port=PORT, endpoints=ENDPOINTS))
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert is_strict(answer)
    assert "secret" in caplog.text


def test_a_websocket_is_closed(app: Guard) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app({"type": "websocket"}, lambda: None, send))  # type: ignore[arg-type, return-value]
    assert sent == [{"type": "websocket.close", "code": 1008}]

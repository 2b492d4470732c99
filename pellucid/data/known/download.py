"""Bytes over the network: by https alone, as many as expected, going on where an attempt stopped."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pellucid import files

Progress = Callable[[str, int, int], None]  # file name, bytes so far, bytes in all

Right = TypeVar("Right")

SLOWEST_BYTES_PER_SECOND = 4096
BLOCK = 1 << 16


class Transfer(NamedTuple):
    """How bytes come over the network: who is told of them, what carries https, how long a silence may be."""

    progress: Progress | None = None
    transport: urllib.request.BaseHandler | None = None  # None: urllib's own, certificates checked
    timeout_seconds: float = 20.0


PLAINLY = Transfer()


class Unfit(Exception):
    """Why one copy, or one mirror, is passed over; the next is tried. It never leaves data/find.py."""


class OtherRange(Unfit):
    """The server does not go on where the part ends; the file is asked for from its beginning."""


def first_right(
    urls: Sequence[str],
    part: Path,
    *,
    size: int,
    check: Callable[[Path], Right],
    transfer: Transfer = PLAINLY,
) -> Right:
    """What `check` makes of `part` once it holds the `size` bytes of the first address that gives them right.

    `check` raises Unfit for wrong bytes. Raises Unfit with every address and cause when none is right.
    """
    reasons = []
    for url in urls:
        try:
            return _right(url, part, size, check, transfer)
        except Unfit as reason:
            reasons.append(str(reason))
    raise Unfit("; ".join(reasons))


def _right(url: str, part: Path, size: int, check: Callable[[Path], Right], transfer: Transfer) -> Right:
    """What `url` gives, checked. A part from an earlier attempt that spoils it is dropped."""
    resumed = _length(part) > 0
    fetch(url, part, size=size, transfer=transfer)
    try:
        return check(part)
    except Unfit as reason:
        files.remove(part)
        if resumed:
            return _right(url, part, size, check, transfer)
        raise Unfit(f"{url} gave the wrong bytes: {reason}") from reason


def fetch(url: str, part: Path, *, size: int, transfer: Transfer = PLAINLY) -> None:
    """`part` holds the `size` bytes that `url` gives; it goes on where an earlier attempt stopped.

    Only https, also when redirected. What came before a failure stays in `part`. Raises Unfit, with the
    address and the cause; PellucidError when `part` cannot be written.
    """
    start = _length(part)
    if start == size:
        return
    start = start if start < size else 0
    headers = {"User-Agent": "pellucid", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with _reasons(url), _open(url, headers, transfer) as response:
            at = _accepted(response, url, start, size)
            files.append(part, _blocks(response, url, at, size, transfer), at=at)
    except OtherRange:
        if not start:
            raise
        files.remove(part)
        fetch(url, part, size=size, transfer=transfer)


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _open(url: str, headers: dict[str, str], transfer: Transfer) -> Any:
    if urlsplit(url).scheme != "https":
        raise Unfit(f"{url} is not an https address")
    # Built by hand: build_opener() would add handlers for http, ftp, data and file.
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        transfer.transport or urllib.request.HTTPSHandler(),
        OnlyHttps(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        director.add_handler(handler)
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - https, checked above
    return director.open(fullurl=request, timeout=transfer.timeout_seconds)


class OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only to another https address."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request for `newurl`; raises HTTPError when it is not https."""
        if urlsplit(newurl).scheme != "https":
            reason = f"redirected to {newurl}, which is not https"
            raise urllib.error.HTTPError(req.full_url, code, reason, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _accepted(response: Any, url: str, start: int, size: int) -> int:
    """Where in the file the answer begins: at `start`, or at 0 when the server gives all of it."""
    if response.status == 206:
        expected = f"bytes {start}-{size - 1}/{size}"
        got = response.headers.get("Content-Range", "")
        if not start or got != expected:
            raise OtherRange(f"{url} answered with the range '{got}', expected '{expected}'")
        return start
    if response.status != 200:
        raise Unfit(f"{url} answered with HTTP {response.status}, expected 200")
    announced = response.headers.get("Content-Length")
    if announced is not None and announced != str(size):
        raise Unfit(f"{url} announced {announced} bytes, expected {size:,}")
    return 0


def _blocks(response: Any, url: str, at: int, size: int, transfer: Transfer) -> Iterator[bytes]:
    """The answer's bytes from `at` to `size` and no more; raises Unfit when there are fewer."""
    deadline = time.monotonic() + transfer.timeout_seconds + size / SLOWEST_BYTES_PER_SECOND
    while at < size:
        with _reasons(url):
            block = response.read1(min(BLOCK, size - at))
        if not block:
            raise Unfit(f"{url} ended after {at:,} of {size:,} bytes")
        if time.monotonic() > deadline:
            raise Unfit(f"{url} is slower than {SLOWEST_BYTES_PER_SECOND:,} bytes a second")
        at += len(block)
        yield block
        if transfer.progress is not None:
            transfer.progress(url.rsplit("/", 1)[-1], at, size)


@contextmanager
def _reasons(url: str) -> Iterator[None]:
    """Turns every failure of the network into one reason that names the address."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        kind = OtherRange if error.code == 416 else Unfit
        raise kind(f"{url} answered with HTTP {error.code}: {error.reason}") from error
    except (TimeoutError, urllib.error.URLError) as error:
        cause = getattr(error, "reason", error)
        late = isinstance(cause, TimeoutError)
        raise Unfit(f"{url} {'does not answer' if late else f'cannot be reached: {cause}'}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise Unfit(f"{url} broke off: {error or type(error).__name__}") from error

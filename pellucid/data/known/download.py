"""Downloads: by https only, of a known size, continued where an earlier attempt stopped."""

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

Checked = TypeVar("Checked")

SLOWEST_BYTES_PER_SECOND = 4096
BLOCK = 1 << 16


class Transfer(NamedTuple):
    """How to download: a callback for progress, a handler for https, and the timeout of a connection.

    refused  why nothing is downloaded, such as that nobody asked for it; "" where it is
    """

    progress: Progress | None = None
    transport: urllib.request.BaseHandler | None = None  # None: urllib's own, certificates checked
    timeout_seconds: float = 20.0
    refused: str = ""


DEFAULT_TRANSFER = Transfer()


class Rejected(Exception):
    """Why a copy or a mirror is skipped; the next one is tried. It never leaves data/known."""


class RangeMismatch(Rejected):
    """The server does not continue where the partial file ends; the file is requested from its start."""


def fetch_verified(
    urls: Sequence[str],
    part: Path,
    *,
    size: int,
    check: Callable[[Path], Checked],
    transfer: Transfer = DEFAULT_TRANSFER,
) -> Checked:
    """What `check` returns for `part` once it has the `size` bytes of the first address that passes.

    `check` raises Rejected for wrong bytes. Raises Rejected with every address and cause if none passes.
    """
    reasons = []
    for url in urls:
        try:
            return _fetch_and_check(url, part, size, check, transfer)
        except Rejected as reason:
            reasons.append(str(reason))
    raise Rejected("; ".join(reasons))


def _fetch_and_check(
    url: str, part: Path, size: int, check: Callable[[Path], Checked], transfer: Transfer
) -> Checked:
    """What `check` returns for the download. A damaged partial file of an earlier attempt is discarded."""
    resumed = _length(part) > 0
    fetch(url, part, size=size, transfer=transfer)
    try:
        return check(part)
    except Rejected as reason:
        files.remove(part)
        if resumed:
            return _fetch_and_check(url, part, size, check, transfer)
        raise Rejected(f"{url} gave the wrong bytes: {reason}") from reason


def fetch(url: str, part: Path, *, size: int, transfer: Transfer = DEFAULT_TRANSFER) -> None:
    """Download the `size` bytes of `url` to `part`, continuing where an earlier attempt stopped.

    Only https, also when redirected. After a failure, `part` keeps what has arrived. Raises Rejected, with
    the address and the cause; PellucidError when `part` cannot be written.
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
            at = _start_of_response(response, url, start, size)
            files.append(part, _blocks(response, url, at, size, transfer), at=at)
    except RangeMismatch:
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
        raise Rejected(f"{url} is not an https address")
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


def _start_of_response(response: Any, url: str, start: int, size: int) -> int:
    """Where in the file the response begins: at `start`, or at 0 if the server sends all of it."""
    if response.status == 206:
        expected = f"bytes {start}-{size - 1}/{size}"
        got = response.headers.get("Content-Range", "")
        if not start or got != expected:
            raise RangeMismatch(f"{url} answered with the range '{got}', expected '{expected}'")
        return start
    if response.status != 200:
        raise Rejected(f"{url} answered with HTTP {response.status}, expected 200")
    announced = response.headers.get("Content-Length")
    if announced is not None and announced != str(size):
        raise Rejected(f"{url} announced {announced} bytes, expected {size:,}")
    return 0


def _blocks(response: Any, url: str, at: int, size: int, transfer: Transfer) -> Iterator[bytes]:
    """The bytes of the response from `at` to `size` and no more; raises Rejected if there are fewer."""
    deadline = time.monotonic() + transfer.timeout_seconds + size / SLOWEST_BYTES_PER_SECOND
    while at < size:
        with _reasons(url):
            block = response.read1(min(BLOCK, size - at))
        if not block:
            raise Rejected(f"{url} ended after {at:,} of {size:,} bytes")
        if time.monotonic() > deadline:
            raise Rejected(f"{url} is slower than {SLOWEST_BYTES_PER_SECOND:,} bytes a second")
        at += len(block)
        yield block
        if transfer.progress is not None:
            transfer.progress(url.rsplit("/", 1)[-1], at, size)


@contextmanager
def _reasons(url: str) -> Iterator[None]:
    """Turn every failure of the network into Rejected with the address."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        kind = RangeMismatch if error.code == 416 else Rejected
        raise kind(f"{url} answered with HTTP {error.code}: {error.reason}") from error
    except (TimeoutError, urllib.error.URLError) as error:
        cause = getattr(error, "reason", error)
        late = isinstance(cause, TimeoutError)
        raise Rejected(f"{url} {'does not answer' if late else f'cannot be reached: {cause}'}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise Rejected(f"{url} broke off: {error or type(error).__name__}") from error

"""A file is downloaded whole, checked, from whichever mirror has it, or not at all."""

import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from pellucid.cache import cache_folder
from pellucid.data.known import download
from pellucid.data.known.download import RangeMismatch, Rejected, fetch
from pellucid.data.known.find import locate_copy, read
from pellucid.errors import PellucidError
from tests.data.known.toy import (
    NAMES,
    OTHERS,
    PACKED,
    TOYS,
    Fault,
    Mirrors,
    answer,
    half,
    half_silently,
    is_toy,
    put,
    ranged,
    stalled,
    toy,
    whole,
    without_end,
    without_length,
)


def at_first(fault: Fault) -> Fault:
    """Only the first of the four files: waiting takes time."""
    return lambda handler, body: (fault if body == PACKED[NAMES[0]] else ranged)(handler, body)


def no_progress(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    threading.Event().wait(1.5)


def hung_up(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.connection.close()


def nonsense(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.wfile.write(b"220 ftp.test ready\r\n")


def many_headers(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    answer(handler, body, **{f"X_{number}": "x" for number in range(200)})


def to(address: str, status: int = 302) -> Fault:
    return lambda handler, body: answer(handler, b"", status=status, Location=address)


def status(code: int) -> Fault:
    return lambda handler, body: answer(handler, b"<html>", status=code)


def spoilt(change: Callable[[bytes], bytes]) -> Fault:
    return lambda handler, body: ranged(handler, change(body))


FAULTS: dict[str, tuple[Fault, str]] = {
    "cut off": (half, r"ended after \d+ of \d+ bytes"),
    "cut off, length not told": (half_silently, r"ended after \d+ of \d+ bytes"),
    "wrong bytes": (spoilt(lambda body: bytes(len(body))), "gave the wrong bytes: .* Not a gzipped file"),
    "one bit": (spoilt(lambda body: body[:40] + bytes([body[40] ^ 1]) + body[41:]), "gave the wrong bytes"),
    "too long": (spoilt(lambda body: body + b"x"), r"announced \d+ bytes, expected"),
    "too short": (spoilt(lambda body: body[:-1]), r"announced \d+ bytes, expected"),
    "length of another": (
        lambda h, body: answer(h, body, length=10**15),
        r"announced 1000000000000000 bytes",
    ),
    "length a lie": (lambda h, body: answer(h, body, length=-1), "announced -1 bytes"),
    "403": (status(403), "HTTP 403: Forbidden"),
    "404": (status(404), "HTTP 404: Not Found"),
    "416": (status(416), "HTTP 416"),
    "429": (status(429), "HTTP 429"),
    "500": (status(500), "HTTP 500"),
    "503": (status(503), "HTTP 503: Service Unavailable"),
    "204": (lambda h, body: answer(h, b"", status=204), "HTTP 204, expected 200"),
    "206 unasked": (
        lambda h, body: answer(h, body, status=206, Content_Range=f"bytes 0-{len(body) - 1}/{len(body)}"),
        "answered with the range",
    ),
    "stalled": (at_first(stalled), "does not answer"),
    "silent": (at_first(no_progress), "does not answer"),
    "hung up": (hung_up, "broke off|cannot be reached"),
    "no http": (nonsense, "broke off"),
    "too many headers": (many_headers, "broke off"),
    "to a file": (to("file:///etc/passwd"), "not allowed"),
    "to http": (to("http://first.test/x"), "redirected to http://first.test/x, which is not https"),
    "to http, for ever": (to("http://first.test/x", 301), "which is not https"),
    "to http, 307": (to("http://first.test/x", 307), "which is not https"),
    "to ftp": (to("ftp://first.test/x"), "which is not https"),
    "to data": (to("data:,x"), "not allowed|which is not https"),
    "to nowhere": (to("https://first.test/toy/t10k-labels-idx1-ubyte.gz"), "HTTP 302"),
    "a page": (lambda h, body: answer(h, b"<html>sign in</html>"), "announced 20 bytes"),
}
SLOW = ("stalled", "silent")


@pytest.mark.parametrize("fault", FAULTS)
def test_the_second_mirror_serves_when_the_first_fails(mirrors: Mirrors, fault: str) -> None:
    mirrors.faults["first"] = FAULTS[fault][0]
    mirrors.patience = 0.5 if fault in SLOW else mirrors.patience
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a mirror that failed is nobody's concern once another served
        assert is_toy(read(toy, transfer=mirrors.transfer()))
    assert f"second {NAMES[0]}" in mirrors.asked
    assert sorted(path.name for path in (cache_folder() / "toy").iterdir()) == sorted(
        f"{n}.gz" for n in NAMES
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_when_both_mirrors_fail_nothing_is_accepted_and_the_next_start_works(
    mirrors: Mirrors, fault: str
) -> None:
    mirrors.faults = dict.fromkeys(("first", "second"), FAULTS[fault][0])
    mirrors.patience = 0.5 if fault in SLOW else mirrors.patience
    with pytest.raises(PellucidError) as caught:
        read(toy, transfer=mirrors.transfer())
    assert caught.value.exit_code == 1
    message = str(caught.value)
    assert re.search(FAULTS[fault][1], message)
    assert "https://first.test/toy/" in message
    assert "https://second.test/toy/" in message
    assert not [path for path in (cache_folder() / "toy").iterdir() if path.suffix == ".gz"]
    mirrors.faults, mirrors.patience = {}, 30
    assert is_toy(read(toy, transfer=mirrors.transfer()))


def test_what_was_downloaded_is_found_the_next_time_without_the_network(mirrors: Mirrors) -> None:
    read(toy, transfer=mirrors.transfer())
    asked = len(mirrors.asked)
    assert asked == 4
    assert locate_copy(toy) == str(cache_folder() / "toy")
    assert is_toy(read(toy, transfer=mirrors.transfer()))
    assert len(mirrors.asked) == asked


def test_a_download_tells_its_progress(mirrors: Mirrors) -> None:
    told: list[tuple[str, int, int]] = []
    read(toy, transfer=mirrors.transfer(progress=lambda *figures: told.append(figures)))
    last = {name: (so_far, total) for name, so_far, total in told}
    assert last == {f"{name}.gz": (len(packed), len(packed)) for name, packed in PACKED.items()}


def test_a_length_that_is_not_told_and_an_answer_without_end_are_borne(mirrors: Mirrors) -> None:
    for fault in (without_length, without_end):
        mirrors.faults["first"] = fault
        part = Path(f"{fault.__name__}.part")
        fetch(
            f"https://first.test/toy/{NAMES[0]}.gz",
            part,
            size=len(PACKED[NAMES[0]]),
            transfer=mirrors.transfer(),
        )
        assert part.read_bytes() == PACKED[NAMES[0]]


def test_a_redirection_to_another_https_address_is_followed(mirrors: Mirrors) -> None:
    def moved(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        to(f"https://second.test{handler.path}")(handler, body)

    mirrors.faults["first"] = moved
    part = Path("part")
    part.write_bytes(PACKED[NAMES[0]][:100])
    fetch(
        f"https://first.test/toy/{NAMES[0]}.gz", part, size=len(PACKED[NAMES[0]]), transfer=mirrors.transfer()
    )
    assert part.read_bytes() == PACKED[NAMES[0]]
    assert mirrors.ranges == ["bytes=100-"] * 2


@pytest.mark.parametrize(
    "address", ["http://first.test/x", "file:///etc/passwd", "ftp://first.test/x", "/etc/passwd"]
)
def test_nothing_but_https_is_fetched(mirrors: Mirrors, address: str) -> None:
    with pytest.raises(Rejected, match="is not an https address"):
        fetch(address, Path("part"), size=10, transfer=mirrors.transfer())
    assert not Path("part").exists()
    assert mirrors.asked == []


def test_an_answer_cut_off_goes_on_at_the_second_mirror_where_it_stopped(mirrors: Mirrors) -> None:
    mirrors.faults["first"] = half
    assert is_toy(read(toy, transfer=mirrors.transfer()))
    expected = [line for name in NAMES for line in ("", f"bytes={len(PACKED[name]) // 2}-")]
    assert mirrors.ranges == expected


def test_a_server_that_ignores_ranges_is_taken_from_the_beginning(mirrors: Mirrors) -> None:
    mirrors.faults["first"] = whole
    part = Path("part")
    part.write_bytes(b"earlier bytes, now of no use")
    fetch(
        f"https://first.test/toy/{NAMES[0]}.gz", part, size=len(PACKED[NAMES[0]]), transfer=mirrors.transfer()
    )
    assert part.read_bytes() == PACKED[NAMES[0]]
    assert mirrors.ranges == [f"bytes={len('earlier bytes, now of no use')}-"]


@pytest.mark.parametrize("where", ["bytes 0-9/10", "bytes 3-*/*", "", "bytes 5-4/99999"])
def test_a_server_that_gives_another_range_is_asked_again_for_all(mirrors: Mirrors, where: str) -> None:
    def other(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if handler.headers.get("Range"):
            answer(handler, body[3:], status=206, Content_Range=where)
        else:
            answer(handler, body)

    mirrors.faults["first"] = other
    part = Path("part")
    part.write_bytes(PACKED[NAMES[0]][:5])
    fetch(
        f"https://first.test/toy/{NAMES[0]}.gz", part, size=len(PACKED[NAMES[0]]), transfer=mirrors.transfer()
    )
    assert part.read_bytes() == PACKED[NAMES[0]]
    assert mirrors.ranges == ["bytes=5-", ""]


def test_a_server_that_refuses_the_range_is_asked_again_for_all(mirrors: Mirrors) -> None:
    mirrors.faults["first"] = lambda h, body: (
        status(416)(h, body) if h.headers.get("Range") else whole(h, body)
    )
    part = Path("part")
    part.write_bytes(b"12345")
    fetch(
        f"https://first.test/toy/{NAMES[0]}.gz", part, size=len(PACKED[NAMES[0]]), transfer=mirrors.transfer()
    )
    assert part.read_bytes() == PACKED[NAMES[0]]
    mirrors.faults["first"] = status(416)
    with pytest.raises(RangeMismatch):
        fetch(
            "https://first.test/toy/t10k-labels-idx1-ubyte.gz",
            Path("new"),
            size=9,
            transfer=mirrors.transfer(),
        )


@pytest.mark.parametrize("beginning", [b"rubbish", b"x" * 10_000, b"x" * len(PACKED[NAMES[0]])])
def test_a_part_that_spoils_the_file_is_dropped_and_the_file_fetched_anew(
    mirrors: Mirrors, beginning: bytes
) -> None:
    folder = cache_folder() / "toy"
    folder.mkdir(parents=True)
    (folder / f"{NAMES[0]}.gz.part").write_bytes(beginning)
    assert is_toy(read(toy, transfer=mirrors.transfer()))
    assert {line.split()[0] for line in mirrors.asked} == {"first"}


def test_a_damaged_file_in_the_cache_is_downloaded_anew_and_named(mirrors: Mirrors) -> None:
    put(cache_folder() / "toy", TOYS | {NAMES[1]: OTHERS[NAMES[0]]}, packed=True)
    with pytest.warns(UserWarning, match=rf"{NAMES[1]}\.gz' "):
        assert is_toy(read(toy, transfer=mirrors.transfer()))
    assert mirrors.asked == [f"first {NAMES[1]}"]
    assert is_toy(read(toy, transfer=mirrors.transfer()))


def test_only_the_files_that_are_missing_are_downloaded(mirrors: Mirrors) -> None:
    put(cache_folder() / "toy", {name: TOYS[name] for name in NAMES[:2]}, packed=True)
    assert is_toy(read(toy, transfer=mirrors.transfer()))
    assert mirrors.asked == [f"first {name}" for name in NAMES[2:]]


KILLED = """
import sys, urllib.request
from pathlib import Path
from pellucid.data.known.find import read
from pellucid.data.known.download import Transfer
from tests.data.known.toy import ToLoopback, toy
import os
def die(name, so_far, total):
    if name.startswith("train-images") and so_far >= 100:
        os.kill(os.getpid(), 9)
from pellucid.data.known import download
download.BLOCK = 50
read(toy, transfer=Transfer(die, ToLoopback({port}), 5.0))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on this system")
def test_a_download_killed_half_way_goes_on_at_the_next_start(mirrors: Mirrors, tmp_path: Path) -> None:
    code = KILLED.format(port=mirrors.port)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == -9, done.stderr
    assert not list((cache_folder() / "toy").glob("*.gz"))
    mirrors.asked.clear()
    assert is_toy(read(toy, transfer=mirrors.transfer()))
    assert len(mirrors.asked) == 4


def test_an_interrupted_download_keeps_its_bytes_and_goes_on(
    mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "BLOCK", 50)

    def interrupt(name: str, so_far: int, total: int) -> None:
        if so_far >= 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(toy, transfer=mirrors.transfer(progress=interrupt))
    part = cache_folder() / "toy" / f"{NAMES[0]}.gz.part"
    assert part.read_bytes() == PACKED[NAMES[0]][:100]
    mirrors.ranges.clear()
    assert is_toy(read(toy, transfer=mirrors.transfer()))
    assert mirrors.ranges[0] == "bytes=100-"


def test_a_server_that_drips_is_given_up(mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()
        for byte in body:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            threading.Event().wait(0.05)

    mirrors.faults["first"], mirrors.patience = drip, 0.5
    monkeypatch.setattr(download, "SLOWEST_BYTES_PER_SECOND", 100_000)
    with pytest.raises(Rejected, match="is slower than 100,000 bytes a second"):
        fetch(f"https://first.test/toy/{NAMES[0]}.gz", Path("part"), size=616, transfer=mirrors.transfer())


@pytest.mark.skipif(sys.platform == "win32", reason="no advisory locks on this system")
def test_two_processes_do_not_write_one_part(mirrors: Mirrors) -> None:
    import fcntl

    folder = cache_folder() / "toy"
    folder.mkdir(parents=True)
    with (folder / f"{NAMES[0]}.gz.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(
            PellucidError, match=r"is being written by another process\. Wait until it is done"
        ):
            read(toy, transfer=mirrors.transfer())


def test_a_cache_that_cannot_be_written_is_named_with_the_three_ways(
    mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PELLUCID_HOME", str(tmp_path / "file"))
    with pytest.raises(PellucidError, match=r"(?s)Cannot write '.*toy': .*Three ways to provide it"):
        read(toy, transfer=mirrors.transfer())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device on this system")
def test_a_full_disk_is_named(mirrors: Mirrors) -> None:
    folder = cache_folder() / "toy"
    folder.mkdir(parents=True)
    (folder / f"{NAMES[0]}.gz.part").symlink_to("/dev/full")
    with pytest.raises(
        PellucidError, match=r"Cannot write '.*part': (No space left on device|Invalid argument)"
    ):
        read(toy, transfer=mirrors.transfer())

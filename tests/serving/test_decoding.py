"""No picture hangs, crashes or fills the server that was sent it, and the one after it is read."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Iterator

import pytest
from PIL import Image

from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.pad.strokes import RULES
from pellucid.serving import limits
from pellucid.serving.decoding import DecodingPool
from pellucid.serving.guard import Refusal
from pellucid.serving.received import Form, received
from tests.data.store.packing import until, workers_of
from tests.serving.decoders import DECODER_COMMAND, outcome, pictures
from tests.stored import RAMP, stored

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

FORMS = [
    Form(Preprocess(1, 28, 28, "stretch").decode_settings, RULES["mnist"]),
    Form(Preprocess(3, 16, 12, "crop", 90).decode_settings),
]
PICTURE = stored(RAMP)


def running() -> set[int]:
    return workers_of(os.getpid(), DECODER_COMMAND)


@pytest.fixture
def pool() -> Iterator[DecodingPool]:
    before = running()
    with DecodingPool() as made:
        yield made
    assert running() <= before


@pytest.fixture
def started(pool: DecodingPool) -> tuple[DecodingPool, int]:
    """A pool whose one process has answered, and that process."""
    before = running()
    assert decoded(pool, PICTURE) == received(PICTURE, FORMS)
    (process,) = running() - before
    return pool, process


def decoded(pool: DecodingPool, content: bytes) -> bytes:
    return asyncio.run(pool.decode(content, FORMS))


def test_every_kind_of_file_is_decoded_as_it_is_here_by_one_process_that_is_used_again(
    pool: DecodingPool,
) -> None:
    before = running()
    for name, content in pictures():
        found = outcome(lambda content=content: decoded(pool, content))
        assert found == outcome(lambda content=content: received(content, FORMS)), name
        assert len(running() - before) == 1


def test_no_process_is_started_before_a_picture_comes() -> None:
    before = running()
    with DecodingPool():
        assert running() == before


def test_a_process_that_ended_while_it_waited_is_replaced_without_a_word(
    started: tuple[DecodingPool, int],
) -> None:
    pool, process = started
    os.kill(process, signal.SIGKILL)
    assert until(lambda: process not in running())
    assert decoded(pool, PICTURE) == received(PICTURE, FORMS)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_picture_that_ends_its_process_is_refused_in_words_and_the_next_one_read(
    started: tuple[DecodingPool, int], number: signal.Signals
) -> None:
    pool, process = started
    os.kill(process, signal.SIGSTOP)

    async def lost() -> bytes:
        asked = asyncio.create_task(pool.decode(PICTURE, FORMS))
        await asyncio.sleep(0.05)
        os.kill(process, number)
        os.kill(process, signal.SIGCONT)
        return await asked

    with pytest.raises(UsageError, match="the process that decoded it ended early"):
        asyncio.run(lost())
    assert process not in running()
    assert decoded(pool, PICTURE) == received(PICTURE, FORMS)


def test_a_picture_without_end_is_ended_and_the_next_one_read(
    started: tuple[DecodingPool, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, process = started
    os.kill(process, signal.SIGSTOP)
    with monkeypatch.context() as patched:
        patched.setattr(limits, "DECODE_SECONDS", 0.2)
        with pytest.raises(UsageError, match=r"takes longer than 0\.2 seconds\. Make it smaller"):
            decoded(pool, PICTURE)
    assert process not in running()
    assert decoded(pool, PICTURE) == received(PICTURE, FORMS)


def test_a_picture_that_takes_more_memory_than_it_may_is_refused_in_words(
    pool: DecodingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DECODE_BYTES", 100 << 20)
    with pytest.raises(UsageError, match="takes more memory to decode than there is for one picture"):
        decoded(pool, stored(Image.new("RGB", (7_000, 6_000)), compress_level=1))
    assert decoded(pool, PICTURE) == received(PICTURE, FORMS)


def test_only_so_many_pictures_wait_and_those_are_answered(
    started: tuple[DecodingPool, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_WAITING_PICTURES", 2)
    pool, process = started
    os.kill(process, signal.SIGSTOP)

    async def five() -> list[bytes | BaseException]:
        asked = [asyncio.create_task(pool.decode(PICTURE, FORMS)) for _ in range(5)]
        await asyncio.sleep(0)
        assert [task.done() for task in asked] == [False, False, False, True, True]
        os.kill(process, signal.SIGCONT)
        return await asyncio.gather(*asked, return_exceptions=True)

    *answers, fourth, fifth = asyncio.run(five())
    assert answers == [received(PICTURE, FORMS)] * 3
    for refusal in (fourth, fifth):
        assert isinstance(refusal, Refusal)
        assert (refusal.status, refusal.code) == (503, "busy")
        assert refusal.extra_headers == ((b"retry-after", b"1"),)
    assert decoded(pool, PICTURE) == received(PICTURE, FORMS), "what was refused does not wait for ever"


def test_where_no_process_can_be_started_nothing_is_decoded_here(
    pool: DecodingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(Refusal) as refusal:
            decoded(pool, PICTURE)
    assert refusal.value.status == 503
    assert "nowhere" not in refusal.value.message
    assert decoded(pool, PICTURE) == received(PICTURE, FORMS)


def test_several_processes_decode_at_once() -> None:
    before = running()
    with DecodingPool(2) as pool:

        async def both() -> list[bytes]:
            return list(await asyncio.gather(*(pool.decode(PICTURE, FORMS) for _ in range(2))))

        assert asyncio.run(both()) == [received(PICTURE, FORMS)] * 2
        assert 1 <= len(running() - before) <= 2
    assert running() <= before


def test_the_end_waits_for_no_picture(started: tuple[DecodingPool, int]) -> None:
    pool, process = started
    os.kill(process, signal.SIGSTOP)

    async def ended() -> bytes:
        asked = asyncio.create_task(pool.decode(PICTURE, FORMS))
        await asyncio.sleep(0.05)
        threading.Thread(target=pool.close).start()
        return await asked

    with pytest.raises(UsageError, match="ended early"):
        asyncio.run(ended())
    assert until(lambda: process not in running())
    with pytest.raises((Refusal, RuntimeError)):
        decoded(pool, PICTURE)


def test_a_process_can_write_nothing_and_has_the_memory_that_is_promised(
    started: tuple[DecodingPool, int],
) -> None:
    _, process = started
    with open(f"/proc/{process}/limits", encoding="ascii") as file:  # noqa: PTH123
        found = {line[:26].strip(): line[26:].split()[0] for line in file}
    assert found["Max data size"] == str(limits.DECODE_BYTES)
    assert (found["Max file size"], found["Max core file size"]) == ("0", "0")


def test_the_last_picture_that_waits_is_answered_before_its_exchange_ends() -> None:
    assert (1 + limits.MAX_WAITING_PICTURES) * limits.DECODE_SECONDS < limits.EXCHANGE_SECONDS

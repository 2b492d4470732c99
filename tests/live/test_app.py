"""The page's addresses: what is served, one question at a time, the newest first."""

import asyncio
import json
import os
import re
import signal
import struct
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.live.answers import Answerer
from pellucid.live.app import Served, application, form_of, served
from pellucid.models import build
from pellucid.pad import section
from pellucid.pad.section import Subject
from pellucid.serving import limits
from pellucid.serving.decoding import DecodingPool
from pellucid.serving.guard import Guard
from pellucid.serving.received import received
from tests.data.folders import png_header
from tests.data.store.packing import workers_of
from tests.live.questions import picture, question, understood
from tests.networks import Sorting, classifier
from tests.serving.asking import PORT, ask, asked, posting
from tests.serving.decoders import DECODER_COMMAND
from tests.toys import toy_dataset, write_picture

PLAIN = b"application/octet-stream"


@pytest.fixture(scope="module")
def runs() -> list[Served]:
    one = served("one", Subject(classifier("tutorial"), "mnist"), accuracy=0.9, torch_only=True)
    return [one, served("two", Subject(classifier("residual")), torch_only=True)]


@pytest.fixture
def app(runs: list[Served], decoders: DecodingPool) -> Guard:
    return application(runs, port=PORT, decoders=decoders)


def test_the_page_asks_only_for_what_is_served(app: Guard) -> None:
    page = ask(app).body.decode()
    assert 'src="page.js"' in page
    assert "<style" not in page
    assert "javascript:" not in page
    for path in (b"/page.js", b"/page.css", b"/icon.svg"):
        assert ask(app, path=path).status == 200
    script = ask(app, path=b"/page.js").body.decode()
    asked = set(re.findall(r'(?:fetch|post|keepAsking|askWhile)\("(\w+)"', script))
    assert asked == {"answer", "channel", "past", "picture", "runs", "scales", "test"}


def test_each_run_is_asked_by_its_place(app: Guard, runs: list[Served]) -> None:
    for place, name in enumerate(("tutorial", "residual")):
        image = picture(name)
        body = question(image, run=place)
        answer = ask(app, "POST", b"/answer", posting(PLAIN, len(body)), body=body)
        assert answer.status == 200
        _, parts = understood(answer.body)
        scores = runs[place].subject.classifier.logits(image[None])[0].numpy()
        assert abs(parts[0] - scores).max() < 1e-4


@pytest.mark.parametrize(
    "body", [b"\x00", question(picture("tutorial"), run=7), question(picture("residual"))]
)
def test_a_malformed_question_is_told_so(app: Guard, body: bytes) -> None:
    answer = ask(app, "POST", b"/answer", posting(PLAIN, len(body)), body=body)
    assert answer.status == 422
    assert set(json.loads(answer.body)["error"]) == {"code", "message"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (b"/past", b"\x00"),
        (b"/past", question(picture("tutorial"), run=2)),
        (b"/channel", bytes(4)),
        (b"/channel", struct.pack("<BHH", 2, 0, 0)),
        (b"/channel", struct.pack("<BHH", 0, 99, 0)),
        (b"/channel", struct.pack("<BHH", 0, 0, 99)),
        (b"/scales", b"\x02"),
        (b"/test", b"\x00\x00"),
        (b"/test", struct.pack("<BH", 2, 0)),
        (b"/test", struct.pack("<BH", 0, 0)),  # none were looked at
    ],
)
def test_what_is_not_there_is_told_so_at_every_address(app: Guard, path: bytes, body: bytes) -> None:
    answer = ask(app, "POST", path, posting(PLAIN, len(body)), body=body)
    assert answer.status == 422


def test_what_the_page_runs_itself_is_not_asked_here(
    monkeypatch: pytest.MonkeyPatch, decoders: DecodingPool
) -> None:
    monkeypatch.setattr(section, "MAX_ABLATION_MULTIPLY_ADDS", 0)
    app = application([served("small", Subject(classifier("tutorial")))], port=PORT, decoders=decoders)
    image = question(picture("tutorial"))
    for path, body in (
        (b"/answer", image), (b"/past", image), (b"/channel", bytes(5)), (b"/scales", b"\0"),
        (b"/test", bytes(3)),
    ):  # fmt: skip
        assert ask(app, "POST", path, posting(PLAIN, len(body)), body=body).status == 422


def test_a_stroke_is_answered_while_a_channel_is_counted(decoders: DecodingPool) -> None:
    toys = toy_dataset(60)
    one = replace(classifier("tutorial"), network=build("tutorial", 1, 4, (16, 16), seed=1).eval(),
                  classes=toys.classes, preprocess=Preprocess(1, 16, 16))  # fmt: skip
    run = served("toys", Subject(one, test=toys), torch_only=True)
    app = application([run], port=PORT, decoders=decoders)
    order: list[str] = []

    async def both() -> list[int]:
        async def noted(name: str, path: bytes, body: bytes) -> int:
            answer = await asked(app, "POST", path, posting(PLAIN, len(body)), [body])
            order.append(name)
            return answer.status

        counting = asyncio.create_task(noted("channel", b"/channel", struct.pack("<BHH", 0, 0, 1)))
        await asyncio.sleep(0)
        stroke = asyncio.create_task(noted("stroke", b"/answer", question(toys.images[0])))
        return list(await asyncio.gather(counting, stroke))

    assert asyncio.run(both()) == [200, 200]
    assert order == ["stroke", "channel"]
    body = struct.pack("<BH", 0, 5)
    given = ask(app, "POST", b"/test", posting(PLAIN, len(body)), body=body).body
    assert given == toys.images[section.class_balanced_order(toys)[5]].numpy().tobytes()


def test_a_channel_chosen_later_ends_the_counting_of_one_before(decoders: DecodingPool) -> None:
    toys = toy_dataset(60)
    one = replace(classifier("tutorial"), network=build("tutorial", 1, 4, (16, 16), seed=1).eval(),
                  classes=toys.classes, preprocess=Preprocess(1, 16, 16))  # fmt: skip
    run = served("toys", Subject(one, test=toys), torch_only=True)
    app = application([run], port=PORT, decoders=decoders)

    async def both() -> list[int]:
        bodies = [struct.pack("<BHH", 0, 0, channel) for channel in (1, 2)]
        tasks = []
        for body in bodies:
            tasks.append(
                asyncio.create_task(asked(app, "POST", b"/channel", posting(PLAIN, len(body)), [body]))
            )
            await asyncio.sleep(0.001)
        return [answer.status for answer in await asyncio.gather(*tasks)]

    assert asyncio.run(both()) == [409, 200]


def test_snapshots_are_told_and_asked(decoders: DecodingPool) -> None:
    one = classifier("tutorial")
    past = [("step 0", 0, build("tutorial", 1, 10, (28, 28), seed=8).state_dict())]
    run = served("small", Subject(one, snapshots=past), torch_only=True)
    past = run.data.snapshots
    assert (past.count, past.names, past.steps) == (1, ["step 0"], [0])
    app, body = application([run], port=PORT, decoders=decoders), question(picture("tutorial"))
    answer = ask(app, "POST", b"/past", posting(PLAIN, len(body)), body=body)
    assert answer.status == 200
    assert len(answer.body) % 4 == 0


def test_a_picture_comes_back_as_every_run_receives_it(
    app: Guard, runs: list[Served], tmp_path: Path
) -> None:
    content = write_picture(
        tmp_path / "x.png", torch.randint(0, 256, (3, 40, 50)).to(torch.uint8)
    ).read_bytes()
    answer = ask(app, "POST", b"/picture", posting(b"image/png", len(content)), body=content)
    assert answer.body == received(content, [form_of(run.subject) for run in runs])
    assert len(answer.body) == 28 * 28 + 3 * 21 * 18
    wrong = ask(app, "POST", b"/picture", posting(b"image/png", 4), body=b"nope")
    assert wrong.status == 422
    assert "not a picture" in json.loads(wrong.body)["error"]["message"]


def test_a_picture_of_too_many_pixels_is_refused(app: Guard) -> None:
    content = png_header(20_000, 20_000)
    answer = ask(app, "POST", b"/picture", posting(b"image/png", len(content)), body=content)
    assert answer.status == 422
    assert "178,956,970" in json.loads(answer.body)["error"]["message"]


def test_what_fails_while_answering_is_told_without_a_word_of_it(
    app: Guard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*given: Any) -> bytes:
        raise RuntimeError("secret")

    monkeypatch.setattr(Answerer, "answer", broken)
    body = question(picture("tutorial"))
    answer = ask(app, "POST", b"/answer", posting(PLAIN, len(body)), body=body)
    assert (answer.status, answer.code) == (500, "failed")
    assert b"secret" not in answer.body


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_stroke_is_answered_while_a_picture_is_decoded(app: Guard) -> None:
    content, stroke = png_header(30, 30), question(picture("tutorial"))
    ask(app, "POST", b"/picture", posting(b"image/png", len(content)), body=content)  # a process is started
    (process,) = workers_of(os.getpid(), DECODER_COMMAND)

    async def both() -> list[int]:
        read = asyncio.create_task(asked(app, "POST", b"/picture", posting(b"image/png", 4), [b"nope"]))
        await asyncio.sleep(0)
        answer = await asked(app, "POST", b"/answer", posting(PLAIN, len(stroke)), [stroke])
        assert not read.done()
        os.kill(process, signal.SIGCONT)
        return [answer.status, (await read).status]

    os.kill(process, signal.SIGSTOP)
    assert asyncio.run(both()) == [200, 422]


def test_pictures_beyond_those_that_may_wait_are_told_to_come_again(
    app: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_WAITING_PICTURES", -1)
    answer = ask(app, "POST", b"/picture", posting(b"image/png", 4), body=b"nope")
    assert (answer.status, answer.code, answer.header("retry-after")) == (503, "busy", [b"1"])


class Slow:
    """Answers with how many were asked before, once it may; notes if two were asked at once."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.asked = 0
        self.inside = 0
        self.together = 0

    def answer(self, question: Any) -> bytes:
        self.inside += 1
        self.together = max(self.together, self.inside)
        self.may.wait(10)
        self.inside -= 1
        self.asked += 1
        return bytes([question.pixels[0]])


def test_torch_answers_one_at_a_time_and_only_the_newest_of_those_that_wait(
    runs: list[Served], decoders: DecodingPool
) -> None:
    slow = Slow()
    app = application([replace(runs[0], answerer=slow)], port=PORT, decoders=decoders)  # type: ignore[arg-type]

    async def hurry() -> list[tuple[int, bytes]]:
        tasks = []
        for number in range(6):
            body = question(torch.full((1, 28, 28), number, dtype=torch.uint8))
            tasks.append(
                asyncio.create_task(asked(app, "POST", b"/answer", posting(PLAIN, len(body)), [body]))
            )
            await asyncio.sleep(0.01)
        slow.may.set()
        return [(answer.status, answer.body) for answer in await asyncio.gather(*tasks)]

    answers = asyncio.run(hurry())
    assert [status for status, _ in answers] == [200, 409, 409, 409, 409, 200]
    assert (answers[0][1], answers[-1][1]) == (b"\x00", b"\x05")
    assert (slow.asked, slow.together) == (2, 1)


def test_the_page_runs_what_it_can_and_torch_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(section, "MAX_ABLATION_MULTIPLY_ADDS", 0)  # what a channel costs is not asked here
    small = served("small", Subject(classifier("tutorial")))
    assert small.answerer is None
    assert small.data.weights.precision == "f32"
    unfit = replace(classifier("tutorial"), network=Sorting().eval(), classes=("a", "b", "c"))
    odd = served("odd", Subject(unfit))
    assert odd.answerer is not None
    assert "sort" in odd.data.torch.reason


def test_examples_begin_with_one_of_each_class() -> None:
    toys = toy_dataset(40)
    network = build("tutorial", toys.channels, len(toys.classes), toys.size, seed=0)
    seen = Preprocess(toys.channels, *toys.size)
    one = replace(classifier("tutorial"), classes=toys.classes, network=network.eval(), preprocess=seen)
    shown = served("toys", Subject(one, test=toys), torch_only=True).data.check
    assert shown.labels[:4] == [0, 1, 2, 3]


def test_one_to_three_runs_and_a_known_language(runs: list[Served], decoders: DecodingPool) -> None:
    for many in ([], runs * 2):
        with pytest.raises(UsageError, match="Up to 3 runs fit side by side"):
            application(many, port=PORT, decoders=decoders)
    with pytest.raises(UsageError, match="Unknown language 'fr'"):
        application(runs, port=PORT, decoders=decoders, language="fr")
    korean = application(runs, port=PORT, decoders=decoders, language="ko")
    assert json.loads(ask(korean, path=b"/runs").body)["language"] == "ko"

"""The page and what it may ask: a few addresses, each answered from memory."""

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pellucid.assets import asset, constants
from pellucid.errors import UsageError
from pellucid.live.answers import Answerer, InvalidQuestion, Question
from pellucid.live.counting import CHANNEL_QUESTION, PICTURE_QUESTION, ChannelCounter, ChannelQuestion
from pellucid.live.disagreements import disputed
from pellucid.pad.data import (
    CheckData,
    PadData,
    PageData,
    ProgramData,
    RunData,
    SnapshotsData,
    TooLargeForSnapshots,
    TorchData,
    to_json,
)
from pellucid.pad.packing import base64_of
from pellucid.pad.section import (
    MAX_SNAPSHOT_BYTES,
    SCRIPTS,
    Subject,
    class_balanced_sample,
    constants_script,
    evidence_data,
    pad_data,
    refuse_several_labels,
    style,
    texts,
)
from pellucid.pad.strokes import RULES
from pellucid.serving.decoding import DecodingPool
from pellucid.serving.guard import BYTE_TYPES, LOG, PICTURE_TYPES, Endpoint, Guard, Refusal
from pellucid.serving.received import Form
from pellucid.training.snapshots import MAX_WEIGHTS

LIVE_SCRIPTS = ("torch.js", "verdict.js", "columns.js", "served.js")
PAGE_SCRIPTS = (*(f"pad/{name}" for name in SCRIPTS), *(f"live/{name}" for name in LIVE_SCRIPTS))
LARGEST_QUESTION = 4_000_000
LARGEST_FILE = int(constants("live")["largest_file"])
EXAMPLES = 16
SIDE_BY_SIDE = int(constants("live")["side_by_side"])
ENDPOINTS: dict[bytes, Endpoint] = {
    b"/": Endpoint(),
    b"/page.css": Endpoint(),
    b"/page.js": Endpoint(),
    b"/icon.svg": Endpoint(),
    b"/runs": Endpoint(),
    b"/answer": Endpoint(("POST",), BYTE_TYPES, LARGEST_QUESTION),
    b"/past": Endpoint(("POST",), BYTE_TYPES, LARGEST_QUESTION),
    b"/channel": Endpoint(("POST",), BYTE_TYPES, CHANNEL_QUESTION.size),
    b"/scales": Endpoint(("POST",), BYTE_TYPES, 1),
    b"/test": Endpoint(("POST",), BYTE_TYPES, PICTURE_QUESTION.size),
    b"/picture": Endpoint(("POST",), PICTURE_TYPES | BYTE_TYPES, LARGEST_FILE),
}
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" '
    'fill="#0b5a75"/><path d="M4 11c2-8 6-8 8 0" fill="none" stroke="#fff" stroke-width="2" '
    'stroke-linecap="round"/></svg>'
)

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Served:
    """One run on the page.

    name      of its folder
    subject   its classifier, and pictures to start from
    accuracy  on the test set, where it is known
    data      what the page needs to draw it
    answerer  asked where the page does not run the network itself
    counter   looks at its test pictures then
    """

    name: str
    subject: Subject
    accuracy: float | None
    data: PadData
    answerer: Answerer | None = field(default=None)
    counter: ChannelCounter | None = field(default=None)

    def facts(self) -> RunData:
        """As the page receives it."""
        return RunData(self.name, self.subject.classifier.model, self.accuracy, self.data)


def served(name: str, subject: Subject, *, accuracy: float | None = None, torch_only: bool = False) -> Served:
    """A run, answered in the page where its engine keeps up with a pen, by torch on this machine else.

    Raises UsageError for a network that gives several labels per picture.
    """
    refuse_several_labels(subject.classifier)
    reason = ""
    if not torch_only:
        try:
            return Served(name, subject, accuracy, pad_data(subject, "f32", MAX_SNAPSHOT_BYTES))
        except UsageError as error:
            reason = str(error)
    answerer = Answerer(subject.classifier, subject.snapshots, subject.reference)
    data = _data_for_torch(subject, answerer, reason)
    return Served(name, subject, accuracy, data, answerer, ChannelCounter(answerer, subject))


def application(runs: Sequence[Served], *, port: int, decoders: DecodingPool, language: str = "en") -> Guard:
    """The ASGI application for a server on 127.0.0.1 at `port`; `decoders` read the pictures it is sent.

    Raises UsageError for more than three runs and for an unknown language.
    """
    if not 1 <= len(runs) <= SIDE_BY_SIDE:
        raise UsageError(f"Up to {SIDE_BY_SIDE} runs fit side by side; got {len(runs)}.")
    words = texts()
    if language not in words:
        raise UsageError(f"Unknown language '{language}'. Known: {', '.join(words)}.")
    page = PageData(language, words, [run.facts() for run in runs], disputed([run.subject for run in runs]))
    css = "\n".join([asset("shared/page.css"), style(), asset("live/columns.css")])
    script = "\n".join([constants_script(), *map(asset, PAGE_SCRIPTS)])
    fixed = {
        "/": (_page(words[language]["title"], language), "text/html; charset=utf-8"),
        "/page.css": (css, "text/css; charset=utf-8"),
        "/page.js": (script, "text/javascript; charset=utf-8"),
        "/icon.svg": (ICON, "image/svg+xml"),
        "/runs": (json.dumps(to_json(page), ensure_ascii=False, allow_nan=False), "application/json"),
    }
    queue = _RequestQueue(runs, decoders)
    routes = [Route(path, _constant(text.encode(), kind)) for path, (text, kind) in fixed.items()]
    asked = {"/answer": queue.answer, "/past": queue.past, "/channel": queue.channel, "/test": queue.test}
    asked |= {"/scales": queue.scales, "/picture": queue.picture}
    routes += [Route(path, answer, methods=["POST"]) for path, answer in asked.items()]
    app = Starlette(routes=routes, exception_handlers={Refusal: _refused})
    return Guard(app, port=port, endpoints=ENDPOINTS)


class _RequestQueue:
    """Answers one question at a time; of those waiting for the same thing, only the newest."""

    def __init__(self, runs: Sequence[Served], decoders: DecodingPool) -> None:
        self.runs = runs
        self.decoders = decoders
        self.forms = [form_of(run.subject) for run in runs]
        self.turn = asyncio.Lock()
        self.newest: dict[tuple[str, int], object] = {}
        self.worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="torch")

    async def answer(self, request: Request) -> Response:
        """Scores, evidence and open layers of one run for one picture."""
        question = _read(Question.read, await request.body())
        answerer = self._run(question.run).answerer
        assert answerer is not None  # a run that torch answers
        return await self._taken(partial(answerer.answer, question), ("answer", question.run))

    async def past(self, request: Request) -> Response:
        """What every snapshot of one run's training says of one picture."""
        question = _read(Question.read, await request.body())
        answerer = self._run(question.run).answerer
        assert answerer is not None
        return await self._taken(partial(answerer.snapshot_scores, question), ("past", question.run))

    async def channel(self, request: Request) -> Response:
        """What test pictures say of one channel of one run, counted in slices between answers."""
        asked = _read(ChannelQuestion.read, await request.body())
        counter = self._run(asked.run).counter
        assert counter is not None
        await self._whole(partial(counter.step, asked.layer, asked.channel), ("channel", asked.run))
        return await self._taken(partial(counter.statistics, asked.layer, asked.channel), None)

    async def scales(self, request: Request) -> Response:
        """Between which values each layer of one run lies on test pictures."""
        (run,) = await request.body()
        counter = self._run(run).counter
        assert counter is not None
        await self._whole(counter.step_pass, ("scales", run))
        return await self._taken(counter.scales, None)

    async def test(self, request: Request) -> Response:
        """One test picture of one run, as its network receives it."""
        run, place = _read(_two, await request.body())
        counter = self._run(run).counter
        assert counter is not None
        return await self._taken(partial(counter.picture, place), None)

    def _run(self, place: int) -> Served:
        """A run that torch answers."""
        if place >= len(self.runs) or self.runs[place].answerer is None:
            raise Refusal(422, "question", "There is no such run to ask.")
        return self.runs[place]

    async def picture(self, request: Request) -> Response:
        """A picture file as each run's network receives it: the pixels (C, H, W), one run after the other."""
        try:
            pixels = await self.decoders.decode(await request.body(), self.forms)
        except UsageError as error:
            raise Refusal(422, "unfit", str(error)) from None
        return Response(pixels, media_type="application/octet-stream")

    async def _taken(self, work: Callable[[], bytes], key: tuple[str, int] | None) -> Response:
        mine = None if key is None else self._new(key)
        content = await self._done(work, key, mine)
        return Response(content, media_type="application/octet-stream")

    async def _whole(self, slice_of_it: Callable[[], bool], key: tuple[str, int]) -> None:
        """Slice after slice, each in its turn, until none is left."""
        mine = self._new(key)
        while await self._done(slice_of_it, key, mine):
            pass

    def _new(self, key: tuple[str, int]) -> object:
        """What is asked from now on is the newest of its kind."""
        self.newest[key] = mine = object()
        return mine

    async def _done(self, work: Callable[[], Result], key: tuple[str, int] | None, mine: object) -> Result:
        """The work done in its turn, unless something newer of its kind was asked meanwhile."""
        async with self.turn:
            if key is not None and self.newest.get(key) is not mine:
                raise Refusal(409, "superseded", "A newer question came.")
            try:
                return await asyncio.get_running_loop().run_in_executor(self.worker, work)
            except UsageError as error:
                raise Refusal(422, "unfit", str(error)) from None
            except Exception:  # noqa: BLE001  # a page gets a fixed text, the terminal what happened
                LOG.exception("An answer failed.")
                raise Refusal(500, "failed", "This failed here. The terminal says why.") from None


def _read(reading: Callable[[bytes], Result], body: bytes) -> Result:
    """What a body asks. Raises Refusal when no page of ours asks so."""
    try:
        return reading(body)
    except UsageError as error:
        raise Refusal(422, "question", str(error)) from None


def _two(body: bytes) -> tuple[int, int]:
    """Raises InvalidQuestion for another number of bytes."""
    if len(body) != PICTURE_QUESTION.size:
        raise InvalidQuestion("The question has an unexpected format.")
    run, place = PICTURE_QUESTION.unpack(body)
    return run, place


def form_of(subject: Subject) -> Form:
    """How a network receives a picture file: by the model's own Preprocess, made to fit; writing on paper of
    another size is placed as its data set places it.
    """
    preprocess, rule = subject.classifier.preprocess, RULES.get(subject.data)
    if preprocess.fit == "none":
        preprocess = replace(preprocess, fit="stretch")
    if rule is not None and preprocess.form[:3] != (1, rule.size, rule.size):
        rule = None
    return Form(preprocess.decode_settings, rule)


def _data_for_torch(subject: Subject, answerer: Answerer, reason: str) -> PadData:
    """What a page must know of a run that it does not run itself."""
    classifier = subject.classifier
    weights = sum(weight.numel() for weight in classifier.network.parameters())
    layers = [layer.data for layer in answerer.layers]
    return PadData(
        classes=classifier.classes,
        temperature=classifier.temperature,
        data=subject.data,
        program=ProgramData(answerer.shape, (), ()),
        check=_examples(subject),
        rule=RULES.get(subject.data),
        snapshots=_past(subject),
        too_large_for_snapshots=TooLargeForSnapshots(weights, MAX_WEIGHTS) if weights > MAX_WEIGHTS else None,
        torch=TorchData(layers, answerer.evidence, reason),
        evidence=evidence_data(subject.verdicts),
        fit=classifier.preprocess.fit,
        background=classifier.preprocess.background,
    )


def _past(subject: Subject) -> SnapshotsData | None:
    """What the page must know of the snapshots that a run kept."""
    if not subject.snapshots:
        return None
    names, steps = [name for name, _, _ in subject.snapshots], [step for _, step, _ in subject.snapshots]
    return SnapshotsData(len(names), len(names), names, steps)


def _examples(subject: Subject) -> CheckData:
    """Test pictures to start from, one of each class first; nothing is checked by them."""
    if subject.test is None or not len(subject.test):
        return CheckData("", None, (), 0.0, 0.0, 0, 0)
    pictures = class_balanced_sample(subject.test, EXAMPLES)
    content = base64_of(pictures.images.numpy().tobytes())
    return CheckData(content, pictures.labels.tolist(), (), 0.0, 0.0, 0, 0)


def _refused(request: Request, refusal: Any) -> Response:
    response = Response(refusal.body, refusal.status)
    response.raw_headers = refusal.headers
    return response


def _constant(content: bytes, kind: str) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        return Response(content, headers={"content-type": kind})

    return answer


def _page(title: str, language: str) -> str:
    environment = Environment(
        loader=PackageLoader("pellucid", "assets"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("live/live.html").render(title=title, language=language)

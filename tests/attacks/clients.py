"""Many clients of one server, each of which knows what it must be answered: no answer may be wrong, that of
another, or lost."""

import asyncio
import math
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from tests.attacks.served import (
    RUNS,
    Drawing,
    Live,
    Response,
    asking,
    asking_scores,
    is_right,
    response_of,
)

LOST_AFTER = 120.0  # seconds: the server gives up after 60


@dataclass
class Found:
    """What clients were answered, and what was wrong.

    slowest  seconds that an answer took
    """

    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0


class Client:
    """One page: a connection that is kept open, and drawings that no other client has."""

    def __init__(self, live: Live, number: int, own: list[Drawing], found: Found) -> None:
        self.live, self.number, self.own, self.found = live, number, own, found
        self.generator = random.Random(number)
        self.connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self, seconds: float, pause: float, questions: int | None) -> None:
        """Asks until the time is over, or so many questions; each until it is answered."""
        end, asked = time.monotonic() + seconds, 0
        while time.monotonic() < end and asked != questions:
            asked += 1
            await asyncio.sleep(pause * 2 * self.generator.random())
            drawing, run = self.generator.choice(self.own), self.generator.randrange(RUNS)
            scores, begun = self.generator.random() < 0.5, time.monotonic()
            while not await self._answered(drawing, run, scores=scores):
                if time.monotonic() > begun + LOST_AFTER:
                    self.found.wrong.append(f"client {self.number}: an answer was lost")
                    break
                await asyncio.sleep(pause * self.generator.random())
            self.found.slowest = max(self.found.slowest, time.monotonic() - begun)
        await self._leave()

    async def _answered(self, drawing: Drawing, run: int, *, scores: bool) -> bool:
        """Whether a question was answered, rightly or not; not where a newer one of another client came."""
        port = self.live.port
        if scores:
            answer = await self._ask(asking_scores(drawing, run, port))
        else:
            answer = await self._ask(asking("/picture", port, drawing.file, "image/png"))
        if answer.status in (0, 409, 503):
            self.found.answers[f"asked again after {answer.status or 'a closed connection'}"] += 1
            if answer.status == 0:
                await self._leave()
            return False
        right = answer.status == 200 and (
            is_right(answer, drawing, run)
            if scores
            else answer.body == drawing.pixels.numpy().tobytes() * RUNS
        )
        self.found.answers["right" if right else "wrong"] += 1
        if not right:
            what = "scores" if scores else "picture"
            self.found.wrong.append(f"client {self.number}, {what}: {answer.status} {answer.body[:100]!r}")
        return True

    async def _ask(self, sent: bytes) -> Response:
        try:
            if self.connection is None:
                self.connection = await asyncio.open_connection("127.0.0.1", self.live.port)
            reader, writer = self.connection
            writer.write(sent)
            await writer.drain()
            return await asyncio.wait_for(response_of(reader), LOST_AFTER)
        except (OSError, TimeoutError):
            return Response(0, b"", b"")

    async def _leave(self) -> None:
        if self.connection is not None:
            self.connection[1].close()
            with suppress(OSError):
                await self.connection[1].wait_closed()
            self.connection = None


async def attack(
    live: Live,
    known: list[Drawing],
    clients: int,
    *,
    seconds: float = math.inf,
    pause: float = 0.0,
    questions: int | None = None,
) -> Found:
    """So many clients, each with its share of the drawings.

    seconds, questions  after which each ends
    pause  mean seconds between two questions of one
    """
    found, share = Found(), len(known) // clients
    everyone = [
        Client(live, number, known[number * share : (number + 1) * share], found) for number in range(clients)
    ]
    await asyncio.gather(*(client.run(seconds, pause, questions) for client in everyone))
    return found

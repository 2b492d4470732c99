"""A live page's server that is asked anything by anyone at once: some of the requests and clients of
benchmarks/live_requests.py and live_clients.py."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks import clients, requests
from tests.attacks.served import RUNS, Drawing, Live, Response, drawings, is_right, live, make_runs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
CLIENTS, QUESTIONS = 16, 12


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    make_runs(folder)
    return folder


@pytest.fixture(scope="module")
def known(place: Path) -> list[Drawing]:
    return drawings(place, 2 * CLIENTS)


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Live]:
    with live(place) as started:
        yield started
        assert started.errors.read_text() == ""


def test_mutated_requests_are_answered_as_promised_and_good_ones_rightly(
    server: Live, known: list[Drawing]
) -> None:
    before = server.memory
    found = asyncio.run(requests.attack(server, known, 300))
    assert found.wrong == []
    assert found.good["answered"] == 30
    assert found.statuses.keys() >= {0, 200, 400, 404, 405, 422, 431}
    assert server.memory < before + 100


def test_no_client_gets_a_wrong_answer_or_that_of_another(server: Live, known: list[Drawing]) -> None:
    found = asyncio.run(clients.attack(server, known, CLIENTS, questions=QUESTIONS))
    assert found.wrong == []
    assert found.answers["right"] == CLIENTS * QUESTIONS


def test_an_answer_to_another_drawing_or_of_another_run_is_noticed(
    server: Live, known: list[Drawing]
) -> None:
    async def ask(drawing: Drawing, run: int) -> Response:
        sent = requests.asking_scores(drawing, run, server.port)
        answer = await requests.exchange(server.port, sent)
        assert answer is not None
        return answer

    answer = asyncio.run(ask(known[0], 0))
    assert is_right(answer, known[0], 0)
    assert not any(is_right(answer, other, 0) for other in known[1:])
    assert not any(is_right(answer, known[0], run) for run in range(1, RUNS))

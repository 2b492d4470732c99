"""`serve` listens on this machine alone, says where, and refuses what it cannot serve before it begins."""

import socket

import pytest

from pellucid import live
from pellucid.errors import UsageError
from pellucid.live import Served, serve, served
from pellucid.pad.section import Subject
from tests.networks import classifier


@pytest.fixture(scope="module")
def shown() -> Served:
    return served("toys", Subject(classifier("tutorial")))


def test_it_listens_on_this_machine_alone_and_says_where(
    shown: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server itself, which tests/serving starts, is not."""
    heard: list[str] = []

    def answered(server, listener, *, announce, open_browser) -> None:
        assert listener.getsockname()[0] == "127.0.0.1"
        assert not open_browser
        announce(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        listener.close()

    monkeypatch.setattr(live, "run", answered)
    serve([shown], port=0, open_browser=False, announce=heard.append)
    assert heard[0].startswith("http://127.0.0.1:")


def test_a_port_that_is_taken_is_refused(shown: Served) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} cannot be used"):
            serve([shown], port=port, open_browser=False)


def test_runs_that_are_refused_leave_the_port_free(shown: Served) -> None:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port = asked.getsockname()[1]
    for runs, language, words in (
        ([shown] * 4, "en", "Up to 3 runs fit side by side; got 4"),
        ([], "en", "got 0"),
        ([shown], "fr", "Unknown language 'fr'"),
    ):
        with pytest.raises(UsageError, match=words):
            serve(runs, port=port, language=language, open_browser=False)
    with socket.create_server(("127.0.0.1", port)):
        pass

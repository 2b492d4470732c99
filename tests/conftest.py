"""What every test stands on: no network but loopback, no settings and no home of the person who runs it."""

import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before torch is loaded: threads that wait should sleep, or tests crawl on a machine that is busy.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest
import torch

HERE = Path.home()
LOOPBACK = ("127.", "::1", "localhost")

# Read once, before the tests' environment is emptied: where the real MNIST lies.
REAL_DATA = Path(os.environ["PELLUCID_DATA"]).resolve() if os.environ.get("PELLUCID_DATA") else None

# A home that is empty for every test would have these looked for, built or fetched again.
for variable, folder in {
    "MPLCONFIGDIR": HERE / ".cache" / "matplotlib",
    "PLAYWRIGHT_BROWSERS_PATH": HERE / ".cache" / "ms-playwright",
}.items():
    if folder.is_dir():
        os.environ.setdefault(variable, str(folder))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser's tests come last: while their session lasts, an event loop runs in this very thread, and
    no test could start another."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


class NetworkBlocked(Exception):
    """A test asked for something outside this machine. No OSError: nothing takes it for being offline."""


@pytest.fixture(autouse=True)
def own_world(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An empty home, no PELLUCID_* variables, pellucid's cache in a folder of the test's own, fixed seeds."""
    for variable in [name for name in os.environ if name.startswith("PELLUCID_")]:
        monkeypatch.delenv(variable)
    for variable in ("XDG_CACHE_HOME", "KERAS_HOME", "TORCH_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.setenv("LC_MESSAGES", "C")  # pages speak the language of the person's locale
    home = tmp_path_factory.mktemp("home")
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.setenv("PELLUCID_HOME", str(home / "pellucid"))
    if request.node.get_closest_marker("mnist") is not None:
        monkeypatch.setenv("PELLUCID_DATA", str(_real_data()))
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anywhere but this machine, or a name to look up, raises NetworkBlocked."""
    for method in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, method, _guarded(getattr(socket.socket, method)))
    look_up = socket.getaddrinfo

    def only_loopback(host: Any, *arguments: Any, **keywords: Any) -> Any:
        _refuse_unless_loopback(host)
        return look_up(host, *arguments, **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", only_loopback)


@pytest.fixture
def real_data() -> Path:
    """The folder that holds mnist/ with the real files; the test is skipped, with the reason, without it."""
    return _real_data()


def _real_data() -> Path:
    if REAL_DATA is None:
        pytest.skip("PELLUCID_DATA is not set: it names the folder that holds mnist/")
    if not (REAL_DATA / "mnist").is_dir():
        pytest.skip(f"PELLUCID_DATA names {REAL_DATA}, which holds no mnist/")
    return REAL_DATA


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, *arguments: Any) -> Any:
        address = arguments[-1]
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _refuse_unless_loopback(address[0])
        return method(self, *arguments)

    return guarded


def _refuse_unless_loopback(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name is not None and not str(name).startswith(LOOPBACK):
        raise NetworkBlocked(f"a test tried to reach {name}")

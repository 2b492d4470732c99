"""What every test stands on: no network but loopback, no settings, home or working folder of the person who
runs it; and a session that leaves the checkout other than it was fails."""

import json
import os
import random
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before torch is loaded: threads that wait should sleep, or tests crawl on a machine that is busy.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["PELLUCID_KERNELS"] = "off"  # in an empty home they would be compiled for every test

import numpy as np
import pytest

try:
    import torch
except ModuleNotFoundError:  # .ci/pythons runs what needs none where there is no build for a Python
    torch = None  # type: ignore[assignment]

from tests.checkout import differences, listing

if TYPE_CHECKING:
    from pellucid.data.dataset import Splits
    from tests.asking import Done

CHECKOUT = Path(__file__).resolve().parents[1]
HERE = Path.home()
PATH = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH", "")]))
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


LISTED = pytest.StashKey[dict[str, tuple[object, ...]]]()
LEFT = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --shuffle."""
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="files, and the tests of each, in random order"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The browser's tests come last: while their session lasts, an event loop runs in this very thread, and
    no test could start another."""
    if (seed := config.getoption("shuffle")) is not None:
        order = random.Random(seed)
        places = {path: order.random() for path in sorted({item.path for item in items})}
        items.sort(key=lambda item: (places[item.path], order.random()))
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


def pytest_sessionstart(session: pytest.Session) -> None:
    """The process that gathers the results lists the checkout; xdist's workers leave that to it."""
    if not hasattr(session.config, "workerinput"):
        session.config.stash[LISTED] = listing(CHECKOUT)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Whatever the outcome of its tests: a session that left something in the checkout has failed."""
    before = session.config.stash.get(LISTED, None)
    if before is not None:
        session.config.stash[LEFT] = differences(before, listing(CHECKOUT))
        if session.config.stash[LEFT] and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return (yield)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Names what was left in the checkout."""
    if left := config.stash.get(LEFT, []):
        terminalreporter.section("the checkout is not as it was", red=True)
        for line in left:
            terminalreporter.line(line, red=True)
        terminalreporter.line(
            "Tests write into temporary folders alone. If you edited these yourself, run again."
        )


class NetworkBlocked(Exception):
    """A test asked for something outside this machine. No OSError: nothing takes it for being offline."""


def own_world(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """An empty home and an empty working folder, no PELLUCID_* variables, pellucid's cache in that home.

    A program that is started finds this checkout's package.
    """
    for variable in [name for name in os.environ if name.startswith("PELLUCID_")]:
        patch.delenv(variable)
    for variable in ("XDG_CACHE_HOME", "KERAS_HOME", "TORCH_HOME", "LC_ALL"):
        patch.delenv(variable, raising=False)
    patch.setenv("LC_MESSAGES", "C")  # pages speak the language of the person's locale
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    for variable in ("HOME", "USERPROFILE"):
        patch.setenv(variable, str(home))
    patch.setenv("PELLUCID_HOME", str(home / "pellucid"))
    patch.setenv("PELLUCID_KERNELS", "off")
    patch.setenv("PYTHONPATH", PATH)
    patch.chdir(work)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> None:
    """What is made once for many tests is the same whichever test is the first to ask for it."""
    if fixturedef.scope != "function":
        _seed()


@pytest.fixture(scope="session", autouse=True)
def world_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is made once for many tests is made in such a world as well."""
    with pytest.MonkeyPatch.context() as patch:
        own_world(patch, tmp_path_factory.mktemp("session"))
        yield


@pytest.fixture(autouse=True)
def world_of_the_test(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A world of each test's own, and fixed seeds."""
    own_world(monkeypatch, tmp_path_factory.mktemp("test"))
    if request.node.get_closest_marker("mnist") is not None:
        monkeypatch.setenv("PELLUCID_DATA", str(_real_data()))
    _seed()


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
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """The command line run inside this process, in an empty folder: exit code, output, errors."""
    from pellucid import cli
    from tests.toys import economical

    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, words)])
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        printed = capsys.readouterr()
        code = leaving.value.code
        return (code if isinstance(code, int) else int(bool(code))), printed.out, printed.err

    with economical():
        yield run


@pytest.fixture(scope="session")
def digits() -> "Splits":
    """The embedded digits, 8x8."""
    from pellucid.data import load

    return load("digits")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, digits: "Splits") -> Path:
    """A folder with two runs, "one" and "two", and two pictures."""
    from pellucid.data import load
    from pellucid.recipe import Recipe
    from pellucid.runs.fit import fit
    from tests.toys import economical, write_picture

    folder = tmp_path_factory.mktemp("explained")
    with economical():
        for name, seed in (("one", 1), ("two", 2)):
            recipe = Recipe(epochs=2, batch_size=32, learning_rate=0.004, threads=1, seed=seed)
            splits = load("digits", seed=seed)
            fit(splits, recipe, folder=folder / name)
    for number in (0, 1):
        write_picture(folder / f"{number}.png", digits.test.images[number])
    return folder


@pytest.fixture
def ran(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> "Iterator[Callable[..., Done]]":
    """The command line run inside this process, in the folder with the runs."""
    from pellucid import cli
    from tests.asking import Done
    from tests.toys import economical

    monkeypatch.chdir(place)

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["pellucid", *words])
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        printed = capsys.readouterr()
        return Done(int(leaving.value.code or 0), printed.out, printed.err)

    with economical():
        yield run


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny networks, written by transformers itself as its hub holds them; weights are random."""
    from tests.networks import PREPROCESSING

    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    shelf = tmp_path_factory.mktemp("shelf")
    token = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 24,
        "patch_size": 8,
    }
    stages = {"hidden_sizes": [8, 12], "depths": [1, 1]}
    made = {
        "vit": transformers.ViTForImageClassification(transformers.ViTConfig(**token, intermediate_size=32)),
        "dinov2": transformers.Dinov2Model(transformers.Dinov2Config(**token, mlp_ratio=2)),
        "resnet": transformers.ResNetModel(
            transformers.ResNetConfig(**stages, embedding_size=8, layer_type="basic")
        ),
        "convnext": transformers.ConvNextModel(
            transformers.ConvNextConfig(**stages, num_stages=2, patch_size=2)
        ),
    }
    for name, network in made.items():
        network.save_pretrained(shelf / name)
        (shelf / name / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    return shelf


@pytest.fixture
def vit(shelf: Path, tmp_path: Path) -> Path:
    """A copy of the tiny transformer, to be damaged or taken away."""
    return Path(shutil.copytree(shelf / "vit", tmp_path / "vit"))


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


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)
    if torch is not None:
        torch.manual_seed(0)

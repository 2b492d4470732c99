"""A real Chromium for the tests marked `browser`, and pages whose every complaint and request is noted.

PELLUCID_BROWSER decides which: empty, whatever is found or fetched, else the tests are skipped with the
reason; a path, that program; "required", as empty, but a missing browser is a failure; "none", skip.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

# Read when the tests are collected: a test finds no PELLUCID_* variable in its environment.
WISH = os.environ.get("PELLUCID_BROWSER", "")

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
    "brave-browser",
)
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
FETCH_SECONDS = 90
DAY = 86_400
FAILED = "pellucid/browser-fetch-failed"


@dataclass
class Watched:
    """A page with what it said and asked for. `errors` is empty after a page that works."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)  # addresses beyond the page's own file and data:


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    """One Chromium for all browser tests (a playwright Browser)."""
    if WISH == "none":
        pytest.skip("PELLUCID_BROWSER=none")
    playwright_api = pytest.importorskip("playwright.sync_api")
    with playwright_api.sync_playwright() as playwright:
        program, reason = find_browser(playwright.chromium.executable_path, request.config)
        if program is None and WISH:
            pytest.fail(f"PELLUCID_BROWSER={WISH} asks for a browser. {reason}")
        if program is None:
            pytest.skip(reason)
        chromium = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        yield chromium
        chromium.close()


@pytest.fixture
def watch(browser: Any) -> Iterator[Callable[..., Watched]]:
    """`watch(color_scheme="dark", java_script_enabled=False, ...)` opens an empty, watched page.

    The words are those of playwright's `Browser.new_context`. `watched.page.goto(path.as_uri())` follows.
    """
    contexts = []

    def open_watched(**options: Any) -> Watched:
        context = browser.new_context(**options)
        contexts.append(context)
        watched = Watched(context.new_page())
        watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
        watched.page.on("console", lambda line: _note_console(watched, line))
        watched.page.on("request", lambda asked: _note_request(watched, asked))
        return watched

    yield open_watched
    for context in contexts:
        context.close()


def find_browser(own: str, config: pytest.Config) -> tuple[str | None, str]:
    """(program, ""), or (None, why there is none). `own` is where playwright keeps a Chromium it fetched."""
    if WISH not in ("", "required"):
        return (WISH, "") if Path(WISH).is_file() else (None, "There is no such file.")
    installed = [found for name in NAMES if (found := shutil.which(name))]
    installed += [place for place in (*PLACES, own) if Path(place).is_file()]
    if installed:
        return installed[0], ""
    return fetch_browser(own, config)


def fetch_browser(own: str, config: pytest.Config) -> tuple[str | None, str]:
    """Playwright's own Chromium after one bounded try. A failed try is not repeated for a day."""
    advice = "No Chromium, Chrome or Edge is installed"
    cache = getattr(config, "cache", None)  # -p no:cacheprovider takes it away
    if cache is not None and time.time() - cache.get(FAILED, 0) < DAY and WISH != "required":
        return None, f"{advice}, and fetching one failed within the last day: install one, or --cache-clear."
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    try:
        subprocess.run(command, timeout=FETCH_SECONDS, check=True, capture_output=True)
        if Path(own).is_file():
            return own, ""
        reason = "playwright fetched none for this system"
    except subprocess.TimeoutExpired:
        reason = f"playwright fetched none in {FETCH_SECONDS} seconds"
    except (subprocess.CalledProcessError, OSError):
        reason = "playwright could not fetch one"
    if cache is not None:
        cache.set(FAILED, time.time())
    return None, f"{advice}, and {reason}."


def _note_console(watched: Watched, line: Any) -> None:
    if line.type in ("error", "warning"):
        watched.errors.append(line.text)


def _note_request(watched: Watched, asked: Any) -> None:
    opens_the_page = asked.is_navigation_request() and asked.frame == watched.page.main_frame
    if not opens_the_page and not asked.url.startswith(("data:", "blob:", "about:")):
        watched.requests.append(asked.url)

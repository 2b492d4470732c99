"""What can be made or fetched again lies where the person says, else in the user's cache folder."""

from pathlib import Path

import pytest

from pellucid.cache import cache_folder, computed_folder


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_HOME", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")
    monkeypatch.delenv("PELLUCID_HOME")
    assert cache_folder() == Path.home() / ".cache" / "pellucid"
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/pellucid")


def test_all_that_is_computed_from_pictures_lies_in_the_folder_that_was_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PELLUCID_HOME", "/elsewhere")
    monkeypatch.delenv("PELLUCID_CACHE", raising=False)
    assert computed_folder() == Path("/elsewhere")
    monkeypatch.setenv("PELLUCID_CACHE", "/large")
    assert computed_folder() == Path("/large")
    assert cache_folder() == Path("/elsewhere")

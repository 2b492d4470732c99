"""Assets are read by their path, and the numbers that both languages need from one file."""

import json
from pathlib import Path

import pytest

import pellucid
from pellucid.assets import asset, constants

ASSETS = Path(pellucid.__file__).parent / "assets"
TEXTS = [
    path.relative_to(ASSETS).as_posix()
    for path in sorted(ASSETS.rglob("*"))
    if path.suffix in (".js", ".css", ".html", ".json")
]


def test_every_asset_is_its_file() -> None:
    assert "shared/page.css" in TEXTS
    for name in TEXTS:
        assert asset(name) == (ASSETS / name).read_text(encoding="utf-8")
        assert asset(name).strip()


def test_the_constants_are_those_of_the_file_by_group() -> None:
    groups = json.loads((ASSETS / "constants.json").read_text(encoding="utf-8"))
    assert {name: constants(name) for name in groups} == groups
    assert constants("percent")["digits"] == 1


def test_what_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        asset("shared/absent.css")
    with pytest.raises(KeyError):
        constants("absent")

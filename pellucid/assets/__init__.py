"""Scripts, styles and templates of the pages, and the constants they share with Python."""

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def asset(name: str) -> str:
    """The text of an asset by its path in this folder: "shared/page.css"."""
    return (files("pellucid") / "assets" / name).read_text(encoding="utf-8")


@cache
def constants(group: str) -> dict[str, Any]:
    """The numbers of a group in constants.json, which both Python and the scripts of the pages read."""
    groups: dict[str, dict[str, Any]] = json.loads(asset("constants.json"))
    return groups[group]

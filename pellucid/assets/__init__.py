"""Scripts, styles and templates of the pages, and the one place that reads them."""

from importlib.resources import files


def asset(name: str) -> str:
    """The text of an asset by its path in this folder: "shared/page.css"."""
    return (files("pellucid") / "assets" / name).read_text(encoding="utf-8")

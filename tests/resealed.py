"""A run's folder as somebody leaves it who changes files and lists them in the manifest as they are then."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pellucid.manifest import NAME, Entry, is_listed, text_of


def reseal(folder: Path) -> None:
    """The manifest of a folder that has one lists every file as it is now."""
    if (folder / NAME).is_file():
        files = [path for path in folder.iterdir() if path.is_file() and is_listed(path.name)]
        contents = {path.name: path.read_bytes() for path in files}
        entries = {
            name: Entry(len(content), hashlib.sha256(content).hexdigest())
            for name, content in contents.items()
        }
        (folder / NAME).write_text(text_of(entries), encoding="utf-8")


def rewrite(path: Path, content: str | bytes) -> None:
    """`path` holds `content`, and its folder is sealed again."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    reseal(path.parent)


def change(path: Path, **entries: Any) -> None:
    """A JSON file with some entries replaced, its folder sealed again."""
    rewrite(path, json.dumps({**json.loads(path.read_text(encoding="utf-8")), **entries}))

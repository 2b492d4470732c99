"""Where pellucid keeps what it can compute or download again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """PELLUCID_HOME, else a folder in the user's cache folder."""
    if home := os.environ.get("PELLUCID_HOME"):
        return Path(home)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "pellucid"

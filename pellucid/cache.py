"""Where pellucid keeps what it can make or fetch again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where pellucid keeps what it downloads: PELLUCID_HOME, else the user's cache folder."""
    if home := os.environ.get("PELLUCID_HOME"):
        return Path(home)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "pellucid"

"""Where pellucid keeps what it can compute or download again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """PELLUCID_HOME, else a folder in the user's cache folder."""
    if home := os.environ.get("PELLUCID_HOME"):
        return Path(home)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "pellucid"


def computed_folder() -> Path:
    """Where what is computed from pictures is kept: decoded pixels, features, trainings that were tried.

    PELLUCID_CACHE, which may name a larger disk, else `cache_folder`.
    """
    given = os.environ.get("PELLUCID_CACHE")
    return Path(given) if given else cache_folder()

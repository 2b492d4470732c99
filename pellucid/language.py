"""The language a person reads, as their system tells it."""

import os
from typing import Literal

Language = Literal["en", "ko"]
LANGUAGES: tuple[Language, ...] = ("en", "ko")


def default_language() -> Language:
    """ "ko" where LC_ALL, else LC_MESSAGES, else LANG names Korean ("ko_KR.UTF-8"); "en" everywhere else."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if name := os.environ.get(variable):
            return "ko" if name.split(".")[0].split("_")[0].lower() == "ko" else "en"
    return "en"

"""The command that serves pages refuses what it cannot serve."""

import pytest

from pellucid.cli import application as command_line
from pellucid.errors import UsageError


def test_the_command_refuses_what_it_cannot_serve() -> None:
    app = command_line()
    for words, message in (
        (["live", *["x"] * 4], "Expected one to 3 runs to show side by side"),
        (["live", "x", "--lang", "fr"], "Unknown language 'fr'"),
        (["live", "nowhere"], "'nowhere' is not a folder"),
    ):
        with pytest.raises(UsageError, match=message):
            app(words, standalone_mode=False)

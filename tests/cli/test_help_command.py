"""Help comes however it is asked for."""

import pytest

from tests.toys import Call


@pytest.mark.parametrize("words", [["-h"], ["help"], ["train", "-h"], ["help", "train"], ["train", "--help"]])
def test_help_is_asked_for_in_every_usual_way(call: Call, words: list[str]) -> None:
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert out.startswith("Usage: pellucid ")
    assert "  pellucid train digits" in out
    assert "list[" not in out

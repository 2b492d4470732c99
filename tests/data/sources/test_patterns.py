"""A pattern is looked for in names as `re` does it, and never for long."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data.sources.patterns import found_in
from pellucid.errors import UsageError

NAMES = ["cat_1.png", "a/dog_2.png", "3.png", "été/ñ_4.png", "line\nbreak_5.png"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("([a-z]+)_", ["cat", "dog", "", "", "break"]),
        (r"(\w+)_(\d)", ["cat/1", "dog/2", "", "ñ/4", "break/5"]),
        (r"\d", ["1", "2", "3", "4", "5"]),
        ("(x)?cat", ["", "", "", "", ""]),
    ],
)
def test_groups_are_joined_and_a_pattern_without_them_gives_its_match(pattern: str, found: list[str]) -> None:
    expected = list(found)
    if pattern == "(x)?cat":  # a group that took no part is empty; the match then stands for it
        expected[0] = "cat"
    assert found_in(NAMES, pattern, argument="it") == expected


@settings(max_examples=5, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=20))
def test_any_names_are_searched_as_re_searches_them(names: list[str]) -> None:
    names = [name.encode("utf-8", "replace").decode() for name in names]
    matches = [re.search("[a-m0-9]+", name) for name in names]
    assert found_in(names, "[a-m0-9]+", argument="it") == [match[0] if match else "" for match in matches]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", r"it: missing \), unterminated subpattern at position 0"),
        ("a" * 1_001, r"it: expected up to 1,000 characters; got 1,001"),
        ("(?:a{99999999999})", "it: "),
    ],
)
def test_what_is_no_pattern_is_named(pattern: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        found_in(["a"], pattern, argument="it")


@pytest.mark.parametrize("pattern", ["(([a-z]+)+)+$", "(a|a)*$", "(a|aa)+$", "(.*)*x(.*)*y"])
def test_a_pattern_without_end_is_ended(pattern: str) -> None:
    begun = time.monotonic()
    with pytest.raises(UsageError, match=r"longer than 0 seconds\. Leave out repetitions within repetitions"):
        found_in(["a" * 60 + "!"], pattern, argument="it", seconds=0.4)
    assert time.monotonic() - begun < 10

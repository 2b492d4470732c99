"""Numbers, counts and names as a person reads them, at the edges where rounding would say too much."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid import formatting
from pellucid.formatting import (
    brief,
    chance,
    decimal,
    digits,
    figure,
    json_line,
    listed,
    ordinal,
    percent,
    plain,
    plural,
    size_in_words,
    times,
)
from pellucid.language import use_language


@pytest.mark.parametrize(
    ("share", "count", "text"),
    [(0.97812, 1000, "97.8 %"), (0.97812, 2001, "97.81 %"), (0.0, 10, "0.0 %"), (1.0, 10_000, "100.00 %")],
)
def test_a_share_has_a_second_place_only_where_many_pictures_bear_it(
    share: float, count: int, text: str
) -> None:
    assert percent(share, count=count) == text


@pytest.mark.parametrize(
    ("right", "count", "text"),
    [
        (1999, 2000, "99.95 %"),
        (1, 2001, "0.05 %"),
        (2000, 2000, "100.0 %"),
        (0, 2000, "0.0 %"),
        (99_999, 100_000, "99.999 %"),
        (9_999_999_999, 10_000_000_000, "> 99.99 %"),
        (1, 10_000_000_000, "< 0.01 %"),
    ],
)
def test_what_is_not_all_is_never_a_hundred_percent_and_something_never_nothing(
    right: int, count: int, text: str
) -> None:
    assert percent(right / count, count=count) == text


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10**7), st.data())
def test_no_count_at_all_is_rounded_up_to_all_of_them(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, count))
    share = right / count
    for text, whole in ((percent(share), 100), (percent(share, count=count), 100), (decimal(share), 1)):
        figure = float(text.removesuffix(" %").lstrip("<> "))
        assert (figure == whole) == (right == count)
        assert (figure == 0) == (right == 0)


def test_a_score_has_three_places_and_more_where_it_would_read_as_perfect() -> None:
    assert [decimal(value) for value in (0.0, 0.97849, 0.9996, 0.00004, 1.0)] == [
        "0.000", "0.978", "0.9996", "0.00004", "1.000",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0.0, "0.0 %"),
        (1e-9, "< 0.1 %"),
        (0.00049, "< 0.1 %"),
        (0.001, "0.1 %"),
        (0.5, "50.0 %"),
        (0.999, "99.9 %"),
        (0.99951, "> 99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_what_is_not_certain_is_never_called_so(probability: float, text: str) -> None:
    assert chance(probability) == text


def test_counts_are_said_as_a_person_says_them() -> None:
    assert [times(count) for count in (1, 2, 3, 1234)] == ["once", "twice", "3 times", "1,234 times"]
    counts = [plural(count, "picture", "pictures") for count in (0, 1, 2000)]
    assert counts == ["0 pictures", "1 picture", "2,000 pictures"]
    sizes = [size_in_words(count) for count in (0, 999, 1000, 1_234_567, 2_000_000_000)]
    assert sizes == ["0 bytes", "999 bytes", "1.0 kB", "1.2 MB", "2.0 GB"]


def test_nine_digits_are_the_same_float32() -> None:
    values = torch.rand(200, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.tensor([float(text) for text in digits(values)]), values)


def test_a_figure_has_three_digits_and_a_long_minus() -> None:
    assert [figure(value) for value in (-0.12345, 1234.5, 0.0)] == ["−0.123", "1.23e+03", "0"]


@pytest.mark.parametrize("length", [0, 1, 59, 60, 61, 1000])
def test_a_long_text_keeps_its_ends_within_the_limit(length: int) -> None:
    text = "".join(chr(0x4E00 + place) for place in range(length))
    short = brief(text)
    assert len(short) <= 60
    assert short == text if length <= 60 else (short[:30], short[-29:]) == (text[:30], text[-29:])


def test_five_names_are_quoted_and_the_rest_counted() -> None:
    assert str(listed("abcde")) == "'a', 'b', 'c', 'd', 'e'"
    assert str(listed("abcdefg")) == "'a', 'b', 'c', 'd', 'e' and 2 more"
    with use_language("ko"):
        assert str(listed("abcdefg")) != "'a', 'b', 'c', 'd', 'e' and 2 more"


def test_a_name_cannot_steer_the_terminal() -> None:
    assert plain("a\x1b[2Jb\r\n한글\u202e") == "a\\x1b[2Jb\\x0d\n한글\\x202e"


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 bytes"), (999, "999 bytes"), (1_234_567, "1.2 MB"), (2_457_600_000, "2.5 GB")]
)
def test_sizes_are_told_in_words(count: int, words: str) -> None:
    assert size_in_words(count) == words


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1, width=32))
def test_nine_digits_give_the_same_float32_back(value: float) -> None:
    assert np.float32(digits(torch.tensor([value]))[0]) == np.float32(value)


@pytest.mark.parametrize(
    ("probability", "words"),
    [(1.0, "100.0 %"), (0.99999, "> 99.9 %"), (0.9994, "99.9 %"), (0.0001, "< 0.1 %"), (0.0, "0.0 %")],
)
def test_nearly_certain_is_not_called_certain(probability: float, words: str) -> None:
    assert formatting.chance(probability) == words


def test_a_place_in_a_sequence_has_its_ending() -> None:
    places = {1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 12: "12th", 13: "13th", 20: "20th"}
    for number, text in {**places, 21: "21st", 112: "112th", 1003: "1,003rd"}.items():
        assert str(ordinal(number)) == text
    with use_language("ko"):
        assert str(ordinal(22)) == "22번째"


def test_json_on_a_line_steers_no_terminal_and_says_the_same() -> None:
    odd = "a\x00\x1b]0;x\x07\x7f\x85\x9b31m\u200e\u202e\u2066\u2028\ufeff\U000e0001\udcff é한 \U0001f600"
    line = json_line({odd: [odd, 1.5, None]})
    assert all(c.isprintable() for c in line)
    assert "é한 \U0001f600" in line
    assert json.loads(line) == {odd: [odd, 1.5, None]}

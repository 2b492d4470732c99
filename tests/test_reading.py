"""Only ordinary files are read, whole, within a limit; JSON means one thing or is refused."""

import math
import os
import socket
from pathlib import Path

import pytest

from pellucid.errors import PellucidError
from pellucid.reading import (
    UnreadableFile,
    open_regular,
    parsed_json,
    read_regular,
    reason_of,
    refuse_other_keys,
)
from tests.attacks.canary import within


def test_an_ordinary_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"x", os.urandom(300_000)):
        path.write_bytes(content)
        assert read_regular(path, len(content)) == content
    (tmp_path / "link").symlink_to(path)
    assert read_regular(tmp_path / "link", 300_000) == content


def test_a_file_larger_than_its_kind_can_be_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a terabyte, of which the disk holds nothing
    with pytest.raises(UnreadableFile, match=r"it has 1,099,511,627,776 bytes; expected up to 100"):
        read_regular(path, 100)


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener, within(10):
        listener.bind(str(tmp_path / "socket"))
        for name, said in (("pipe", "a pipe"), ("zero", "a device"), (".", "a folder")):
            with pytest.raises(UnreadableFile, match=f"it is {said}, not a file"):
                open_regular(tmp_path / name)
        with pytest.raises(OSError, match=r"No such device or address|not supported"):
            open_regular(tmp_path / "socket")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with pytest.raises(OSError, match="symbolic links"):
        open_regular(tmp_path / "round")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' comes twice"),
        ('[{"b": {"c": 1, "c": 1}}]', "the key 'c' comes twice"),
        ("NaN", "NaN is not a number of JSON"),
        ("[Infinity]", "Infinity is not a number"),
        ("-Infinity", "-Infinity is not a number"),
        ("1e999", "1e999 is too large"),
        ("9223372036854775808", "9223372036854775808 is too large"),
        ("-9223372036854775809", "is too large"),
        ("1" * 100_000, "is too large"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"a":' * 100_000, "it is nested too deeply"),
        ("", "Expecting value"),
        ("{} {}", "Extra data"),
        ("\ufeff{}", "BOM"),
    ],
)
def test_what_means_two_things_or_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parsed_json(text.encode())


def test_json_is_otherwise_as_everywhere() -> None:
    text = '{"a": [1, -2.5, 1e3, true, null, "\\u00e9"], "b": -9223372036854775808}'
    assert parsed_json(text.encode()) == {"a": [1, -2.5, 1e3, True, None, "é"], "b": -(2**63)}
    assert math.isclose(parsed_json(b"1e-400"), 0)
    with pytest.raises(ValueError, match="utf-8"):
        parsed_json(b"\xff")


def test_keys_are_those_that_are_known() -> None:
    refuse_other_keys({"a": 1, "b": 2}, ("a",), ("b", "c"), path=Path("x.json"))
    for value, message in (
        ({"b": 2}, r"'x\.json' is damaged: it lacks a\. "),
        ({"a": 1, "z": 1}, "it has 'z', which is not known"),
        ([], "it is not an object"),
    ):
        with pytest.raises(PellucidError, match=message):
            refuse_other_keys(value, ("a",), ("b",), path=Path("x.json"))


def test_a_reason_has_no_number_and_no_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open_regular(tmp_path / "none")
    assert reason_of(caught.value) == "No such file or directory"
    assert reason_of(ValueError("why")) == "why"


@pytest.mark.parametrize(
    "text",
    [r'"\ud800"', r'{"a": ["\udc00b"]}', r'{"\uDFFF": 1}', r'["\udc00\ud800"]', r'{"a": {"b": "x\ud83d"}}'],
)
def test_half_a_character_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="has half a character in it"):
        parsed_json(text.encode())


def test_a_character_of_two_escapes_is_whole() -> None:
    assert parsed_json(rb'{"a": "\ud83d\ude00", "b": "\\ud800"}') == {"a": "\U0001f600", "b": r"\ud800"}

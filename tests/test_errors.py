"""Errors carry the documented exit codes, and a misspelt word is answered with the nearest."""

import errno
import os

import pytest

from pellucid.errors import CheckFailed, PellucidError, UsageError, did_you_mean, plain_error


def test_a_usage_error_is_a_pellucid_error_with_the_code_for_usage() -> None:
    assert issubclass(UsageError, PellucidError)
    assert (PellucidError("x").exit_code, UsageError("x").exit_code) == (1, 2)
    assert CheckFailed("x").exit_code == 3


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("minst", "Did you mean 'mnist'? Known: digits, mnist."),
        ("MNIST", "Did you mean 'mnist'? Known: digits, mnist."),
        ("digit", "Did you mean 'digits'? Known: digits, mnist."),
        ("elephants", "Known: digits, mnist."),
        ("", "Known: digits, mnist."),
    ],
)
def test_the_nearest_word_is_named_and_then_all_of_them(word: str, answer: str) -> None:
    assert did_you_mean(word, ["mnist", "digits"]) == answer


def test_nothing_known_is_no_crash() -> None:
    assert did_you_mean("x", []) == "Known: ."


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "'a/b': You may not read or write it. Change its permissions, or name another."),
        (errno.ENAMETOOLONG, "'a/b': The name is longer than the system allows. Check what was given."),
        (errno.ENOSPC, "'a/b': The disk is full. Make room."),
        (errno.EBADF, "'a/b': The system reports: Bad file descriptor. Check the path, or name another."),
    ],
)
def test_an_error_of_the_system_is_told_in_plain_words(number: int, said: str) -> None:
    assert plain_error(OSError(number, os.strerror(number), "a/b")) == said


def test_a_path_of_any_length_is_shown_on_one_line() -> None:
    assert len(plain_error(OSError(errno.ENAMETOOLONG, "", "a" * 5000))) < 220

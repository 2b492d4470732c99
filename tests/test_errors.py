"""Errors carry the documented exit codes, and a misspelt word is answered with the nearest."""

import pytest

from pellucid.errors import CheckFailed, PellucidError, UsageError, did_you_mean


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

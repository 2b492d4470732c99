"""`repeat` prints a line per seed and what they say together."""

import json

from tests.asking import Ran

WORDS = ("repeat", "digits", "--epochs", "1", "--threads", "1", "--out", "repeated")


def test_seeds_are_trained_once_and_summed_up(ran: Ran) -> None:
    first = ran(*WORDS, "--seeds", "2")
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["seed", "1"], ["seed", "2"]]
    assert lines[2].startswith("Test set: mean ")
    again = ran(*WORDS, "--seeds", "2", "--json", "--against", "repeated")
    *runs, found = (json.loads(line) for line in again.stdout.splitlines())
    assert [run["seed"] for run in runs] == [1, 2]
    assert found["accuracies"] == [run["accuracy"] for run in runs]
    assert found["against"]["accuracy"] == 0
    assert found["against"]["shown"] is False
    refused = ran("repeat", "digits", "--out", "repeated")
    assert (refused.returncode, "another recipe" in refused.stderr) == (2, True)

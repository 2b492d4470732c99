"""`repeat` prints a line per seed and what they say together."""

import json
import re
from pathlib import Path

import pytest

from tests.asking import Ran
from tests.toys import QUICK


@pytest.mark.usefixtures("toys")
def test_seeds_are_trained_once_and_summed_up(ran: Ran, tmp_path: Path) -> None:
    recipe = tmp_path / "short.json"
    recipe.write_text(json.dumps(QUICK.to_json() | {"epochs": 1}))
    words = ("repeat", "toys", "--recipe", str(recipe), "--out", "repeated")
    first = ran(*words, "--seeds", "2")
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    assert re.fullmatch(r"2 trainings to do, about .* in all\.", lines[0])
    assert [line.split()[:2] for line in lines[1:3]] == [["seed", "1"], ["seed", "2"]]
    assert lines[3].startswith("Test set: mean ")
    again = ran(*words, "--seeds", "2", "--json", "--against", "repeated")
    *runs, found = (json.loads(line) for line in again.stdout.splitlines())
    assert [run["seed"] for run in runs] == [1, 2]
    assert found["accuracies"] == [run["accuracy"] for run in runs]
    assert found["against"]["accuracy"] == 0
    assert found["against"]["shown"] is False
    refused = ran("repeat", "toys", "--out", "repeated")
    assert (refused.returncode, "another recipe" in refused.stderr) == (2, True)

"""`forecast` prints a line per training, the curve, and what more pictures would bring."""

import json
import re
from pathlib import Path

import pytest

from pellucid.runs import forecast as module
from pellucid.runs.forecast import Forecast
from tests.asking import Ran
from tests.toys import QUICK


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "short.json"
    path.write_text(json.dumps(QUICK.to_json() | {"epochs": 1}))
    return str(path)


@pytest.mark.usefixtures("toys")
def test_the_curve_and_what_more_pictures_would_bring(ran: Ran, recipe: str, tmp_path: Path) -> None:
    first = ran("forecast", "toys", "--recipe", recipe, "--out", str(tmp_path / "out"))
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    assert re.fullmatch(r"12 trainings to do, about .* in all\.", lines[0])
    found = Forecast.open(tmp_path / "out").curve
    assert lines.count(found.verdict) == lines.count(found.scope) == 1
    assert sum(", training " in line for line in lines) == 12
    assert any(line.split()[0] == "288" and "95 % interval" in line for line in lines)
    again = ran("forecast", "toys", "--recipe", recipe, "--out", str(tmp_path / "out"), "--json")
    *trainings, last = (json.loads(line) for line in again.stdout.splitlines())
    assert [each["event"] for each in trainings] == ["training"] * 12
    assert last == {
        "event": "forecast", "folder": str(tmp_path / "out"), **json.loads(json.dumps(found.to_json()))
    }  # fmt: skip


@pytest.mark.usefixtures("toys")
def test_ctrl_c_says_what_is_kept(
    ran: Ran, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, begun = module.train_network, []

    def interrupted(*given: object, **words: object) -> object:
        begun.append(1)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return real(*given, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "train_network", interrupted)
    done = ran("forecast", "toys", "--recipe", recipe, "--out", str(tmp_path / "out"))
    assert done.returncode == 130
    assert "2 trainings are done and kept. Run the same command again to go on." in done.stderr

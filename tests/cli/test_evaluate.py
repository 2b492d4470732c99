"""The test set is judged once, and a damaged run is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.toys import Call


def test_the_test_set_is_judged_once_and_again_gives_the_same(
    trained: tuple[Path, Any], tmp_path: Path, call: Call
) -> None:
    run = shutil.copytree(trained[0] / "runs" / "latest", tmp_path / "copy")
    before = (run / "evaluation.json").read_bytes()
    (run / "predictions.csv").touch()
    assert call("evaluate", run)[0] == 0
    assert (run / "evaluation.json").read_bytes() == before
    code, out, _ = call("evaluate", run, "--again", "--json")
    assert code == 0
    assert json.loads(out)["event"] == "evaluation"
    facts = json.loads((run / "evaluation.json").read_text())
    assert facts["network_number"] is not None
    assert facts["accuracy"] == json.loads(before)["accuracy"]
    (run / "evaluation.json").write_text("{")
    code, _, err = call("evaluate", run)
    assert (code, "cannot be read as JSON" in err) == (1, True)
    assert call("evaluate", run, "--again")[0] == 0


@pytest.mark.parametrize("damage", ["model.json", "model.safetensors", "metrics.csv", "environment.json"])
def test_a_damaged_run_exits_1_with_the_name_of_the_file(toy_run: Path, call: Call, damage: str) -> None:
    run = shutil.copytree(toy_run, Path("copy"))
    (run / damage).write_bytes((run / damage).read_bytes()[:40])
    code, _, err = call("evaluate", run)
    assert code == 1
    assert damage in err

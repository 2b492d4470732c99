"""What model.json says of a training is read strictly, and the run refused where it is damaged."""

import json
from pathlib import Path
from typing import Any

import pytest

from pellucid.errors import PellucidError
from pellucid.runs.run import Run
from pellucid.runs.trained import trained_in
from tests.resealed import rewrite

MODEL = "model.json"
WRONG: dict[str, list[Any]] = {
    "why": [None, 3, []],
    "epochs": [-1, 1.5, "2", None, True],
    "best": [None, 3, [], {"loss": "x"}, {"loss": None}],
    "calibration": [None, {}, {"held_out": "validation"}, []],
    "reference": [None, {}, {"training": "x"}, []],
}


def test_it_is_what_the_training_left(folder: Path) -> None:
    found = trained_in(folder)
    assert (found.why, found.epochs, found.ended, found.head) == ("lowest validation loss", 2, None, None)
    assert found.best["epoch"] in (1, 2)


@pytest.mark.parametrize("key", WRONG)
def test_a_key_of_another_kind_is_refused_with_its_name(folder: Path, key: str) -> None:
    facts = json.loads((folder / MODEL).read_text())
    changes = [{**facts["training"], key: value} for value in WRONG[key]]
    changes.append({name: value for name, value in facts["training"].items() if name != key})
    for training in changes:
        rewrite(folder / MODEL, json.dumps({**facts, "training": training}))
        with pytest.raises(
            PellucidError, match=rf"model\.json' is damaged: 'training\.{key}.* Lost is which"
        ):
            Run.open(folder)

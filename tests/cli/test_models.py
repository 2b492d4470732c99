"""`models` lists every network that can be trained."""

import json

import pytest

from pellucid.models import MODELS, PRETRAINED
from tests.toys import Call


def test_every_network_is_listed_with_what_it_is(call: Call) -> None:
    code, out, err = call("models")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:-1] == [f"{name}: {model.phrase}" for name, model in (MODELS | PRETRAINED).items()]
    assert lines[-1].startswith("hf:NAME_OR_FOLDER: a network pretrained by others")


def test_json_has_a_line_for_each(call: Call) -> None:
    rows = [json.loads(line) for line in call("models", "--json")[1].splitlines()]
    assert [row["name"] for row in rows] == [*MODELS, *PRETRAINED, "hf:NAME_OR_FOLDER"]
    assert all(row.keys() == {"name", "description"} and row["description"] for row in rows)
    assert call("models", "--quiet") == (0, "", "")


@pytest.mark.parametrize("name", MODELS)
def test_a_name_of_the_list_is_one_that_train_takes(call: Call, name: str) -> None:
    code, _, err = call("train", "no such folder", "--model", name)
    assert (code, "does not exist" in err) == (2, True)  # the folder is what is wrong, not the name
    code, _, err = call("train", "digits", "--model", name[:-1])
    assert (code, f"Did you mean '{name}'?" in err) == (2, True)

"""What Python writes for the pad is what its scripts are typed to read."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from pellucid.pad import data
from pellucid.pad.data import (
    ChannelData,
    CheckData,
    PadData,
    ProgramData,
    TorchData,
    TorchLayerData,
    to_json,
)
from pellucid.pad.program import Operation
from pellucid.pad.strokes import Rule

ASSETS = Path(__file__).parents[2] / "pellucid" / "assets"


def typedefs() -> dict[str, list[str]]:
    """The properties of each record that types.js describes, by its name."""
    text = (ASSETS / "pad" / "types.js").read_text(encoding="utf-8")
    found = {}
    for block in re.findall(r"/\*\*(.*?)\*/", text, re.DOTALL):
        if record := re.search(r"@typedef \{object\} (\w+)", block):
            found[record[1]] = re.findall(r"@property \{.*\} \[?(\w+)\]?", block)
        elif inline := re.search(r"@typedef \{\{(.*)\}\} (\w+)", block):
            found[inline[2]] = re.findall(r"(\w+)\??:", inline[1])
    return found


RECORDS = [getattr(data, name) for name in dir(data) if name.endswith("Data")]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_a_record_has_the_same_fields_in_both_languages(record: type) -> None:
    assert sorted(typedefs()[record.__name__]) == sorted(field.name for field in fields(record))  # type: ignore[arg-type]


def test_what_records_hold_has_the_same_fields_too() -> None:
    assert typedefs()["RuleData"] == [field.name for field in fields(Rule)]
    named = {field.name for field in fields(Operation)} - {"attributes"}
    assert set(typedefs()["OperationFields"]) == named
    described = {name for name in typedefs() if name.endswith("Data")}
    assert described - {"RuleData"} == {record.__name__ for record in RECORDS}


def test_an_operation_has_its_numbers_beside_its_fields() -> None:
    operation = Operation("conv", "conv1", (0,), (4, 8, 8), (0, 1), {"stride": (2, 2), "padding": 1})
    assert to_json(operation) == {
        "kind": "conv", "layer": "conv1", "inputs": [0], "shape": [4, 8, 8], "tensors": [0, 1],
        "stride": [2, 2], "padding": 1, "spatial": False,
    }  # fmt: skip


def test_records_inside_of_records_are_written_by_name() -> None:
    program = ProgramData((1, 2, 2), [Operation("view", "flatten", (0,), (4,))], [[3, 4]])
    check = CheckData("AAAA", None, [(0.5, 0.25)], 0.001, 0.0005, 0, 16)
    pad = PadData(("a", "b"), 1.0, "digits", program, check, rule=Rule(8, (8, 5), 1.3, centre="box"),
                  scales={"fc": (0.0, 1.0)}, channels={"fc": ChannelData(same_as="conv")})  # fmt: skip
    written = to_json(pad)
    assert list(written) == [field.name for field in fields(PadData)]
    assert written["classes"] == ["a", "b"]
    assert written["program"]["operations"] == [
        {"kind": "view", "layer": "flatten", "inputs": [0], "shape": [4], "tensors": [], "spatial": False}
    ]
    assert written["check"]["scores"] == [[0.5, 0.25]]
    assert written["rule"] == {"size": 8, "box": [8, 5], "pen": 1.3, "centre": "box"}
    assert written["scales"] == {"fc": [0.0, 1.0]}
    assert written["channels"]["fc"]["same_as"] == "conv"
    assert written["weights"] is written["torch"] is written["snapshots"] is None
    assert json.loads(json.dumps(written)) == written


@pytest.mark.parametrize("value", ["text", 3, 2.5, True, None])
def test_a_plain_value_stays_as_it_is(value: object) -> None:
    assert to_json(value) is value


def test_a_receptive_field_is_rows_and_columns_the_whole_picture_or_unknown() -> None:
    for field_ in ([[[0, 2]], [[1, 3]]], "whole", None):
        layer = TorchLayerData("block", (8,), (8,), field_)
        assert to_json(TorchData([layer], None, "it sorts"))["layers"][0]["receptive_field"] == field_

"""What Python writes for the pad is what its scripts are typed to read."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from pellucid.pad import data
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

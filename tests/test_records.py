"""Records come from plain values whose keys and kinds are those that are written down."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import pytest

from pellucid.data.preprocess import Preprocess
from pellucid.records import record_from


class Pair(NamedTuple):
    """Two texts."""

    first: str
    second: str


@dataclass(frozen=True)
class Everything:
    """A field of each kind."""

    count: int
    share: float
    name: str
    wanted: bool
    word: Literal["a", "b"]
    size: int | tuple[int, int]
    pairs: tuple[Pair, ...]
    inner: Preprocess | None = None


GOOD: dict[str, Any] = {
    "count": 3, "share": 1, "name": "x", "wanted": True, "word": "a", "size": [1, 2],
    "pairs": [{"first": "p", "second": "q"}], "inner": None,
}  # fmt: skip


def test_values_become_fields() -> None:
    found = record_from(Everything, GOOD)
    assert found == Everything(3, 1.0, "x", True, "a", (1, 2), (Pair("p", "q"),))
    assert type(found.share) is float
    inner = Preprocess(1, 8, 8)
    assert record_from(Everything, {**GOOD, "inner": asdict(inner), "size": 4}).inner == inner


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 3.0}, "'count' is 3.0"),
        ({"count": True}, "'count' is True"),
        ({"count": "3"}, "'count' is '3'"),
        ({"share": "1"}, "'share'"),
        ({"share": float("nan")}, "'share' is nan"),
        ({"share": True}, "'share'"),
        ({"name": None}, "'name' is None"),
        ({"name": "x" * 2_000_000}, r"'name' is 'xxx.*\.\.\."),
        ({"wanted": 1}, "'wanted' is 1"),
        ({"word": "c"}, "'word' is 'c'"),
        ({"size": [1, 2, 3]}, "'size'"),
        ({"pairs": [{"first": "p"}]}, "'pairs.second' is missing"),
        ({"pairs": [{"first": "p", "second": "q", "third": "r"}]}, "'pairs.third' is not known"),
        ({"pairs": {"first": "p"}}, "'pairs'"),
        ({"inner": {}}, "'inner.channels' is missing"),
        ({"inner": 3}, "'inner': expected an object; got 3"),
        ({"code": "print()"}, "'code' is not known"),
    ],
)
def test_a_value_of_another_kind_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        record_from(Everything, {**GOOD, **change})


def test_a_key_that_is_missing_is_named_even_where_the_field_has_a_default() -> None:
    for name in GOOD:
        with pytest.raises(ValueError, match=f"'{name}' is missing"):
            record_from(Everything, {key: value for key, value in GOOD.items() if key != name})
    with pytest.raises(ValueError, match="expected an object; got None"):
        record_from(Everything, None)

"""The records beside the pixels: whole or not used, and readable."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pellucid.data.store import index
from pellucid.data.store.pixels import pack
from tests.data.listings import listed
from tests.data.store.packing import SMALL, flip, is_right, sketches


def test_a_store_of_an_earlier_pellucid_without_sketches_is_made_anew(
    photos: Path, cache: Path, decodes: Counter[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "FORMAT", 1)
    pack(listed(photos), SMALL, cache=cache)
    monkeypatch.undo()
    packed = pack(listed(photos), SMALL, cache=cache)
    assert is_right(packed, listed(photos))
    assert packed.sketches == sketches(photos)
    assert packed.notes == ()
    assert len(list(cache.rglob("*.pixels"))) == len(list(cache.rglob("3x8x8-*.json"))) == 1


@pytest.mark.parametrize("name", ["facts.json", "3x8x8-*.json"])
def test_a_flipped_byte_of_an_index_is_found_wherever_it_is(photos: Path, cache: Path, name: str) -> None:
    pack(listed(photos), SMALL, cache=cache)
    (path,) = cache.rglob(name)
    whole = path.read_bytes()
    for at in np.linspace(0, len(whole) - 1, 12).astype(int):
        flip(path, int(at))
        assert index.read_record(path) is None
        assert is_right(pack(listed(photos), SMALL, cache=cache), listed(photos))
        assert index.read_record(path) is not None


def test_the_records_are_json_that_can_be_looked_into(photos: Path, cache: Path) -> None:
    pack(listed(photos), SMALL, cache=cache)
    (index,) = cache.rglob("3x8x8-*.json")
    _, head, body = index.read_text(encoding="utf-8").split("\n")
    assert json.loads(head)["preprocess"] == SMALL.to_json()
    assert len(json.loads(body)["digests"]) == 24

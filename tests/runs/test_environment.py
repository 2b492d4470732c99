"""A run is resumed only with the pictures and the versions it was begun with."""

import json
from pathlib import Path

import pytest

from pellucid.errors import UsageError
from pellucid.files import read_json, sha256
from pellucid.runs.fit import resume
from tests.resealed import rewrite
from tests.runs.toy_runs import SPLITS, resumed
from tests.toys import toy_splits


def test_resuming_with_other_pictures_or_versions_is_refused(cut_off: Path) -> None:
    before = sha256(cut_off / "checkpoint.safetensors")
    changed = toy_splits(seed=5)
    for train_set, validation_set in [
        (changed.train, SPLITS.validation),
        (SPLITS.train, changed.validation),
        (SPLITS.validation, SPLITS.train),
    ]:
        with pytest.raises(UsageError, match="was begun with other fingerprints"):
            resume(cut_off, train_set, validation_set)
    environment = read_json(cut_off / "environment.json")
    environment["versions"]["torch"] = "1.0"
    rewrite(cut_off / "environment.json", json.dumps(environment))
    with pytest.raises(UsageError, match="was begun with other versions"):
        resumed(cut_off)
    assert sha256(cut_off / "checkpoint.safetensors") == before

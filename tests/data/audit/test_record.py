"""What a run keeps of an audit is what the audit found, and reads back as it was written."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.data.audit.findings import audit
from pellucid.data.audit.record import FINDINGS, AuditRecord, record_of, record_of_folds
from pellucid.data.dataset import Choices, Origin, Splits
from pellucid.errors import PellucidError
from pellucid.files import read_json
from pellucid.language import use_language
from tests.photographs import changed, photographs, splits_of, tensor_of

COUNT = 200


@pytest.fixture(scope="module")
def splits() -> Splits:
    """Pictures of which five test pictures are training pictures saved again, one of them twice."""
    pictures = photographs(COUNT, seed=12)
    for number in range(5):
        pictures[160 + number] = changed(pictures[number], "jpeg")
    pictures[100] = changed(pictures[0], "brighter")
    return splits_of(tensor_of(pictures))


def test_each_test_picture_with_a_near_copy_is_named_once_with_the_nearest(splits: Splits) -> None:
    record = record_of(audit(splits), splits)
    assert {leak.source for leak in record.near_leaks} == {f"test/{2 * n}.jpg" for n in range(5)}
    assert {leak.copy for leak in record.near_leaks} <= {f"train/{2 * n}.jpg" for n in (*range(5), 100)}
    assert all(leak.split == "train" and 0 <= leak.distance <= 0.05 for leak in record.near_leaks)
    assert (record.searched, record.test) == (True, splits.test.fingerprint)
    assert [each.kind for each in record.warned] == ["near-leak"]


def test_it_reads_back_as_it_was_written_and_speaks_korean(splits: Splits, tmp_path: Path) -> None:
    record = record_of(audit(splits), splits)
    record.write(tmp_path)
    assert AuditRecord.read(tmp_path) == record
    facts = read_json(tmp_path / FINDINGS)
    assert facts["findings"][0]["sentence"].startswith("6 pairs in different parts are almost the same")
    with use_language("ko"):
        assert "거의 같은 이미지" in str(AuditRecord.read(tmp_path).warned[0].message)


def test_without_a_file_nothing_was_searched_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert AuditRecord.read(tmp_path) == AuditRecord()
    for content in ("{}", '{"near_copies_searched": true, "test": "", "near_leaks": [1]}', "[]"):
        (tmp_path / FINDINGS).write_text(content)
        with pytest.raises(PellucidError, match=r"findings\.json"):
            AuditRecord.read(tmp_path)


def sound() -> dict[str, Any]:
    """What a run keeps of pictures of which one test picture leaks."""
    return {
        "format": 1, "near_copies_searched": True, "test": "0" * 64, "ungrouped": False,
        "near_leaks": [{"source": "a", "copy": "b", "split": "train", "distance": 0.01}],
        "findings": [
            {"kind": "near-leak", "severity": "error", "count": 1, "sentence": "1 pair is almost the same.",
             "message": {"sentence": "%(count)s pairs.", "values": {"count": 1}, "one": "%(count)s pair."}},
        ],
    }  # fmt: skip


WRONG: dict[str, list[Any]] = {
    "format": [0, 2, "1", True, None, 1.0],
    "near_copies_searched": [1, "true", None, []],
    "test": ["x", 3, None, "0" * 63, "Z" * 64],
    "ungrouped": [0, "false", None],
    "near_leaks": [None, {}, "x", [1], [{}], [{"source": "a"}]],
    "near_leaks.source": [3, None, ["a"]],
    "near_leaks.copy": [3, None],
    "near_leaks.split": ["test", "exam", "", None, 1],
    "near_leaks.distance": [-1, 2.5, "0.1", None, True],
    "findings": [None, {}, "x", [1], [{}]],
    "findings.kind": ["rumour", "", None, 3],
    "findings.severity": ["note", "grave", None, 2],
    "findings.count": [0, -1, 1.5, "1", None, True],
    "findings.sentence": [3, None, ["x"]],
    "findings.message": [
        None, "x", {}, {"sentence": "%(other)s", "values": {}}, {"sentence": "%s", "values": {}},
        {"sentence": "x", "values": [], "one": ""}, {"sentence": "x", "values": {}, "other": 1},
    ],
}  # fmt: skip
GRAVE = r"findings\.json' is damaged: .* Restore it, or remove it: the run then says"


@pytest.mark.parametrize("key", WRONG)
def test_a_key_of_another_kind_or_size_is_refused_with_what_to_do(tmp_path: Path, key: str) -> None:
    outer, _, name = key.rpartition(".")
    for value in WRONG[key]:
        facts = sound()
        (facts[outer][0] if outer else facts)[name] = value
        (tmp_path / FINDINGS).write_text(json.dumps(facts))
        with pytest.raises(PellucidError, match=GRAVE):
            AuditRecord.read(tmp_path)
    for extra in (False, True):
        facts = sound()
        place = facts[outer][0] if outer else facts
        value = place.pop(name)
        if extra:
            place |= {name: value, f"{name}_": value}
        (tmp_path / FINDINGS).write_text(json.dumps(facts))
        with pytest.raises(PellucidError, match=GRAVE):
            AuditRecord.read(tmp_path)
    (tmp_path / FINDINGS).write_text(json.dumps(sound()))
    assert AuditRecord.read(tmp_path).near_leaks[0].copy == "b"


def test_of_folds_near_copies_count_where_they_are_in_different_folds(splits: Splits) -> None:
    whole = splits_of(tensor_of(photographs(COUNT, seed=12))).train
    images = whole.images.clone()
    images[50], images[60] = (
        tensor_of(np.stack([changed(images[n].permute(1, 2, 0).numpy(), "jpeg")]))[0] for n in (0, 1)
    )
    whole = replace(whole, images=images)
    folds = torch.zeros(len(whole), dtype=torch.int64)
    folds[50] = 1
    record = record_of_folds(whole, Origin(), folds)
    assert {leak.source for leak in record.near_leaks} == {whole.sources[0], whole.sources[50]}
    assert record.test == whole.fingerprint


def test_own_pictures_without_groups_are_known_as_that(splits: Splits) -> None:
    for origin, ungrouped in (
        (Origin(), False),
        (Origin("mnist", found=COUNT), False),  # known by name
        (Origin(found=COUNT, location="photos"), True),
        (Origin(found=COUNT, location="photos", choices=Choices(group_by="person")), False),
    ):
        part = replace(splits, origin=origin)
        assert record_of(audit(part), part).ungrouped is ungrouped

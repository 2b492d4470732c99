"""Planted faults are found, all of them, and nothing is found where nothing is wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.data import load
from pellucid.data.audit.findings import KINDS, Audit, Finding, audit
from pellucid.data.dataset import Splits, Unreadable
from pellucid.errors import UsageError
from tests.photographs import ANIMALS, CHANGES, as_files, photographs, splits_of, tensor_of
from tests.photographs import changed as change
from tests.toys import only_class

COUNT = 2_000
EXACT = 100  # planted across parts
NEAR = 100  # planted, half of them across parts
BROKEN = 20


def pairs_of(finding: Finding) -> set[frozenset[str]]:
    """The sources of each group."""
    return {frozenset(place.source for place in group) for group in finding.groups}


def one(found: Audit, kind: str) -> Finding:
    (finding,) = found.of(kind)
    return finding


@pytest.fixture(scope="module")
def planted() -> tuple[Splits, dict[str, set[frozenset[str]]]]:
    """2,000 pictures with copies planted in them, and which they are."""
    pictures = photographs(COUNT)
    test = int(COUNT * 0.8)
    truth: dict[str, set[frozenset[str]]] = {"leak": set(), "near-leak": set(), "near-duplicate": set()}
    for number in range(EXACT):
        pictures[test + number] = pictures[number]
        truth["leak"].add(frozenset((f"train/{number * 2}.jpg", f"test/{number * 2}.jpg")))
    for number in range(NEAR):
        source, across = 200 + number, number % 2 == 0
        target = test + 200 + number if across else 600 + number
        pictures[target] = change(pictures[source], CHANGES[number // 2 % len(CHANGES)])
        name = f"test/{(target - test) * 2}.jpg" if across else f"train/{target * 2}.jpg"
        truth["near-leak" if across else "near-duplicate"].add(frozenset((f"train/{source * 2}.jpg", name)))
    return splits_of(tensor_of(pictures)), truth


@pytest.fixture(scope="module")
def found(planted: tuple[Splits, dict[str, set[frozenset[str]]]]) -> Audit:
    return audit(planted[0])


def test_every_exact_copy_across_parts_is_found_and_nothing_else(
    planted: tuple[Splits, dict[str, set[frozenset[str]]]], found: Audit
) -> None:
    assert pairs_of(one(found, "leak")) == planted[1]["leak"]
    assert found.of("duplicate") == []
    assert len(found.leaking) == len(set(found.leaking)) == EXACT


@pytest.mark.parametrize("kind", ["near-leak", "near-duplicate"])
def test_95_of_100_careless_copies_are_found_with_at_most_5_false_alarms(
    planted: tuple[Splits, dict[str, set[frozenset[str]]]], found: Audit, kind: str
) -> None:
    pairs, truth = pairs_of(one(found, kind)), planted[1][kind]
    assert len(truth) == NEAR // 2
    assert len(pairs & truth) >= 0.95 * len(truth)
    assert len(pairs & truth) >= 0.95 * len(pairs)


def test_near_copies_come_nearest_first_with_their_distance(found: Audit) -> None:
    distances = one(found, "near-leak").distances
    assert list(distances) == sorted(distances)
    assert all(0 <= distance <= 0.05 for distance in distances)


def test_sound_pictures_give_no_finding() -> None:
    for splits in (splits_of(tensor_of(photographs(400, seed=3))), load("digits")):
        assert audit(splits).findings == ()


def test_digits_that_look_alike_are_not_called_copies() -> None:
    splits = load("digits")
    ones = replace(splits, train=only_class(splits.train, "1"), test=only_class(splits.test, "1"))
    assert audit(ones).of("near-leak", "near-duplicate") == []


def test_copies_of_digits_are_found_among_digits() -> None:
    splits = load("digits")
    images = splits.test.images.clone()
    images[:40] = torch.from_numpy(
        np.stack([change(picture[0].numpy(), "brighter") for picture in splits.train.images[:40]])
    )[:, None]
    found = audit(replace(splits, test=replace(splits.test, images=images)))
    assert one(found, "near-leak").count >= 38


def test_every_unreadable_file_is_named_with_its_reason() -> None:
    splits = splits_of(tensor_of(photographs(60, seed=4)))
    broken = tuple(Unreadable(f"cat/{n}.jpg", "it is cut off") for n in range(BROKEN))
    found = audit(as_files(splits, broken))
    finding = one(found, "unreadable")
    assert finding.named == tuple((each.source, each.reason) for each in broken)
    assert finding.severity == "error"
    assert f"{BROKEN} files of {60 + BROKEN} cannot be read" in finding.sentence
    assert found.to_json()["sizes"] == {"640x480": 60}


def test_one_picture_of_two_labels_is_found() -> None:
    splits = splits_of(tensor_of(photographs(60, seed=4)))
    images = splits.train.images.clone()
    images[1] = images[0]
    images[6] = images[2]  # the same label
    found = audit(replace(splits, train=replace(splits.train, images=images)))
    assert pairs_of(one(found, "mislabelled-twins")) == {frozenset(("train/0.jpg", "train/2.jpg"))}
    assert one(found, "duplicate").count == 2


def test_small_absent_and_uneven_classes_are_named() -> None:
    splits = splits_of(tensor_of(photographs(400, seed=4)))
    labels = torch.zeros(240, dtype=torch.int64)
    labels[:5] = 1
    labels[5:65] = 2
    labels[65:130] = 3
    without_hens = splits.test.subset(torch.nonzero(splits.test.labels != ANIMALS.index("hen"))[:, 0])
    found = audit(replace(splits, train=replace(splits.train, labels=labels), test=without_hens))
    assert one(found, "small-class").named == (("dog", "5 training pictures"),)
    assert one(found, "absent-class").named == (("hen", "no picture in test"),)
    assert "cat has 110 training pictures, 22.0 times the 5 of dog" in one(found, "imbalance").sentence


def test_pictures_of_one_shade_are_blank_and_nobody_s_copy() -> None:
    splits = splits_of(tensor_of(photographs(60, seed=4)))
    images = splits.train.images.clone()
    images[3], images[4] = 0, 200
    found = audit(replace(splits, train=replace(splits.train, images=images)))
    assert [group[0].index for group in one(found, "blank").groups] == [3, 4]
    assert found.of("near-duplicate") == []


def test_a_burst_is_found_by_consecutive_names_and_like_pictures() -> None:
    pictures = photographs(240, seed=6)
    for frame in range(1, 6):  # each moves on a little: alike, and no copy of the one before
        pictures[20 + frame] = np.roll(pictures[19 + frame], 3, axis=1)
    splits = splits_of(tensor_of(np.concatenate([pictures, photographs(100, seed=7)])))
    names = [f"cat/IMG_{number:04}.jpg" for number in range(len(splits.train))]
    train = replace(splits.train, sources=names, labels=torch.zeros(len(names), dtype=torch.int64))
    found = audit(replace(splits, train=train))
    groups = [[place.index for place in group] for group in one(found, "burst").groups]
    assert groups == [[20, 21, 22, 23, 24, 25]]


def test_near_copies_are_found_among_more_than_three_thousand_pictures() -> None:
    pictures = photographs(3_500, seed=8, side=32)
    for number in range(20):
        pictures[2_900 + number] = change(pictures[number], "brighter")
    found = audit(splits_of(tensor_of(pictures)))
    assert found.searched
    assert one(found, "near-leak").count >= 19


def test_of_too_many_pictures_identical_ones_alone_are_searched_for_and_it_says_so(
    planted: tuple[Splits, dict[str, set[frozenset[str]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pellucid.data.audit.findings.NEAR_LIMIT", COUNT - 1)
    found = audit(planted[0])
    assert not found.searched
    assert [finding.kind for finding in found.findings] == ["leak"]
    assert "Only identical pictures were searched for: there are more than 1,999" in str(found.looked)


def test_an_audit_of_one_picture_a_part_does_not_fail() -> None:
    splits = splits_of(tensor_of(photographs(5, seed=1)))
    tiny = Splits(*(part.subset(torch.tensor([0])) for _, part in splits.items()))
    assert [finding.kind for finding in audit(tiny).findings] == ["small-class", "absent-class"]


def test_findings_are_plain_values_in_json_and_unknown_kinds_are_refused(found: Audit) -> None:
    facts = found.to_json()
    assert [finding["kind"] for finding in facts["findings"]] == [f.kind for f in found.findings]
    assert facts["findings"][0]["groups"][0]["pictures"][0].keys() == {"split", "source", "label"}
    with pytest.raises(UsageError, match="Did you mean 'leak'"):
        found.of("laek")
    assert list(KINDS.values()) == sorted(KINDS.values(), key=["error", "warning", "note"].index)


@pytest.mark.mnist
@pytest.mark.slow
def test_mnist_gives_no_false_alarm(real_data: Path) -> None:
    assert audit(load("mnist", data_dir=real_data)).findings == ()

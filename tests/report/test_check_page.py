"""The page of a check shows every finding with its pictures, safely, and needs nothing else."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.data.audit.findings import audit
from pellucid.data.dataset import Splits
from pellucid.report.check_page import MAX_GROUPS, SECTIONS, Subject, render, write_check
from tests.pages import HOSTILE, Elements
from tests.photographs import (
    dataset_of,
    faulty,
    photographs,
    splits_of,
    tensor_of,
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = write_check(*faulty(), tmp_path_factory.mktemp("check") / "check.html", name="pets")
    return path.read_text(encoding="utf-8")


def test_every_finding_is_told_and_leads_to_its_pictures(page: str) -> None:
    found, _ = faulty()
    kinds = {finding.kind for finding in found.findings}
    assert kinds == {
        "unreadable", "leak", "mislabelled-twins", "near-leak", "small-class", "absent-class", "imbalance",
        "blank", "burst", "duplicate", "near-duplicate",
    }  # fmt: skip
    text = " ".join(Elements(page).text.split())
    assert all(finding.sentence in text for finding in found.findings)
    ids = {attributes["id"] for _, attributes in Elements(page).found if "id" in attributes}
    links = {a["href"] for tag, a in Elements(page).found if tag == "a"}
    assert {link[1:] for link in links if link} <= ids
    assert {key for key, _, _ in SECTIONS} <= ids


def test_pairs_stand_side_by_side_with_their_files(page: str) -> None:
    found, _ = faulty()
    groups = page.split('<div class="group a-found">')[1:]
    assert len(groups) == sum(len(finding.groups) for finding in found.findings)
    (near,) = found.of("near-leak")
    assert any(all(place.source in group for place in near.groups[0]) for group in groups)


def test_it_needs_no_script_no_file_and_no_network(page: str) -> None:
    elements = Elements(page).found
    assert [tag for tag, _ in elements if tag in ("script", "iframe", "object", "form", "img")] == []
    policy = next(a["content"] or "" for _, a in elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "script" not in policy
    assert not re.search(r"url\((?!data:)|@import", page)
    assert all((a.get("href") or "#").startswith(("#", "data:")) for _, a in elements)


def test_hostile_names_change_nothing_but_words() -> None:
    hostile = render(Subject(*faulty(HOSTILE[:4]), name='"><script>x</script>'))
    plain = render(Subject(*faulty(), name="pets"))
    tags = [[tag for tag, _ in Elements(text).found] for text in (hostile, plain)]
    assert tags[0] == tags[1]


def test_sound_pictures_give_a_page_that_says_so(tmp_path: Path) -> None:
    splits = splits_of(tensor_of(photographs(400, seed=3)))
    path = write_check(audit(splits), splits, tmp_path / "check.html")
    text = path.read_text(encoding="utf-8")
    assert "wrong was found" in text
    assert [a["id"] for a in Elements(text).of_class("part")] == ["classes", "light"]


def test_a_page_of_many_findings_stays_small_and_says_how_many_it_left_out() -> None:
    images = tensor_of(photographs(100, seed=8))
    train = dataset_of(images, "train")
    splits = Splits(
        train, train.subset(torch.arange(0)), replace(train, sources=[f"t/{n}" for n in range(100)])
    )
    text = render(Subject(audit(splits), splits, "twice"))
    assert f"The first {MAX_GROUPS} of 100" in text
    assert len(text) < 5_000_000

"""Checking pictures tells what is wrong before training, and never writes into the data."""

import json
import re
from pathlib import Path

import pytest

from pellucid.data.dataset import Splits
from tests.toys import Call, toy_dataset, write_picture


def test_check_tells_what_there_is_before_training(call: Call) -> None:
    code, out, _ = call("check", "digits")
    assert code == 0
    assert "10 classes" in out
    assert len(re.findall(r"^  \d +\d+ +\d+ +\d+$", out, re.MULTILINE)) == 10
    assert "Test pictures that are also in training or validation: none." in out
    assert out.splitlines()[-2:] == ["Nothing found that is wrong.", "Page: check-digits.html"]
    assert Path("check-digits.html").is_file()


def test_check_ends_with_3_when_what_fail_on_names_is_found(call: Call, leaky: Splits) -> None:
    code, out, err = call("check", "toys", "--fail-on", "unreadable,leak", "--no-page")
    assert (code, err) == (3, "pellucid: 'toys' has what --fail-on names: leak (3).\n")
    assert "error: 3 test pictures are also in training or validation, pixel for pixel" in out
    assert call("check", "toys", "--fail-on", "unreadable,blank", "--no-page")[0] == 0
    assert list(Path().iterdir()) == []
    code, out, err = call("check", "toys", "--fail-on", "leek")
    assert (code, out) == (2, "")
    assert "--fail-on does not know 'leek'. Did you mean 'leak'?" in err


def test_check_in_json_names_every_picture(call: Call, leaky: Splits) -> None:
    code, out, _ = call("check", "toys", "--json", "--out", "page.html", "--fail-on", "leak")
    facts = json.loads(out)
    assert code == 3
    assert facts["test_pictures_seen_in_training"] == 3
    assert facts["repeated"] == {"train": 0, "validation": 0, "test": 0}
    assert facts["path"] == "page.html"
    leak = facts["findings"][0]
    assert (leak["kind"], leak["severity"], leak["count"]) == ("leak", "error", 3)
    sources = {picture["source"] for group in leak["groups"] for picture in group["pictures"]}
    assert sources == {*leaky.train.sources[:3], *leaky.test.sources[:3]}


def test_check_never_writes_into_the_data(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = toy_dataset(80)
    for number, (image, label) in enumerate(zip(pictures.images, pictures.labels.tolist(), strict=True)):
        folder = Path("pets") / pictures.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        write_picture(folder / f"{number}.png", image)
    before = sorted(Path().rglob("*"))
    code, _, err = call("check", "pets", "--out", "pets/page.html")
    assert (code, "which is never written" in err) == (2, True)
    monkeypatch.chdir("pets")
    code, out, err = call("check", ".")
    assert (code, err) == (0, "")
    assert "No page: this is the data's own folder" in out
    monkeypatch.chdir("..")
    assert sorted(Path().rglob("*")) == before

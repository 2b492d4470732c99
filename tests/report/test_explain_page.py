"""`explain`: what a reader gets in the terminal, as JSON, as a page, as a PNG."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pellucid.data.dataset import Splits
from pellucid.explanation.counterfactual import counterfactuals
from pellucid.explanation.explanation import explain
from pellucid.plots import images
from pellucid.report.explain_page import Explained, facts, lines
from pellucid.report.explain_page import page as explained_page
from tests.report.asking import Ran, classifiers


def test_one_page_holds_several_pictures_with_all_that_was_asked(place: Path, ran: Ran) -> None:
    words = ("one", "0.png", "1.png", "--change", "--neighbours", "3", "--out", "both.html")
    done = ran("explain", *words)
    assert done.returncode == 0, done.stderr
    made = (place / "both.html").read_text()
    assert made.count('<section class="part">') == 2
    assert made.count("What would change it") == 2
    assert made.count('alt="Training picture of') == 6
    assert "default-src 'none'" in made
    assert "<script" not in made
    for words_ in (
        "0.png: answers",
        "Evidence by gradient x activation",
        "pixels changed",
        "Written: both.html",
    ):
        assert words_ in done.stdout


def test_a_format_is_known_by_its_name_or_by_the_end_of_the_file(place: Path, ran: Ran) -> None:
    done = ran("explain", "one", "0.png", "1.png", "--format", "json", "--method", "occlusion")
    assert done.returncode == 0, done.stderr
    told = json.loads((place / "explained.json").read_text())
    assert [one["source"] for one in told] == ["0.png", "1.png"]
    assert all(len(one["evidence"]["occlusion"]) == 8 for one in told)
    ran("explain", "one", "0.png", "--change")
    assert (place / "0-explained.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["0.png", "1.png", "--out", "x.png"], "names one PNG, but 2 pictures were given"),
        (["0.png", "--out", "0.png"], "is the picture itself"),
        (["0.png", "--format", "pdf"], "Unknown format 'pdf'"),
        (["0.png", "--layer", "conv9"], "Its layers: conv1, pool1, conv2"),
        (["0.png", "--method", "saliency"], "Unknown method 'saliency'"),
        (["none.png"], "none.png"),
    ],
)
def test_what_cannot_be_done_is_said_with_exit_2(ran: Ran, words: list[str], message: str) -> None:
    done = ran("explain", "one", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_one_bad_picture_does_not_keep_the_others_from_being_explained(place: Path, ran: Ran) -> None:
    (place / "bad.png").write_bytes(b"no picture")
    done = ran("explain", "one", "bad.png", "0.png", "--json", "--out", "x.html")
    assert done.returncode == 2
    assert "bad.png" in done.stderr
    assert json.loads(done.stdout)["source"] == "0.png"


def test_picture_and_map_are_equally_large_and_vain_searches_share_a_line(
    place: Path, digits: Splits
) -> None:
    network = classifiers(place)[0]
    image = digits.test.images[0]
    ways = counterfactuals(network, image)
    vain = tuple(replace(way, confirmed=way is ways[0]) for way in ways)
    one = Explained("0.png", explain(network, image), vain)
    sizes = re.findall(r'<img src="[^"]*" width="(\d+)" height="(\d+)"', explained_page([one]))
    assert sizes[0] == sizes[1] == ("224", "224")
    told = [line for line in lines(one) if " -> " in line]
    assert len(told) == 2
    names = told[1].partition(" -> ")[2].partition(": no change")[0].split(", ")
    assert sorted(names) == sorted(way.classes[way.target] for way in ways[1:])


def test_a_map_without_evidence_is_said_to_have_none_everywhere(place: Path, digits: Splits) -> None:
    dead = classifiers(place)[0]
    for weight in dead.network.parameters():
        nn.init.zeros_(weight)
    one = Explained("x", explain(dead, digits.test.images[0], 3))
    assert any("no evidence" in line for line in lines(one))
    assert '<div class="nothing">no evidence</div>' in explained_page([one])
    assert "no evidence" in facts(one)["captions"]["gradient x activation"]


def test_a_contrast_is_between_the_two_classes_named(ran: Ran) -> None:
    words = ("--target", "4", "--against", "9", "--json", "--out", "x.html")
    told = json.loads(ran("explain", "one", "0.png", *words).stdout)
    assert (told["target"], told["against"]) == ("4", "9")
    assert "difference of the scores" in told["captions"]["gradient x activation"]


def test_a_map_in_characters_keeps_its_sign() -> None:
    rows = images.text_map(torch.tensor([[1.0, 0.0], [-1.0, 0.5]]))
    assert rows == ["██··", "##▒▒"]
    assert images.text_map(torch.zeros(3, 3)) == ["no evidence"]
    assert len(images.text_map(torch.rand(100, 50))) == 28


def test_a_map_that_failed_its_tests_or_was_not_tested_says_so_everywhere(
    place: Path, digits: Splits
) -> None:
    method, network = "gradient x activation", classifiers(place)[0]
    explanation = explain(network, digits.test.images[0])
    untested, failed, passed = (
        Explained("0.png", explanation, verdicts=verdicts)
        for verdicts in ({}, {method: False}, {method: True})
    )
    for one, warning in (
        (untested, "Not tested on this network: run 'pellucid report'."),
        (failed, "Not to be believed: it failed its tests."),
    ):
        assert f"  {warning}" in lines(one)
        assert facts(one)["warnings"] == {method: warning}
        assert warning.replace("'", "&#39;") in explained_page([one])
    assert facts(failed)["supported"] == {method: False}
    assert facts(untested)["supported"] == {method: None}
    assert facts(passed)["warnings"] == {}
    assert 'class="doubt"' not in explained_page([passed])

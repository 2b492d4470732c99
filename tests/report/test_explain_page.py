"""`explain`: what a reader gets in the terminal, as JSON, as a page, as a PNG."""

import re
from dataclasses import replace
from pathlib import Path

from torch import nn

from pellucid.data.dataset import Splits
from pellucid.explanation.counterfactual import counterfactuals
from pellucid.explanation.explanation import explain
from pellucid.report.explain_page import Explained, facts, lines
from pellucid.report.explain_page import page as explained_page
from pellucid.runs.verdicts import Verdict
from tests.asking import classifiers


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


def test_a_map_that_failed_its_tests_or_was_not_tested_says_so_everywhere(
    place: Path, digits: Splits
) -> None:
    method, network = "gradient x activation", classifiers(place)[0]
    explanation = explain(network, digits.test.images[0])
    untested, failed, passed = (
        Explained("0.png", explanation, verdicts=verdicts)
        for verdicts in ({}, {method: Verdict("failed", 0.0)}, {method: Verdict("passed", 0.5)})
    )
    for one, warning in (
        (untested, "Not tested on this network: run 'pellucid report'."),
        (failed, "Not to be believed: no kind of map passed its tests on this network."),
    ):
        assert f"  {warning}" in lines(one)
        assert facts(one)["warnings"] == {method: warning}
        assert warning.replace("'", "&#39;") in explained_page([one])
    assert facts(failed)["outcomes"] == {method: "failed"}
    assert facts(untested)["outcomes"] == {method: "untested"}
    assert facts(passed)["warnings"] == {}
    assert 'class="doubt"' not in explained_page([passed])

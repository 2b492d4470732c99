"""A run keeps how its evidence maps fared, and what is shown by default follows from that."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.faithfulness import Faithfulness, Lead, MapTest
from pellucid.explanation.outcomes import Outcome
from pellucid.language import use_language
from pellucid.runs.verdicts import (
    Verdict,
    none_passed,
    passed,
    read_verdicts,
    remark,
    shown_method,
    write_verdicts,
)

USUAL = "gradient x activation"


def verdicts(**scores: float) -> dict[str, Verdict]:
    """Every method's verdict: of those given, the score of one that passed; the others failed."""
    return {
        name: Verdict(
            "passed" if name.replace(" ", "_") in scores else "failed",
            scores.get(name.replace(" ", "_"), 0.9),
        )
        for name in EXPLAINERS
    }


def result(name: str, outcome: Outcome) -> MapTest:
    leads = (Lead("edges", 0.2, 0.1, 0.3),)
    return MapTest(name, 0.1, -0.2, 1.0, 0.3, 0.75, leads, None, outcome, f"{name}: so", 128)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "model.json").write_text(json.dumps({"sha256": "these"}))
    return tmp_path


def test_verdicts_are_read_as_written_until_the_weights_change(run: Path) -> None:
    assert read_verdicts(run) == {}
    tests = (result("occlusion", "passed"), result(USUAL, "failed"), result("grad-cam", "undecided"))
    write_verdicts(run, Faithfulness(8, 20, 0.9, 0.3, tests))
    assert read_verdicts(run) == {
        "occlusion": Verdict("passed", 0.45),
        USUAL: Verdict("failed", 0.45),
        "grad-cam": Verdict("undecided", 0.45),
    }
    written = json.loads((run / "faithfulness.json").read_text())
    method = written["methods"]["occlusion"]
    for change in (
        {"outcome": "perhaps"},
        {"outcome": True},
        {"insertion": 7},
        {"deletion": -0.5},
        {"pictures": "many"},
        {"other": 1},
    ):
        methods = {**written["methods"], "occlusion": {**method, **change}}
        (run / "faithfulness.json").write_text(json.dumps({**written, "methods": methods}))
        assert read_verdicts(run) == {}, change
    for change in ({"accuracy": 7}, {"checked": -1}, {"weights": None}, {"methods": []}, {"other": 1}):
        (run / "faithfulness.json").write_text(json.dumps({**written, **change}))
        assert read_verdicts(run) == {}, change
    (run / "faithfulness.json").write_text(json.dumps(written))
    assert len(read_verdicts(run)) == 3
    (run / "model.json").write_text(json.dumps({"sha256": "others"}))
    assert read_verdicts(run) == {}
    for damaged in ("[1]", "{", '{"weights": "others", "methods": {"occlusion": {"outcome": "passed"}}}'):
        (run / "faithfulness.json").write_text(damaged)
        assert read_verdicts(run) == {}, damaged


def test_an_outcome_that_is_none_and_a_figure_that_is_no_number_are_read_as_they_are(run: Path) -> None:
    odd = replace(result(USUAL, "failed"), insertion=math.nan)
    write_verdicts(run, Faithfulness(8, 20, 0.9, 0.3, (odd,)))
    found = read_verdicts(run)[USUAL]
    assert found.outcome == "failed"
    assert math.isnan(found.score)
    text = (run / "faithfulness.json").read_text().replace('"failed"', '"maybe"')
    (run / "faithfulness.json").write_text(text)
    assert read_verdicts(run) == {}


def test_the_first_method_that_passed_is_shown_and_none_where_none_did() -> None:
    assert shown_method({}) == USUAL
    assert shown_method(verdicts(gradient_x_activation=0.2, occlusion=0.5)) == USUAL
    others = verdicts(occlusion=0.3, smoothgrad=0.5)
    assert passed(others) == ["smoothgrad", "occlusion"]
    assert shown_method(others) == "smoothgrad"
    assert shown_method(verdicts()) is None
    assert none_passed(verdicts()) == "No map is shown: no kind of map passed its tests on this network."
    doubtful = {**verdicts(), "grad-cam": Verdict("undecided", 0.3)}
    assert shown_method(doubtful) is None
    assert none_passed(doubtful).endswith("on this network. Undecided: grad-cam.")


def test_a_map_tells_how_its_method_fared() -> None:
    others = verdicts(occlusion=0.3, smoothgrad=0.5)
    assert remark(USUAL, {}) == "Not tested on this network: run 'pellucid report'."
    assert remark(USUAL, verdicts()) == (
        "Not to be believed: no kind of map passed its tests on this network."
    )
    doubtful = {**others, USUAL: Verdict("undecided", 0.3)}
    assert remark(USUAL, doubtful) == (
        "Not to be relied on: its tests on this network are undecided. Passed: smoothgrad, occlusion."
    )
    assert remark("smoothgrad", doubtful) == (
        "It passed its tests on this network; those of gradient x activation, the usual kind, are undecided."
    )
    assert remark(USUAL, others) == (
        "Not to be believed: it failed its tests on this network. Passed: smoothgrad, occlusion."
    )
    assert remark("smoothgrad", others) == (
        "It passed its tests on this network; gradient x activation, the usual kind, failed."
    )
    assert remark(USUAL, verdicts(gradient_x_activation=0.2)) == "It passed its tests on this network."
    with use_language("ko"):
        assert remark("smoothgrad", others) == (
            "이 신경망에서 검사를 통과했습니다. 보통 쓰는 그래디언트 × 활성값은 통과하지 못했습니다."
        )

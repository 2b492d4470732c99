"""How the kinds of evidence map fared in their tests on a run's network: kept in the run's folder, and which
kind is therefore shown where none is asked for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pellucid.classifier import MANIFEST
from pellucid.errors import PellucidError
from pellucid.explanation.explanation import DEFAULT_METHODS
from pellucid.explanation.faithfulness import Faithfulness
from pellucid.explanation.outcomes import Outcome
from pellucid.files import read_json, read_object, write_json
from pellucid.language import translate
from pellucid.records import Count, Difference, Share, record_from

FAITHFULNESS = "faithfulness.json"


@dataclass(frozen=True)
class Verdict:
    """How one method fared: whether it passed, and its insertion less its deletion, -1..1: high is good."""

    outcome: Outcome
    score: float


Verdicts = Mapping[str, Verdict]  # by method; empty where none was tested


@dataclass(frozen=True)
class _MethodFacts:
    """What faithfulness.json has of one method; of figures that were no numbers it has null."""

    outcome: Outcome
    rank_correlation: Difference | None
    class_correlation: Difference | None
    sign_correlation: Difference | None
    deletion: Share | None
    insertion: Share | None
    leads: Mapping[str, float | None]
    pictures: Count

    @property
    def score(self) -> float:
        """Insertion less deletion; nan where one of them was no number."""
        if self.insertion is None or self.deletion is None:
            return math.nan
        return self.insertion - self.deletion


@dataclass(frozen=True)
class _Facts:
    """All of faithfulness.json."""

    weights: str
    pictures: Count
    checked: Count
    accuracy: Share
    chance: Share
    methods: Mapping[str, _MethodFacts]


def write_verdicts(folder: Path, faithfulness: Faithfulness) -> None:
    """Write every method's test results and the SHA-256 of the weights to a run's faithfulness.json."""
    methods = {
        test.method: {
            "outcome": test.outcome,
            "rank_correlation": test.correlation,
            "class_correlation": test.class_correlation,
            "sign_correlation": test.sign_correlation,
            "deletion": test.deletion,
            "insertion": test.insertion,
            "leads": {lead.rival: lead.mean for lead in test.leads},
            "pictures": test.pictures,
        }
        for test in faithfulness.tests
    }
    facts = {
        "weights": read_json(folder / MANIFEST).get("sha256"),
        "pictures": faithfulness.pictures,
        "checked": faithfulness.checked,
        "accuracy": faithfulness.accuracy,
        "chance": faithfulness.chance,
        "methods": methods,
    }
    write_json(folder / FAITHFULNESS, facts)


def read_verdicts(folder: Path) -> dict[str, Verdict]:
    """How each method fared on the weights in `folder`; empty where none was tested.

    A file that is missing, damaged or of other weights counts as none: the maps are then called not tested.
    """
    if not (folder / FAITHFULNESS).is_file():
        return {}
    try:
        facts = record_from(_Facts, read_json(folder / FAITHFULNESS))
        if facts.weights != read_object(folder / MANIFEST).get("sha256"):
            return {}
    except (PellucidError, ValueError):
        return {}
    return {name: Verdict(each.outcome, each.score) for name, each in facts.methods.items()}


def passed(verdicts: Verdicts) -> list[str]:
    """The methods that passed, the best first."""
    found = [name for name, verdict in verdicts.items() if verdict.outcome == "passed"]
    return sorted(found, key=lambda name: -verdicts[name].score)


def shown_method(verdicts: Verdicts) -> str | None:
    """The method whose maps are shown where none is asked for; None where all were tested and none passed.

    The usual one, DEFAULT_METHODS[0], where it passed or nothing was tested; else the best of those that
    passed. `remark` says which of these it is.
    """
    usual, best = DEFAULT_METHODS[0], passed(verdicts)
    if not verdicts or usual in best:
        return usual
    return best[0] if best else None


def remark(method: str, verdicts: Verdicts) -> str:
    """What a reader of a map by `method` must know of its tests, in the reader's language."""
    if method not in verdicts:
        return translate("Not tested on this network: run 'pellucid report'.")
    best, usual = passed(verdicts), DEFAULT_METHODS[0]
    if method not in best:
        undecided = verdicts[method].outcome == "undecided"
        if not best:
            return translate(
                "Not to be relied on: its tests on this network are undecided, and no kind of map passed."
                if undecided
                else "Not to be believed: no kind of map passed its tests on this network."
            )
        return translate(
            "Not to be relied on: its tests on this network are undecided. Passed: %(names)s."
            if undecided
            else "Not to be believed: it failed its tests on this network. Passed: %(names)s.",
            names=", ".join(translate(name) for name in best),
        )
    if usual in verdicts and usual not in best:
        return translate(
            "It passed its tests on this network; %(method)s, the usual kind, failed."
            if verdicts[usual].outcome == "failed"
            else "It passed its tests on this network; those of %(method)s, the usual kind, are undecided.",
            method=translate(usual),
        )
    return translate("It passed its tests on this network.")


def none_passed(verdicts: Verdicts) -> str:
    """What is said in place of a map where methods were tested and none passed, in the reader's language."""
    undecided = [translate(name) for name, verdict in verdicts.items() if verdict.outcome == "undecided"]
    said = translate("No map is shown: no kind of map passed its tests on this network.")
    if undecided:
        said = f"{said} {translate('Undecided: %(names)s.', names=', '.join(undecided))}"
    return said

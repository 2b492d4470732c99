"""How the kinds of evidence map fared in their tests on a run's network: kept in the run's folder, and which
kind is therefore shown where none is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pellucid.classifier import MANIFEST
from pellucid.errors import PellucidError
from pellucid.explanation.explanation import DEFAULT_METHODS
from pellucid.explanation.faithfulness import Faithfulness
from pellucid.files import read_json, read_object, write_json
from pellucid.language import translate
from pellucid.records import Count, Difference, Share, record_from

FAITHFULNESS = "faithfulness.json"


@dataclass(frozen=True)
class Verdict:
    """How one method fared: whether it passed, and its insertion less its deletion, -1..1: high is good."""

    supported: bool
    score: float


Verdicts = Mapping[str, Verdict]  # by method; empty where none was tested


@dataclass(frozen=True)
class _MethodFacts:
    """What faithfulness.json has of one method."""

    supported: bool
    rank_correlation: Difference | None
    deletion: Share
    insertion: Share
    leads: Mapping[str, float | None]
    pictures: Count


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
            "supported": test.supported,
            "rank_correlation": test.correlation,
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
    return {
        name: Verdict(each.supported, each.insertion - each.deletion) for name, each in facts.methods.items()
    }


def passed(verdicts: Verdicts) -> list[str]:
    """The methods that passed, the best first."""
    found = [name for name, verdict in verdicts.items() if verdict.supported]
    return sorted(found, key=lambda name: -verdicts[name].score)


def preferred_method(verdicts: Verdicts) -> str:
    """The method whose maps are shown where none is asked for.

    The usual one, DEFAULT_METHODS[0], where it passed, where nothing was tested and where nothing passed;
    else the best of those that passed. `remark` says which of these it is.
    """
    usual, best = DEFAULT_METHODS[0], passed(verdicts)
    return best[0] if best and usual not in best else usual


def remark(method: str, verdicts: Verdicts) -> str:
    """What a reader of a map by `method` must know of its tests, in the reader's language."""
    if method not in verdicts:
        return translate("Not tested on this network: run 'pellucid report'.")
    best, usual = passed(verdicts), DEFAULT_METHODS[0]
    if not best:
        return translate("Not to be believed: no kind of map passed its tests on this network.")
    if method not in best:
        return translate(
            "Not to be believed: it failed its tests on this network. Passed: %(names)s.",
            names=", ".join(translate(name) for name in best),
        )
    if usual in verdicts and usual not in best:
        return translate(
            "It passed its tests on this network; %(method)s, the usual kind, failed.",
            method=translate(usual),
        )
    return translate("It passed its tests on this network.")

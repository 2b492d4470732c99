"""evaluation.json is read strictly: no key, kind or number that `save` could not have written is believed."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.evaluation import EVALUATION
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.facts import read_facts, read_facts_if_sound
from pellucid.evaluation.multi_label import MultiLabelEvaluation
from pellucid.files import read_json
from pellucid.language import lazy_gettext
from pellucid.task import SeveralLabels

CLASSES = ("cat", "dog", "owl")
GRAVE = r"evaluation\.json' is damaged: .* Lost is the result on the test pictures\. .*evaluate .*--again"
ADDED: dict[str, Any] = {
    "slices": {
        "verdict": "", "remark": "", "count": 60, "too_few": ["ink"],
        "slices": [
            {"measure": "folder", "value": "night", "count": 20, "correct": 15, "accuracy": 0.75,
             "interval": [0.53, 0.89], "rest": 0.5, "p_value": 0.2, "weak": False},
            {"measure": "brightness", "value": [1.5, 9.0], "count": 20, "correct": 10, "accuracy": 0.5,
             "interval": None, "rest": 0.5, "p_value": 1.0, "weak": False},
        ],
    },
    "stress": {
        "verdict": "", "remark": "", "count": 40, "available": 60,
        "undamaged": {"accuracy": 0.5, "interval": [0.35, 0.65]},
        "curves": {
            "noise": [{"strength": 5.0, "correct": 10, "accuracy": 0.25, "interval": [0.14, 0.4],
                       "p_value": 0.01, "lower": True}],
        },
    },
    "shortcuts": {
        "verdict": "", "remark": "", "count": 40, "learned": 100,
        "network": {"accuracy": 0.5, "interval": None}, "chance": {"accuracy": 0.35, "interval": None},
        "cues": {"colour": {"correct": 20, "accuracy": 0.5, "interval": None, "suspicious": False}},
        "only": {"border": {"count": 40, "correct": 10, "accuracy": 0.25, "interval": None}},
        "left_out": {"files": "the pictures are not files of their own"},
    },
}  # fmt: skip
BASIS: dict[str, Any] = {
    "weights": "a" * 64, "fingerprint": "b" * 64, "leaking": ["3"], "network_number": 2,
    "near_leaking": [{"source": "4", "copy": "9", "split": "train", "distance": 0.01}],
    "unsearched": lazy_gettext("%(count)s pictures.", count=3).to_json(), "test_excluded": 0,
    "test_relabelled": 1,
}  # fmt: skip


def of_one_class(folds: bool = True) -> Evaluation:
    """60 pictures of three classes, some of them predicted wrongly."""
    draws = torch.Generator().manual_seed(3)
    labels = torch.arange(60) % 3
    scores = torch.randn(60, 3, generator=draws) + 1.5 * torch.nn.functional.one_hot(labels, 3)
    numbers = torch.arange(60) // 20 if folds else None
    return Evaluation(scores.softmax(dim=1), labels, CLASSES, [str(n) for n in range(60)], numbers)


def of_several_labels() -> MultiLabelEvaluation:
    """60 pictures with up to three labels."""
    draws = torch.Generator().manual_seed(4)
    labels = torch.rand(60, 3, generator=draws) > 0.5
    given = (labels.float() * 0.3 + torch.rand(60, 3, generator=draws) * 0.6).clamp(0.01, 0.99)
    sources = [str(n) for n in range(60)]
    return MultiLabelEvaluation(given, labels, CLASSES, sources, SeveralLabels((0.5, 0.5, 0.5)))


def saved(folder: Path, kind: str) -> dict[str, Any]:
    """What is written of one of them, the sections of a report with it."""
    evaluation = of_one_class() if kind == "one class" else of_several_labels()
    clean = evaluation.without(["3", "4"])
    assert clean is not None
    names = ("verdict", "count", "correct", "accuracy", "interval")
    added = {**ADDED, "causes": {
        "examined": 3, "mistakes": 5, "twin": 1, "label": 1, "border": 0, "unlike": 0, "shift": 0, "plain": 1,
    }}  # fmt: skip
    evaluation.save(folder, **BASIS, **added, clean={name: clean.to_json()[name] for name in names})
    facts: dict[str, Any] = read_json(folder / EVALUATION)
    return facts


KINDS = pytest.mark.parametrize("kind", ["one class", "several labels"])


@KINDS
def test_what_was_saved_is_read(tmp_path: Path, kind: str) -> None:
    facts = saved(tmp_path, kind)
    found = read_facts(tmp_path)
    assert (found.count, found.correct, found.classes) == (60, facts["correct"], CLASSES)
    assert found.near_leaking[0].distance == 0.01
    assert str(found.unsearched_message) == "3 pictures."
    assert found.stress is not None
    assert found.stress.curves["noise"][0].lower


def test_an_evaluation_that_was_only_made_is_read(tmp_path: Path) -> None:
    bare = {**BASIS, "near_leaking": [], "leaking": [], "unsearched": None, "network_number": None}
    for name in ("test_excluded", "test_relabelled"):
        del bare[name]
    of_one_class(folds=False).save(tmp_path, **bare, clean=None)
    found = read_facts(tmp_path)
    assert found.slices is found.stress is found.shortcuts is found.causes is found.test_excluded is None


Place = tuple[str | int, ...]


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Every key, and of every list its first item, at any depth."""
    items = value.items() if isinstance(value, dict) else list(enumerate(value[:1]))
    for key, item in items:
        yield (*place, key)
        if isinstance(item, dict | list):
            yield from places(item, (*place, key))


def at(facts: Any, place: Place) -> Any:
    for key in place:
        facts = facts[key]
    return facts


WRONG: dict[type, list[Any]] = {
    int: [-1, 1.5, "1", None, True, [1], {}, 2**60],
    float: [-1.5, "0.5", None, True, [0.5], {}],
    str: [3, None, True, ["x"], {"x": "y"}],
    bool: [0, 1, None, "true", []],
    list: [3, None, {}, "x", True, [None], [{}]],
    dict: [3, None, [], "x", True, {"other": 1}],
    type(None): [3, "x", [], True, {}],
}
MAY_BE_NULL = {
    "interval", "clean", "unsearched", "groups", "network_number", "slices", "stress", "shortcuts", "causes",
    "folds", "average_precision", "test_excluded", "test_relabelled",
}  # fmt: skip
ABSENT = {"slices", "stress", "shortcuts", "causes", "folds", "test_excluded", "test_relabelled"}
FREE = {"strength", "value"}  # of any size
MANY = {"network_number", "available", "learned", "missed", "mistaken", "test_excluded", "test_relabelled"}


def may_be(place: Place, value: Any) -> bool:
    """Whether a sound file may have that value there."""
    name = str(place[-1])
    return (
        (value is None and place[0] != "scores" and (name in MAY_BE_NULL or name.endswith("interval")))
        or (value is None and name == "interval")
        or ("values" in place and place[0] == "unsearched" and place[-1] != "values")
        or (name in FREE and value in (-1.5, "x"))
        or (value == 2**60 and name in MANY)
    )


SEVERAL_ALONE = ("hamming_loss", "mean_average_precision", "micro_f1", "per_label", "together")


@KINDS
def test_every_key_of_another_kind_or_size_is_refused(tmp_path: Path, kind: str) -> None:
    """Each key in turn, replaced by several values; of several labels those that no other file has."""
    facts, path, believed = saved(tmp_path, kind), tmp_path / EVALUATION, []
    for place in places(facts):
        if kind == "several labels" and not str(place[0]).startswith(SEVERAL_ALONE):
            continue
        sound, name = at(facts, place), place[-1]
        changed = deepcopy(facts)
        inside = at(changed, place[:-1])
        for value in WRONG[type(sound)]:
            inside[name] = value
            path.write_text(json.dumps(changed))
            if read_facts_if_sound(tmp_path) is not None and not may_be(place, value):
                believed.append((place, value))
        inside[name] = sound
    assert believed == []


OPEN = {
    ("scores",),
    ("stress", "curves"),
    ("shortcuts", "cues"),
    ("shortcuts", "only"),
    ("shortcuts", "left_out"),
}


@KINDS
def test_a_key_that_is_missing_or_not_known_is_refused_with_what_to_do(tmp_path: Path, kind: str) -> None:
    facts, path = saved(tmp_path, kind), tmp_path / EVALUATION
    for place in places(facts):
        name, outer = place[-1], place[:-1]
        several = kind == "several labels" and not str(place[0]).startswith(SEVERAL_ALONE)
        if isinstance(name, int) or "values" in outer or several:
            continue
        changed = deepcopy(facts)
        inside = at(changed, outer)
        value = inside.pop(name)
        if not (outer == () and name in ABSENT) and outer not in OPEN:
            path.write_text(json.dumps(changed))
            with pytest.raises(PellucidError, match=GRAVE):
                read_facts(tmp_path)
        if outer not in OPEN - {("scores",)} and name != "values":
            inside[f"{name}_"] = value
            path.write_text(json.dumps(changed))
            with pytest.raises(PellucidError, match=GRAVE):
                read_facts(tmp_path)
        inside.pop(f"{name}_", None)


def more(*place: str | int) -> Callable[[dict[str, Any]], None]:
    """One more of that count."""

    def change(facts: dict[str, Any]) -> None:
        at(facts, place[:-1])[place[-1]] += 1

    return change


def put(value: Any, *place: str | int) -> Callable[[dict[str, Any]], None]:
    """That value there."""

    def change(facts: dict[str, Any]) -> None:
        at(facts, place[:-1])[place[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(7.0, "accuracy"), "'accuracy' is 7.0"),
        (put(0.5, "accuracy"), "'accuracy' is 0.5, but"),
        (put(61, "correct"), "'correct' is 61 of 60"),
        (more("correct"), "'accuracy' is"),
        (more("count"), "'accuracy' is"),
        (put(-3, "count"), "'count' is -3"),
        (put([0.9, 0.1], "interval"), r"'interval' is \(0.9, 0.1\)|'interval' is \[0.9, 0.1\]"),
        (put([0.98, 0.99], "interval"), "'interval' does not hold the accuracy"),
        (put([0.1, 1.2], "interval"), "'interval' is 1.2"),
        (put(61, "groups"), "'groups' is 61 of 60"),
        (put(20, "groups"), "'groups' is 20, 'calibration.groups' None"),
        (put(2, "folds", 0, "fold"), "'folds' add up to"),
        (put(61, "slices", "count"), "'slices.count' is 61 of 60"),
        (put(0.1, "macro_f1"), "'macro_f1' is 0.1, 'scores.macro_f1'"),
        (put(0.1, "loss"), "'loss' is 0.1, 'scores.loss'"),
        (put(7.0, "scores", "macro_f1", "value"), "'scores.macro_f1'"),
        (more("calibration", "count"), "'calibration.count' is 61; expected 60"),
        (put(2.0, "calibration", "error_limit"), "'calibration.error_limit' is 2.0"),
        (put(61, "clean", "count"), "'clean"),
        (more("clean", "correct"), "'clean.accuracy'"),
        (more("confusion", 0, 1), "'confusion' does not have"),
        (more("per_class", 0, "support"), "'confusion' does not have the counts of 'per_class'"),
        (more("per_class", 2, "predicted"), "'confusion' does not have the counts of 'per_class'"),
        (put("cow", "per_class", 0, "name"), "not of 'classes'"),
        (put(["cat", "cat", "owl"], "classes"), "'classes' are fewer than two, or not distinct"),
        (more("confusions", 0, "count"), "are not those of 'confusion'"),
        (put([{"label": "cat", "prediction": "cow", "count": 1}], "most_confused"), "are not those of"),
        (more("folds", 0, "count"), "'folds' add up to"),
        (put(1.5, "per_class", 0, "recall"), "'per_class.recall' is 1.5"),
        (put("b", "weights"), "'weights' is 'b'"),
        (put("yesterday", "near_leaking", 0, "split"), "'near_leaking.split' is 'yesterday'"),
        (put(5.0, "near_leaking", 0, "distance"), "'near_leaking.distance' is 5.0"),
        (put("%(other)s pictures.", "unsearched", "sentence"), "Expected a sentence with its values"),
        (put(0, "network_number"), "'network_number' is 0"),
        (put(2, "format"), "it has format 2; this pellucid reads format 1"),
        (more("slices", "slices", 0, "correct"), "'slices.accuracy'"),
        (put(1.5, "slices", "slices", 0, "p_value"), "'slices.slices.p_value' is 1.5"),
        (put(30, "stress", "available"), "'stress.count' is 40 of 30"),
        (more("stress", "curves", "noise", 0, "correct"), "'stress.curves.noise.accuracy'"),
        (more("shortcuts", "cues", "colour", "correct"), "'shortcuts.cues.accuracy'"),
        (more("shortcuts", "only", "border", "correct"), "'shortcuts.only.accuracy'"),
        (more("causes", "twin"), "'causes' has 4 of 3 examined"),
        (put(2, "causes", "mistakes"), "'causes' has 3 of 3 examined, of 2 mistakes"),
    ],
)  # fmt: skip
def test_numbers_out_of_bounds_or_that_do_not_add_up_are_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    facts = saved(tmp_path, "one class")
    change(facts)
    (tmp_path / EVALUATION).write_text(json.dumps(facts))
    with pytest.raises(PellucidError, match=GRAVE) as caught:
        read_facts(tmp_path)
    assert caught.match(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (more("together", 0, 0), "'together' does not have the counts of 'per_label'"),
        (more("calibration", "count"), "'calibration.count' is 181; expected 180"),
        (put(0.9, "hamming_loss"), "'hamming_loss' is 0.9, 'scores.hamming_loss'"),
        (put(1.1, "mean_average_precision"), "'mean_average_precision' is 1.1"),
        (put(-1, "per_label", 0, "missed"), "'per_label.missed' is -1"),
    ],
)
def test_so_are_those_of_several_labels(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    facts = saved(tmp_path, "several labels")
    change(facts)
    (tmp_path / EVALUATION).write_text(json.dumps(facts))
    with pytest.raises(PellucidError, match=message):
        read_facts(tmp_path)


@pytest.mark.parametrize("text", ["NaN", "1e999", "Infinity", '0.5, "count": 60'])
def test_numbers_that_are_none_and_keys_that_come_twice_are_no_json_of_ours(
    tmp_path: Path, text: str
) -> None:
    saved(tmp_path, "one class")
    content = (tmp_path / EVALUATION).read_text()
    start = content.index('"accuracy": ') + len('"accuracy": ')
    end = content.index(",", start)
    (tmp_path / EVALUATION).write_text(content[:start] + text + content[end:])
    with pytest.raises(PellucidError, match=r"evaluation\.json' cannot be read as JSON"):
        read_facts(tmp_path)
    assert read_facts_if_sound(tmp_path) is None

"""The section on mistakes: what was confused with what, each beside its picture."""

import math
from typing import Any

import torch

from pellucid.evaluation.evaluation import Evaluation
from pellucid.formatting import times
from pellucid.language import translate
from pellucid.report.context import A_PAIR, MATRIX, Material, shown, tile

SOURCES_BUDGET = 300_000  # bytes of the mistakes' sources, at most
WORST = 200  # mistakes shown one by one
PAIRS = 200  # confusions that open


def mistakes(material: Material) -> dict[str, Any]:
    """What was confused with what: the matrix, its pictures, every mistake, and the scores by class."""
    evaluation = material.evaluation
    worst = evaluation.mistakes.tolist()
    pairs = _pairs(material)
    return {
        **shown(material),
        "wrong": len(worst),
        "count": evaluation.count,
        "confusions": evaluation.confusions,
        "classes": evaluation.classes,
        "matrix": _matrix(material, {pair["id"] for pair in pairs}),
        "pairs": pairs,
        "tiles": [tile(material, index) for index in worst[:WORST] if index in material.album.places],
        "listed": _listed(material, worst),
        "scores": evaluation.per_class,
        "scale": max(0.0, min(0.9, math.floor(_lowest(evaluation) * 20) / 20)),
        "macro_f1": evaluation.macro_f1,
        "remark": material.album.atlas.remark,
    }


def _pairs(material: Material) -> list[dict[str, Any]]:
    """The commonest confusions with their worst pictures, then each class with its hardest ones got right."""
    evaluation = material.evaluation
    number = {name: label for label, name in enumerate(evaluation.classes)}
    wrong: dict[tuple[int, int], list[int]] = {}
    for index in evaluation.mistakes.tolist():
        pair = int(evaluation.labels[index]), int(evaluation.predictions[index])
        wrong.setdefault(pair, []).append(index)
    keys = [(number[pair.true], number[pair.predicted]) for pair in evaluation.confusions[:PAIRS]]
    opened = [(key, wrong[key], len(wrong[key])) for key in keys]
    hits = evaluation.confusion.diagonal().tolist()
    opened += [((k, k), mine, hits[k]) for k, mine in sorted(material.right_by_class.items())]
    return [
        {
            "id": f"pair-{true}-{predicted}",
            "true": evaluation.classes[true],
            "predicted": evaluation.classes[predicted],
            "count": count,
            "right": true == predicted,
            "tiles": [tile(material, index) for index in indices[:A_PAIR] if index in material.album.places],
        }
        for (true, predicted), indices, count in opened
    ]


def _matrix(material: Material, opened: set[str]) -> list[list[dict[str, Any]]] | None:
    """Counts of true (row) by predicted class; None for more classes than can be read."""
    evaluation = material.evaluation
    classes = evaluation.classes
    if len(classes) > MATRIX:
        return None
    support = evaluation.confusion.sum(dim=1).clamp_min(1).tolist()
    return [
        [
            {
                "count": count,
                "shade": math.sqrt(count / support[true]),
                "id": f"pair-{true}-{predicted}" if f"pair-{true}-{predicted}" in opened else None,
                "diagonal": true == predicted,
                "says": _told(classes[true], classes[predicted], count),
            }
            for predicted, count in enumerate(row)
        ]
        for true, row in enumerate(evaluation.confusion.tolist())
    ]


def _told(true: str, predicted: str, count: int) -> str:
    if true == predicted:
        return translate("%(true)s recognised %(times)s", true=true, times=times(count))
    return translate(
        "%(true)s taken for %(predicted)s %(times)s", true=true, predicted=predicted, times=times(count)
    )


def _listed(material: Material, worst: list[int]) -> dict[str, Any]:
    """Every mistake that has a picture, for the page to sort and filter; sources as long as there is room."""
    evaluation, album = material.evaluation, material.album
    kept = torch.tensor([index for index in worst if index in album.places], dtype=torch.int64)
    labels = evaluation.labels[kept]
    indices = kept.tolist()
    sources, room = [], SOURCES_BUDGET
    for index in indices:
        room -= len(evaluation.sources[index].encode()) + 3
        sources.append(evaluation.sources[index] if room > 0 else "")
    return {
        "classes": evaluation.classes,
        "index": indices,
        "place": [album.places[index] for index in indices],
        "columns": album.atlas.columns,
        "true": labels.tolist(),
        "predicted": evaluation.predictions[kept].tolist(),
        "sure": [float(f"{value:.6g}") for value in evaluation.confidence[kept].tolist()],
        "given": [float(f"{value:.6g}") for value in evaluation.probabilities[kept, labels].tolist()],
        "source": sources,
    }


def _lowest(evaluation: Evaluation) -> float:
    shown = [score for score in evaluation.per_class if score.support]
    return min([1.0, *(min(score.precision, score.recall) for score in shown)])

"""Sections on what was measured: the data, the training, the answers, the mistakes, and how to repeat it."""

import math
import shlex
from typing import Any

import torch
from markupsafe import Markup

from pellucid import drawing
from pellucid.data.dataset import Dataset
from pellucid.data.reasons import told as told_reason
from pellucid.drawing import zoom
from pellucid.evaluation import Evaluation, times
from pellucid.files import read_json
from pellucid.language import retold, said
from pellucid.report.augmented import preview
from pellucid.report.material import A_PAIR, FIRST, MATRIX, Material, cell, shown, tile

SHEET_BUDGET = 500_000  # characters of the address that holds the contact sheet, at most
SOURCES_BUDGET = 300_000  # bytes of the mistakes' sources, at most
WORST = 200  # mistakes shown one by one
PAIRS = 200  # confusions that open
SAMPLES = 10  # pictures of each class on the contact sheet
SHEET_CLASSES = 100

FILES = (
    ("recipe.json", "every choice that decides the training"),
    ("environment.json", "versions, machine, threads, fingerprints, command"),
    ("split.csv", "every picture with its part and a hash of its pixels"),
    ("metrics.csv", "loss and accuracy by epoch"),
    ("health.csv", "each layer's gradient and update halfway through every epoch"),
    ("model.safetensors", "the weights of the best epoch"),
    ("moments.safetensors", "the weights along the way, 16 times at most"),
    ("model.json", "classes, preprocessing, the SHA-256 of the weights"),
    ("evaluation.json", "every figure of this page's verdict"),
    ("predictions.csv", "all probabilities of every test picture"),
)


def data(material: Material) -> dict[str, Any]:
    """What the pictures are, how many of each class, and some of each."""
    splits, run = material.splits, material.run
    train = splits.train
    most = max(1, *train.counts.values())
    chosen = {name: _spread(train, label) for label, name in enumerate(train.classes[:SHEET_CLASSES])}
    order = [index for indices in chosen.values() for index in indices]
    leaking = read_json(run.folder / "evaluation.json").get("leaking", [])
    atlas = drawing.fitted_atlas(train.images[order], budget=SHEET_BUDGET, side=64)
    place = {index: number for number, index in enumerate(order[: atlas.count])}
    rows = [
        {
            "name": name,
            "counts": [part.counts.get(name, 0) for _, part in splits.items()],
            "share": train.counts[name] / most,
            "pictures": [cell(atlas, place[index]) for index in chosen.get(name, []) if index in place],
        }
        for name in train.classes
    ]
    return {
        "atlases": {"sheet": atlas},
        "remark": atlas.remark,
        "zoom": zoom(atlas, 64),
        "small": zoom(atlas, 32),
        "name": run.data or said("pictures"),
        "parts": [(name, len(part)) for name, part in splits.items()],
        "height": train.size[0],
        "width": train.size[1],
        "kind": said("gray") if train.channels == 1 else said("colour"),
        "classes": len(train.classes),
        "rows": rows,
        "fewest": min(train.counts.items(), key=lambda item: item[1]),
        "most": max(train.counts.items(), key=lambda item: item[1]),
        "reading": _reading(run.environment.get("reading")),
        "leaking": len(leaking),
        "leaking_sources": leaking,
        "without": material.evaluation.without(leaking) if leaking else None,
        "fingerprints": {name: part.fingerprint for name, part in splits.items()},
        "first_sources": [train.sources[index] for index in order[:1]],
    }


def _reading(told: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a run wrote down of how its pictures were read, to be said in the language of the page.

    A run of before it wrote down sentences that can be said in another language has them in English.
    """
    if told is None:
        return None
    notes = [retold(one) for one in told.get("sayings", [])] or told["notes"]
    unreadable = [{**one, "reason": told_reason(one["reason"])} for one in told["unreadable"]]
    return {**told, "notes": notes, "unreadable": unreadable}


def training(material: Material) -> dict[str, Any]:
    """Loss and accuracy by epoch, and which epoch was kept."""
    history = material.run.history
    augmented = preview(material)
    charts = [
        drawing.line_chart(said("Loss by epoch, nats"), history, ("loss", "val_loss"), unit="nats"),
        drawing.line_chart(said("Accuracy by epoch"), history, ("accuracy", "val_accuracy"), unit="share"),
    ]
    return {
        "atlases": {"augmented": augmented["atlas"]} if augmented else {},
        "augmented": augmented,
        "best": material.run.best,
        "charts": [Markup(chart) for chart in charts] if history else [],
        "history": history,
        "seconds": history[-1].seconds if history else 0.0,
        "recipe": material.run.recipe,
        "weights": sum(weight.numel() for weight in material.run.classifier.network.parameters()),
        "pictures": len(material.splits.train),
    }


def predictions(material: Material) -> dict[str, Any]:
    """The first test pictures as they come."""
    tiles = [tile(material, index) for index in range(min(FIRST, material.evaluation.count))]
    return {
        **shown(material),
        "tiles": [tile for tile in tiles if tile["place"]],
        "right": sum(tile["right"] for tile in tiles),
    }


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


def sureness(material: Material) -> dict[str, Any]:
    """Whether it is right as often as it is sure."""
    evaluation = material.evaluation
    return {
        "chart": Markup(drawing.reliability_chart(evaluation.reliability)),
        "bins": evaluation.reliability,
        "error": evaluation.calibration_error,
        "mean": float(evaluation.confidence.mean()),
        "accuracy": evaluation.accuracy,
        "loss": evaluation.loss,
        "count": evaluation.count,
    }


def reproduce(material: Material) -> dict[str, Any]:
    """All that is needed to train this network again."""
    run = material.run
    facts = run.environment
    return {
        "command": f"pellucid train {shlex.quote(run.data)} --config recipe.json",
        "given": facts.get("command", ""),
        "begun": facts.get("begun", ""),
        "machine": facts.get("machine", {}),
        "versions": facts.get("versions", {}),
        "recipe": run.recipe.to_json(),
        "fingerprints": {name: part.fingerprint for name, part in material.splits.items()},
        "weights": read_json(run.folder / "model.json")["sha256"],
        "opened": read_json(run.folder / "evaluation.json").get("opened", 1),
        "files": [
            {"name": name, "says": said(says), "bytes": (run.folder / name).stat().st_size}
            for name, says in FILES
            if (run.folder / name).is_file()
        ],
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
        return said("%(true)s recognised %(times)s", true=true, times=times(count))
    return said(
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


def _spread(dataset: Dataset, label: int) -> list[int]:
    """Some pictures of a class, taken at even distances through the data set."""
    mine = torch.nonzero(dataset.labels == label)[:, 0]
    places = torch.linspace(0, max(0, len(mine) - 1), min(SAMPLES, len(mine))).round().long()
    chosen: list[int] = mine[places].tolist()
    return chosen

"""One HTML file that needs nothing else: the verdict, the data, the training, the mistakes, the layers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from pellucid import drawing
from pellucid.classifier import scaled
from pellucid.data.dataset import Dataset, Splits
from pellucid.evaluation import Confusion, Evaluation, digits, percent, times
from pellucid.explanation import explain, record
from pellucid.files import read_json, write_text
from pellucid.run import Run

REPORT = "report.html"
LOOKED = 500  # test pictures on which silent channels are counted
FIRST = 20  # test pictures shown as they come
WORST = 200  # mistakes shown one by one
PAIRS, A_PAIR = 40, 12  # confusions that open, and pictures in each
SAMPLES = 8  # pictures of each class on the contact sheet
THUMBNAIL = 64  # pixels a side, at most
CELL = 54  # about how many pixels wide a map is drawn


@dataclass(frozen=True, eq=False)
class Material:
    """All that the page is made from."""

    run: Run
    splits: Splits
    evaluation: Evaluation


def write_report(run: Run, splits: Splits, evaluation: Evaluation) -> Path:
    """`report.html` in the run's folder, made anew; gives its path.

    A part that cannot be made says so in its place on the page. Raises PellucidError when the file cannot
    be written.
    """
    path = run.folder / REPORT
    write_text(path, render(Material(run, splits, evaluation)))
    return path


def render(material: Material) -> str:
    """The page as text."""
    environment = _environment()
    page, macros = environment.get_template("report.html"), environment.get_template("sections.html").module
    sections = [_section(macros, number, *entry, material) for number, entry in enumerate(SECTIONS, 1)]
    pages = package_files("pellucid") / "pages"
    return page.render(
        title=f"{material.run.folder.resolve().name}: {material.run.data or 'pictures'}",
        evaluation=material.evaluation,
        verdict=_verdict(material.evaluation),
        sections=sections,
        style=Markup((pages / "page.css").read_text(encoding="utf-8")),
        script=Markup((pages / "report.js").read_text(encoding="utf-8")),
    )


def _section(
    macros: Any,
    number: int,
    key: str,
    title: str,
    gather: Callable[[Material], dict[str, Any]],
    material: Material,
) -> dict[str, Any]:
    """One section of the page; what goes wrong in it is told in it, and the others are made all the same."""
    try:
        body = getattr(macros, key)(gather(material))
    except Exception as error:  # noqa: BLE001  # a report must not fail a training for one picture
        body = macros.failed(f"{type(error).__name__}: {error}")
    return {"key": key, "title": title, "number": number, "body": body}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pellucid", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.filters["percent"] = percent
    environment.filters["times"] = times
    return environment


def _verdict(evaluation: Evaluation) -> dict[str, Any]:
    low, high = evaluation.interval
    gap = float(evaluation.confidence.mean()) - evaluation.accuracy
    return {
        "share": percent(evaluation.accuracy, count=evaluation.count),
        "low": percent(low, count=evaluation.count),
        "high": percent(high, count=evaluation.count),
        "worst": evaluation.confusions[0] if evaluation.confusions else None,
        "sureness": abs(gap) * 100,
        "too": "too sure" if gap > 0 else "too modest",
    }


def _data(material: Material) -> dict[str, Any]:
    splits, run = material.splits, material.run
    train = splits.train
    most = max(max(part.counts.values()) for _, part in splits.items())
    rows = [
        {
            "name": name,
            "counts": [part.counts.get(name, 0) for _, part in splits.items()],
            "share": train.counts[name] / max(1, most),
        }
        for name in train.classes
    ]
    return {
        "name": run.data or "pictures",
        "parts": [(name, len(part)) for name, part in splits.items()],
        "height": train.size[0],
        "width": train.size[1],
        "kind": "gray" if train.channels == 1 else "colour",
        "classes": len(train.classes),
        "rows": rows,
        "sheet": _contact_sheet(train),
        "fewest": min(train.counts.items(), key=lambda item: item[1]),
        "most": max(train.counts.items(), key=lambda item: item[1]),
        "leaking": read_json(run.folder / "evaluation.json").get("leaking", []),
        "fingerprints": run.environment.get("fingerprints", {}),
    }


def _training(material: Material) -> dict[str, Any]:
    history = material.run.history
    charts = [
        drawing.line_chart("Loss by epoch", history, ("loss", "val_loss"), unit="nats"),
        drawing.line_chart("Accuracy by epoch", history, ("accuracy", "val_accuracy"), unit="share"),
    ]
    return {
        "summary": material.run.summary,
        "charts": [Markup(chart) for chart in charts] if history else [],
        "history": history,
        "seconds": history[-1].seconds if history else 0.0,
        "recipe": material.run.recipe,
    }


def _predictions(material: Material) -> dict[str, Any]:
    evaluation, test = material.evaluation, material.splits.test
    return {"tiles": [_tile(evaluation, test, index) for index in range(min(FIRST, evaluation.count))]}


def _mistakes(material: Material) -> dict[str, Any]:
    evaluation, test = material.evaluation, material.splits.test
    worst = evaluation.mistakes.tolist()
    pairs = [_pair(evaluation, test, pair) for pair in evaluation.confusions[:PAIRS]]
    opened = {(pair["true"], pair["predicted"]): pair["id"] for pair in pairs}
    confusion = evaluation.confusion
    support = confusion.sum(dim=1).clamp_min(1)
    classes = evaluation.classes
    rows = [
        [
            {
                "count": count,
                "share": count / int(support[true]),
                "diagonal": true == predicted,
                "id": opened.get((classes[true], classes[predicted])),
                "says": f"{classes[true]} taken for {classes[predicted]}: {count}",
            }
            for predicted, count in enumerate(row)
        ]
        for true, row in enumerate(confusion.tolist())
    ]
    return {
        "wrong": len(worst),
        "count": evaluation.count,
        "confusions": evaluation.confusions,
        "classes": classes,
        "matrix": rows if len(classes) <= 30 else None,
        "pairs": pairs,
        "tiles": [_tile(evaluation, test, index) for index in worst[:WORST]],
        "scores": evaluation.per_class,
        "macro_f1": evaluation.macro_f1,
    }


def _layers(material: Material) -> dict[str, Any]:
    classifier, evaluation, test = material.run.classifier, material.evaluation, material.splits.test
    examples = []
    for why, index in _examples(evaluation):
        explanation = explain(classifier, test.images[index])
        layers = [_layer(name, maps) for name, maps in _distinct(explanation.feature_maps)]
        heat = explanation.heatmaps["gradient x activation"]
        examples.append(
            {
                "why": why,
                "tile": _tile(evaluation, test, index),
                "received": _address(test.images[index], limit=256),
                "layers": [layer for layer in layers if layer is not None],
                "evidence": _evidence(heat),
                "answer": evaluation.classes[explanation.target],
            }
        )
    return {
        "examples": examples,
        "kernels": _kernels(classifier.network),
        "silent": _silent(material),
        "looked": min(LOOKED, len(test)),
    }


def _sureness(material: Material) -> dict[str, Any]:
    evaluation = material.evaluation
    return {
        "chart": Markup(drawing.reliability_chart(evaluation.reliability)),
        "bins": evaluation.reliability,
        "error": evaluation.calibration_error,
        "mean": float(evaluation.confidence.mean()),
        "accuracy": evaluation.accuracy,
        "count": evaluation.count,
    }


def _reproduce(material: Material) -> dict[str, Any]:
    run = material.run
    machine, versions = run.environment.get("machine", {}), run.environment.get("versions", {})
    command = f"pellucid train {run.data} --config recipe.json"
    return {
        "command": command,
        "begun": run.environment.get("begun", ""),
        "machine": machine,
        "versions": versions,
        "recipe": run.recipe.to_json(),
        "fingerprints": run.environment.get("fingerprints", {}),
        "weights": read_json(run.folder / "model.json")["sha256"],
        "opened": read_json(run.folder / "evaluation.json").get("opened", 1),
    }


SECTIONS: Sequence[tuple[str, str, Callable[[Material], dict[str, Any]]]] = (
    ("data", "The data", _data),
    ("training", "Training", _training),
    ("predictions", "Predictions", _predictions),
    ("mistakes", "Mistakes", _mistakes),
    ("layers", "What the layers see", _layers),
    ("sureness", "How sure it is", _sureness),
    ("reproduce", "Do it again", _reproduce),
)


def _tile(evaluation: Evaluation, dataset: Dataset, index: int) -> dict[str, Any]:
    """One test picture with what was said of it."""
    true = evaluation.classes[int(evaluation.labels[index])]
    top = evaluation.top(index)
    given = float(evaluation.probabilities[index, evaluation.labels[index]])
    right = top[0][0] == true
    alternative = f", {true} had {percent(given)}" if not right else ""
    return {
        "address": _address(dataset.images[index]),
        "right": right,
        "true": true,
        "predicted": top[0][0],
        "sure": percent(top[0][1]),
        "exact": digits(evaluation.confidence[index : index + 1])[0],
        "given": percent(given),
        "source": evaluation.sources[index],
        "says": f"{evaluation.sources[index]}: labelled {true}, predicted {top[0][0]} "
        f"({percent(top[0][1])}){alternative}",
    }


def _pair(evaluation: Evaluation, dataset: Dataset, pair: Confusion) -> dict[str, Any]:
    true, predicted = evaluation.classes.index(pair.true), evaluation.classes.index(pair.predicted)
    chosen = (evaluation.labels == true) & (evaluation.predictions == predicted)
    shown = torch.nonzero(chosen)[:A_PAIR, 0].tolist()
    return {
        "id": f"pair-{true}-{predicted}",
        "true": pair.true,
        "predicted": pair.predicted,
        "count": pair.count,
        "tiles": [_tile(evaluation, dataset, index) for index in shown],
    }


def _examples(evaluation: Evaluation) -> list[tuple[str, int]]:
    """Three pictures that tell most: a typical one, the hardest one got right, the worst mistake."""
    given = evaluation.probabilities.gather(1, evaluation.labels[:, None])[:, 0]  # (N,)
    right = torch.nonzero(evaluation.predictions == evaluation.labels)[:, 0]
    examples: list[tuple[str, int]] = []
    if len(right):
        order = right[given[right].sort(stable=True).indices]
        examples += [("Typical", int(order[len(order) // 2])), ("Hardest got right", int(order[0]))]
    if len(evaluation.mistakes):
        examples.append(("Worst mistake", int(evaluation.mistakes[0])))
    return examples


def _distinct(layers: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """The layers that change what came before: dropout, at rest when a network is used, is left out."""
    kept: list[tuple[str, Tensor]] = []
    for name, maps in layers.items():
        if not kept or not torch.equal(maps, kept[-1][1]):
            kept.append((name, maps))
    return kept


def _layer(name: str, maps: Tensor) -> dict[str, Any] | None:
    """All channels of one layer on one colour scale; None for what is neither maps nor a vector."""
    if maps.dim() not in (1, 3) or not maps.numel():
        return None
    low, high = drawing.scale_of(maps)
    flat = maps.dim() == 1
    columns = min(20, len(maps)) if flat else drawing.sheet_columns(len(maps))
    colours = drawing.coloured(maps.reshape(-1, 1, 1) if flat else maps, low, high)
    zoom = 20 if flat else max(1, round(CELL / max(maps.shape[1:])))
    return {
        "name": name,
        "shape": " × ".join(str(number) for number in maps.shape),
        **_sheet(colours, columns, zoom),
        "low": f"{low:.3g}",
        "high": f"{high:.3g}",
        "number": len(maps),
        "quiet": int((maps.reshape(len(maps), -1).amax(dim=1) <= 0).sum()) if low >= 0 else 0,
        "empty": high <= low,
    }


def _sheet(tiles: drawing.Pixels, columns: int, zoom: int) -> dict[str, Any]:
    """Tiles (N, h, w, 3), each pixel `zoom` wide, side by side: an address and its size."""
    sheet = drawing.tiled(tiles.repeat(zoom, axis=1).repeat(zoom, axis=2), columns, gap=3)
    return {"address": drawing.data_address(sheet), "width": sheet.width, "height": sheet.height}


def _evidence(heat: Tensor) -> dict[str, Any]:
    reach = float(heat.abs().max())
    pixels = drawing.coloured(heat[None], -reach, reach, colours=drawing.SIGNED)
    return {
        "address": drawing.data_address(drawing.tiled(pixels, 1)),
        "reach": f"{reach:.3g}",
        "sum": f"{float(heat.sum()):.3g}",
        "empty": reach == 0 or not math.isfinite(reach),
    }


def _kernels(network: torch.nn.Module) -> dict[str, Any] | None:
    """The first layer's weights, when they are pictures of the input: (F, 1 or 3, h, w)."""
    for name, weight in network.named_parameters():
        if weight.dim() == 4 and weight.shape[1] in (1, 3):
            kernels = weight.detach().float()
            reach = float(kernels.abs().max())
            shown = kernels.mean(dim=1)  # (F, h, w): colour kernels by their mean over channels
            pixels = drawing.coloured(shown, -reach, reach, colours=drawing.SIGNED)
            return {
                "name": name,
                **_sheet(pixels, min(16, len(shown)), max(1, round(CELL / max(shown.shape[1:])))),
                "reach": f"{reach:.3g}",
                "number": len(shown),
            }
        if weight.dim() > 1:
            return None
    return None


def _silent(material: Material) -> list[tuple[str, int, int]]:
    """Layers with channels that no picture of a test sample excites: name, how many, of how many."""
    layers = record(material.run.classifier.network, scaled(material.splits.test.images[:LOOKED]))
    counted = [
        (name, int((maps.amax(dim=(0, 2, 3)) <= 0).sum()), maps.shape[1])
        for name, maps in layers.items()
        if maps.dim() == 4
    ]
    fresh = [
        entry for before, entry in zip([None, *counted], counted, strict=False) if not _same(before, entry)
    ]
    return [entry for entry in fresh if entry[1]]


def _same(before: tuple[str, int, int] | None, entry: tuple[str, int, int]) -> bool:
    """Whether a layer, such as a pooling, has just the silent channels of the one before it."""
    return before is not None and before[1:] == entry[1:]


def _contact_sheet(dataset: Dataset) -> list[dict[str, Any]]:
    sheet = []
    for label, name in enumerate(dataset.classes[:100]):
        chosen = torch.nonzero(dataset.labels == label)[:SAMPLES, 0].tolist()
        addresses = [_address(dataset.images[index]) for index in chosen]
        sheet.append({"name": name, "addresses": addresses})
    return sheet


def _address(image: Tensor, *, limit: int = THUMBNAIL) -> str:
    """A picture (C, H, W) as a PNG address, made smaller where a side is longer than `limit`."""
    shown = Image.fromarray(drawing.picture(image))
    if max(shown.size) > limit:
        shown.thumbnail((limit, limit))
    return drawing.data_address(shown)

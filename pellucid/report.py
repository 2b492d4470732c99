"""One HTML file that needs nothing else: the verdict, the data, the training, the mistakes, the layers.

A section is a function that gathers its numbers into a dict, a macro of the same name in
`pages/sections.html` that draws them, and a line of SECTIONS. What goes wrong in one is told in its place.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pellucid import drawing
from pellucid.classifier import scaled
from pellucid.data.dataset import Dataset, Splits
from pellucid.drawing import Atlas, zoom
from pellucid.errors import PellucidError
from pellucid.evaluation import Evaluation, digits, percent, times
from pellucid.evidence import evidence
from pellucid.explanation import DEFAULT_METHODS, record
from pellucid.files import read_json, write_text
from pellucid.layers import distinct, first_kernels, pictured_layers, silent_channels
from pellucid.run import Run

REPORT = "report.html"

# Characters of addresses, at most: with 300 kB of sources and 500 kB of markup they stay under 5 MB.
TEST_BUDGET, SHEET_BUDGET, LAYERS_BUDGET, RECEIVED_BUDGET = 2_400_000, 500_000, 1_000_000, 300_000
SOURCES_BUDGET = 300_000

FIRST = 20  # test pictures shown as they come
WORST = 200  # mistakes shown one by one
PAIRS, A_PAIR = 200, 10  # confusions that open, and pictures in each
MATRIX = 30  # classes a matrix can hold; more become a list of pairs
SAMPLES = 10  # pictures of each class on the contact sheet
SHEET_CLASSES = 100
NAMED = 12  # scores that are named by their classes, at most


@dataclass(frozen=True, eq=False)
class Material:
    """All that the page is made from."""

    run: Run
    splits: Splits
    evaluation: Evaluation

    @cached_property
    def tested(self) -> dict[str, Any]:
        """The evidence by every method, and what its tests say: two sections show it."""
        indices = [index for _, index in self.examples]
        return evidence(self.run.classifier, self.splits.test, indices)

    @cached_property
    def examples(self) -> list[tuple[str, int]]:
        """Three pictures that tell most: a typical one, the hardest one got right, the worst mistake."""
        right = self.hardest_right
        examples = [("typical", right[len(right) // 2]), ("hardest got right", right[0])] if right else []
        wrong = self.evaluation.mistakes[:1].tolist()
        return [*examples, *(("worst mistake", index) for index in wrong)]

    @cached_property
    def hardest_right(self) -> list[int]:
        """Test pictures recognised, the least probable first."""
        evaluation = self.evaluation
        right = torch.nonzero(evaluation.predictions == evaluation.labels)[:, 0]
        order: list[int] = right[evaluation.confidence[right].sort(stable=True).indices].tolist()
        return order

    @cached_property
    def right_by_class(self) -> dict[int, list[int]]:
        """The hardest pictures got right of each class, as its cell of the matrix opens them."""
        opened: dict[int, list[int]] = {}
        for index in self.hardest_right if len(self.evaluation.classes) <= MATRIX else []:
            mine = opened.setdefault(int(self.evaluation.labels[index]), [])
            if len(mine) < A_PAIR:
                mine.append(index)
        return opened

    @cached_property
    def album(self) -> "Album":
        """Every test picture the page shows, in one image: first what it cannot do without, then mistakes."""
        evaluation, test = self.evaluation, self.splits.test
        if list(evaluation.sources) != list(test.sources):
            raise PellucidError("The evaluation speaks of other pictures than the test set holds.")
        shown = [*range(min(FIRST, len(test))), *(index for _, index in self.examples)]
        shown += [index for mine in self.right_by_class.values() for index in mine]
        order = list(dict.fromkeys([*shown, *evaluation.mistakes.tolist()]))
        atlas = drawing.fitted_atlas(test.images[order], budget=TEST_BUDGET)
        return Album(atlas, {index: place for place, index in enumerate(order[: atlas.count])})


@dataclass(frozen=True)
class Album:
    """Where each test picture stands in the image that holds them all."""

    atlas: Atlas
    places: dict[int, int]


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
        title=f"{material.run.data or 'pictures'} · {material.run.recipe.model}",
        folder=material.run.folder.resolve().name,
        begun=str(material.run.environment.get("begun", ""))[:10],
        evaluation=material.evaluation,
        verdict=_verdict(material, {section["key"]: section["told"] for section in sections}),
        about=_about(material),
        sections=sections,
        atlases=_once(entry for section in sections for entry in section["told"].get("atlases", {}).items()),
        scales={name: _gradient(colours) for name, colours in SCALES.items()},
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
        told = gather(material)
        answer, body = getattr(macros, f"{key}_answer")(told), getattr(macros, key)(told)
    except Exception as error:  # noqa: BLE001  # a report must not fail a training for one picture
        told, answer, body = {}, "", macros.failed(f"{type(error).__name__}: {error}")
    return {"key": key, "title": title, "number": number, "told": told, "answer": answer, "body": body}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pellucid", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "thousands": lambda number: f"{number:,}",
        "percent": percent,
        "chance": chance,
        "times": times,
        "plural": lambda number, one, many: f"{number:,} {one if number == 1 else many}",
        "brief": brief,
        "tight": lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%"),
    }
    return environment


def chance(probability: float) -> str:
    """A probability as "97.3 %"; what is not quite certain is never called 100 %, nor 0 % impossible."""
    if 0.9995 <= probability < 1:
        return "> 99.9 %"
    return "< 0.1 %" if 0 < probability < 0.0005 else f"{probability * 100:.1f} %"


def brief(text: str, limit: int = 60) -> str:
    """`text`, its middle left out where it is longer than `limit`."""
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[-limit // 2 + 1 :]}"


def _once(entries: Iterable[tuple[str, Atlas]]) -> dict[str, Atlas]:
    return dict(entries)


def _gradient(colours: drawing.Colours) -> str:
    return ", ".join(f"rgb{colour}".replace(" ", "") for colour in colours)


SCALES = {"viridis": drawing.VIRIDIS, "signed": drawing.SIGNED}


def _about(material: Material) -> list[str]:
    """What made the figures above, in a few words."""
    run = material.run
    weights = sum(weight.numel() for weight in run.classifier.network.parameters())
    processor = run.environment.get("machine", {}).get("processor")
    facts = [f"{weights:,} weights"]
    facts += [f"trained in {run.history[-1].seconds:.1f} s"] if run.history else []
    return [*facts, str(processor)] if processor else facts


def _verdict(material: Material, told: dict[str, dict[str, Any]]) -> dict[str, Any]:
    evaluation = material.evaluation
    low, high = evaluation.interval
    gap = float(evaluation.confidence.mean()) - evaluation.accuracy
    worst = evaluation.confusions[0] if evaluation.confusions else None
    opened = {(pair["true"], pair["predicted"]): pair["id"] for pair in told["mistakes"].get("pairs", [])}
    silent = told["layers"].get("silent", [])
    return {
        "share": percent(evaluation.accuracy, count=evaluation.count),
        "low": percent(low, count=evaluation.count),
        "high": percent(high, count=evaluation.count),
        "strip": Markup(drawing.interval_strip(low, evaluation.accuracy, high)),
        "worst": worst,
        "worst_id": opened.get((worst.true, worst.predicted), "mistakes") if worst else "",
        "points": f"{abs(gap) * 100:.1f}",
        "too": "too sure" if gap > 0 else "too modest",
        "silent": sum(quiet for _, quiet, _ in silent),
        "channels": told["layers"].get("channels", 0),
        "looked": told["layers"].get("looked", 0),
        "leaking": len(told["data"].get("leaking", [])),
    }


def _data(material: Material) -> dict[str, Any]:
    splits, run = material.splits, material.run
    train = splits.train
    most = max(1, *train.counts.values())
    chosen = {name: _spread(train, label) for label, name in enumerate(train.classes[:SHEET_CLASSES])}
    order = [index for indices in chosen.values() for index in indices]
    atlas = drawing.fitted_atlas(train.images[order], budget=SHEET_BUDGET, side=64)
    place = {index: number for number, index in enumerate(order[: atlas.count])}
    rows = [
        {
            "name": name,
            "counts": [part.counts.get(name, 0) for _, part in splits.items()],
            "share": train.counts[name] / most,
            "pictures": [_cell(atlas, place[index]) for index in chosen.get(name, []) if index in place],
        }
        for name in train.classes
    ]
    return {
        "atlases": {"sheet": atlas},
        "remark": atlas.remark,
        "zoom": zoom(atlas, 64),
        "small": zoom(atlas, 32),
        "name": run.data or "pictures",
        "parts": [(name, len(part)) for name, part in splits.items()],
        "height": train.size[0],
        "width": train.size[1],
        "kind": "gray" if train.channels == 1 else "colour",
        "classes": len(train.classes),
        "rows": rows,
        "fewest": min(train.counts.items(), key=lambda item: item[1]),
        "most": max(train.counts.items(), key=lambda item: item[1]),
        "leaking": read_json(run.folder / "evaluation.json").get("leaking", []),
        "fingerprints": {name: part.fingerprint for name, part in splits.items()},
        "first_sources": [train.sources[index] for index in order[:1]],
    }


def _training(material: Material) -> dict[str, Any]:
    history = material.run.history
    charts = [
        drawing.line_chart("Loss by epoch, nats", history, ("loss", "val_loss"), unit="nats"),
        drawing.line_chart("Accuracy by epoch", history, ("accuracy", "val_accuracy"), unit="share"),
    ]
    return {
        "best": material.run.best,
        "charts": [Markup(chart) for chart in charts] if history else [],
        "history": history,
        "seconds": history[-1].seconds if history else 0.0,
        "recipe": material.run.recipe,
        "weights": sum(weight.numel() for weight in material.run.classifier.network.parameters()),
        "pictures": len(material.splits.train),
    }


def _predictions(material: Material) -> dict[str, Any]:
    tiles = [_tile(material, index) for index in range(min(FIRST, material.evaluation.count))]
    return {
        **_shown(material),
        "tiles": [tile for tile in tiles if tile["place"]],
        "right": sum(tile["right"] for tile in tiles),
    }


def _mistakes(material: Material) -> dict[str, Any]:
    evaluation = material.evaluation
    worst = evaluation.mistakes.tolist()
    pairs = _pairs(material)
    return {
        **_shown(material),
        "wrong": len(worst),
        "count": evaluation.count,
        "confusions": evaluation.confusions,
        "classes": evaluation.classes,
        "matrix": _matrix(material, {pair["id"] for pair in pairs}),
        "pairs": pairs,
        "tiles": [_tile(material, index) for index in worst[:WORST] if index in material.album.places],
        "listed": _listed(material, worst),
        "scores": evaluation.per_class,
        "scale": max(0.0, min(0.9, math.floor(_lowest(evaluation) * 20) / 20)),
        "macro_f1": evaluation.macro_f1,
        "remark": material.album.atlas.remark,
    }


def _sureness(material: Material) -> dict[str, Any]:
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


def _layers(material: Material) -> dict[str, Any]:
    network, test = material.run.classifier.network, material.splits.test
    chosen = [index for _, index in material.examples]
    images = test.images[chosen]
    received = drawing.fitted_atlas(images, budget=RECEIVED_BUDGET, side=224)
    recorded = distinct(record(network, scaled(images)))
    layers, atlases = pictured_layers(network, recorded, budget=LAYERS_BUDGET)
    if layers and layers[-1]["what"] == "units" and len(material.evaluation.classes) <= NAMED:
        layers[-1] |= _named(layers[-1], material.evaluation.classes)
    looked, silent, channels = silent_channels(network, test.images)
    kernels = first_kernels(network)
    return {
        **_shown(material),
        "atlases": {
            "test": material.album.atlas,
            "received": received,
            **atlases,
            **({"kernels": kernels["atlas"]} if kernels else {}),
        },
        "received": [_cell(received, number) for number in range(len(chosen))],
        "large": zoom(received, 168),
        "examples": [
            {"why": why, "tile": _tile(material, index), "evidence": _evidence(material, example)}
            for example, (why, index) in enumerate(material.examples)
        ],
        "layers": layers,
        "kernels": kernels,
        "silent": silent,
        "channels": channels,
        "looked": looked,
    }


def _honesty(material: Material) -> dict[str, Any]:
    return {**material.tested, "examples": [why for why, _ in material.examples]}


def _reproduce(material: Material) -> dict[str, Any]:
    run = material.run
    facts = run.environment
    return {
        "command": f"pellucid train {run.data} --config recipe.json",
        "given": facts.get("command", ""),
        "begun": facts.get("begun", ""),
        "machine": facts.get("machine", {}),
        "versions": facts.get("versions", {}),
        "recipe": run.recipe.to_json(),
        "fingerprints": {name: part.fingerprint for name, part in material.splits.items()},
        "weights": read_json(run.folder / "model.json")["sha256"],
        "opened": read_json(run.folder / "evaluation.json").get("opened", 1),
        "files": [
            {"name": name, "says": says, "bytes": (run.folder / name).stat().st_size}
            for name, says in FILES
            if (run.folder / name).is_file()
        ],
    }


FILES = (
    ("recipe.json", "every choice that decides the training"),
    ("environment.json", "versions, machine, threads, fingerprints, command"),
    ("split.csv", "every picture with its part and a hash of its pixels"),
    ("metrics.csv", "loss and accuracy by epoch"),
    ("model.safetensors", "the weights of the best epoch"),
    ("model.json", "classes, preprocessing, the SHA-256 of the weights"),
    ("evaluation.json", "every figure of this page's verdict"),
    ("predictions.csv", "all probabilities of every test picture"),
)

SECTIONS: Sequence[tuple[str, str, Callable[[Material], dict[str, Any]]]] = (
    ("data", "The data", _data),
    ("training", "Training", _training),
    ("predictions", "Predictions", _predictions),
    ("mistakes", "Mistakes", _mistakes),
    ("sureness", "How sure it is", _sureness),
    ("layers", "What the layers see", _layers),
    ("honesty", "Can the maps be believed", _honesty),
    ("reproduce", "Do it again", _reproduce),
)


def _shown(material: Material) -> dict[str, Any]:
    """What a section needs to show test pictures: the image that holds them, and how far to enlarge it."""
    atlas = material.album.atlas
    return {
        "atlases": {"test": atlas},
        "zoom": zoom(atlas, 84),
        "small": zoom(atlas, 56),
        "width": atlas.width,
    }


def _cell(atlas: Atlas, place: int) -> tuple[int, int]:
    """Column and row of a picture in its atlas."""
    return place % atlas.columns, place // atlas.columns


def _tile(material: Material, index: int) -> dict[str, Any]:
    """One test picture with what was said of it; `place` is None where there was no room for the picture."""
    evaluation, album = material.evaluation, material.album
    true = evaluation.classes[int(evaluation.labels[index])]
    top = evaluation.top(index)
    predicted, sure = top[0]
    given = float(evaluation.probabilities[index, evaluation.labels[index]])
    right = predicted == true
    says = f"{evaluation.sources[index]}: labelled {true}, predicted {predicted} ({chance(sure)})"
    return {
        "index": index,
        "place": _cell(album.atlas, album.places[index]) if index in album.places else None,
        "right": right,
        "true": true,
        "predicted": predicted,
        "sure": sure,
        "given": given,
        "top": top,
        "source": evaluation.sources[index],
        "says": says if right else f"{says}, {true} had {chance(given)}",
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
            "tiles": [_tile(material, index) for index in indices[:A_PAIR] if index in material.album.places],
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
                "says": f"{classes[true]} recognised {times(count)}"
                if true == predicted
                else f"{classes[true]} taken for {classes[predicted]} {times(count)}",
            }
            for predicted, count in enumerate(row)
        ]
        for true, row in enumerate(evaluation.confusion.tolist())
    ]


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
        "sure": [float(text) for text in digits(evaluation.confidence[kept])],
        "given": [float(text) for text in digits(evaluation.probabilities[kept, labels])],
        "source": sources,
    }


def _lowest(evaluation: Evaluation) -> float:
    shown = [score for score in evaluation.per_class if score.support]
    return min([1.0, *(min(score.precision, score.recall) for score in shown)])


def _named(layer: dict[str, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    """The network's last layer, one unit a class: the classes stand below larger cells."""
    if any(len(grid["tiles"]) != len(classes) for grid in layer["grids"]):
        return {}
    return {"names": classes, "columns": len(classes), "zoom": 28}


def _evidence(material: Material, example: int) -> dict[str, Any] | None:
    """Where the evidence for the answer lies, and whether the tests support it; None without maps."""
    with suppress(PellucidError):
        method = next(method for method in material.tested["methods"] if method["name"] == DEFAULT_METHODS[0])
        return {**method["maps"][example], "supported": method["supported"]}
    return None


def _spread(dataset: Dataset, label: int) -> list[int]:
    """Some pictures of a class, taken at even distances through the data set."""
    mine = torch.nonzero(dataset.labels == label)[:, 0]
    places = torch.linspace(0, max(0, len(mine) - 1), min(SAMPLES, len(mine))).round().long()
    chosen: list[int] = mine[places].tolist()
    return chosen

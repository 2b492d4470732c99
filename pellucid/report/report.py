"""One HTML file that needs nothing else: the verdict, the data, the training, the mistakes, the layers.

A section is a module that gathers its numbers, a template of the same name in `assets/report/sections/`
that draws them, and a line of SECTIONS. What goes wrong in one is told in its place.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from pellucid.assets import asset
from pellucid.data.dataset import Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.files import write_text
from pellucid.formatting import percent
from pellucid.language import translate, use_language
from pellucid.machine import keep_memory
from pellucid.plots import charts
from pellucid.plots.images import Atlas
from pellucid.report import (
    calibration,
    counterfactual,
    data,
    draw,
    embedding,
    faithfulness,
    guess,
    layer_stats,
    layers,
    mistakes,
    neighbours,
    predictions,
    reproduce,
    training,
)
from pellucid.report.context import Material
from pellucid.report.templates import SCALES, environment_of_pages, gradient
from pellucid.runs.run import Run

REPORT = "report.html"
STYLES, SCRIPTS = ("shared/page.css", "shared/why.css"), ("report/report.js", "report/why.js")

SECTIONS: Sequence[tuple[str, str, Callable[[Material], dict[str, Any]]]] = (
    ("draw", "Draw", draw.draw),
    ("data", "The data", data.data),
    ("training", "Training", training.training),
    ("predictions", "Predictions", predictions.predictions),
    ("mistakes", "Mistakes", mistakes.mistakes),
    ("calibration", "How sure it is", calibration.calibration),
    ("layers", "What the layers see", layers.layers),
    ("faithfulness", "Can the maps be believed", faithfulness.faithfulness),
    ("guess", "Guess first", guess.guess),
    ("counterfactual", "What would change it", counterfactual.change),
    ("neighbours", "Neighbours", neighbours.neighbours),
    ("embedding", "Map of pictures", embedding.map_of_pictures),
    ("layer_stats", "Health of the network", layer_stats.health),
    ("reproduce", "Do it again", reproduce.reproduce),
)


# What the scripts fill in themselves.
BLANKS = (
    "first", "then", "before", "count", "after", "points", "low", "high", "helped", "hurt", "name", "wrong",
    "classes",
)  # fmt: skip


def write_report(
    run: Run,
    splits: Splits | None = None,
    evaluation: Evaluation | None = None,
    *,
    language: str = "en",
) -> Path:
    """`report.html` in the run's folder, made anew, in a language of LANGUAGES; gives its path.

    splits      the run's pictures where they are at hand; without them they are loaded again
    evaluation  without it, the one that was saved; the test set is opened where there is none

    A part that cannot be made says so in its place on the page. Raises PellucidError when the file cannot
    be written, UsageError for an unknown language.
    """
    splits = splits or run.splits()
    evaluation = evaluation or run.evaluation() or run.evaluate(splits.test)
    path = run.folder / REPORT
    write_text(path, render(Material(run, splits, evaluation, language)))
    return path


def render(material: Material) -> str:
    """The page as text, in the language of its material."""
    keep_memory()
    with use_language(material.language):
        return _rendered(material)


def _rendered(material: Material) -> str:
    environment = environment_of_pages()
    sections = [_section(environment, number, *entry, material) for number, entry in enumerate(SECTIONS, 1)]
    return environment.get_template("report/report.html").render(
        language=material.language,
        words=_script_words(),
        title=f"{material.run.origin.name} · {material.run.recipe.model}",
        folder=material.run.folder.resolve().name,
        begun=str(material.run.environment.get("begun", ""))[:10],
        evaluation=material.evaluation,
        verdict=_verdict(material, {section["key"]: section["told"] for section in sections}),
        about=_about(material),
        sections=sections,
        drawing=_drawing(sections),
        atlases=_once(entry for section in sections for entry in section["told"].get("atlases", {}).items()),
        scales={name: gradient(colours) for name, colours in SCALES.items()},
        style=Markup("\n".join(asset(name) for name in STYLES)),
        script=Markup("\n".join(asset(name) for name in SCRIPTS)),
    )


def _section(
    environment: Environment,
    number: int,
    key: str,
    title: str,
    gather: Callable[[Material], dict[str, Any]],
    material: Material,
) -> dict[str, Any]:
    """One section of the page; what goes wrong in it is told in it, and the others are made all the same."""
    try:
        told, macros = gather(material), _macros(environment, f"report/sections/{key}.html")
        answer, body = macros.answer(told), macros.body(told)
    except Exception as error:  # noqa: BLE001  # a report must not fail a training for one picture
        failed = _macros(environment, "shared/parts.html").failed
        told, answer, body = {}, "", failed(f"{type(error).__name__}: {error}")
    return {
        "key": key,
        "title": translate(title),
        "number": number,
        "told": told,
        "answer": answer,
        "body": body,
    }


def _macros(environment: Environment, name: str) -> Any:
    """The macros of a template of `assets/`."""
    return environment.get_template(name).module


def _drawing(sections: Sequence[dict[str, Any]]) -> Any:
    """What the page needs for drawing beyond its place, or None where nothing can be drawn."""
    told: dict[str, Any] = next((s["told"] for s in sections if "drawing" in s["told"]), {})
    return told["drawing"] if told and not told["refusal"] else None


def _once(entries: Iterable[tuple[str, Atlas]]) -> dict[str, Atlas]:
    return dict(entries)


def _script_words() -> dict[str, str]:
    """What report.js and why.js say; they fill in {names}."""
    blank = {name: f"{{{name}}}" for name in BLANKS}
    return {
        "guess.ask": translate("What will the network answer?"),
        "guess.again": translate(
            "This is where its evidence lies. What will it answer, now that you see the map?"
        ),
        "guess.told": translate("You guessed %(first)s, then %(then)s.", **blank),
        "guess.next": translate("Next picture"),
        "guess.end": translate("Did the maps help?"),
        "guess.helped": translate("The maps helped you."),
        "guess.misled": translate("The maps misled you."),
        "guess.luck": translate("That the maps helped you cannot be told from luck."),
        "guess.score": translate(
            "You knew %(before)s of %(count)s answers from the picture alone and %(after)s with the map: "
            "%(points)s points, 95 %% interval %(low)s to %(high)s. The map put %(helped)s right and "
            "%(hurt)s wrong.",
            **blank,
        ),
        "map.class": translate("%(count)s of %(name)s", **blank),
        "map.chosen": translate(
            "Chosen: %(count)s pictures, %(wrong)s of them mistakes. Labelled: %(classes)s.", **blank
        ),
        "light": translate("Light"),
        "dark": translate("Dark"),
        "copied": translate("Copied %(count)s", count="{count}"),
        "uncopied": translate("Could not copy"),
        "tally": translate("%(shown)s of %(all)s", shown="{shown}", all="{all}"),
        "tile": translate(
            "%(source)s: labelled %(true)s, predicted %(predicted)s (%(sure)s), %(true)s had %(given)s",
            source="{source}", true="{true}", predicted="{predicted}", sure="{sure}", given="{given}",
        ),
        "picture": translate("test picture %(number)s", number="{number}"),
    }  # fmt: skip


def _about(material: Material) -> list[str]:
    """What made the figures above, in a few words."""
    run = material.run
    weights = sum(weight.numel() for weight in run.classifier.network.parameters())
    processor = run.environment.get("machine", {}).get("processor")
    facts = [translate("%(count)s weights", count=f"{weights:,}")]
    if run.history:
        facts.append(translate("trained in %(seconds)s s", seconds=f"{run.history[-1].seconds:.1f}"))
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
        "alike": evaluation.alike if evaluation.uneven else "",
        "low": percent(low, count=evaluation.count),
        "high": percent(high, count=evaluation.count),
        "strip": Markup(charts.interval_strip(low, evaluation.accuracy, high)),
        "worst": worst,
        "worst_id": opened.get((worst.true, worst.predicted), "mistakes") if worst else "",
        "points": f"{abs(gap) * 100:.1f}",
        "too_sure": gap > 0,
        "silent": sum(quiet for _, quiet, _ in silent),
        "channels": told["layers"].get("channels", 0),
        "looked": told["layers"].get("looked", 0),
        "leaking": told["data"].get("leaking", 0),
        "without": _share(told["data"].get("without")),
    }


def _share(evaluation: Evaluation | None) -> str:
    return percent(evaluation.accuracy, count=evaluation.count) if evaluation else ""

"""The command that says what more pictures would bring: forecast."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import (
    AsJson,
    Data,
    DataDir,
    Quiet,
    RecipeName,
    recipe_named,
    refuse_streams_and_addresses,
    writing_into,
)
from pellucid.cli.output import CLASSES_SHOWN, Output
from pellucid.errors import Interrupted
from pellucid.formatting import brief, percent, plural, points

if TYPE_CHECKING:
    from pellucid.evaluation.learning_curve import LearningCurve, Outlook
    from pellucid.runs.forecast import ShareTraining

EXAMPLES = """\
Examples:
  pellucid forecast digits
  pellucid forecast ./photos --recipe runs/latest/recipe.json
"""


def forecast(
    data: Data,
    *,
    recipe: RecipeName = "fast",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the result goes: new, empty, or begun by this command."),
    ] = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Say what twice and four times as many training pictures would bring, and for which class.

    Trains on an eighth, a quarter, half and all of the training pictures of DATA, three times each, and
    judges each training on the test pictures.
    """
    from pellucid.runs.forecast import forecast as forecast_accuracy

    refuse_streams_and_addresses(data)
    start = recipe_named(recipe)
    output, finished = Output(quiet, as_json), 0

    def done(training: "ShareTraining") -> None:
        nonlocal finished
        finished += 1
        output.event("training", **asdict(training))
        score = percent(training.accuracy)
        output.line(f"  {training.pictures:>9,} pictures, training {training.repeat}  {score:>8}")

    try:
        with writing_into(out), output.trainings() as (watch, show):
            found = forecast_accuracy(
                data, start, folder=out, data_dir=data_dir, callbacks=[show], watch=watch, done=done
            )
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped by Ctrl-C; {plural(finished, 'training is', 'trainings are')} done and kept. Run the "
            "same command again to go on."
        ) from None
    output.event("forecast", folder=str(found.folder), **found.curve.to_json())
    _print(found.curve, output)
    output.line(f"Figures and answers: {found.folder}")


def _print(curve: "LearningCurve", output: Output) -> None:
    output.line(f"{'training pictures':>17}  {'accuracy':>8}")
    for pictures, scores in zip(curve.counts, curve.accuracies, strict=True):
        low, mean, high = (
            percent(each, count=curve.count) for each in (min(scores), sum(scores) / len(scores), max(scores))
        )
        output.line(f"{pictures:>17,}  {mean:>8}  {low} to {high} in {len(scores)} trainings")
    for outlook in curve.ahead:
        low, middle, high = (
            percent(each, count=curve.count)
            for each in (outlook.interval[0], outlook.accuracy, outlook.interval[1])
        )
        output.line(f"{outlook.times * curve.counts[-1]:>17,}  {middle:>8}  95 % interval {low} to {high}")
    output.line(curve.verdict)
    output.line("Class by class: test pictures, share predicted correctly, what twice as many would bring:")
    ranked = sorted(curve.classes_ahead, key=lambda each: -each.ahead[0].gain if each.ahead else 0.0)
    for each in ranked[:CLASSES_SHOWN]:
        gain = _gain(each.ahead[0]) if each.ahead else "too few test pictures"
        recall = percent(each.recall, count=each.count)
        output.line(f"  {brief(each.name, 24):<16} {each.count:>6,}  {recall:>8}  {gain}")
    hidden = len(ranked) - CLASSES_SHOWN
    if hidden > 0:
        output.line(f"  and {plural(hidden, 'class', 'classes')} more, in forecast.json")
    output.line(curve.scope)


def _gain(outlook: "Outlook") -> str:
    least, gain, most = (
        points(each, signed=True)
        for each in (outlook.gain_interval[0], outlook.gain, outlook.gain_interval[1])
    )
    return f"{gain} points (95 % interval {least} to {most})"

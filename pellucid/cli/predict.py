"""The command that asks a trained network: predict."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import (
    TABLES,
    AsJson,
    FitOfRun,
    Quiet,
    RunArgument,
    refuse_overwriting,
    refuse_streams_and_addresses,
)
from pellucid.cli.output import Output, problem
from pellucid.formatting import digits, percent

if TYPE_CHECKING:
    from pellucid.evaluation.selective import Threshold
    from pellucid.prediction import FilePrediction

EXAMPLES = """\
Examples:
  pellucid predict runs/latest seven.png
  pellucid predict runs/latest ./photos --json
  pellucid predict runs/latest ./photos --csv predictions.csv
  pellucid predict runs/latest ./photos --max-error 0.01
  pellucid predict runs/latest ./photos --sets 0.95
  pellucid predict runs/latest ./photos --refuse-unlike
"""


def predict(
    run_folder: RunArgument,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Pictures, or folders of them.")],
    *,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every probability to this table.")
    ] = None,
    fit: FitOfRun = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Answer this share of pictures, such as 0.95, and 'not sure' for the others: those that are "
            "less confident than the same share of the pictures held out of training.",
        ),
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Answer as many pictures as possible while fewer than this share of the answers is wrong, "
            "such as 0.01, and 'not sure' for the others. The pictures held out show that with 95 % "
            "probability.",
        ),
    ] = None,
    sets: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Name several classes, such as '4 or 9', where it takes them to hold the right one with "
            "this probability, such as 0.95.",
        ),
    ] = None,
    refuse_unlike: Annotated[
        bool,
        typer.Option(
            "--refuse-unlike",
            help="Give no answer to pictures that are unlike anything taught: farther from the training "
            "pictures than about 95 of 100 pictures held out of training. Without it they are answered, and "
            "marked.",
        ),
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Predict what each FILE shows, one class or several labels, with the probability of every class."""
    from pellucid.classifier import Classifier
    from pellucid.errors import UsageError
    from pellucid.evaluation.novelty import REFERENCE
    from pellucid.files import write_csv
    from pellucid.prediction import predict_files
    from pellucid.runs.run import Run

    refuse_streams_and_addresses(*files)
    refuse_overwriting(csv, TABLES, files)
    output = Output(quiet, as_json)
    if coverage is not None and max_error is not None:
        raise UsageError("--coverage and --max-error both choose from when to answer: give one of them.")
    threshold = prediction_sets = None
    if coverage is not None or max_error is not None:
        run = Run.open(run_folder)
        threshold = run.threshold(coverage=coverage, max_error=max_error)
        output.line(_promise(threshold, run.calibration.held_out))
    if sets is not None:
        prediction_sets = Run.open(run_folder).prediction_sets(sets)
    reference = None
    if refuse_unlike or (run_folder / REFERENCE).is_file():
        reference = Run.open(run_folder).reference()
    classifier = Classifier.load(run_folder)
    rows, failed, unlike = [], False, 0
    for each in predict_files(
        classifier, files, fit=fit, threshold=threshold, sets=prediction_sets, reference=reference,
        refuse_unlike=refuse_unlike,
    ):  # fmt: skip
        if each.probabilities is None:
            failed = True
            problem(each.error)
            continue
        facts, unlike = _facts(each, asked=threshold is not None), unlike + each.unlike
        rows.append([*map(_cell, facts.values()), *digits(each.probabilities)])
        named = zip(classifier.classes, map(float, digits(each.probabilities)), strict=True)
        output.object({**facts, "probabilities": dict(named)})
        if csv is None:
            name = each.source.replace("\n", "\\n")  # one line per file, whatever it is called
            held_out = 0 if reference is None else len(reference.held_out)
            output.line(f"{name}: {_answer(each)}{_remark(each, held_out)}")
        if output.reader_left and csv is None:
            raise typer.Exit(1)  # nobody reads what else would be computed
    if csv is not None:
        header = ["source", "prediction", "confidence"]
        header += ["sure"] * (threshold is not None) + ["set"] * (prediction_sets is not None)
        header += ["unlike", "novelty"] * (reference is not None)
        write_csv(csv, [*header, *(f"p({name})" for name in classifier.classes)], rows)
        output.line(f"Predictions: {csv}")
        if reference is not None and rows:
            share = percent(unlike / len(rows), count=len(rows))
            output.line(
                f"Unlike anything taught: {unlike:,} of {len(rows):,} pictures, {share}; of ordinary ones "
                "about 5 % are called that."
            )
    if failed:
        raise typer.Exit(2)


def _facts(found: "FilePrediction", *, asked: bool) -> dict[str, object]:
    """What is told of a file beside its probabilities; whether it is sure only where that was asked."""
    prediction: object = list(found.predictions) if found.task.multi_label else found.prediction
    facts: dict[str, object] = {
        "source": found.source,
        "prediction": prediction if found.sure and not found.withheld else None,
        "confidence": float(f"{found.confidence:.9g}"),
    }
    if asked:
        facts["sure"] = found.sure
    if found.prediction_set is not None:
        facts["set"] = list(found.prediction_set)
    if found.novelty is not None:
        facts |= {"unlike": found.unlike, "novelty": found.novelty}
    return facts


def _cell(value: object) -> object:
    """A fact as a table has it."""
    if isinstance(value, list):
        return "|".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.9g}" if isinstance(value, float) else value or ""


def _remark(found: "FilePrediction", held_out: int) -> str:
    """What is added to the line of a picture that is unlike anything taught."""
    if found.novelty is None or not found.unlike:
        return ""
    share = f"all {held_out:,}"
    if found.novelty < 100:
        share = f"{percent(found.novelty / 100, count=held_out)} of {held_out:,}"
    farther = f"farther from its nearest training pictures than {share} pictures held out of training"
    return f" ({farther})" if found.withheld else f"; unlike anything taught: {farther}"


def _promise(threshold: "Threshold", held_out: str) -> str:
    """From when there is an answer, and how many of the answers are wrong at most."""
    from pellucid.evaluation.intervals import MIN_GROUPS

    predicted = {"first training": ", as the first training predicts them", "folds": ", out of fold"}
    count = threshold.pictures
    share = percent(threshold.answered / count, count=count)
    groups = "" if threshold.groups is None else f" from {threshold.groups:,} groups"
    chosen = (
        f"Answers from a confidence of {threshold.confidence:.4g} on: {share} of {count:,} pictures{groups} "
        f"held out of training{predicted.get(held_out, '')}, {threshold.wrong:,} of these wrong."
    )
    if threshold.error_limit is None:
        return f"{chosen} Too few groups to promise anything of others: that takes {MIN_GROUPS}."
    most = percent(threshold.error_limit, count=max(count, 10_000))
    others = "pictures" if threshold.groups is None else "pictures of other groups"
    return (
        f"{chosen} On new {others} like them at most {most} of the answers are wrong, with 95 % probability."
    )


def _answer(found: "FilePrediction") -> str:
    """What a file shows in one line: the likeliest classes, or the labels given and the likeliest others; all
    classes of a set; or that it is not sure."""
    assert found.probabilities is not None  # of a picture that was read
    if found.withheld:
        return "not like anything I was taught"
    shares = {
        found.classes[k]: percent(float(found.probabilities[k]))
        for k in found.probabilities.argsort(descending=True).tolist()
    }
    inside = found.prediction_set or ()
    if not found.sure or len(inside) > 1:
        shown = [f"{name} {share}" for name, share in shares.items()][: max(3, len(inside))]
        return f"{' or '.join(inside) if found.sure else 'not sure'} ({', '.join(shown)})"
    given = [f"{name} {shares.pop(name)}" for name in found.predictions]
    others = [f"{name} {share}" for name, share in shares.items()][:2]
    first = ", ".join(given) or "no label"
    return f"{first} (then {', '.join(others)})" if others else first

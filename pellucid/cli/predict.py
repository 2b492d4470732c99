"""The command that asks a trained network: predict."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import AsJson, FitOfRun, Quiet, RunArgument, refuse_streams_and_addresses
from pellucid.cli.output import Output, problem
from pellucid.formatting import digits, percent

if TYPE_CHECKING:
    from pellucid.prediction import FilePrediction

EXAMPLES = """\
Examples:
  pellucid predict runs/latest seven.png
  pellucid predict runs/latest ./photos --json
  pellucid predict runs/latest ./photos --csv predictions.csv
"""


def predict(
    run_folder: RunArgument,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Pictures, or folders of them.")],
    *,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every probability to this table.")
    ] = None,
    fit: FitOfRun = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Predict what each FILE shows, one class or several labels, with the probability of every class."""
    from pellucid.classifier import Classifier
    from pellucid.files import write_csv
    from pellucid.prediction import predict_files

    refuse_streams_and_addresses(*files)
    output = Output(quiet, as_json)
    classifier = Classifier.load(run_folder)
    rows, failed = [], False
    for each in predict_files(classifier, files, fit=fit):
        if each.probabilities is None:
            failed = True
            problem(each.error)
            continue
        texts = digits(each.probabilities)
        confidence = f"{each.confidence:.9g}"
        rows.append([each.source, each.prediction, confidence, *texts])
        output.object(
            {
                "source": each.source,
                "prediction": list(each.predictions) if classifier.multi_label else each.prediction,
                "confidence": float(confidence),
                "probabilities": dict(zip(classifier.classes, map(float, texts), strict=True)),
            }
        )
        if csv is None:
            name = each.source.replace("\n", "\\n")  # one line per file, whatever it is called
            output.line(f"{name}: {_answer(each)}")
        if output.reader_left and csv is None:
            raise typer.Exit(1)  # nobody reads what else would be computed
    if csv is not None:
        header = ["source", "prediction", "confidence", *(f"p({name})" for name in classifier.classes)]
        write_csv(csv, header, rows)
        output.line(f"Predictions: {csv}")
    if failed:
        raise typer.Exit(2)


def _answer(found: "FilePrediction") -> str:
    """What a file shows in one line: the likeliest classes, or the labels given and the likeliest others."""
    assert found.probabilities is not None  # of a picture that was read
    shares = {
        found.classes[k]: percent(float(found.probabilities[k]))
        for k in found.probabilities.argsort(descending=True).tolist()
    }
    given = [f"{name} {shares.pop(name)}" for name in found.predictions]
    others = [f"{name} {share}" for name, share in shares.items()][:2]
    first = ", ".join(given) or "no label"
    return f"{first} (then {', '.join(others)})" if others else first

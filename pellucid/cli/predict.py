"""The command that asks a trained network: predict."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import AsJson, RunArgument, Scaling
from pellucid.formatting import plain


def predict(
    run_folder: RunArgument,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pictures, or folders of them.")],
    csv: Annotated[Path | None, typer.Option(help="Write every probability to this table.")] = None,
    scaling: Scaling = None,
    as_json: AsJson = False,
) -> None:
    """Tell what each FILE shows, with the probability of every class."""
    from pellucid.classifier import Classifier
    from pellucid.files import write_csv
    from pellucid.formatting import digits, percent
    from pellucid.prediction import predict_files

    classifier = Classifier.load(run_folder)
    rows, errors = [], 0
    for answer in predict_files(classifier, files, scaling=scaling):
        if answer.probabilities is None:
            errors += 1
            print(plain(f"pellucid: {answer.error}"), file=sys.stderr)
            continue
        texts = digits(answer.probabilities)
        rows.append([answer.source, answer.prediction, *texts])
        if as_json:
            named = {name: float(text) for name, text in zip(answer.classes, texts, strict=True)}
            facts = {"source": answer.source, "prediction": answer.prediction, "probabilities": named}
            print(json.dumps(facts, ensure_ascii=False))
        elif csv is None:
            order = answer.probabilities.argsort(descending=True)[:3].tolist()
            best = [f"{answer.classes[k]} {percent(float(answer.probabilities[k]))}" for k in order]
            name = answer.source.replace("\n", "\\n")  # one line per file, whatever it is called
            print(plain(f"{name}: {best[0]}" + (f" (then {', '.join(best[1:])})" if best[1:] else "")))
    if csv is not None:
        write_csv(csv, ["source", "prediction", *(f"p({name})" for name in classifier.classes)], rows)
    if errors:
        raise typer.Exit(2)

"""Commands that ask a trained network: evaluate, predict."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import AsJson, RunArgument, Scaling
from pellucid.cli.pictures import pictures_in, with_scaling
from pellucid.errors import UsageError
from pellucid.formatting import plain

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.classifier import Classifier
    from pellucid.data.preprocess import Preprocess

TOGETHER = 1024  # files read before they go through the network


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

    classifier = Classifier.load(run_folder)
    preprocess = with_scaling(classifier.preprocess, scaling)
    rows, errors = [], []
    wanted = [picture for given in files for picture in pictures_in(given)]
    for file, probabilities in _answers(classifier, preprocess, wanted):
        if isinstance(probabilities, UsageError):
            errors.append(probabilities)
            print(plain(f"pellucid: {probabilities}"), file=sys.stderr)
            continue
        order = probabilities.argsort(descending=True).tolist()
        texts = digits(probabilities)
        rows.append([str(file), classifier.classes[order[0]], *texts])
        if as_json:
            named = {name: float(text) for name, text in zip(classifier.classes, texts, strict=True)}
            answer = {"file": str(file), "prediction": classifier.classes[order[0]], "probabilities": named}
            print(json.dumps(answer, ensure_ascii=False))
        elif csv is None:
            best = [f"{classifier.classes[k]} {percent(float(probabilities[k]))}" for k in order[:3]]
            name = str(file).replace("\n", "\\n")  # one line a file, whatever it is called
            print(plain(f"{name}: {best[0]}" + (f" (then {', '.join(best[1:])})" if best[1:] else "")))
    if csv is not None:
        write_csv(csv, ["file", "prediction", *(f"p({name})" for name in classifier.classes)], rows)
    if errors:
        raise typer.Exit(2)


def _answers(
    classifier: "Classifier", preprocess: "Preprocess", files: list[Path]
) -> "Iterator[tuple[Path, Tensor | UsageError]]":
    """Each file with its probabilities (K,), or with why it has none; the network takes many together."""
    import torch

    for start in range(0, len(files), TOGETHER):
        some = files[start : start + TOGETHER]
        read = [_picture(preprocess, file) for file in some]
        pictures = [picture for picture in read if not isinstance(picture, UsageError)]
        answers = iter(classifier.predict(torch.stack(pictures)) if pictures else ())
        for file, picture in zip(some, read, strict=True):
            yield file, picture if isinstance(picture, UsageError) else next(answers)


def _picture(preprocess: "Preprocess", file: Path) -> "Tensor | UsageError":
    try:
        return preprocess.read(file)
    except UsageError as error:
        return error

"""Commands that ask a trained network: evaluate, predict, explain."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pellucid.cli.options import AsJson, DataDir, RunArgument, Scaling
from pellucid.cli.pictures import pictures_in, splits_of, with_scaling
from pellucid.cli.voice import Voice, plain
from pellucid.errors import UsageError


def evaluate(
    run_folder: RunArgument,
    data_dir: DataDir = None,
    again: Annotated[
        bool, typer.Option("--again", help="Open the test set once more; this is counted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Judge RUN on the test set, once: later calls repeat what was found then."""
    from pellucid.run import Run

    run = Run.open(run_folder)
    known = None if again else run.evaluation()
    if known is None:
        known = run.evaluate(splits_of(run, data_dir).test)
    Voice(False, as_json).evaluation(run, known)


def predict(
    run_folder: RunArgument,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pictures, or folders of them.")],
    csv: Annotated[Path | None, typer.Option(help="Write every probability to this table.")] = None,
    scaling: Scaling = None,
    as_json: AsJson = False,
) -> None:
    """Tell what each FILE shows, with the probability of every class."""
    from pellucid.classifier import Classifier
    from pellucid.evaluation import digits, percent
    from pellucid.files import write_csv

    classifier = Classifier.load(run_folder)
    preprocess = with_scaling(classifier.preprocess, scaling)
    rows, errors = [], []
    for file in (picture for given in files for picture in pictures_in(given)):
        try:
            probabilities = classifier.predict(preprocess.read(file)[None])[0]  # (K,)
        except UsageError as error:
            errors.append(error)
            print(plain(f"pellucid: {error}"), file=sys.stderr)
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


def explain(
    run_folder: RunArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture.")],
    target: Annotated[
        str | None, typer.Option(metavar="CLASS", help="The class to explain; the answer unless given.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The PNG to write; the picture's name with -explained unless given.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Explain the target and not this class.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="A way to find evidence; may be given again. A wrong name lists them."),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Where to look; the last with maps unless given.")] = None,
    scaling: Scaling = None,
    as_json: AsJson = False,
) -> None:
    """Show what every layer of RUN makes of FILE and where the evidence lies, as one PNG."""
    from pellucid.classifier import Classifier
    from pellucid.drawing import plot_explanation, png
    from pellucid.evaluation import digits
    from pellucid.explanation import DEFAULT_METHODS
    from pellucid.explanation import explain as explain_picture
    from pellucid.files import write_bytes

    classifier = Classifier.load(run_folder)
    image = with_scaling(classifier.preprocess, scaling).read(file)
    methods = method or DEFAULT_METHODS
    explanation = explain_picture(classifier, image, target, methods=methods, layer=layer, against=against)
    path = out or Path(f"{file.stem}-explained.png")
    if path.resolve() == file.resolve():
        raise UsageError(f"'{path}' is the picture itself. Name another file with --out.")
    title = f"{file.name}: {explanation.sentence}"
    heatmaps, maps = explanation.heatmaps, explanation.feature_maps
    write_bytes(path, png(plot_explanation(image, heatmaps, maps, plain(title))))
    layers: list[dict[str, Any]] = [
        {"layer": name, "shape": list(m.shape), "largest": float(m.max())} for name, m in maps.items()
    ]
    if as_json:
        probabilities = [float(text) for text in digits(explanation.probabilities)]
        named = dict(zip(classifier.classes, probabilities, strict=True))
        evidence = {name: heat.tolist() for name, heat in heatmaps.items()}
        facts = {"file": str(file), "target": classifier.classes[explanation.target], "probabilities": named}
        print(json.dumps({**facts, "layers": layers, "evidence": evidence, "png": str(path)}))
        return
    print(plain(title))
    for row in layers:
        shape = " x ".join(str(number) for number in row["shape"])
        print(f"  {row['layer']:<12} {shape:<14} largest value {row['largest']:.3g}")
    for name, heat in heatmaps.items():
        print(
            f"Evidence by {name}: sum {float(heat.sum()):.3g}, strongest place {float(heat.abs().max()):.3g}"
        )
    for note in explanation.notes:
        print(note)
    print(plain(f"Picture: {path}"))

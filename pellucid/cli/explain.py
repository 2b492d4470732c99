"""The command that explains pictures: explain."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import (
    PAGES,
    AsJson,
    DataDir,
    FitOfRun,
    Language,
    Quiet,
    RunArgument,
    choice,
    refuse_overwriting,
    refuse_streams_and_addresses,
    requested_language,
)
from pellucid.cli.output import Output, problem
from pellucid.cli.pictures import splits_of
from pellucid.errors import UsageError, did_you_mean
from pellucid.formatting import plain

if TYPE_CHECKING:
    from pellucid.classifier import Classifier
    from pellucid.report.explain_page import Explained

FORMATS = ("png", "json", "html")

EXAMPLES = """\
Examples:
  pellucid explain runs/latest seven.png
  pellucid explain runs/latest seven.png --target 7 --against 1
  pellucid explain runs/latest ./photos/7/*.png --change --neighbours 8 --out explained.html
"""


def explain(
    run_folder: RunArgument,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Pictures.")],
    *,
    target: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Class to explain; the prediction unless given.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write; unless given, NAME-explained.png per picture."),
    ] = None,
    kind: Annotated[
        str | None,
        choice("png|json|html", "What to write; by the ending of --out unless given.", "--format"),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Explain why the target and not this class.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Method for the map; may be repeated. A wrong name lists them."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Layer to look at; the last with maps unless given.")
    ] = None,
    change: Annotated[
        bool, typer.Option("--change", help="Find a small change that turns the prediction.")
    ] = False,
    neighbours: Annotated[
        int, typer.Option(help="How many of the most similar training pictures to find.")
    ] = 0,
    lang: Language = None,
    data_dir: DataDir = None,
    fit: FitOfRun = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Show what every layer of RUN makes of each FILE, where the evidence lies, and what would change it."""
    from pellucid.classifier import Classifier

    kind, language = _format(kind, out), requested_language(lang)
    refuse_streams_and_addresses(*files)
    if neighbours < 0:
        raise UsageError(f"Expected --neighbours of at least 0; got {neighbours}.")
    _refuse_unwritable(files, out, kind)
    output = Output(quiet, as_json)
    classifier = Classifier.load(run_folder)
    preprocess = classifier.preprocess.with_fit(fit)
    explain_one = _explainer(classifier, run_folder, data_dir, neighbours, change=change)
    explained = []
    same = f"pellucid explain {shlex.quote(str(run_folder))} {shlex.join(map(str, files))}"
    with output.stage("Explaining", again=same) as show_part:
        for file in files:
            show_part(file.name)
            try:
                image = preprocess.read(file)
            except UsageError as error:
                problem(error)
                continue
            explained.append(
                explain_one(file, image, target=target, against=against, methods=method, layer=layer)
            )
        paths = _written(explained, out, kind, language) if explained else []
    _print(explained, paths, output)
    if len(explained) < len(files):
        raise typer.Exit(2)


def _format(kind: str | None, out: Path | None) -> str:
    """What to write: as named, or by the ending of the file."""
    found = kind or (out.suffix.removeprefix(".").lower() if out is not None and out.suffix else "png")
    if found not in FORMATS:
        raise UsageError(f"Unknown format '{found}'. {did_you_mean(found, FORMATS)}")
    return found


def _refuse_unwritable(files: list[Path], out: Path | None, kind: str) -> None:
    stems = [file.stem for file in files]
    if out is None and kind == "png" and len(set(stems)) < len(stems):
        raise UsageError("Two of these pictures have the same name. Write one page: --out explained.html.")
    if out is None:
        return
    refuse_overwriting(out, (".png", ".json", *PAGES), files)
    if kind == "png" and len(files) > 1:
        raise UsageError(
            f"--out '{out}' names one PNG, but {len(files)} pictures were given. "
            "Leave it out, or write one page with --out explained.html."
        )


def _explainer(
    classifier: "Classifier", run_folder: Path, data_dir: Path | None, neighbours: int, *, change: bool
) -> "Callable[..., Explained]":
    """A function that explains one picture; what all of them need is made ready once."""
    from pellucid.explanation.counterfactual import counterfactuals
    from pellucid.explanation.explanation import explain as explain_picture
    from pellucid.explanation.neighbours import index_sample
    from pellucid.report.explain_page import Explained, neighbours_of
    from pellucid.runs.run import Run
    from pellucid.runs.verdicts import read_verdicts, shown_method

    verdicts, index = read_verdicts(run_folder), None
    shown = shown_method(verdicts)
    usual = ([] if shown is None else [shown]) if verdicts else None  # a failed one, to whoever names it
    if neighbours > 0:
        splits = splits_of(Run.open(run_folder), data_dir)
        index = index_sample(classifier, splits.train, splits.validation)

    def explain_one(
        file: Path, image: object, *, target: str | None, against: str | None,
        methods: list[str] | None, layer: str | None,
    ) -> Explained:  # fmt: skip
        found = explain_picture(
            classifier, image, target,
            methods=methods or usual, layer=layer, against=against,
        )  # fmt: skip
        wanted = found.probabilities.argsort(descending=True)[1:10].tolist()
        changes = counterfactuals(classifier, found.image, wanted) if change else []
        similar, novelty = neighbours_of(index, found.image, neighbours) if index else ((), None)
        return Explained(file.name, found, tuple(changes), similar, novelty, verdicts)

    return explain_one


def _written(explained: "list[Explained]", out: Path | None, kind: str, language: str) -> list[Path]:
    """The files written: one per picture, or one page of all."""
    from pellucid.files import write_bytes, write_text
    from pellucid.plots.figures import png
    from pellucid.report.explain_page import facts, page, plotted

    if kind == "png":
        paths = [out or Path(f"{Path(each.name).stem}-explained.png") for each in explained]
        for path, each in zip(paths, explained, strict=True):
            write_bytes(path, png(plotted(each, plain(each.title))))
        return paths
    path = out or Path(f"explained.{kind}")
    text = (
        page(explained, language=language)
        if kind == "html"
        else json.dumps([facts(each) for each in explained], indent=1)
    )
    write_text(path, text)
    return [path]


def _print(explained: "list[Explained]", paths: list[Path], output: Output) -> None:
    """Each picture, then the files that were written."""
    from pellucid.report.explain_page import facts, lines

    for number, each in enumerate(explained):
        output.object({**facts(each), "path": str(paths[min(number, len(paths) - 1)])})
        for line in lines(each):
            output.line(line)
    for path in paths:
        output.line(f"Written: {path}")

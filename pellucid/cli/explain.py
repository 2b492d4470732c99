"""The command that explains pictures: explain."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import AsJson, DataDir, Language, RunArgument, Scaling, requested_language
from pellucid.cli.pictures import splits_of
from pellucid.errors import UsageError, did_you_mean
from pellucid.formatting import plain

if TYPE_CHECKING:
    from pellucid.classifier import Classifier
    from pellucid.report.explain_page import Explained

FORMATS = ("png", "json", "html")


def explain(
    run_folder: RunArgument,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pictures.")],
    target: Annotated[
        str | None, typer.Option(metavar="CLASS", help="The class to explain; the answer unless given.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write; a PNG beside each picture's name with -explained unless given."
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--format", help="png, json or html; by the end of --out unless given.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Explain the target and not this class.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="A way to find evidence; may be given again. A wrong name lists them."),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Where to look; the last with maps unless given.")] = None,
    change: Annotated[
        bool, typer.Option("--change", help="Find the smallest change that turns the answer.")
    ] = False,
    neighbours: Annotated[
        int, typer.Option(help="Find so many training pictures that the network holds alike.")
    ] = 0,
    lang: Language = None,
    data_dir: DataDir = None,
    scaling: Scaling = None,
    as_json: AsJson = False,
) -> None:
    """Show what every layer of RUN makes of each FILE, where the evidence lies, and what would change it."""
    from pellucid.classifier import Classifier

    kind = _format(kind, out)
    _refuse_unwritable(files, out, kind)
    classifier = Classifier.load(run_folder)
    preprocess = classifier.preprocess.with_scaling(scaling)
    ask = _asker(classifier, run_folder, data_dir, neighbours, change=change)
    explained, failed = [], 0
    for file in files:
        try:
            image = preprocess.read(file)
        except UsageError as error:
            failed += 1
            print(plain(f"pellucid: {error}"), file=sys.stderr)
            continue
        explained.append(ask(file, image, target, against, method, layer))
    places = _written(explained, out, kind, requested_language(lang)) if explained else []
    _told(explained, places, as_json=as_json)
    if failed:
        raise typer.Exit(2)


def _format(kind: str | None, out: Path | None) -> str:
    """What to write, by its name or by the end of the file's."""
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
    if any(out.resolve() == file.resolve() for file in files):
        raise UsageError(f"'{out}' is the picture itself. Name another file with --out.")
    if kind == "png" and len(files) > 1:
        raise UsageError(
            f"--out '{out}' names one PNG, but {len(files)} pictures were given. "
            "Leave it out, or write one page with --out explained.html."
        )


def _asker(
    classifier: "Classifier", run_folder: Path, data_dir: Path | None, neighbours: int, *, change: bool
) -> "Callable[..., Explained]":
    """A function that explains one picture; what all of them need is made ready once."""
    from pellucid.explanation.counterfactual import counterfactuals
    from pellucid.explanation.explanation import DEFAULT_METHODS
    from pellucid.explanation.explanation import explain as explain_picture
    from pellucid.explanation.neighbours import index_sample
    from pellucid.report.evidence import read_verdicts
    from pellucid.report.explain_page import Explained, neighbours_of
    from pellucid.runs.run import Run

    verdicts, index = read_verdicts(run_folder), None
    if neighbours > 0:
        splits = splits_of(Run.open(run_folder), data_dir)
        index = index_sample(classifier, splits.train, splits.validation)

    def ask(
        file: Path, image: object, target: str | None, against: str | None,
        methods: list[str] | None, layer: str | None,
    ) -> Explained:  # fmt: skip
        found = explain_picture(
            classifier, image, target,  # type: ignore[arg-type]
            methods=methods or DEFAULT_METHODS, layer=layer, against=against,
        )  # fmt: skip
        wanted = found.probabilities.argsort(descending=True)[1:10].tolist()
        changes = counterfactuals(classifier, found.image, wanted) if change else []
        similar, novelty = neighbours_of(index, found.image, neighbours) if index else ((), None)
        return Explained(file.name, found, tuple(changes), similar, novelty, verdicts)

    return ask


def _written(explained: "list[Explained]", out: Path | None, kind: str, language: str) -> list[Path]:
    """What was written, one file or one a picture."""
    from pellucid.files import write_bytes, write_text
    from pellucid.plots.figures import png
    from pellucid.report.explain_page import facts, page, plotted

    if kind == "png":
        places = [out or Path(f"{Path(one.name).stem}-explained.png") for one in explained]
        for place, one in zip(places, explained, strict=True):
            write_bytes(place, png(plotted(one, plain(one.title))))
        return places
    place = out or Path(f"explained.{kind}")
    text = (
        page(explained, language=language)
        if kind == "html"
        else json.dumps([facts(one) for one in explained], indent=1)
    )
    write_text(place, text)
    return [place]


def _told(explained: "list[Explained]", places: list[Path], *, as_json: bool) -> None:
    """On the screen: each picture, then where it was written."""
    from pellucid.report.explain_page import facts, lines

    for number, one in enumerate(explained):
        place = places[min(number, len(places) - 1)]
        if as_json:
            print(json.dumps({**facts(one), place.suffix.removeprefix(".") or "file": str(place)}))
            continue
        for line in lines(one):
            print(plain(line))
    if not as_json:
        for place in places:
            print(plain(f"Written: {place}"))

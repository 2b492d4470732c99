"""The command line: words become calls, events become progress, errors become exit codes.

0 done, 1 failure, 2 usage, 3 a check failed, 130 stopped with Ctrl-C after a clean save (143: SIGTERM).
Whatever needs torch is imported inside the command that needs it, so that --help answers at once.
"""

import io
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from pellucid.errors import PellucidError, UsageError
from pellucid.recipe import RECIPES, Recipe, changed, read_recipe, recipe_named

if TYPE_CHECKING:
    from pellucid.data.dataset import Dataset, Splits
    from pellucid.evaluation import Evaluation
    from pellucid.run import Run
    from pellucid.training import Epoch, Step

app = typer.Typer(
    name="pellucid",
    help="Image learning you can see through: train a classifier, judge it honestly, see what it learned.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

EXAMPLES = """Train on which pictures? Three ways to begin:

  pellucid train digits              1,797 small digits that come along: seconds
  pellucid train mnist               70,000 handwritten digits, found or downloaded once
  pellucid train mnist --model tutorial --recipe tutorial    the course page to the letter
"""

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, such as runs/latest.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where data sets lie; PELLUCID_DATA is looked in too.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Scaling = Annotated[
    str | None, typer.Option(help="stretch: convert pictures of another size or colour; none: refuse them.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Image learning you can see through."""
    if version:
        from pellucid import __version__

        print(f"pellucid {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit


@app.command()
def train(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="A known data set: digits, mnist.")
    ] = None,
    recipe: Annotated[str, typer.Option(help=f"Settings to start from: {', '.join(RECIPES)}.")] = "fast",
    config: Annotated[Path | None, typer.Option(help="A run's recipe.json, to replay it exactly.")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder, exactly; new or empty.")] = None,
    data_dir: DataDir = None,
    model: Annotated[str | None, typer.Option(help="The network; see: pellucid models.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Times all training pictures are seen, at most.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures a step.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam or adamw.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Constant value, or peak of the cycle.")] = None,
    schedule: Annotated[str | None, typer.Option(help="constant or one-cycle.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Decoupled weight decay of adamw.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Share of the target spread evenly.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better validation loss; 0: off.")
    ] = None,
    validation: Annotated[float | None, typer.Option(help="Share of training pictures to choose by.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides everything random; 42 unless given.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32 or bfloat16.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads; 0: one a core.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train on DATA, judge the result once on the test set, and write the report."""
    settings = {name: value for name, value in locals().items() if name in asdict(Recipe())}
    if data is None and resume is None:
        print(EXAMPLES, end="", file=sys.stderr)
        raise typer.Exit(2)
    given = {name: value for name, value in settings.items() if value is not None}
    if resume is not None and (given or data is not None or config is not None or out is not None):
        raise UsageError(
            "--resume goes on with a run as it was begun: its data, settings and folder cannot be changed. "
            "Leave them out, or train anew."
        )

    def choose(pictures: int) -> Recipe:
        start = read_recipe(config) if config else recipe_named(recipe, pictures=pictures)
        return changed(start, given)

    say = Voice(quiet, as_json)
    if resume is not None:
        run, splits = _resumed(resume, data_dir, say)
    else:
        run, splits = _trained(str(data), choose, out, data_dir, say)
    evaluation = run.evaluate(splits.test)
    say.evaluation(run, evaluation)
    _report(run, splits, evaluation, say)


@app.command()
def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A known data set: digits, mnist.")],
    data_dir: DataDir = None,
    seed: Annotated[int, typer.Option(help="Decides the split.")] = Recipe.seed,
    validation: Annotated[
        float, typer.Option(help="Share of training pictures to choose by.")
    ] = Recipe.validation,
    as_json: AsJson = False,
) -> None:
    """Look at DATA before training: shapes, type, classes, counts per class, pictures in two splits."""
    from pellucid.data.dataset import content_hashes

    splits = _loaded(data, data_dir, seed, validation)
    hashes = {name: set(content_hashes(part)) for name, part in splits.items()}
    twice = len(hashes["test"] & (hashes["train"] | hashes["validation"]))
    repeated = {name: len(part) - len(hashes[name]) for name, part in splits.items()}
    facts = {"data": data, **_facts(splits), "test_pictures_seen_in_training": twice, "repeated": repeated}
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    say = Voice(False, False)
    say.data(data, splits)
    say.counts(splits)
    say.line(f"Identical pictures inside one split: {', '.join(f'{n} {c}' for n, c in repeated.items())}.")
    say.line(f"Test pictures that are also in training or validation: {twice or 'none'}.")


@app.command()
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
        known = run.evaluate(_splits_of(run, data_dir).test)
    Voice(False, as_json).evaluation(run, known)


@app.command()
def predict(
    run_folder: RunArgument,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pictures.")],
    csv: Annotated[Path | None, typer.Option(help="Write every probability to this table.")] = None,
    scaling: Scaling = None,
    as_json: AsJson = False,
) -> None:
    """Tell what each FILE shows, with the probability of every class."""
    from pellucid.classifier import Classifier
    from pellucid.evaluation import digits, percent
    from pellucid.files import write_csv

    classifier = Classifier.load(run_folder)
    preprocess = _preprocess(classifier.preprocess, scaling)
    rows, errors = [], []
    for file in files:
        try:
            probabilities = classifier.predict(preprocess.read(file)[None])[0]  # (K,)
        except UsageError as error:
            errors.append(error)
            print(_plain(f"pellucid: {error}"), file=sys.stderr)
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
            print(_plain(f"{name}: {best[0]}" + (f" (then {', '.join(best[1:])})" if best[1:] else "")))
    if csv is not None:
        write_csv(csv, ["file", "prediction", *(f"p({name})" for name in classifier.classes)], rows)
    if errors:
        raise typer.Exit(2)


@app.command("explain")
def explain_command(
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
    from pellucid.explanation import DEFAULT_METHODS, explain
    from pellucid.files import write_bytes

    classifier = Classifier.load(run_folder)
    image = _preprocess(classifier.preprocess, scaling).read(file)
    methods = method or DEFAULT_METHODS
    explanation = explain(classifier, image, target, methods=methods, layer=layer, against=against)
    path = out or Path(f"{file.stem}-explained.png")
    if path.resolve() == file.resolve():
        raise UsageError(f"'{path}' is the picture itself. Name another file with --out.")
    title = f"{file.name}: {explanation.sentence}"
    heatmaps, maps = explanation.heatmaps, explanation.feature_maps
    write_bytes(path, png(plot_explanation(image, heatmaps, maps, _plain(title))))
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
    print(_plain(title))
    for row in layers:
        shape = " x ".join(str(number) for number in row["shape"])
        print(f"  {row['layer']:<12} {shape:<14} largest value {row['largest']:.3g}")
    for name, heat in heatmaps.items():
        print(
            f"Evidence by {name}: sum {float(heat.sum()):.3g}, strongest place {float(heat.abs().max()):.3g}"
        )
    for note in explanation.notes:
        print(note)
    print(_plain(f"Picture: {path}"))


@app.command()
def report(
    run_folder: RunArgument,
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """Write RUN's report.html again: one page that needs nothing else."""
    from pellucid.run import Run

    run = Run.open(run_folder)
    splits = _splits_of(run, data_dir)
    evaluation = run.evaluation() or run.evaluate(splits.test)
    _report(run, splits, evaluation, Voice(quiet, False))


@app.command()
def export(
    run_folder: RunArgument,
    kind: Annotated[str, typer.Option("--format", help="page: one HTML file to draw in.")] = "page",
    out: Annotated[Path | None, typer.Option(help="The file to write; RUN/page.html unless given.")] = None,
    language: Annotated[str, typer.Option("--lang", help="en or ko; the page can be switched.")] = "en",
    data_dir: DataDir = None,
) -> None:
    """Write RUN's network as one page in which a drawing is answered by every layer, without a network."""
    from pellucid.errors import did_you_mean
    from pellucid.exporters import EXPORTERS
    from pellucid.exporters.page import Subject
    from pellucid.run import Run

    if kind not in EXPORTERS:
        raise UsageError(f"Unknown format '{kind}'. {did_you_mean(kind, EXPORTERS)}")
    run = Run.open(run_folder)
    splits = _splits_of(run, data_dir)
    exporter = EXPORTERS[kind]
    subject = Subject(run.classifier, run.data, splits.train, splits.test)
    path = exporter.write(subject, out or run.folder / f"{kind}{exporter.suffix}", language=language)
    print(_plain(f"{exporter.phrase}: {path}"))


@app.command()
def datasets(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the known data sets: where each was found, its size and licence."""
    from pellucid.data import DATASETS, locate

    for name, known in DATASETS.items():
        place = locate(name, data_dir)
        if as_json:
            facts = {
                "name": name,
                "title": known.title,
                "found": place,
                "pictures": known.pictures,
                "download_bytes": known.download_bytes,
            }
            print(json.dumps({**facts, "licence": known.licence}, ensure_ascii=False))
        else:
            size = f", {known.download_bytes / 1e6:.1f} MB" if known.download_bytes else ""
            print(f"{name}: {known.title}; {known.pictures:,} pictures{size}; {known.licence}")
            print(f"    {place or 'not here yet: would be downloaded when first used'}")


@app.command()
def models() -> None:
    """List the networks that can be trained."""
    from pellucid.models import MODELS

    for name, model in MODELS.items():
        print(f"{name}: {model.phrase}")


@app.command()
def doctor() -> None:
    """Tell what pellucid runs on: versions, processor, threads, the precision that 'auto' means here."""
    from importlib.metadata import version

    import torch

    from pellucid.run import processor
    from pellucid.training import resolved_precision

    print(f"pellucid {version('pellucid')}, Python {sys.version.split()[0]}, torch {torch.__version__}")
    print(f"processor: {processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    print(f"precision auto: {resolved_precision(Recipe())}")


class Voice:
    """Says what happens: progress on a terminal, plain lines in a pipe, JSON lines, or nothing."""

    def __init__(self, quiet: bool, as_json: bool) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self.console = Console(highlight=False, soft_wrap=True, emoji=False)

    def line(self, text: str) -> None:
        """One line for a person."""
        if not self.quiet and not self.as_json:
            self.console.print(_plain(text), markup=False)

    def event(self, kind: str, **facts: Any) -> None:
        """One JSON object for a program."""
        if self.as_json and not self.quiet:
            print(json.dumps({"event": kind, **facts}, ensure_ascii=False), flush=True)

    def data(self, name: str, splits: "Splits") -> None:
        """What the pictures are: shape, type, classes and how many."""
        facts = _facts(splits)
        self.event("data", data=name, **facts)
        channels, height, width = facts["shape"]
        kind = "gray" if channels == 1 else f"{channels} channels"
        sizes = ", ".join(f"{part} {len(dataset):,}" for part, dataset in splits.items())
        self.line(f"{name}: {width}x{height} {kind} uint8, {sizes} pictures")
        shown = facts["classes"][:20]
        more = f" and {len(facts['classes']) - 20} more" if len(facts["classes"]) > 20 else ""
        counts = ", ".join(f"{name} {splits.train.counts[name]:,}" for name in shown)
        self.line(f"{len(facts['classes'])} classes, training pictures of each: {counts}{more}")

    def counts(self, splits: "Splits") -> None:
        """How many pictures of each class each split has."""
        self.line("Pictures per class (train, validation, test):")
        for name in splits.train.classes:
            numbers = [f"{part.counts.get(name, 0):>7,}" for _, part in splits.items()]
            self.line(f"  {name:<16} {' '.join(numbers)}")

    @contextmanager
    def training(self, recipe: Recipe) -> Iterator[Callable[["Step | Epoch"], None]]:
        """A callback that shows every event of a training as it happens."""
        if self.quiet or self.as_json or not self.console.is_terminal:
            yield lambda event: self._told(event, recipe)
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        from pellucid.training import Step

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"))
        with Progress(*columns, TimeRemainingColumn(), console=self.console, transient=True) as bar:
            task = bar.add_task("training", total=None, figures="")

            def show(event: "Step | Epoch") -> None:
                if isinstance(event, Step):
                    done = (event.epoch - 1) * event.steps + event.step
                    figures = f"loss {event.loss:.3f}, {event.images_per_second:,.0f} pictures/s"
                    title = f"epoch {event.epoch}/{recipe.epochs}, step {event.step}/{event.steps}"
                    total = recipe.epochs * event.steps
                    bar.update(task, completed=done, total=total, description=title, figures=figures)
                else:
                    self._told(event, recipe)

            yield show

    def _told(self, event: "Step | Epoch", recipe: Recipe) -> None:
        from pellucid.training import Epoch

        if not isinstance(event, Epoch):
            return
        self.event("epoch", **asdict(event))
        mark = "  best so far" if event.best else ""
        self.line(
            f"epoch {event.epoch:>2}/{recipe.epochs}  {event.seconds:6.1f} s  loss {event.loss:.4f}  "
            f"accuracy {event.accuracy:.4f}  val_loss {event.val_loss:.4f}  "
            f"val_accuracy {event.val_accuracy:.4f}{mark}"
        )

    def evaluation(self, run: "Run", evaluation: "Evaluation") -> None:
        """The verdict on the test set."""
        if self.as_json and not self.quiet:
            figures = evaluation.to_json()
            self.event("evaluation", run=str(run.folder), **figures)
        self.line(f"Test set: {evaluation.verdict}")


def main() -> NoReturn:
    """The entry point: runs the command, prints any error as one message, exits with the documented code."""
    # Before torch is loaded: a thread that waits for the others sleeps. Spinning, as is the default, costs
    # ten times the time as soon as another program wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        _refuse_assignments(sys.argv[1:])
        app()
    except PellucidError as error:
        print(_plain(f"pellucid: {error}"), file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output has left, as in `pellucid datasets | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a folder that may not be looked into, a name that is too long
        print(_plain(f"pellucid: '{error.filename}': {error.strerror or error}."), file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


def _refuse_assignments(words: list[str]) -> None:
    for word in words:
        found = re.fullmatch(r"([a-z][a-z_-]*)=(.*)", word)
        if found and not Path(word).exists():
            flag = found[1].replace("_", "-")
            raise UsageError(
                f"'{word}' is not how options are written here: did you mean --{flag} {found[2]}?"
            )


def _loaded(name: str, data_dir: Path | None, seed: int, validation: float) -> "Splits":
    """The data set, with a download's progress on a terminal and what was passed over as plain lines."""
    from pellucid.data import load

    def tell(file: str, done: int, size: int) -> None:
        print(f"\r{file}: {done / 1e6:.1f} of {size / 1e6:.1f} MB", end="", file=sys.stderr, flush=True)
        if done >= size:
            print(file=sys.stderr)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        progress = tell if sys.stderr.isatty() else None
        splits = load(name, data_dir=data_dir, seed=seed, validation=validation, progress=progress)
    for warning in caught:
        print(_plain(f"pellucid: {warning.message}"), file=sys.stderr)
    return splits


def _trained(
    data: str, choose: Callable[[int], Recipe], out: Path | None, data_dir: Path | None, say: Voice
) -> "tuple[Run, Splits]":
    from pellucid.models import model_named
    from pellucid.run import fit

    draft = choose(1)  # seed and share decide the split, and the split how many pictures there are
    model_named(draft.model)  # a misspelt one is told before anything is loaded, perhaps downloaded
    splits = _loaded(data, data_dir, draft.seed, draft.validation)
    say.data(data, splits)
    recipe = choose(len(splits.train))
    with say.training(recipe) as show:
        run = fit(splits.train, splits.validation, recipe, folder=out, callbacks=[show], data=data)
    say.line(f"{run.folder}: {run.summary}")
    return run, splits


def _resumed(folder: Path, data_dir: Path | None, say: Voice) -> "tuple[Run, Splits]":
    from pellucid.files import read_json
    from pellucid.run import CHECKPOINT, ENVIRONMENT, RECIPE, resume

    if not (folder / CHECKPOINT).is_file():
        raise UsageError(
            f"'{folder}' has nothing to resume: it is no run's folder, or its training is finished."
        )
    recipe = read_recipe(folder / RECIPE)
    data = str(read_json(folder / ENVIRONMENT).get("data", ""))
    splits = _loaded(data, data_dir, recipe.seed, recipe.validation)
    say.data(data, splits)
    with say.training(recipe) as show:
        run = resume(folder, splits.train, splits.validation, callbacks=[show])
    say.line(f"{run.folder}: {run.summary}")
    return run, splits


def _splits_of(run: "Run", data_dir: Path | None) -> "Splits":
    from pellucid.run import find_splits

    recipe = run.recipe
    return find_splits(run, lambda: _loaded(run.data, data_dir, recipe.seed, recipe.validation))


def _report(run: "Run", splits: "Splits", evaluation: "Evaluation", say: Voice) -> None:
    from pellucid.report import write_report

    path = write_report(run, splits, evaluation)
    say.event("report", path=str(path))
    say.line(f"Report: {path}")


def _preprocess(preprocess: Any, scaling: str | None) -> Any:
    from dataclasses import replace

    from pellucid.data.picture import SCALING

    if scaling is None:
        return preprocess
    if scaling not in SCALING:
        raise UsageError(f"Unknown scaling '{scaling}'. Known: {', '.join(SCALING)}.")
    return replace(preprocess, scaling=scaling)


def _facts(splits: "Splits") -> dict[str, Any]:
    parts: dict[str, Dataset] = dict(splits.items())
    return {
        "shape": list(splits.train.images.shape[1:]),
        "type": "uint8",
        "classes": list(splits.train.classes),
        "pictures": {name: len(part) for name, part in parts.items()},
        "counts": {name: part.counts for name, part in parts.items()},
    }


def _plain(text: str) -> str:
    """Text with its control characters spelled out: a file's name must not steer the terminal."""
    return "".join(c if c == "\n" or c.isprintable() else f"\\x{ord(c):02x}" for c in text)

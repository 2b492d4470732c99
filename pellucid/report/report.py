"""One self-contained HTML file on a run: the verdict, the data, the training, the mistakes, the layers.

A section is a module with a record and the function `gather` that fills it, a template of the same name in
`assets/report/sections/` that draws it, and a line of SECTIONS. A section that fails shows its error message.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment
from markupsafe import Markup, escape

from pellucid.assets import asset
from pellucid.data.dataset import Splits
from pellucid.data.folds import everything
from pellucid.evaluation.evaluation import AnyEvaluation, Evaluation
from pellucid.evaluation.metrics import Confusion
from pellucid.evaluation.multi_label import MultiLabelEvaluation
from pellucid.files import write_text
from pellucid.formatting import percent
from pellucid.language import translate, use_language
from pellucid.machine import keep_memory
from pellucid.pad.section import Section as Drawing
from pellucid.plots import charts
from pellucid.plots.images import Atlas
from pellucid.recipe import refuse_unknown_keywords
from pellucid.report import (
    calibration,
    causes,
    counterfactual,
    data,
    draw,
    embedding,
    faithfulness,
    guess,
    label_errors,
    labels,
    layer_stats,
    layers,
    mistakes,
    neighbours,
    predictions,
    reproduce,
    training,
)
from pellucid.report.context import ReportContext
from pellucid.report.templates import SCALES, environment_of_pages, gradient
from pellucid.runs.run import Run
from pellucid.runs.verdicts import write_verdicts

REPORT = "report.html"
STYLES = ("shared/page.css", "shared/why.css")
SCRIPTS = tuple(f"report/{name}.js" for name in ("page", "mistakes", "report", "why"))


class SectionRecord(Protocol):
    """What a section gathers for its template."""

    @property
    def atlases(self) -> Mapping[str, Atlas]:
        """The images it takes pictures from, by name."""


Gather = Callable[[ReportContext], SectionRecord]
Progress = Callable[[str, int, int], None]  # name of a section, its number, how many there are

SECTIONS: Sequence[tuple[str, str, Gather]] = (
    ("draw", "Draw", draw.gather),
    ("data", "Data", data.gather),
    ("training", "Training", training.gather),
    ("predictions", "Predictions", predictions.gather),
    ("mistakes", "Mistakes", mistakes.gather),
    ("causes", "Why it was wrong", causes.gather),
    ("label_errors", "Labels that look wrong", label_errors.gather),
    ("calibration", "Calibration", calibration.gather),
    ("layers", "What the layers see", layers.gather),
    ("faithfulness", "Can the evidence maps be trusted?", faithfulness.gather),
    ("guess", "Guess first", guess.gather),
    ("counterfactual", "What would change it", counterfactual.gather),
    ("neighbours", "Neighbours", neighbours.gather),
    ("embedding", "Map of pictures", embedding.gather),
    ("layer_stats", "Layer statistics", layer_stats.gather),
    ("reproduce", "Reproduce this run", reproduce.gather),
)


# Of a run by folds: sections on what its folds predicted, and on the network that learned from all pictures.
OUT_OF_FOLD = ("predictions", "mistakes", "causes", "label_errors", "calibration")
OF_THE_NETWORK = (
    "layers", "faithfulness", "guess", "counterfactual", "neighbours", "embedding", "layer_stats",
)  # fmt: skip


@dataclass(frozen=True)
class LeftOut:
    """A section that cannot be where pictures have several labels, and why."""

    reason: str
    atlases: Mapping[str, Atlas] = field(default_factory=dict)


# Sections of another kind where pictures can have several labels.
SEVERAL_LABELS: Mapping[str, tuple[str, str, Gather]] = {
    "mistakes": ("labels", "Label by label", labels.gather),
    "causes": (
        "causes",
        "Why it was wrong",
        lambda context: LeftOut(
            translate("Left out: causes are told apart where each picture has one class.")
        ),
    ),
    "label_errors": (
        "label_errors",
        "Labels that look wrong",
        lambda context: LeftOut(translate("Left out: labels are judged where each picture has one.")),
    ),
    "guess": (
        "guess",
        "Guess first",
        lambda context: LeftOut(
            translate("Left out: a picture with several labels has no single prediction to guess.")
        ),
    ),
    "counterfactual": (
        "counterfactual",
        "What would change it",
        lambda context: LeftOut(
            translate(
                "Left out: each label is decided on its own, so no change turns one answer into another."
            )
        ),
    ),
}


def sections_for(evaluation: AnyEvaluation) -> list[tuple[str, str, Gather]]:
    """The sections of a report: SECTIONS, some of another kind where pictures can have several labels."""
    if isinstance(evaluation, Evaluation):
        return list(SECTIONS)
    return [SEVERAL_LABELS.get(entry[0], entry) for entry in SECTIONS]


@dataclass(frozen=True)
class RenderedSection:
    """A section as the page shows it; where it failed, `record` is None and `body` the error message.

    note  of a run by folds, whose predictions it shows
    """

    name: str
    title: str
    number: int
    record: SectionRecord | None
    answer: Markup
    body: Markup
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """The result at the top of the page.

    accuracy, low, high  in percent, with the 95 % interval
    strip                the three as SVG
    balanced             the scores that count every class equally, where classes are uneven
    worst                the commonest confusion; None without mistakes
    worst_id             the HTML id of the block with its pictures
    points               difference of mean confidence and accuracy, in percentage points; "" where several
    overconfident        whether mean confidence is above accuracy
    silent               number of channels that none of `checked` test pictures activates, of `channels`
    leaking              number of test pictures that are also in the training or validation set
    all_leaking          whether that is every test picture
    unseen               accuracy without the leaking pictures; "" where none leaks, or all
    stopped              why training ended before its last epoch, in English; "" when it did not
    folds                number of folds whose networks judged; 0 where the network itself did
    training             what else is to be known of how the network was trained and judged; "" for nothing
    several_labels       whether pictures can have several labels; accuracy is then that of all together
    mean_average_precision, precision_low, precision_high  mAP with its 95 % interval; "" for one class
    wrong                share of all decisions that are wrong, in percent; "" for one class
    """

    accuracy: str
    low: str
    high: str
    strip: Markup
    balanced: str
    worst: Confusion | None
    worst_id: str
    points: str
    overconfident: bool
    silent: int
    channels: int
    checked: int
    leaking: int
    all_leaking: bool
    unseen: str
    stopped: str
    folds: int
    training: str
    several_labels: bool = False
    mean_average_precision: str = ""
    precision_low: str = ""
    precision_high: str = ""
    wrong: str = ""


@dataclass(frozen=True)
class ReportPage:
    """All that the template of the page reads."""

    language: str
    words: Mapping[str, str]
    title: str
    folder: str
    begun: str
    evaluation: AnyEvaluation
    verdict: Verdict
    about: list[str]
    sections: list[RenderedSection]
    drawing: Drawing | None
    atlases: Mapping[str, Atlas]
    scales: Mapping[str, str]
    style: Markup
    script: Markup


# Placeholders that the scripts fill in.
BLANKS = (
    "first", "then", "before", "count", "after", "points", "low", "high", "helped", "hurt", "name", "wrong",
    "classes", "shown", "all", "source", "label", "prediction", "confidence", "label_probability", "number",
)  # fmt: skip


@refuse_unknown_keywords
def write_report(
    run: Run,
    splits: Splits | None = None,
    evaluation: AnyEvaluation | None = None,
    *,
    language: str = "en",
    progress: Progress | None = None,
) -> Path:
    """Write a run's report.html anew, in a language of LANGUAGES; gives its path.

    splits      the run's pictures; loaded again when omitted
    evaluation  the one saved, when omitted; a run that has none is evaluated on the test set first
    progress    called before each section with its name, its number from 1 and the number of sections

    Writes faithfulness.json too, the test results of each kind of evidence map, for `explain`, and the causes
    of mistakes into causes.csv and evaluation.json. A section that
    fails shows its error message. Raises PellucidError when a file cannot be written, UsageError for an
    unknown language.
    """
    splits = splits or run.splits()
    splits = everything(splits) if run.recipe.folds else splits
    evaluation = evaluation or run.evaluation() or run.evaluate(splits.test)
    context = ReportContext(run, splits, evaluation, language)
    path = run.folder / REPORT
    write_text(path, render(context, progress))
    try:
        if isinstance(evaluation, Evaluation):
            context.causes.save(run.folder)
        tested = context.evidence.faithfulness
    except Exception:  # noqa: BLE001  # the section on faithfulness says what went wrong
        return path
    write_verdicts(run.folder, tested)
    return path


def render(context: ReportContext, progress: Progress | None = None) -> str:
    """The page as text, in the language of its context."""
    keep_memory()
    with use_language(context.language):
        environment = environment_of_pages()
        sections = []
        entries = sections_for(context.evaluation)
        for number, entry in enumerate(entries, 1):
            if progress is not None:
                progress(entry[0], number, len(entries))
            sections.append(render_section(environment, number, entry, context))
        page = report_page(context, sections)
        return environment.get_template("report/report.html").render(page=page)


def render_section(
    environment: Environment, number: int, entry: tuple[str, str, Gather], context: ReportContext
) -> RenderedSection:
    """One section of the page; an error becomes its body, so that the other sections are still written."""
    name, title, gather = entry
    record: SectionRecord | None
    try:
        record = gather(context)
        if isinstance(record, LeftOut):
            return RenderedSection(
                name, translate(title), number, record, Markup(escape(record.reason)), Markup()
            )
        macros: Any = environment.get_template(f"report/sections/{name}.html").module
        answer, body = macros.answer(record), macros.body(record)
    except Exception as error:  # noqa: BLE001  # a report must not fail a training for one picture
        parts: Any = environment.get_template("shared/parts.html").module
        record, answer, body = None, Markup(), parts.failed(f"{type(error).__name__}: {error}")
    note = ""
    if context.evaluation.fold_scores and name in OUT_OF_FOLD:
        note = translate("Each picture was predicted by a network that had not seen it.")
    elif context.evaluation.fold_scores and name in OF_THE_NETWORK:
        note = translate("Shown for the network that was kept, which learned from these pictures.")
    return RenderedSection(name, translate(title), number, record, answer, body, note)


def report_page(context: ReportContext, sections: Sequence[RenderedSection]) -> ReportPage:
    """Everything the page's template reads, from its sections."""
    run = context.run
    records = {section.name: section.record for section in sections}
    drawn = records["draw"]
    return ReportPage(
        language=context.language,
        words=_script_words(),
        title=f"{run.origin.name} · {run.recipe.model}",
        folder=run.folder.resolve().name,
        begun=str(run.environment.get("begun", ""))[:10],
        evaluation=context.evaluation,
        verdict=_verdict(context, records),
        about=_about(run),
        sections=list(sections),
        drawing=drawn.drawing if isinstance(drawn, draw.DrawSection) and not drawn.refusal else None,
        atlases={
            name: atlas for record in records.values() if record for name, atlas in record.atlases.items()
        },
        scales={name: gradient(colours) for name, colours in SCALES.items()},
        style=Markup("\n".join(asset(name) for name in STYLES)),
        script=Markup("\n".join(asset(name) for name in SCRIPTS)),
    )


def _verdict(context: ReportContext, records: Mapping[str, SectionRecord | None]) -> Verdict:
    evaluation = context.evaluation
    low, high = evaluation.interval
    several = evaluation if isinstance(evaluation, MultiLabelEvaluation) else None
    gap = float(evaluation.confidence.mean()) - evaluation.accuracy
    worst = evaluation.confusions[0] if evaluation.confusions and several is None else None
    confused, inside, pictures = records.get("mistakes"), records["layers"], records["data"]
    ids = {}
    if isinstance(confused, mistakes.MistakesSection):
        ids = {(pair.label, pair.prediction): pair.id for pair in confused.confusion_pictures}
    silent = inside.silent if isinstance(inside, layers.LayersSection) else layers.SilentChannels(0, [], 0)
    known = pictures if isinstance(pictures, data.DataSection) else None
    corrections = "" if evaluation.fold_scores else context.splits.origin.test_corrections
    verdict = Verdict(
        accuracy=percent(evaluation.accuracy, count=evaluation.count),
        low=percent(low, count=evaluation.count),
        high=percent(high, count=evaluation.count),
        strip=Markup(charts.interval_strip(low, evaluation.accuracy, high)),
        balanced=evaluation.balanced if isinstance(evaluation, Evaluation) and evaluation.uneven else "",
        worst=worst,
        worst_id=ids.get((worst.label, worst.prediction), "mistakes") if worst else "",
        points="" if several else f"{abs(gap) * 100:.1f}",
        overconfident=gap > 0,
        silent=sum(layer.silent for layer in silent.layers),
        channels=silent.channels,
        checked=silent.checked,
        leaking=len(known.leaking) if known else 0,
        all_leaking=known.all_leaking if known else False,
        unseen=known.unseen.share if known and known.unseen else "",
        stopped=context.run.ended,
        folds=len(evaluation.fold_scores),
        training=" ".join(filter(None, (remark_on_training(context), corrections))),
    )
    if several is None:
        return verdict
    bottom, top = several.mean_average_precision_interval
    return replace(
        verdict,
        strip=Markup(charts.interval_strip(bottom, several.mean_average_precision, top, score="mAP")),
        several_labels=True,
        mean_average_precision=f"{several.mean_average_precision:.3f}",
        precision_low=f"{bottom:.3f}",
        precision_high=f"{top:.3f}",
        wrong=percent(several.hamming_loss),
    )


def remark_on_training(context: ReportContext) -> str:
    """Which network the score at the top is of, where it is not simply the one that was chosen."""
    scores, again = context.evaluation.fold_scores, context.run.all_pictures
    if scores:
        shares = sorted(score.accuracy for score in scores)
        return translate(
            "Judged by %(folds)s folds, whose accuracies go from %(low)s to %(high)s: each picture by a "
            "network that learned from the other folds alone. The interval is for such networks; it is wider "
            "where folds differ by more than chance. The network of this page learned from all pictures, and "
            "nothing is left to judge it by.",
            folds=len(scores),
            low=percent(shares[0]),
            high=percent(shares[-1]),
        )
    if again:
        return translate(
            "After its settings were chosen by the validation pictures, the network was trained once more, "
            "on these too: the score is of that network, the validation figures are of the first."
        )
    return ""


def _about(run: Run) -> list[str]:
    """Number of weights, training time and processor, a few words each."""
    weights = sum(weight.numel() for weight in run.classifier.network.parameters())
    processor = run.environment.get("machine", {}).get("processor")
    facts = [translate("%(count)s weights", count=f"{weights:,}")]
    if run.history:
        facts.append(translate("trained in %(seconds)s s", seconds=f"{run.history[-1].seconds:.1f}"))
    return [*facts, str(processor)] if processor else facts


def _script_words() -> dict[str, str]:
    """The sentences of report.js and why.js, which fill in {names}."""
    blank = {name: f"{{{name}}}" for name in BLANKS}
    return {
        "guess.ask": translate("What will the network predict?"),
        "guess.again": translate("Here is the evidence map. What will it predict, now that you see it?"),
        "guess.done": translate("You guessed %(first)s, then %(then)s.", **blank),
        "guess.next": translate("Next picture"),
        "guess.end": translate("Did the maps help?"),
        "guess.helped": translate("The maps helped you."),
        "guess.misled": translate("The maps misled you."),
        "guess.luck": translate("Whether the maps helped you cannot be told from chance."),
        "guess.score": translate(
            "You guessed %(before)s of %(count)s predictions from the picture alone and %(after)s with the "
            "map: %(points)s points, 95 %% interval %(low)s to %(high)s. The map turned %(helped)s guesses "
            "right and %(hurt)s wrong.",
            **blank,
        ),
        "map.class": translate("%(name)s (%(count)s)", **blank),
        "map.chosen": translate(
            "Chosen: %(count)s pictures, %(wrong)s of them mistakes. Labels: %(classes)s.", **blank
        ),
        "light": translate("Light"),
        "dark": translate("Dark"),
        "copied": translate("Copied %(count)s", **blank),
        "uncopied": translate("Could not copy"),
        "tally": translate("%(shown)s of %(all)s", **blank),
        "tile": translate(
            "%(source)s: labelled %(label)s, predicted %(prediction)s (%(confidence)s), "
            "%(label)s had %(label_probability)s",
            **blank,
        ),
        "picture": translate("test picture %(number)s", **blank),
    }

"""One self-contained HTML file on a run: the verdict, the data, the training, the mistakes, the layers.

A section is a module with a record and the function `gather` that fills it, a template of the same name in
`assets/report/sections/` that draws it, and a line of SECTIONS. A section that fails shows its error message.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment
from markupsafe import Markup, escape

from pellucid.assets import asset
from pellucid.data.dataset import Splits
from pellucid.data.folds import everything
from pellucid.evaluation import EVALUATION
from pellucid.evaluation.evaluation import AnyEvaluation, Evaluation, add_facts
from pellucid.evaluation.metrics import Confusion
from pellucid.evaluation.multi_label import MultiLabelEvaluation
from pellucid.files import claim, write_text
from pellucid.formatting import decimal, percent
from pellucid.language import Message, translate, use_language
from pellucid.machine import keep_memory
from pellucid.pad.section import Section as Drawing
from pellucid.plots import charts
from pellucid.plots.images import Atlas
from pellucid.policy import with_hashes
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
    novelty,
    predictions,
    refusing,
    reproduce,
    scores,
    shortcuts,
    slices,
    stress,
    training,
)
from pellucid.report.context import ReportContext
from pellucid.report.elsewhere import left_out
from pellucid.report.templates import SCALES, environment_of_pages, gradient
from pellucid.runs.choose import Candidate
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
    ("scores", "Scores", scores.gather),
    ("mistakes", "Mistakes", mistakes.gather),
    ("causes", "Why it was wrong", causes.gather),
    ("label_errors", "Labels that look wrong", label_errors.gather),
    ("calibration", "Calibration", calibration.gather),
    ("refusing", "When not to answer", refusing.gather),
    ("novelty", "Unlike anything taught", novelty.gather),
    ("slices", "Slices", slices.gather),
    ("stress", "Stress", stress.gather),
    ("shortcuts", "Shortcuts", shortcuts.gather),
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
OUT_OF_FOLD = (
    "predictions",
    "scores",
    "mistakes",
    "causes",
    "label_errors",
    "calibration",
    "refusing",
    "slices",
)
OF_THE_NETWORK = (
    "stress", "layers", "faithfulness", "guess", "counterfactual", "neighbours", "embedding", "layer_stats",
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
    "shortcuts": (
        "shortcuts",
        "Shortcuts",
        lambda context: LeftOut(
            translate("Left out: shortcuts are looked for where each picture has one class.")
        ),
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
class Confused:
    """A pair of classes that is confused most, or may be; `id` is of the block with its pictures."""

    pair: Confusion
    id: str


@dataclass(frozen=True)
class Verdict:
    """The result at the top of the page.

    accuracy, low, high  in percent, with the 95 % interval; low and high are "" where there is none
    groups               of the test pictures that belong together; 0 where each stands alone
    too_few              why there is no interval
    strip                the three as SVG
    balanced             the scores that count every class equally, where classes are uneven
    mistakes             how many pictures were predicted wrongly
    confused             the pair confused most, or the two or three of which one is; none where any could be
    points               difference of mean confidence and accuracy, in percentage points
    overconfident        whether mean confidence is above accuracy
    gap_shown            whether the difference is more than chance alone makes; False of several labels
    agrees               whether chance alone explains how confidence and accuracy differ, also group by group
    agreement            that in words
    silent               number of channels with the same output on all `checked` test pictures, of `channels`
    copies               number of test pictures that are, or almost are, also training or validation pictures
    all_leaking          whether that is every test picture; else the score is of the others
    with_copies          accuracy on all test pictures, where some are copies; else ""
    unsearched           whether near-copies were not, or not all, searched for
    rests_on             what else the score rests on, a sentence each
    stopped              why training ended before its last epoch, in English; "" when it did not
    folds                number of folds whose networks judged; 0 where the network itself did
    elsewhere            whether the network was trained elsewhere
    training             what else is to be known of how the network was trained and judged; "" for nothing
    several_labels       whether pictures can have several labels; accuracy is then that of all together
    mean_average_precision, precision_low, precision_high  mAP with its 95 % interval; "" for one class
    wrong                share of all decisions that are wrong, in percent; "" for one class
    """

    accuracy: str
    low: str
    high: str
    groups: int
    too_few: str
    strip: Markup
    balanced: str
    mistakes: int
    confused: list[Confused]
    points: str
    overconfident: bool
    gap_shown: bool
    agrees: bool
    agreement: str
    silent: int
    channels: int
    checked: int
    copies: int
    all_leaking: bool
    with_copies: str
    unsearched: bool
    rests_on: list[Message]
    stopped: str
    folds: int
    training: str
    elsewhere: bool = False
    several_labels: bool = False
    mean_average_precision: str = ""
    precision_low: str = ""
    precision_high: str = ""
    wrong: str = ""


@dataclass(frozen=True)
class ReportPage:
    """All that the template of the page reads; `evaluation` is the one that the verdict is of."""

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

    Writes faithfulness.json too, the test results of each kind of evidence map, for `explain`, the causes of
    mistakes into causes.csv, and them, slices, stress and shortcuts into evaluation.json. A section that
    fails shows its error message. Raises PellucidError when a file cannot be written, UsageError for an
    unknown language.
    """
    with claim(run.folder):
        splits = run.known_parts(splits or run.splits())
        splits = everything(splits) if run.folds else splits
        evaluation = evaluation or run.evaluation() or run.evaluate(splits.test)
        context = ReportContext(run, splits, evaluation, language)
        path = run.folder / REPORT
        write_text(path, render(context, progress))
        _add_to_evaluation(context)
        try:
            if isinstance(evaluation, Evaluation) and "causes" not in left_out(run):
                context.causes.save(run.folder)
            tested = context.evidence.faithfulness
        except Exception:  # noqa: BLE001  # the section on faithfulness says what went wrong
            return path
        write_verdicts(run.folder, tested)
        return path


def _add_to_evaluation(context: ReportContext) -> None:
    """evaluation.json holds what these sections found; what failed is left out: its section says so."""
    if not (context.run.folder / EVALUATION).is_file():
        return
    facts = {}
    for name in ("slices", "stress", "shortcuts"):
        if name not in SEVERAL_LABELS or not context.splits.test.multi_label:
            with suppress(Exception):
                facts[name] = getattr(context, name).to_json()
    add_facts(context.run.folder, **facts)


def render(context: ReportContext, progress: Progress | None = None) -> str:
    """The page as text, in the language of its context."""
    keep_memory()
    with use_language(context.language):
        environment = environment_of_pages()
        sections = []
        reasons = left_out(context.run)
        entries = [
            (name, title, partial(_left_out, reasons[name]) if name in reasons else gather)
            for name, title, gather in sections_for(context.evaluation)
        ]
        for number, entry in enumerate(entries, 1):
            if progress is not None:
                progress(entry[0], number, len(entries))
            sections.append(render_section(environment, number, entry, context))
        page = report_page(context, sections)
        return with_hashes(environment.get_template("report/report.html").render(page=page))


def _left_out(reason: Message, _: ReportContext) -> LeftOut:
    return LeftOut(str(reason))


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
    drawn = records.get("draw")
    return ReportPage(
        language=context.language,
        words=_script_words(),
        title=f"{run.origin.name} · {run.classifier.model}",
        folder=run.folder.resolve().name,
        begun=str(run.environment.get("begun", ""))[:10],
        evaluation=context.judged,
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
    evaluation, basis = context.judged, context.basis
    ends = [percent(end, count=evaluation.count) for end in evaluation.interval or ()]
    several = evaluation if isinstance(evaluation, MultiLabelEvaluation) else None
    calibrated = evaluation.calibration
    confused, inside = records.get("mistakes"), records.get("layers")
    ids = {}
    if isinstance(confused, mistakes.MistakesSection):
        ids = {(pair.label, pair.prediction): pair.id for pair in confused.confusion_pictures}
    silent = inside.silent if isinstance(inside, layers.LayersSection) else layers.SilentChannels(0, [], 0)
    every = context.full_evaluation
    corrections = "" if evaluation.fold_scores else context.splits.origin.test_corrections
    verdict = Verdict(
        accuracy=percent(evaluation.accuracy, count=evaluation.count),
        low=ends[0] if ends else "",
        high=ends[1] if ends else "",
        groups=0 if evaluation.groups is None else evaluation.sampling.units,
        too_few=str(evaluation.sampling.too_few or ""),
        strip=Markup(charts.interval_strip(evaluation.accuracy, evaluation.interval)),
        balanced=evaluation.balanced if isinstance(evaluation, Evaluation) and evaluation.uneven else "",
        mistakes=evaluation.count - evaluation.correct,
        confused=[]
        if several
        else [
            Confused(pair, ids.get((pair.label, pair.prediction), "mistakes"))
            for pair in evaluation.most_confused
        ],
        points=f"{abs(calibrated.gap) * 100:.1f}",
        overconfident=calibrated.gap > 0,
        gap_shown=several is None and calibrated.gap_shown,
        agrees=not calibrated.gap_shown and not calibrated.error_shown,
        agreement=calibrated.sentence,
        silent=sum(layer.silent for layer in silent.layers),
        channels=silent.channels,
        checked=silent.checked,
        copies=len(basis.copies),
        all_leaking=bool(basis.copies) and evaluation is every,
        with_copies=percent(every.accuracy, count=every.count) if evaluation is not every else "",
        unsearched=basis.unsearched is not None,
        rests_on=basis.sentences,
        stopped=context.run.ended,
        folds=len(evaluation.fold_scores),
        training=" ".join(filter(None, (remark_on_training(context), corrections))),
        elsewhere=context.run.recipe is None,
    )
    if several is None:
        return verdict
    precisions = several.mean_average_precision_interval
    bottom, top = [decimal(end) for end in precisions or ()] or ("", "")
    return replace(
        verdict,
        strip=Markup(charts.interval_strip(several.mean_average_precision, precisions, score="mAP")),
        several_labels=True,
        mean_average_precision=decimal(several.mean_average_precision),
        precision_low=bottom,
        precision_high=top,
        wrong=percent(several.hamming_loss, count=several.labels.numel()),
        with_copies=_mean_average_precision(every) if verdict.with_copies else "",
    )


def _mean_average_precision(evaluation: AnyEvaluation) -> str:
    """mAP in words; "" of pictures with one class each."""
    if not isinstance(evaluation, MultiLabelEvaluation):
        return ""
    return decimal(evaluation.mean_average_precision)


def remark_on_training(context: ReportContext) -> str:
    """Which network the score at the top is of, where it is not simply the one that was chosen."""
    evaluation, again = context.evaluation, context.run.all_pictures
    if isinstance(evaluation, Evaluation) and evaluation.fold_scores:
        low, high = evaluation.fold_range
        return translate(
            "Judged by %(folds)s folds, whose accuracies go from %(low)s to %(high)s: each picture by a "
            "network that learned from the other folds alone. The interval is for such networks; it is wider "
            "where folds differ by more than chance. The network of this page learned from all pictures, and "
            "nothing is left to judge it by.",
            folds=len(evaluation.fold_scores),
            low=low,
            high=high,
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
        facts.append(_time(run))
    return [*facts, str(processor)] if processor else facts


def _time(run: Run) -> str:
    """How long training took, and what that counts."""
    candidates = [Candidate.from_json(values) for values in run.environment.get("candidates", [])]
    tried = [candidate.seconds for candidate in candidates if candidate.tried]
    if len(tried) > 1:
        return translate(
            "%(count)s networks tried in %(seconds)s s, training of the chosen one included",
            count=len(tried),
            seconds=f"{sum(tried):.1f}",
        )
    seconds = f"{tried[0] if tried else run.history[-1].seconds:.1f}"
    if run.head is not None and not (run.recipe and run.recipe.fine_tune):
        return translate("last layer solved in %(seconds)s s, new features included", seconds=seconds)
    return translate("trained in %(seconds)s s", seconds=seconds)


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

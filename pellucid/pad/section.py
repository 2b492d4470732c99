"""The drawing page: a network lowered, packed and opened in one file that needs nothing else.

`drawing_section` gives the part that a report takes in; `export_page` writes it alone, for a static host.
"""

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from pellucid.assets import asset, constants
from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.evaluation.novelty import Reference
from pellucid.explanation.channels import (
    accuracies,
    accuracy_changes,
    beyond_chance,
    change_p_values,
    channel_maxima,
    rank_pictures,
)
from pellucid.inference import batch_size, scaled
from pellucid.pad.data import (
    ChannelData,
    CheckData,
    EvidenceData,
    PadData,
    PoolData,
    ProgramData,
    SnapshotsData,
    WeightsData,
    to_json,
)
from pellucid.pad.novelty import novelty_data
from pellucid.pad.operations import MOVING
from pellucid.pad.packing import base64_of, pack_snapshots, pack_weights
from pellucid.pad.program import TOLERANCE, Program, lower, refuse_difference
from pellucid.pad.strokes import RULES, measure
from pellucid.runs.verdicts import Verdicts, passed
from pellucid.training.snapshots import Snapshot

CHECK_PICTURES = 16  # test pictures that the page runs again when it opens, and offers as examples
MAX_POOL_PICTURES = 500  # test pictures inside the page, among which a channel's strongest are found
SAMPLE_PICTURES = 1000  # test pictures from which channel statistics are computed
SNAPSHOT_PICTURES = 300  # test pictures on which each snapshot of training is evaluated
STROKE_PICTURES = 10_000  # training pictures measured, to compare a drawing's strokes, size and centre with
MAX_MULTIPLY_ADDS = 300_000_000  # with more, an answer takes longer than a fifth of a second
MAX_WEIGHT_BYTES = 9_000_000  # 12 MB of a page
MAX_CHANGED = 0.01  # of the answers on test pictures, by rounding weights to 8 bits
MAX_SAMPLE_VALUES = 200_000_000  # of all layers, kept at once: fewer pictures for a large network
QUICK, CHECK_SLOW = (
    30_000_000,
    4,
)  # multiply-adds of a network that runs many pictures as the page opens; else so few
MAX_POOL_BYTES = 160_000  # of the pool, compressed
MAX_SNAPSHOT_BYTES = 1_900_000  # of all snapshots, compressed
BITS = (8, 7, 6)  # per weight of a snapshot, the first that fits
MAX_ABLATION_MULTIPLY_ADDS = 20_000_000_000  # of all runs with a channel switched off
PAD_METHOD = "gradient x activation"  # of the evidence: what a page computes between two strokes
MAX_CHANNELS = constants("layers")["channels"]  # shown of a layer, at most
MAX_CHANNEL_LAYERS = 40  # with channel statistics; the last ones of a deeper network
# In the order in which they need each other.
SCRIPTS = (
    "windows.js",
    "resize.js",
    "tensors.js",
    "operations.js",
    "program.js",
    "trace.js",
    "snapshots.js",
    "strokes.js",
    "preprocess.js",
    "formatting.js",
    "layer_names.js",
    "images.js",
    "parts.js",
    "drawing.js",
    "pictures.js",
    "address.js",
    "novelty.js",
    "engine.js",
    "pad.js",
    "layers.js",
    "arithmetic.js",
    "channel.js",
    "counterfactual.js",
    "unusual.js",
    "answers.js",
    "past.js",
    "page.js",
)


@dataclass(frozen=True, eq=False)
class Subject:
    """What a page is made of.

    data       the data set trained on, as `load` takes it: decides how a drawing is placed
    train      to compare a drawing with the training pictures
    test       for examples, for the check against PyTorch and for channel statistics
    snapshots  the weights during training, oldest first; without them the page shows no snapshots
    verdicts   how the kinds of evidence map fared on this network; empty where none was tested
    reference  training pictures as the network sees them, to tell what is unlike anything taught
    held_out   pictures that it did not learn from: with them a page takes a sample of `reference`, and a
               threshold of its own; without them all of it
    """

    classifier: Classifier
    data: str = ""
    train: Dataset | None = None
    test: Dataset | None = None
    snapshots: Sequence[Snapshot] = ()
    verdicts: Verdicts = field(default_factory=dict)
    reference: Reference | None = None
    held_out: Dataset | None = None


@dataclass(frozen=True)
class Section:
    """A part of a page: paste `html` where it belongs, `style` into the head, `scripts` at the end, in order.

    `data_json` goes into `<script type="application/json" id="live-data">`, where the last script reads it.
    pad      the network and its statistics; None where the page cannot run it
    refusal  why the page cannot run the network; "" where it can
    """

    html: str
    style: str
    scripts: tuple[str, ...]
    language: str
    pad: PadData | None
    refusal: str = ""

    @property
    def data_json(self) -> str:
        """What the scripts read, as JSON in which no "<" can end the element that holds it."""
        data = {
            "language": self.language,
            "words": texts(),
            "refusal": self.refusal,
            "pad": to_json(self.pad),
        }
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")

    def __html__(self) -> str:
        """The whole part, for a template that has only one place for it."""
        scripts = "".join(f"<script>{script}</script>\n" for script in self.scripts)
        data = f'<script type="application/json" id="live-data">{self.data_json}</script>\n'
        return f"<style>{self.style}</style>\n{self.html}\n{data}{scripts}"


def drawing_section(
    subject: Subject, *, language: str = "en", precision: str = "f16", snapshot_bytes: int = 0
) -> Section:
    """The part of a page on which a visitor draws and every layer answers, with the network inside.

    snapshot_bytes  limit for all snapshots, compressed; 0: MAX_SNAPSHOT_BYTES
    A network that the page's engine cannot run gives a section that says so, and why.
    Raises UsageError for an unknown language.
    """
    words = texts()
    if language not in words:
        raise UsageError(f"Unknown language '{language}'. Known: {', '.join(words)}.")
    noscript = Markup("<noscript><p>{}</p></noscript>").format(words[language]["noscript"])
    html = Markup('<div id="live" class="live">{}</div>').format(noscript)
    scripts = (constants_script(), *(asset(f"pad/{name}") for name in (*SCRIPTS, "section.js")))
    try:
        pad, refusal = pad_data(subject, precision, snapshot_bytes or MAX_SNAPSHOT_BYTES), ""
    except UsageError as error:
        pad, refusal = None, str(error)
    return Section(html, style(), scripts, language, pad, refusal)


def constants_script() -> str:
    """The script that must come before all others: the constants that Python and the page share."""
    return f"const PellucidConstants = {json.dumps(json.loads(asset('constants.json')))};"


def style() -> str:
    """The style of the pad, with the colours of its scales."""
    colours = constants("colours")
    stops = {name: ", ".join(f"#{anchor}" for anchor in anchors) for name, anchors in colours.items()}
    rules = "".join(f" --live-{name}: {anchors};" for name, anchors in stops.items())
    return f"{asset('pad/live.css')}.live {{{rules} }}\n"


def pad_data(subject: Subject, precision: str, snapshot_bytes: int) -> PadData:
    """What the page needs to run the network itself.

    Raises UsageError for a network that its engine cannot run, or not quickly enough.
    """
    refuse_several_labels(subject.classifier)
    classifier, rule = subject.classifier, RULES.get(subject.data)
    shape = (classifier.preprocess.channels, classifier.preprocess.height, classifier.preprocess.width)
    program = lower(classifier.network, shape)
    weights = program.weights(classifier.network.state_dict())
    packed, rounded = _fitting(program, weights, precision)
    stored = sum(math.prod(operation.shape) for operation in program.operations)
    affordable = max(CHECK_PICTURES, min(SAMPLE_PICTURES, MAX_SAMPLE_VALUES // max(1, stored)))
    pictures = _pictures(subject, shape, affordable)
    with torch.inference_mode():
        values = program.run(scaled(pictures.images), weights)
    pool = _pool(pictures) if pictures.sources[0] else None
    ablation_pictures = _count_ablation_pictures(program, _spans(program), len(pictures))
    channels = (
        _channels(program, weights, values, pictures, pool=pool.count, ablation_pictures=ablation_pictures)
        if pool
        else {}
    )
    return PadData(
        classes=classifier.classes,
        temperature=classifier.temperature,
        data=subject.data,
        program=ProgramData(program.shape, program.operations, [list(weight.shape) for weight in weights]),
        check=_check(program, values[-1], classifier, pictures, rounded=rounded, precision=packed.precision),
        weights=packed,
        rule=rule,
        training_percentiles=_training_percentiles(subject.train)
        if rule and subject.train is not None
        else None,
        scales=_scales(program, values),
        pool=pool,
        ablation_pictures=ablation_pictures,
        tested_channels=sum(len(table.accuracy_change or ()) for table in channels.values()),
        channels=channels,
        snapshots=_snapshots(program, subject.snapshots, pictures, snapshot_bytes),
        evidence=evidence_data(subject.verdicts),
        novelty=None
        if subject.reference is None
        else novelty_data(program, classifier, subject.reference, subject.held_out),
        fit=classifier.preprocess.fit,
        background=classifier.preprocess.background,
    )


def evidence_data(verdicts: Verdicts) -> EvidenceData:
    """How the pad's own kind of evidence map fared in its tests."""
    found = verdicts.get(PAD_METHOD)
    return EvidenceData(None if found is None else found.outcome, passed(verdicts))


def refuse_several_labels(classifier: Classifier) -> None:
    """Raises UsageError for a network that gives several labels: the pad shows one answer among classes."""
    if classifier.multi_label:
        raise UsageError(
            "The drawing pad shows one answer among classes; this network gives each of its labels a "
            "probability of its own. Ask it with 'pellucid predict' and 'pellucid explain'."
        )


def _fitting(program: Program, weights: Sequence[Tensor], precision: str) -> tuple[WeightsData, list[Tensor]]:
    """The weights as a page holds them, and as they come out again: in 8 bits where it takes no more.

    Raises UsageError for a network that is too large for a page even so, or too slow.
    """
    count = sum(weight.numel() for weight in weights)
    if program.multiply_adds > MAX_MULTIPLY_ADDS:
        raise UsageError(
            f"This network needs {program.multiply_adds:,} multiply-adds a picture; with up to "
            f"{MAX_MULTIPLY_ADDS:,} a page answers within a fifth of a second."
        )
    if count > MAX_WEIGHT_BYTES:
        raise UsageError(
            f"This network has {count:,} weights; up to {MAX_WEIGHT_BYTES:,} fit into a page, 8 bits each."
        )
    return pack_weights(weights, "i8" if 2 * count > MAX_WEIGHT_BYTES else precision)


def _pictures(subject: Subject, shape: tuple[int, ...], count: int) -> Dataset:
    """Up to `count` test pictures, mixed, beginning with one of each class; noise without any."""
    test, classes = subject.test, subject.classifier.classes
    if test is None or not len(test):
        generator = torch.Generator().manual_seed(0)
        noise = torch.randint(0, 256, (CHECK_PICTURES, *shape), generator=generator).to(torch.uint8)
        return Dataset(noise, torch.zeros(CHECK_PICTURES, dtype=torch.int64), classes, [""] * CHECK_PICTURES)
    return class_balanced_sample(test, count)


def class_balanced_sample(dataset: Dataset, count: int) -> Dataset:
    """Up to `count` pictures, in the order of `class_balanced_order`."""
    return dataset.subset(class_balanced_order(dataset)[:count])


def class_balanced_order(dataset: Dataset) -> Tensor:
    """A mixed order of all pictures that begins with one of each class, CHECK_PICTURES of them in turn."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
    seen: dict[int, int] = {}
    found = []
    for label in dataset.labels[order].tolist():
        found.append((seen.get(label, 0), label))
        seen[label] = found[-1][0] + 1
    first = sorted(range(len(found)), key=lambda place: found[place])[:CHECK_PICTURES]
    rest = sorted(set(range(len(found))) - set(first))
    return order[torch.tensor(first + rest, dtype=torch.int64)]


def _check(
    program: Program,
    values: Tensor,
    classifier: Classifier,
    pictures: Dataset,
    *,
    rounded: Sequence[Tensor],
    precision: str,
) -> CheckData:
    """Pictures and scores that the page is checked against, and what rounding the weights changes.

    values              (N, K), what the program gives for the pictures with the weights as they are
    rounded, precision  the weights as the page has them
    Raises UsageError if `values` are not the network's scores, or if 8 bits change too many answers.
    """
    scores = classifier.logits(pictures.images)  # (N, K)
    refuse_difference(values, scores)
    with torch.inference_mode():
        images = scaled(pictures.images)
        parts = torch.split(images, batch_size(classifier.network, images))
        found = torch.cat([program.run(part, rounded)[-1] for part in parts])
    changed = int((found.argmax(dim=1) != scores.argmax(dim=1)).sum())
    if precision == "i8" and changed > MAX_CHANGED * len(pictures):
        raise UsageError(
            f"This network is so large that a page holds its weights in 8 bits, and that changes {changed} "
            f"of {len(pictures)} answers."
        )
    checked = CHECK_PICTURES if program.multiply_adds <= QUICK else CHECK_SLOW
    return CheckData(
        pictures=base64_of(pictures.images[:CHECK_PICTURES].numpy().tobytes()),
        labels=pictures.labels[:CHECK_PICTURES].tolist() if pictures.sources[0] else None,
        scores=[[round(score, 5) for score in row] for row in found[:checked].tolist()],
        tolerance=_short(TOLERANCE * max(1.0, float(found.abs().max()))),
        rounding=_short((found - scores).abs().max()),
        changed=changed,
        sample_size=len(pictures),
    )


def _scales(program: Program, values: Sequence[Tensor]) -> dict[str, list[float]]:
    """The lowest and highest value of each layer over the test pictures."""
    return {
        name: [_short(values[place].min()), _short(values[place].max())]
        for name, place in program.layers.items()
    }


def _pool(pictures: Dataset) -> PoolData:
    """The pictures the page shows, as many as fit."""
    count = min(MAX_POOL_PICTURES, len(pictures))
    packed = zlib.compress(pictures.images[:count].numpy().tobytes(), 9)
    while len(packed) > MAX_POOL_BYTES and count > CHECK_PICTURES:
        count = max(CHECK_PICTURES, int(count * 0.8))
        packed = zlib.compress(pictures.images[:count].numpy().tobytes(), 9)
    labels = pictures.labels[:count].tolist()
    return PoolData(count, base64_of(packed), labels, list(pictures.sources[:count]))


def _channels(
    program: Program,
    weights: Sequence[Tensor],
    values: Sequence[Tensor],
    pictures: Dataset,
    *,
    pool: int,
    ablation_pictures: int,
) -> dict[str, ChannelData]:
    """For each layer: which pictures excite a channel most and least, how many at all, how accuracy changes
    without it, and whether beyond chance. A pooling layer's channels are those of the layer before it."""
    tables: dict[str, ChannelData] = {}
    p_values: dict[str, Tensor] = {}
    before = ""
    spans = _spans(program)
    for name, (first, last) in list(spans.items())[-MAX_CHANNEL_LAYERS:]:
        if before and "pool" in program.operations[first - 1].kind:
            tables[name] = ChannelData(same_as=tables[before].same_as or before)
            before = name
            continue
        labels, accuracy_change = pictures.labels[:ablation_pictures], None
        if ablation_pictures:
            accuracy_change, p_values[name] = _ablate_channels(
                program, weights, values[: last + 1], scores=values[-1], labels=labels
            )
        table = rank_pictures(channel_maxima(values[last])[:, :MAX_CHANNELS], pool)
        tables[name] = ChannelData(None, table["top"], table["low"], table["excited"], accuracy_change)
        before = name
    if p_values:
        found = iter(beyond_chance(torch.cat(list(p_values.values()))))  # corrected for all layers together
        for name, rows in p_values.items():
            tables[name] = replace(tables[name], beyond_chance=[next(found) for _ in rows])
    return tables


def _spans(program: Program) -> dict[str, tuple[int, int]]:
    """The first and the last value of each layer of maps or units: what only moves numbers is none."""
    spans: dict[str, tuple[int, int]] = {}
    for place, operation in enumerate(program.operations, 1):
        if operation.kind in MOVING or not (operation.spatial or len(operation.shape) == 1):
            continue
        spans[operation.layer] = (spans.get(operation.layer, (place, place))[0], place)
    return spans


def _count_ablation_pictures(program: Program, spans: dict[str, tuple[int, int]], count: int) -> int:
    """The number of pictures on which every channel can be switched off within the work allowed; 0: none."""
    channels = sum(
        program.operations[last - 1].shape[0]
        for first, last in spans.values()
        if "pool" not in program.operations[first - 1].kind
    )
    per_picture = channels * program.multiply_adds / 4  # about a quarter of the network is left to run
    affordable = int(MAX_ABLATION_MULTIPLY_ADDS / max(1, per_picture))
    return min(count, affordable) if affordable >= 50 else 0


def _ablate_channels(
    program: Program,
    weights: Sequence[Tensor],
    values: Sequence[Tensor],
    *,
    scores: Tensor,
    labels: Tensor,
) -> tuple[list[list[int]], Tensor]:
    """The change of accuracy with each channel of the last of `values` set to zero, in tenths of a point,
    overall and by class, and its p values (C, 1 + K). `scores` (N, K) are the scores with all channels."""
    count = len(labels)
    sample = [value[:count] for value in values]
    silenced = sample[-1].clone()
    table, p_values = [], []
    with torch.inference_mode():
        whole = accuracies(scores[:count], labels)
        for channel in range(silenced.shape[1]):
            kept = silenced[:, channel].clone()
            silenced[:, channel] = 0
            without = program.run_on([*sample[:-1], silenced], weights)[-1]
            silenced[:, channel] = kept
            table.append(accuracy_changes(whole, accuracies(without, labels)))
            p_values.append(change_p_values(scores[:count], without, labels))
    return table, torch.stack(p_values)


def _training_percentiles(train: Dataset) -> dict[str, list[float]]:
    """The 0th to 100th percentile of what `strokes.measure` finds on the training pictures."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:STROKE_PICTURES]
    measures = measure(train.images[order, 0].numpy())
    return {
        name: [_short(value) for value in np.percentile(values, np.arange(101))]
        for name, values in measures.items()
    }


def _snapshots(
    program: Program, snapshots: Sequence[Snapshot], pictures: Dataset, budget: int
) -> SnapshotsData | None:
    """The snapshots in the bytes allowed: fewer bits first, then every second one left out, ends excepted."""
    kept = list(snapshots)
    if not kept:
        return None
    while True:
        weights = [program.weights(state) for _, _, state in kept]
        for bits in BITS:
            packed, rounded = pack_snapshots(weights, bits)
            if len(packed) <= budget:
                break
        if len(packed) <= budget or len(kept) <= 2:
            break
        kept = [*kept[:-1][::2], kept[-1]]
    sample = pictures.subset(torch.arange(min(len(pictures), SNAPSHOT_PICTURES)))
    accuracy, agreement, difference = _compare_snapshots(program, weights, rounded, sample)
    return SnapshotsData(
        count=len(kept),
        total=len(snapshots),
        names=[name for name, _, _ in kept],
        steps=[step for _, step, _ in kept],
        bits=bits,
        data=base64_of(packed),
        accuracy=accuracy if sample.sources[0] else None,
        agreement=agreement,
        difference=difference,
        sample_size=len(sample),
    )


def _compare_snapshots(
    program: Program, exact: list[list[Tensor]], rounded: list[list[Tensor]], pictures: Dataset
) -> tuple[list[float], float, float]:
    """The accuracy of each snapshot, the share of predictions that rounding the weights left unchanged, and
    the largest change of a score."""
    inputs, accuracy, same, apart = scaled(pictures.images), [], [], 0.0
    with torch.inference_mode():
        for before, after in zip(exact, rounded, strict=True):
            scores, moved = program.run(inputs, before)[-1], program.run(inputs, after)[-1]
            accuracy.append(_short((scores.argmax(dim=1) == pictures.labels).double().mean()))
            same.append(float((scores.argmax(dim=1) == moved.argmax(dim=1)).double().mean()))
            apart = max(apart, float((scores - moved).abs().max()))
    return accuracy, _short(sum(same) / len(same)), _short(apart)


def texts() -> dict[str, dict[str, str]]:
    """What the pad says, by language and key."""
    words: dict[str, dict[str, str]] = json.loads(asset("pad/words.json"))
    return words


def _short(value: Any) -> float:
    return float(f"{float(value):.4g}")

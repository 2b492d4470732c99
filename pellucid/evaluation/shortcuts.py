"""Whether something simple would do: what mean colour, border, files or a thumbnail alone tell of a class.

A simple model that does nearly as well is a cue to look at, not a proof that the network uses it. Measured in
benchmarks/shortcuts.py.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset, FileHeader, Splits
from pellucid.errors import UsageError
from pellucid.evaluation.evaluation import Evaluation, judge
from pellucid.evaluation.intervals import Estimate, Sampling, groups_of
from pellucid.evaluation.stress import MIN_PICTURES
from pellucid.formatting import percent
from pellucid.inference import passes_affordable
from pellucid.language import Message, lazy_gettext, translate
from pellucid.recipe import refuse_unknown_keywords
from pellucid.training.sampling import stratified_order

PICTURES = 2000  # learned from, and judged, at most
EXAMPLES = 8  # pictures kept of each view
MAX_CLASSES = 100  # the commonest; more would take long
BORDER = 16  # the border is one sixteenth of each side, at least a pixel
MAX_BORDER = 0.3  # of a picture's area; of smaller pictures the border is no border
SIDE = 64  # pixels to which larger pictures are made smaller, for their border
THUMBNAIL = 8
BINS = 16  # into which each of the features that tell most is cut
BINNED = 8  # of them
NEARLY = 0.5  # of what the network gains over chance
MIN_GAIN = 0.5  # of what there is to gain over chance, that any network is credited with
MAX_FEATURES = 256  # of a cue, those that tell most
MAX_MULTIPLY_ADDS = 60_000_000_000  # of the network, on pictures of which a part is replaced

Features = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cue:
    """How well a logistic regression tells the classes by one simple thing.

    name       of CUES
    correct    test pictures that it predicts correctly
    accuracy   their share with its 95 % interval
    suspicious whether it is one that should not tell the class, and yet does
    hits       which of the pictures judged are right, bool (N,)
    """

    name: str
    correct: int
    accuracy: Estimate
    suspicious: bool
    hits: Tensor


@dataclass(frozen=True, eq=False)
class View:
    """How well the network does where it sees only the border, or only what is within, of every picture.

    name         "border" or "centre"
    count        how many pictures were tried, the first of those judged
    hits         which of them are right, bool (count,)
    examples     the first few as the network saw them, uint8 (E, C, H, W)
    """

    name: str
    count: int
    correct: int
    accuracy: Estimate
    hits: Tensor
    examples: Tensor


@dataclass(frozen=True, eq=False)
class Shortcuts:
    """What simple cues tell of the class, and what the network does without the rest.

    learned   how many training pictures the simple models learned from
    indices   of the test pictures judged, int64 (N,)
    network   the network's accuracy on them
    chance    that of always answering the commonest class of the training pictures
    left_out  names of CUES that could not be tried, each with the reason
    """

    learned: int
    indices: Tensor
    network: Estimate
    chance: Estimate
    cues: tuple[Cue, ...]
    views: tuple[View, ...]
    left_out: Mapping[str, Message]

    def __repr__(self) -> str:
        return f"Shortcuts({self.verdict})"

    @property
    def count(self) -> int:
        """How many test pictures were judged."""
        return len(self.indices)

    @property
    def suspicious(self) -> list[Cue]:
        """The cues that should not tell the class, and yet do."""
        return [cue for cue in self.cues if cue.suspicious]

    @property
    def verdict(self) -> str:
        """What there is to look at, in a sentence or two."""
        if not self.suspicious:
            return translate(
                "Neither brightness or mean colour, nor the border, nor the files give the class away."
            )
        named = ", ".join(
            f"{CUES[cue.name]} {percent(cue.accuracy.value, count=self.count)}" for cue in self.suspicious
        )
        return translate(
            "The class can be told by what should not tell it: %(cues)s right (always the commonest class: "
            "%(chance)s). That is a cue to look at, not proof that the network uses it.",
            cues=named,
            chance=percent(self.chance.value, count=self.count),
        )

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values and words."""
        return {
            "verdict": self.verdict,
            "count": self.count,
            "learned": self.learned,
            "network": _figures(self.network),
            "chance": _figures(self.chance),
            "cues": {
                cue.name: {"correct": cue.correct, **_figures(cue.accuracy), "suspicious": cue.suspicious}
                for cue in self.cues
            },
            "only": {
                view.name: {"count": view.count, "correct": view.correct, **_figures(view.accuracy)}
                for view in self.views
            },
            "left_out": {name: str(reason) for name, reason in self.left_out.items()},
        }


def _figures(accuracy: Estimate) -> dict[str, Any]:
    interval = None if accuracy.interval is None else list(accuracy.interval)
    return {"accuracy": accuracy.value, "interval": interval}


@refuse_unknown_keywords
def shortcuts(classifier: Classifier, splits: Splits, evaluation: Evaluation, *, seed: int = 42) -> Shortcuts:
    """What simple cues alone tell of the class of test pictures, beside the network.

    evaluation  of `splits.test`; of folds, whose pictures are in `splits.train` too, the first fold is judged
                by what the others tell
    seed        of the pictures drawn: up to 2,000 to learn from and 2,000 to judge, every class in its share

    Each cue has a logistic regression of its own, learned from training pictures. Mean colour, border and
    facts of the files are suspicious where the lower end of the 95 % interval is above chance and the
    accuracy reaches half of what the network gains over chance, and a quarter of what there is to gain; a
    thumbnail of 8x8 pixels may tell the class.
    `views` is the network itself, with all but the border, or the border, replaced by the mean picture.

    Raises UsageError for pictures with several labels.
    """
    if splits.test.multi_label:
        raise UsageError("Shortcuts are looked for where each picture has one class; these can have several.")
    train, test = _drawn(splits, evaluation, seed)
    taught, judged = splits.train.subset(train), splits.test.subset(test)
    labels = judged.labels
    groups = groups_of(judged)
    sampling = Sampling(len(judged), groups)

    def share(hits: Tensor) -> Estimate:
        return sampling.shares(torch.zeros(len(hits), dtype=torch.int64), hits)[0]

    commonest = int(torch.bincount(taught.labels).argmax())
    chance, network = share(labels == commonest), share(evaluation.right[test])
    cues, left_out = list[Cue](), dict[str, Message]()
    headers = {header.source: header for header in splits.origin.headers}
    for name in CUES:
        features = _features(name, taught, judged, headers)
        if isinstance(features, Message):
            left_out[name] = features
            continue
        hits = torch.from_numpy(_predicted(*features, taught.labels.numpy()) == labels.numpy())
        accuracy = share(hits)
        beyond = accuracy.interval is not None and accuracy.interval[0] > chance.value
        gain = max(MIN_GAIN * (1 - chance.value), network.value - chance.value)
        nearly = accuracy.value >= chance.value + NEARLY * gain
        cues.append(Cue(name, int(hits.sum()), accuracy, name in WARNED and beyond and nearly, hits))
    return Shortcuts(
        len(taught), test, network, chance, tuple(cues), tuple(_views(classifier, judged)), left_out
    )


def _views(classifier: Classifier, judged: Dataset) -> list[View]:
    """The network on as many pictures as are affordable, of which a part is replaced."""
    affordable = passes_affordable(classifier.network, judged.images, MAX_MULTIPLY_ADDS) // 2
    count = min(len(judged), max(MIN_PICTURES, affordable))
    seen = judged.subset(range(count))
    undamaged = judge(classifier, seen)
    found = []
    for name, images in views_of(seen.images).items():
        judgement = replace(undamaged, probabilities=classifier.predict(images))
        accuracy = judgement.scores["accuracy"]
        found.append(
            View(name, count, judgement.correct, accuracy, judgement.right, images[:EXAMPLES].clone())
        )
    return found


def _drawn(splits: Splits, evaluation: Evaluation, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the pictures to learn from and of those to judge, every class in its share."""
    train = stratified_order(splits.train, seed=seed)
    test = stratified_order(splits.test, seed=seed + 1)
    if evaluation.folds is not None:
        train, test = train[evaluation.folds[train] != 0], test[evaluation.folds[test] == 0]
    if len(splits.train.classes) > MAX_CLASSES:
        commonest = torch.bincount(splits.train.labels).argsort(descending=True, stable=True)[:MAX_CLASSES]
        train = train[torch.isin(splits.train.labels[train], commonest)]
        test = test[torch.isin(splits.test.labels[test], commonest)]
    if len(train) < 2 or not len(test) or len(torch.unique(splits.train.labels[train[:PICTURES]])) < 2:
        raise UsageError(
            "Too few pictures to look for shortcuts: expected training pictures of two classes, and a test "
            "picture."
        )
    return train[:PICTURES], test[:PICTURES]


def _features(
    name: str, train: Dataset, test: Dataset, headers: Mapping[str, FileHeader]
) -> tuple[Features, Features] | Message:
    """What a cue gives of training and test pictures, (N, F) and (M, F); or why it gives nothing."""
    if name == "files":
        return _file_facts(train, test, headers)
    height, width = train.size
    if name == "border" and (ring := _ring(height, width)).double().mean() > MAX_BORDER:
        return lazy_gettext(
            "the pictures are so small that their outermost pixels are %(share)s %% of them",
            share=round(100 * float(ring.double().mean())),
        )
    return np.concatenate(_blocks(name, train.images)), np.concatenate(_blocks(name, test.images))


def _blocks(name: str, images: Tensor) -> list[Features]:
    """The features of pictures (N, C, H, W), some pictures at a time."""
    step = max(1, (1 << 22) // images[:1].numel())
    found = []
    for start in range(0, len(images), step):
        floats = images[start : start + step].float() / 255
        if name == "colour":
            found.append(floats.mean(dim=(2, 3)))
        elif name == "thumbnail":
            found.append(functional.adaptive_avg_pool2d(floats, THUMBNAIL).flatten(1))
        else:
            height, width = (min(SIDE, side) for side in floats.shape[2:])
            small = functional.adaptive_avg_pool2d(floats, (height, width))
            found.append(small[:, :, _ring(height, width)].flatten(1))
    return [block.double().numpy() for block in found]


def _ring(height: int, width: int) -> Tensor:
    """The border of a picture, bool (H, W)."""
    ring = torch.ones(height, width, dtype=torch.bool)
    top, left = max(1, height // BORDER), max(1, width // BORDER)
    ring[top : height - top, left : width - left] = False
    return ring


def _file_facts(
    train: Dataset, test: Dataset, headers: Mapping[str, FileHeader]
) -> tuple[Features, Features] | Message:
    """Bytes, width, height, proportions, bytes per pixel, kind of file and of colours."""
    if any(source not in headers for part in (train, test) for source in part.sources):
        return lazy_gettext("the pictures are not files of their own")
    parts = [[headers[source] for source in part.sources] for part in (train, test)]
    numbers = [
        np.array([
            [f.bytes, f.width, f.height, f.width / f.height, f.bytes / (f.width * f.height)] for f in part
        ])
        for part in parts
    ]  # fmt: skip
    kinds = [[f"{f.mode} {PurePosixPath(f.source).suffix.lower()}" for f in part] for part in parts]
    known = sorted(set(kinds[0]))
    flags = [np.array([[kind == each for each in known] for kind in part], dtype=float) for part in kinds]
    return np.hstack([numbers[0], flags[0]]), np.hstack([numbers[1], flags[1]])


def _predicted(train: Features, test: Features, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """What a logistic regression that learned from `train` (N, F) predicts of `test` (M, F), int64 (M,).

    Every feature is scaled to unit variance times how much of it the classes explain, so that one pixel that
    tells the class is found among many that do not. The features that tell most are given in bins, too: so
    that a class in the middle of a scale can be told.
    """
    from sklearn.exceptions import ConvergenceWarning  # slow to import
    from sklearn.linear_model import LogisticRegression

    strongest = np.argsort(-_explained(train, labels), kind="stable")[:BINNED]
    train, test = _with_bins(train, test, strongest)
    explained = _explained(train, labels)
    best = np.sort(np.argsort(-explained, kind="stable")[:MAX_FEATURES])
    best = best[explained[best] > 0]
    if not len(best):
        return np.full(len(test), np.bincount(labels).argmax())
    scale = explained[best] / (explained.max() * train[:, best].std(axis=0))
    model = LogisticRegression(max_iter=100, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough
        model.fit((train[:, best] - train[:, best].mean(axis=0)) * scale, labels)
    predicted: NDArray[np.int64] = model.predict((test[:, best] - train[:, best].mean(axis=0)) * scale)
    return predicted


def _explained(train: Features, labels: NDArray[np.int64]) -> Features:
    """The correlation ratio of each feature (N, F) with the classes, 0..1, (F,): 0 where it never varies."""
    shown = np.eye(labels.max() + 1)[labels]
    shown = shown[:, shown.any(axis=0)]
    counts, variance = shown.sum(axis=0), train.var(axis=0)
    means = (shown.T @ (train - train.mean(axis=0))) / counts[:, None]  # of each class, (K, F)
    ratio = (counts @ means**2 / len(train)) / np.maximum(variance, 1e-18)
    return np.where(variance > 1e-18, np.sqrt(ratio.clip(0, 1)), 0.0)


def _with_bins(train: Features, test: Features, columns: NDArray[np.int64]) -> tuple[Features, Features]:
    """Features (N, F) and, for each of some columns, the bin that it is in, by the quantiles of `train`."""
    wider: tuple[list[Features], list[Features]] = ([train], [test])
    for number in columns:
        edges = np.unique(np.quantile(train[:, number], np.arange(1, BINS) / BINS))
        for part, found in zip((train, test), wider, strict=True):
            found.append(np.eye(len(edges) + 1)[np.searchsorted(edges, part[:, number])])
    return np.hstack(wider[0]), np.hstack(wider[1])


def views_of(images: Tensor) -> dict[str, Tensor]:
    """Pictures uint8 (N, C, H, W) of which only the border is left, or only what is within; the rest is the
    mean of all of them, pixel by pixel."""
    ring = _ring(*images.shape[2:])
    mean = images[:].double().mean(dim=0).round().to(torch.uint8)
    return {"border": torch.where(ring, images[:], mean), "centre": torch.where(ring, mean, images[:])}


CUES: Mapping[str, Message] = {
    "colour": lazy_gettext("mean colour"),
    "border": lazy_gettext("border pixels"),
    "files": lazy_gettext("facts of the files"),
    "thumbnail": lazy_gettext("thumbnail of 8 × 8 pixels"),
}
WARNED = ("colour", "border", "files")

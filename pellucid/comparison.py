"""Two runs side by side: which is better, how similar their layers are, and where they disagree."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.evaluation.metrics import copies_note
from pellucid.evaluation.paired import PairedDifference
from pellucid.explanation.activations import record
from pellucid.explanation.similarity import (
    CAVEAT,
    Disagreement,
    LayerSimilarity,
    Pair,
    align_channels,
    compare_layers,
    disagreements,
)
from pellucid.formatting import percent
from pellucid.inference import scaled
from pellucid.language import translate

COMPARED = 300  # pictures on which layers are compared, at most
ALIGNED = 100  # pictures on which channels are paired, at most
VALUES_ALIGNED = 30_000_000  # numbers a layer may put out for those


@dataclass(frozen=True)
class Right:
    """How many pictures each of two classifiers predicts correctly, both do, only the one or the other."""

    first: int
    second: int
    both: int
    only_first: int
    only_second: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two classifiers on the same pictures.

    similarity     linear CKA between all layers, on `compared` pictures
    pairs          for layers of the same name, the channels paired by how similarly they respond
    disagreements  pictures predicted differently, those on which both are most confident first
    groups         into how many groups the pictures fall, such as patients, where that is known; else 0
    copies         how many test pictures are left out, as what one of them learned from has copies
    """

    names: tuple[str, str]
    dataset: Dataset
    compared: int
    right: Right
    similarity: LayerSimilarity
    pairs: dict[str, list[Pair]]
    disagreements: list[Disagreement]
    groups: int = 0
    copies: int = 0

    @property
    def difference(self) -> PairedDifference:
        """The accuracy of the second less that of the first, and whether it is more than chance."""
        return PairedDifference(len(self.dataset), self.right.only_first, self.right.only_second)

    @property
    def verdict(self) -> str:
        """Which of the two is better, as far as the pictures show."""
        return self.difference.verdict(self.names)

    @property
    def scope(self) -> str:
        """What the verdict holds for."""
        left_out = f"{copies_note(self.copies)} " if self.copies else ""
        if not self.groups:
            return left_out + translate(
                "This is about these two networks. Whether one way of training is better than another, "
                "several seeds of each tell: pellucid repeat."
            )
        return left_out + translate(
            "This is about these two networks, and the test takes pictures as independent. These come in "
            "%(groups)s groups, whose pictures tend to be right or wrong together: the true interval "
            "is wider.",
            groups=f"{self.groups:,}",
        )

    @property
    def sentence(self) -> str:
        """The comparison in one sentence."""
        count, different = len(self.dataset), len(self.disagreements)
        return translate(
            "They disagree on %(different)s of %(count)s pictures (%(share)s). %(only_first)s are predicted "
            "correctly by %(first)s alone, %(only_second)s by %(second)s alone.",
            different=f"{different:,}",
            count=f"{count:,}",
            share=percent(different / count),
            first=self.names[0],
            only_first=f"{self.right.only_first:,}",
            second=self.names[1],
            only_second=f"{self.right.only_second:,}",
        )

    def mean_correlation(self, layer: str) -> float:
        """The mean correlation of a layer's paired channels, those left out that never change."""
        found = [pair.correlation for pair in self.pairs[layer] if pair.correlation]
        return sum(found) / max(1, len(found))

    def right_on(self, disagreement: Disagreement) -> Literal["first", "second", "neither"]:
        """Which of the two predicts a picture correctly, of those on which they disagree."""
        label = set(self.label(disagreement).split("|"))
        if set(disagreement.first.split("|")) == label:
            return "first"
        return "second" if set(disagreement.second.split("|")) == label else "neither"

    def label(self, disagreement: Disagreement) -> str:
        """The label of a picture they disagree on."""
        return self.dataset.label_names[disagreement.index]

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values."""
        return {
            "runs": list(self.names),
            "pictures": len(self.dataset),
            "verdict": self.verdict,
            "scope": self.scope,
            "difference": self.difference.to_json(),
            "groups": self.groups,
            "copies": self.copies,
            "right": asdict(self.right),
            "disagreements": [
                {**asdict(each), "source": self.dataset.sources[each.index], "label": self.label(each)}
                for each in self.disagreements
            ],
            "cka": {
                "pictures": self.compared,
                "rows": list(self.similarity.rows),
                "columns": list(self.similarity.columns),
                "matrix": self.similarity.matrix.tolist(),
                "intervals": {name: list(ends) for name, ends in self.similarity.intervals.items()},
            },
            "channels": {name: [asdict(pair) for pair in pairs] for name, pairs in self.pairs.items()},
            "caveat": CAVEAT,
        }


def compare(
    first: Classifier,
    second: Classifier,
    dataset: Dataset,
    *,
    names: tuple[str, str] = ("first", "second"),
    groups: Mapping[str, str] | None = None,
) -> Comparison:
    """Two classifiers on `dataset`, best pictures that neither learned from.

    groups  the source of each picture with the name of its group, where pictures belong together

    Layers are compared on 300 pictures and channels paired on 100 at most, drawn by a fixed seed;
    predictions on all. Raises UsageError when the two take other pictures or know other classes.
    """
    _refuse_different(first, second)
    different = disagreements(first, second, dataset.images)
    hits, other_hits = (
        each.task.right(each.logits(dataset.images), dataset.labels) for each in (first, second)
    )
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
    sample = dataset.images[order[:COMPARED]]
    right = Right(
        first=int(hits.sum()),
        second=int(other_hits.sum()),
        both=int((hits & other_hits).sum()),
        only_first=int((hits & ~other_hits).sum()),
        only_second=int((~hits & other_hits).sum()),
    )
    similarity = compare_layers(first, second, sample)
    pairs = _pairs(first, second, sample[:ALIGNED])
    together = len({groups.get(source, source) for source in dataset.sources}) if groups else 0
    together = together if together < len(dataset) else 0  # else each picture stands alone
    return Comparison(names, dataset, len(sample), right, similarity, pairs, different, together)


def _refuse_different(first: Classifier, second: Classifier) -> None:
    forms = [each.preprocess.form for each in (first, second)]
    if first.multi_label != second.multi_label:
        raise UsageError(
            "Expected two networks of the same kind; one of them gives several labels per picture."
        )
    if first.classes != second.classes or forms[0] != forms[1]:
        raise UsageError(
            f"Expected two networks of the same classes and pictures; got {len(first.classes)} classes "
            f"({', '.join(first.classes[:5])}, ...) of {forms[0]} and {len(second.classes)} "
            f"({', '.join(second.classes[:5])}, ...) of {forms[1]}."
        )


def _pairs(first: Classifier, second: Classifier, images: Tensor) -> dict[str, list[Pair]]:
    """Channels paired in every layer that both networks have under one name and that has channels."""
    ours, theirs = (record(each.network, scaled(images)) for each in (first, second))
    return {
        name: align_channels(maps, theirs[name])
        for name, maps in ours.items()
        if name in theirs and _comparable(maps, theirs[name])
    }


def _comparable(first: Tensor, second: Tensor) -> bool:
    """Whether two layers have channels at places that can be laid over each other."""
    if max(first.numel(), second.numel()) > VALUES_ALIGNED or first.dim() != second.dim():
        return False
    return first.dim() in (2, 4)

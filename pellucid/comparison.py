"""Two runs side by side: do they hold the same thing inside, and on which pictures do they disagree?"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
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


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two classifiers on the same pictures.

    right         how many pictures each got right, both did, only the first, only the second
    similarity    linear CKA between all layers, on `compared` pictures
    pairs         for layers of the same name, the channels paired by how alike they respond
    disagreements pictures answered differently, those on which both are surest first
    """

    names: tuple[str, str]
    dataset: Dataset
    compared: int
    right: dict[str, int]
    similarity: LayerSimilarity
    pairs: dict[str, list[Pair]]
    disagreements: list[Disagreement]

    @property
    def sentence(self) -> str:
        """The comparison in one sentence."""
        count, apart = len(self.dataset), len(self.disagreements)
        return translate(
            "They disagree on %(apart)s of %(count)s pictures (%(share)s); right only %(first)s: "
            "%(only_first)s, right only %(second)s: %(only_second)s.",
            apart=f"{apart:,}",
            count=f"{count:,}",
            share=percent(apart / count),
            first=self.names[0],
            only_first=f"{self.right['only first']:,}",
            second=self.names[1],
            only_second=f"{self.right['only second']:,}",
        )

    def alike(self, layer: str) -> float:
        """The mean correlation of a layer's paired channels, those left out that never change."""
        found = [pair.correlation for pair in self.pairs[layer] if pair.correlation]
        return sum(found) / max(1, len(found))

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values."""
        return {
            "runs": list(self.names),
            "pictures": len(self.dataset),
            "right": self.right,
            "disagreements": [
                {**asdict(one), "source": self.dataset.sources[one.index], "label": self._label(one)}
                for one in self.disagreements
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

    def _label(self, one: Disagreement) -> str:
        return self.dataset.classes[int(self.dataset.labels[one.index])]


def compare(
    first: Classifier, second: Classifier, dataset: Dataset, *, names: tuple[str, str] = ("first", "second")
) -> Comparison:
    """Two classifiers on `dataset`, best one that neither learned from.

    Layers are compared on 300 pictures and channels paired on 100 at most, drawn by a fixed seed; answers on
    all. Raises UsageError when the two take other pictures or know other classes.
    """
    _refuse_unlike(first, second)
    apart = disagreements(first, second, dataset.images)
    hits = [one.predict(dataset.images).argmax(dim=1) == dataset.labels for one in (first, second)]
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
    sample = dataset.images[order[:COMPARED]]
    right = {
        "first": int(hits[0].sum()),
        "second": int(hits[1].sum()),
        "both": int((hits[0] & hits[1]).sum()),
        "only first": int((hits[0] & ~hits[1]).sum()),
        "only second": int((hits[1] & ~hits[0]).sum()),
    }
    similarity = compare_layers(first, second, sample)
    pairs = _pairs(first, second, sample[:ALIGNED])
    return Comparison(names, dataset, len(sample), right, similarity, pairs, apart)


def _refuse_unlike(first: Classifier, second: Classifier) -> None:
    sizes = [
        (one.preprocess.channels, one.preprocess.height, one.preprocess.width) for one in (first, second)
    ]
    if first.classes != second.classes or sizes[0] != sizes[1]:
        raise UsageError(
            f"Expected two networks of the same classes and pictures; got {len(first.classes)} classes "
            f"({', '.join(first.classes[:5])}, ...) of {sizes[0]} and {len(second.classes)} "
            f"({', '.join(second.classes[:5])}, ...) of {sizes[1]}."
        )


def _pairs(first: Classifier, second: Classifier, images: Tensor) -> dict[str, list[Pair]]:
    """Channels paired in every layer that both networks have under one name and that has channels."""
    ours, theirs = (record(one.network, scaled(images)) for one in (first, second))
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

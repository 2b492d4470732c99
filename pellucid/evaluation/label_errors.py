"""Labels that look wrong: those that the network found improbable while it learned, or afterwards.

They are suspects to look at, not verdicts: of those found in ten well-known data sets about half were wrong
(Northcutt et al., arXiv:2103.14749). Nothing is changed by itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.files import read_csv, write_csv
from pellucid.formatting import percent, plural

SUSPECTS = "suspects.csv"
SUSPECTS_HEADER = ("source", "part", "label", "suggested_label", "score", "rank", "judged_by")
USUALLY = 0.95  # share of the pictures of a class for which the network is at least that sure of it
TOO_WEAK = 0.7  # accuracy below which a network cannot judge labels
OVER_EPOCHS, HELD_OUT = "margin over epochs", "held out"
OUT_OF_FOLD, LEFT_OUT = "out of fold", "left out"


@dataclass(frozen=True)
class Suspect:
    """A picture whose label looks wrong.

    part             "train", "validation" or "test"
    suggested_label  the class that was more probable than the label
    score            natural logarithm of how many times as probable as the likeliest other class the label
                     was: -2.3 where it was a tenth
    rank             its place in its part, from 1, the least probable label first
    judged_by        "margin over epochs": while the network learned from it; "held out": by the finished
                     network, which did not; "out of fold": by the network of its fold; "left out": by a last
                     layer solved without it
    """

    source: str
    part: str
    label: str
    suggested_label: str
    score: float
    rank: int
    judged_by: str


@dataclass(frozen=True, eq=False)
class JudgedPart:
    """How probable each label of one part was.

    labels, suggested  int64 (N,): the label, and the likeliest other class
    scores             float32 (N,), as in Suspect; nan where a picture was not judged
    suspect            bool (N,): whether the label looks wrong
    """

    part: str
    judged_by: str
    sources: Sequence[str]
    labels: Tensor
    suggested: Tensor
    scores: Tensor
    suspect: Tensor

    @cached_property
    def order(self) -> Tensor:
        """The judged pictures, the least probable label first, int64."""
        order = self.scores.sort(stable=True).indices  # nan last
        return order[: int(self.scores.isfinite().sum())]


def judged_over_epochs(
    part: str, sources: Sequence[str], labels: Tensor, suggested: Tensor, margins: Tensor
) -> JudgedPart:
    """By the mean margins (N,) of training: a label is suspect where another class was more probable."""
    return JudgedPart(part, OVER_EPOCHS, sources, labels, suggested, margins, margins < 0)


def judged_by_probabilities(
    part: str, judged_by: str, sources: Sequence[str], labels: Tensor, probabilities: Tensor
) -> JudgedPart:
    """By the probabilities (N, K) of a network that had not learned these labels (N,).

    A label is suspect where another class is at least as probable as for 95 of 100 pictures that have its
    label. As in confident learning (Northcutt et al., arXiv:1911.00068), the threshold of each class comes
    from the network's own confidence; its mean, which they take, is too high with label smoothing. A near
    miss between two classes is not suspect.
    """
    column = labels[:, None]
    own = probabilities.gather(1, column)[:, 0]
    highest, suggested = probabilities.scatter(1, column, -1.0).max(dim=1)
    scores = own.double().clamp_min(1e-12).log() - highest.double().clamp_min(1e-12).log()
    usual = torch.full((probabilities.shape[1],), torch.inf)
    for k in torch.unique(labels).tolist():
        usual[k] = own[labels == k].quantile(1 - USUALLY)
    suspect = (highest > own) & (highest >= usual[suggested])
    return JudgedPart(part, judged_by, sources, labels, suggested, scores.float(), suspect)


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """The labels of a data set as a run judges them.

    parts     those that could be judged, each in full
    accuracy  of the network on pictures held out, 0..1; None where none were
    unjudged  what could not be judged, and why, a sentence each
    """

    classes: tuple[str, ...]
    parts: Sequence[JudgedPart]
    accuracy: float | None
    unjudged: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"LabelErrors({self.summary})"

    @property
    def count(self) -> int:
        """How many labels were judged."""
        return sum(len(part.order) for part in self.parts)

    @property
    def too_weak(self) -> bool:
        """Whether the network is right too rarely, below 70 %, for its doubts to say anything of labels."""
        return self.accuracy is not None and self.accuracy < TOO_WEAK

    @property
    def summary(self) -> str:
        """The result in one sentence."""
        if self.too_weak and self.accuracy is not None:
            return (
                f"too weak to judge labels: {percent(self.accuracy)} of the pictures held out are predicted "
                f"correctly, and {percent(TOO_WEAK)} are needed"
            )
        if not self.count:
            return "no label was judged"
        number = len(self.suspects)
        looks = "1 looks wrong" if number == 1 else f"{number:,} look wrong"
        shares = ", ".join(f"{part.part} {int(part.suspect.sum()):,}" for part in self.parts)
        return f"{plural(self.count, 'label', 'labels')} judged, {looks}{f' ({shares})' if number else ''}"

    @property
    def suspects(self) -> list[Suspect]:
        """The labels that look wrong, part by part, the least probable first; none where `too_weak`."""
        return self.listed()

    def listed(self, top: int | None = None) -> list[Suspect]:
        """The `top` least probable labels of each part, whether they look wrong or not; without a number
        those that do. Part by part; none where `too_weak`."""
        return [] if self.too_weak else [each for part in self.parts for each in self._ranked(part, top)]

    def _ranked(self, part: JudgedPart, top: int | None) -> Iterator[Suspect]:
        for rank, index in enumerate(part.order[:top].tolist(), 1):
            if top is None and not part.suspect[index]:
                continue
            label, suggested = int(part.labels[index]), int(part.suggested[index])
            yield Suspect(
                part.sources[index], part.part, self.classes[label], self.classes[suggested],
                float(part.scores[index]), rank, part.judged_by,
            )  # fmt: skip

    def save(self, path: Path, top: int | None = None) -> None:
        """`path` holds a table of what `listed` gives: to look through, to take rows out of, and to give to
        `load` or `pellucid train` as `exclude` or `relabel`.

        Raises UsageError where another table is there already: somebody may have looked through it.
        """
        rows = [
            [*(getattr(each, name) for name in SUSPECTS_HEADER[:4]), f"{each.score:.4f}", each.rank,
             each.judged_by]
            for each in self.listed(top)
        ]  # fmt: skip
        if path.exists() and read_csv(path) != [
            dict(zip(SUSPECTS_HEADER, map(str, row), strict=True)) for row in rows
        ]:
            raise UsageError(
                f"'{path}' is another table, perhaps one that was looked through, and is not overwritten. "
                "Remove it, or name another file with `out`."
            )
        write_csv(path, SUSPECTS_HEADER, rows)

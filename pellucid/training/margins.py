"""How probable the label of each training picture was while the network learned, kept at next to no cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

MOST_WAITING = 1 << 21  # scores that wait to be counted, at most: 8 MB


@dataclass(eq=False)
class Margins:
    """The margin of every training picture, averaged over the epochs: the score (logit) of its label less the
    highest of the others (the "area under the margin" of Pleiss et al., arXiv:2001.10528).

    A wrong label that a network learns by heart in the end has been improbable for many steps before. The
    scores are those of the training step itself, on the augmented batch: nothing is computed twice. A step
    counts by how well its whole batch was told apart, so that the first ones, of a network that knows nothing
    yet, count for nothing.

    total   float32 (N,), the margins of each picture, each times the weight of its step, added up
    weight  float32 (N,), the weights added up
    other   int64 (N,), the class that was the highest other most of the time, by a vote of the steps in which
            each counts by its weight (the majority vote of Boyer and Moore, 1981)
    votes   float32 (N,), by how much it leads
    waiting  steps that were added and not counted yet: many at once cost a tenth of one after the other
    """

    total: Tensor
    weight: Tensor
    other: Tensor
    votes: Tensor
    waiting: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    @staticmethod
    def of(pictures: int) -> "Margins":
        """Those of so many pictures, none of which has been seen."""
        numbers = [torch.zeros(pictures) for _ in range(3)]
        return Margins(numbers[0], numbers[1], torch.zeros(pictures, dtype=torch.int64), numbers[2])

    @property
    def mean(self) -> Tensor:
        """The mean margin of each picture, float32 (N,); nan where it was never seen by a network that told
        anything apart."""
        self.count()
        return self.total / self.weight

    def add(self, indices: Tensor, labels: Tensor, logits: Tensor) -> None:
        """Add a step: its pictures at `indices` (B,), of these labels (B,), with their scores (B, K)."""
        self.waiting.append((indices, labels, logits.detach()))
        if len(self.waiting) * logits.numel() > MOST_WAITING:
            self.count()

    def count(self) -> None:
        """Count the steps that wait. A picture may be among them once: call it before one comes again.

        Each operation is exact or goes through the pictures in their order, so that it does not matter to the
        last bit how many steps are counted together.
        """
        if not self.waiting:
            return
        sizes = torch.tensor([len(indices) for indices, _, _ in self.waiting])
        indices, labels, logits = (torch.cat(each) for each in zip(*self.waiting, strict=True))
        self.waiting.clear()
        column = labels[:, None]
        highest, other = logits.scatter(1, column, -torch.inf).max(dim=1)
        margins = logits.gather(1, column)[:, 0] - highest
        known = margins / (margins.abs() + 2)  # -1..1
        steps = torch.arange(len(sizes)).repeat_interleave(sizes)
        means = torch.zeros(len(sizes)).index_add_(0, steps, known) / sizes
        weight = means.clamp_min(0)[steps]
        self.total.index_add_(0, indices, margins * weight)
        self.weight.index_add_(0, indices, weight)
        leading = self.other[indices]
        votes = self.votes[indices] + torch.where(leading == other, weight, -weight)
        self.other.index_copy_(0, indices, torch.where(votes < 0, other, leading))
        self.votes.index_copy_(0, indices, votes.abs())

    def to_tensors(self) -> dict[str, Tensor]:
        """The four by name, for a file."""
        self.count()
        return {"total": self.total, "weight": self.weight, "other": self.other, "votes": self.votes}

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor]) -> "Margins":
        """What `to_tensors` took apart. Raises KeyError when one is missing."""
        return Margins(tensors["total"], tensors["weight"], tensors["other"], tensors["votes"])

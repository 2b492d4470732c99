"""How probable the label of each training picture was while the network learned, kept at next to no cost."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


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
    """

    total: Tensor
    weight: Tensor
    other: Tensor
    votes: Tensor

    @staticmethod
    def of(pictures: int) -> "Margins":
        """Those of so many pictures, none of which has been seen."""
        total, weight, votes = torch.zeros(3, pictures).unbind()
        return Margins(total.clone(), weight.clone(), torch.zeros(pictures, dtype=torch.int64), votes.clone())

    @property
    def mean(self) -> Tensor:
        """The mean margin of each picture, float32 (N,); nan where it was never seen by a network that told
        anything apart."""
        return self.total / self.weight

    @torch.no_grad()
    def add(self, indices: Tensor, labels: Tensor, logits: Tensor) -> None:
        """Count the pictures at `indices` (B,), of these labels (B,), with their scores (B, K)."""
        column = labels[:, None]
        highest, other = logits.scatter(1, column, -torch.inf).max(dim=1)
        margins = logits.gather(1, column)[:, 0] - highest
        # Half a margin's tanh is the difference of the two probabilities, were there no other classes.
        weight = (margins / 2).tanh_().mean().clamp_min_(0).expand(len(indices))
        self.total.index_add_(0, indices, margins * weight)
        self.weight.index_add_(0, indices, weight)
        leading = self.other.index_select(0, indices)
        votes = self.votes.index_select(0, indices) + torch.where(leading == other, weight, -weight)
        self.other.index_copy_(0, indices, torch.where(votes < 0, other, leading))
        self.votes.index_copy_(0, indices, votes.abs_())

    def to_tensors(self) -> dict[str, Tensor]:
        """The four by name, for a file."""
        return {"total": self.total, "weight": self.weight, "other": self.other, "votes": self.votes}

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor]) -> "Margins":
        """What `to_tensors` took apart. Raises KeyError when one is missing."""
        return Margins(*(tensors[name] for name in ("total", "weight", "other", "votes")))

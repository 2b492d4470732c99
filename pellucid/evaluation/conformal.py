"""Several classes for an answer, "4 or 9", that hold the label as often as was promised."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.evaluation.held_out import HeldOut
from pellucid.evaluation.intervals import effective_count
from pellucid.evaluation.metrics import wilson


@dataclass(frozen=True)
class PredictionSets:
    """Which classes an answer names so that it holds the label with a promised probability.

    coverage     the promise, 0..1: the share of new pictures, of the kind held out, whose set holds the label
    probability  from which a class is in the set; 0 where so few pictures were held out that it takes all
    pictures     those held out, on which that was chosen
    groups       how many groups these come from; None where each stands alone
    """

    coverage: float
    probability: float
    pictures: int
    groups: int | None = None

    def of(self, probabilities: Tensor) -> Tensor:
        """Which classes the set of each picture holds, bool (N, K): those that are probable enough, and the
        most probable one in any case. `probabilities` (N, K)."""
        likeliest = probabilities >= probabilities.amax(dim=1, keepdim=True)
        return (probabilities >= self.probability) | likeliest

    def names(self, probabilities: Tensor, classes: tuple[str, ...]) -> tuple[str, ...]:
        """The set of one picture by name, from its probabilities (K,), the most probable class first."""
        inside = self.of(probabilities[None])[0]
        order = probabilities.argsort(descending=True, stable=True).tolist()
        return tuple(classes[k] for k in order if inside[k])


@dataclass(frozen=True)
class SetScores:
    """How sets did on pictures whose labels are known.

    count      pictures
    covered    how many sets hold the label
    interval   the 95 % interval of their share (Wilson 1927), of as many pictures as groups are worth
    size       classes in a set, on average
    one, two   how many sets have one class, and two
    """

    count: int
    covered: int
    interval: tuple[float, float]
    size: float
    one: int
    two: int

    @property
    def more(self) -> int:
        """How many sets have more than two classes."""
        return self.count - self.one - self.two


def prediction_sets(held_out: HeldOut, coverage: float) -> PredictionSets:
    """Sets that hold the label with probability `coverage`, by split conformal prediction: a class is in the
    set if at least that share of the pictures held out, and of one more, gave no less to their label (LAC:
    Sadinle, Lei and Wasserman 2019, arXiv:1609.00451; Angelopoulos and Bates, arXiv:2107.07511).

    Where pictures belong together in groups, each group counts once, its pictures a share of it each, so that
    the promise is for a picture of a new group (hierarchical conformal prediction: Lee, Barber and Willett
    2023, arXiv:2306.06342).

    The promise is kept on average over pictures of the kind held out, not for each class, and for any
    network: a bad one gets large sets. Of a network that is right more often than promised, sets have one
    class and hold the label more often than that. Raises UsageError for a coverage that is not between 0
    and 1.
    """
    if not 0 < coverage < 1:
        raise UsageError(f"Expected a coverage above 0 and below 1, such as 0.95; got {coverage}.")
    count, groups = len(held_out.label_probability), held_out.groups
    owners = torch.arange(count) if groups is None else torch.unique(groups, return_inverse=True)[1]
    sizes = torch.bincount(owners).double()
    ordered, order = held_out.label_probability.sort(descending=True)
    # How many groups, of those held out and one more, give no less to their label, up to each picture.
    reached = (1 / sizes[owners])[order].cumsum(dim=0) / (len(sizes) + 1)
    rank = int(torch.searchsorted(reached, coverage - 1e-9))
    number = None if groups is None else len(sizes)
    return PredictionSets(coverage, float(ordered[rank]) if rank < count else 0.0, count, number)


def set_scores(
    sets: PredictionSets, probabilities: Tensor, labels: Tensor, groups: Tensor | None = None
) -> SetScores:
    """How `sets` do on pictures with these probabilities (N, K) and labels, int64 (N,).

    groups  int64 (N,): pictures of one number belong together; the interval is as wide as if the sets of all
            of a group held their labels together
    """
    inside = sets.of(probabilities)
    sizes = inside.sum(dim=1)
    covered, count = int(inside.gather(1, labels[:, None]).sum()), len(labels)
    return SetScores(
        count=count,
        covered=covered,
        interval=wilson(covered / count, count if groups is None else effective_count(groups)),
        size=float(sizes.double().mean()),
        one=int((sizes == 1).sum()),
        two=int((sizes == 2).sum()),
    )

"""Several classes for an answer, "4 or 9", that hold the label as often as was promised."""

import math
from dataclasses import dataclass

from torch import Tensor

from pellucid.errors import UsageError
from pellucid.evaluation.held_out import HeldOut
from pellucid.evaluation.metrics import wilson


@dataclass(frozen=True)
class PredictionSets:
    """Which classes an answer names so that it holds the label with a promised probability.

    coverage     the promise, 0..1: the share of new pictures, of the kind held out, whose set holds the label
    probability  from which a class is in the set; 0 where so few pictures were held out that it takes all
    pictures     those held out, on which that was chosen
    """

    coverage: float
    probability: float
    pictures: int

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
    interval   the 95 % interval of their share (Wilson 1927)
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

    The promise is kept on average over pictures of the kind held out, not for each class, and for any
    network: a bad one gets large sets. Of a network that is right more often than promised, sets have one
    class and hold the label more often than that. Raises UsageError for a coverage that is not between 0
    and 1.
    """
    if not 0 < coverage < 1:
        raise UsageError(f"Expected a coverage above 0 and below 1, such as 0.95; got {coverage}.")
    count = len(held_out.label_probability)
    rank = math.ceil((count + 1) * coverage - 1e-9)  # which of the least probable labels may be left out
    if rank > count:
        return PredictionSets(coverage, 0.0, count)
    ordered = held_out.label_probability.sort(descending=True).values
    return PredictionSets(coverage, float(ordered[rank - 1]), count)


def set_scores(sets: PredictionSets, probabilities: Tensor, labels: Tensor) -> SetScores:
    """How `sets` do on pictures with these probabilities (N, K) and labels, int64 (N,)."""
    inside = sets.of(probabilities)
    sizes = inside.sum(dim=1)
    covered, count = int(inside.gather(1, labels[:, None]).sum()), len(labels)
    return SetScores(
        count=count,
        covered=covered,
        interval=wilson(covered / count, count),
        size=float(sizes.double().mean()),
        one=int((sizes == 1).sum()),
        two=int((sizes == 2).sum()),
    )

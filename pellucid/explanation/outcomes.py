"""Outcomes: what is sure of a method's maps, what is sure to stand against them, and what is neither."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pellucid.explanation.attribution import TOLERANCE
from pellucid.formatting import percent
from pellucid.language import translate

Outcome = Literal["passed", "failed", "undecided"]

MAX_CORRELATION = 0.5  # with the map of shuffled weights or another class: above, it shows only the picture
LEAST_SIGN = 0.9  # with the negative of the map for the negative score; of maps linear in the score it is 1
MIN_LEAD = 0.02  # of mean probability: less is invisible
OF_ANOTHER = "its map of another picture of the class"  # equal to it where all of a class have one map
MIN_LEAD_OVER = {OF_ANOTHER: 0.0}  # pictures of a class are alike, and so may be their maps: any sure lead
MAX_OFF = 0.1  # the share of maps that may miss the sum they must have
SURE = 2.326  # standard errors: 99 % on one side, as there are many tests, each looked at several times


class Interval(NamedTuple):
    """A figure of a sample, and between which values that of all pictures lies: each end holds with 99 %."""

    mean: float
    low: float
    high: float

    @staticmethod
    def of_mean(values: Tensor, most: float) -> "Interval":
        """The mean of values (N,) from -most to most; anything is possible where N is below 2."""
        number = len(values)
        mean = float(values.double().mean()) if number else 0.0
        if number < 2:
            return Interval(mean, -most, most)
        reach = _student(number - 1) * float(values.double().std()) / math.sqrt(number)
        return Interval(mean, max(-most, mean - reach), min(most, mean + reach))

    @staticmethod
    def of_share(count: int, number: int) -> "Interval":
        """A share of `number` pictures (Wilson 1927)."""
        share, z = count / number, SURE
        centre = (share + z**2 / (2 * number)) / (1 + z**2 / number)
        reach = math.sqrt(share * (1 - share) / number + z**2 / (4 * number**2)) * z / (1 + z**2 / number)
        return Interval(share, max(0.0, centre - reach), min(1.0, centre + reach))

    def below(self, limit: float) -> Outcome:
        """Whether the figure of all pictures is below a limit; failed where it is no number."""
        if math.isnan(self.mean) or self.low > limit:
            return "failed"
        return "passed" if self.high <= limit else "undecided"

    def above(self, limit: float) -> Outcome:
        """Whether it is above a limit; failed where it is no number."""
        if math.isnan(self.mean) or self.high <= limit:
            return "failed"
        return "passed" if self.low > limit else "undecided"


@dataclass(frozen=True)
class Lead:
    """By how much a method beats another map: insertion less deletion, in mean probability, -2..2.

    low, high  between which the mean over all pictures lies: each holds with 99 %
    """

    rival: str
    mean: float
    low: float
    high: float

    @staticmethod
    def measured(rival: str, leads: Tensor) -> "Lead":
        """The lead over a rival from the leads on each picture, (B,)."""
        return Lead(rival, *Interval.of_mean(leads, 2.0))

    @property
    def outcome(self) -> Outcome:
        """Whether the lead counts: it is surely above 0.02, or above 0 over the map of another picture."""
        return Interval(self.mean, self.low, self.high).above(MIN_LEAD_OVER.get(self.rival, MIN_LEAD))


class Correlations(NamedTuple):
    """The mean rank correlations of a method's maps, -1..1: with those of networks with shuffled weights,
    with those for another class, and with the negatives of those for the negative score."""

    weights: Interval
    classes: Interval
    signs: Interval


@dataclass(frozen=True, eq=False)
class Trial:
    """What is judged of a method: its maps (B, h, w), their correlations with others, its leads, and the gaps
    of its sums, (B,) or None."""

    maps: Tensor
    correlations: Correlations
    leads: tuple[Lead, ...]
    gaps: Tensor | None


class Findings(NamedTuple):
    """Why a method's maps are not to be believed, and why that is not sure, one phrase for each test."""

    faults: list[str]
    doubts: list[str]

    @property
    def outcome(self) -> Outcome:
        """What follows from them."""
        return "failed" if self.faults else "undecided" if self.doubts else "passed"


def find_faults(trial: Trial, knowing: Outcome) -> Findings:
    """What stands against a method's maps. `knowing` is that of a Faithfulness."""
    findings: dict[Outcome, list[str]] = {"passed": [], "failed": [], "undecided": []}
    findings[knowing].append(
        translate("the network itself hardly does better than guessing")
        if knowing == "failed"
        else translate("it is not certain that the network itself does better than guessing")
    )
    if not torch.isfinite(trial.maps).all() or any(math.isnan(lead.mean) for lead in trial.leads[:-1]):
        findings["failed"].append(translate("its maps, or the answers to changed pictures, are no numbers"))
        return Findings(findings["failed"], findings["undecided"])
    if not trial.maps.any():
        findings["failed"].append(translate("it finds no evidence at all"))
    for outcome, phrase in _correlation_phrases(trial.correlations):
        findings[outcome].append(phrase)
    for outcome, phrase in _lead_phrases(trial.leads).items():
        findings[outcome].append(phrase)
    if trial.gaps is not None:
        off = int((trial.gaps > TOLERANCE).sum())
        share = Interval.of_share(off, len(trial.gaps))
        kept = "passed" if share.mean <= MAX_OFF else share.below(MAX_OFF)
        findings[kept].append(
            translate(
                "%(off)s of %(all)s maps miss the sum they must have by more than %(limit)s",
                off=off, all=len(trial.gaps), limit=percent(TOLERANCE),
            )
        )  # fmt: skip
    return Findings(findings["failed"], findings["undecided"])


def _correlation_phrases(correlations: Correlations) -> Iterator[tuple[Outcome, str]]:
    """What is said of each correlation that breaks its limit, or may."""
    alike = {name: f"{figure.mean:.2f}" for name, figure in correlations._asdict().items()}
    weights = correlations.weights.below(MAX_CORRELATION)
    yield (
        weights,
        translate(
            "it hardly depends on the weights (rank correlation %(alike)s with shuffled ones)"
            if weights == "failed"
            else "it is not certain that it depends on the weights (rank correlation %(alike)s with shuffled "
            "ones)",
            alike=alike["weights"],
        ),
    )
    classes = correlations.classes.below(MAX_CORRELATION)
    yield (
        classes,
        translate(
            "it hardly depends on the class (rank correlation %(alike)s with the map for another one)"
            if classes == "failed"
            else "it is not certain that it depends on the class (rank correlation %(alike)s with the map "
            "for another one)",
            alike=alike["classes"],
        ),
    )
    signs = correlations.signs.above(LEAST_SIGN)
    yield (
        signs,
        translate(
            "what it shows for a score it does not show against its negative (rank correlation %(alike)s)"
            if signs == "failed"
            else "it is not certain that it shows against the negative of a score what it shows for it (rank "
            "correlation %(alike)s)",
            alike=alike["signs"],
        ),
    )


def _lead_phrases(leads: Sequence[Lead]) -> dict[Outcome, str]:
    """What is said of leads that do not count, and of leads that are not sure."""
    names: dict[Outcome, list[str]] = {"passed": [], "failed": [], "undecided": []}
    for lead in leads:
        names[lead.outcome].append(translate(lead.rival))
    phrases: dict[Outcome, str] = {}
    if names["failed"]:
        phrases["failed"] = translate(
            "the places it highlights matter no more than %(beaten)s",
            beaten=translate(" or ").join(names["failed"]),
        )
    if names["undecided"]:
        phrases["undecided"] = translate(
            "with so few pictures it is not certain that the places it highlights matter more than "
            "%(unsure)s",
            unsure=translate(" or ").join(names["undecided"]),
        )
    return phrases


def _student(degrees_of_freedom: int) -> float:
    """Student's one-sided 99 % quantile by the expansion of Cornish and Fisher: right to 0.03 from five
    degrees of freedom on, too low below."""
    z, n = SURE, max(1, degrees_of_freedom)
    first, second = (z**3 + z) / (4 * n), (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
    return z + first + second + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)

"""Limits that a network must keep: each judged on the end of its interval, unless asked otherwise."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pellucid.errors import UsageError, did_you_mean
from pellucid.evaluation.intervals import Estimate
from pellucid.evaluation.score_names import figure_of, interval_of, title_of

On = Literal["interval", "point"]
# Each limit: the score that it is for. One that begins with "min" must be reached, "max" not exceeded.
LIMITS = {
    "min_accuracy": "accuracy",
    "min_balanced_accuracy": "balanced_accuracy",
    "min_f1": "macro_f1",
    "min_map": "mean_average_precision",
    "max_loss": "loss",
    "max_ece": "calibration_error",
}


@dataclass(frozen=True)
class Gate:
    """One limit and whether it was kept.

    name      the limit, such as "min_accuracy"
    score     the score it is for, such as "accuracy", with its value and 95 % interval
    count     pictures that it was measured on
    on        "interval": the less favourable end had to keep the limit, and where there are too few pictures
              or groups for an interval the limit counts as not kept; "point": the value had to
    """

    name: str
    limit: float
    score: str
    estimate: Estimate
    count: int
    on: On
    passed: bool

    @property
    def sentence(self) -> str:
        """What was found beside what was asked for."""
        found = f"{title_of(self.score)} {figure_of(self.score, self.estimate.value, self.count)}"
        if self.on == "interval" and self.estimate.interval is None:
            found += f", no interval ({self.estimate.too_few})"
        elif self.on == "interval":
            found += f", 95 % interval {interval_of(self.score, self.estimate, self.count)}"
        wanted = "at least" if self.name.startswith("min") else "at most"
        asked = figure_of(self.score, self.limit, self.count)
        return f"{'passed' if self.passed else 'failed'}: {found}; {wanted} {asked} asked for"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        facts = {"name": self.name, "limit": self.limit, "score": self.score, "on": self.on}
        return {**facts, "passed": self.passed, **self.estimate.to_json()}


def known_limits(on: str = "interval", **limits: float | None) -> dict[str, float]:
    """The limits that are given, by a name of LIMITS; those that are None are left out.

    Raises UsageError for a limit that is unknown or that no score can have, and for an unknown `on`.
    """
    if on not in get_args(On):
        raise UsageError(f"Expected `on` as interval or point; got '{on}'.")
    given = {name: limit for name, limit in limits.items() if limit is not None}
    for name, limit in given.items():
        if name not in LIMITS:
            raise UsageError(f"Unknown limit '{name}'. {did_you_mean(name, LIMITS)}")
        if not (0 <= limit < math.inf and (name == "max_loss" or limit <= 1)):
            bounds = "0 or more" if name == "max_loss" else "from 0 to 1, such as 0.99"
            raise UsageError(f"Expected `{name}` as a number {bounds}; got {limit:g}.")
    return given


def gates(scores: Mapping[str, Estimate], count: int, limits: Mapping[str, float], on: str) -> list[Gate]:
    """Whether each limit is kept. A score that never has an interval is judged on its value.

    scores  by name, of `count` pictures
    limits  by a name of LIMITS
    on      "interval": the less favourable end of the 95 % interval must keep the limit, so that a network
            whose true score does not keep it passes in about 2.5 % of cases at most; "point": the value must

    Raises UsageError for a limit that is unknown or cannot be one, or that is for no score of these.
    """
    judged = []
    for name, limit in known_limits(on, **limits).items():
        if LIMITS[name] not in scores:
            raise UsageError(
                f"`{name}` is for {title_of(LIMITS[name])}, which this evaluation does not have. Expected "
                f"{', '.join(known for known, score in LIMITS.items() if score in scores)}."
            )
        found = scores[LIMITS[name]]
        never = found.interval is None and found.too_few is None
        decided: On = "point" if on == "point" or never else "interval"
        passed = _kept(name, limit, found, decided)
        judged.append(Gate(name, limit, LIMITS[name], found, count, decided, passed))
    return judged


def _kept(name: str, limit: float, score: Estimate, on: On) -> bool:
    if on == "interval" and score.interval is None:
        return False
    low, high = (score.value, score.value) if on == "point" or score.interval is None else score.interval
    return low >= limit if name.startswith("min") else high <= limit

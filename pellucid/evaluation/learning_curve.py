"""How accuracy grows with the number of pictures: a power law fitted to trainings on shares of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.formatting import percent, points
from pellucid.language import translate

Floats = NDArray[np.float64]
Judged = Sequence[NDArray[np.bool_]]
REPLICATES, AT_ONCE = 1_000, 100  # resamples of the test pictures, and how many are in memory together
EXPONENTS = np.linspace(0.05, 1.5, 16)  # of the number of pictures
FLOORS = np.linspace(0.0, 0.95, 10) ** 2  # shares of the last error that no number of pictures takes away
PRIOR = 0.5  # of a share: as though half a picture had been wrong, and half a one right (Jeffreys 1946)
MODEL_ERROR = 0.1  # of the logarithm of an error: how far true curves lie from any power law
AHEAD = (2, 4)  # times the training pictures there are
MIN_OF_A_CLASS = 10  # test pictures, for a forecast of its own
NAMED_FROM = 0.8  # of the replicates in which a class gains most, for it to be named


@dataclass(frozen=True)
class Outlook:
    """What a training on `times` as many pictures as there are would reach, judged on any such pictures.

    accuracy, interval   0..1, the median and the 95 % interval
    gain, gain_interval  how much more that is than what the curve says of all pictures there are
    """

    times: int
    accuracy: float
    interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """The fields by name, the intervals as lists."""
        return {
            "times": self.times,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "gain": self.gain,
            "gain_interval": list(self.gain_interval),
        }


@dataclass(frozen=True)
class ClassOutlook:
    """One class: how many test pictures it has, their mean recall by trainings on all pictures, and what more
    pictures would bring; `ahead` is empty where there are fewer than MIN_OF_A_CLASS."""

    name: str
    count: int
    recall: float
    ahead: tuple[Outlook, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        ahead = [each.to_json() for each in self.ahead]
        return {"class": self.name, "count": self.count, "recall": self.recall, "ahead": ahead}


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Trainings on shares of the training pictures, two or more on each, judged on the same N test pictures.

    right    for each share, which test pictures each of its R trainings predicts correctly, bool (R, N)
    counts   numbers of training pictures, ascending; the last is all there are
    labels   int64 (N,) of the test pictures
    classes  K names
    groups   int64 (N,) from 0: test pictures that were drawn together; None: one by one
    """

    right: tuple[NDArray[np.bool_], ...]
    counts: tuple[int, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    groups: NDArray[np.int64] | None = None

    @property
    def count(self) -> int:
        """N, the test pictures."""
        return len(self.labels)

    @cached_property
    def accuracies(self) -> list[list[float]]:
        """The accuracy of each training, 0..1, share by share."""
        return [each.mean(axis=1).tolist() for each in self.right]

    @cached_property
    def ahead(self) -> tuple[Outlook, ...]:
        """What AHEAD times as many pictures would bring."""
        return _outlooks(*self._errors(np.ones(self.count, dtype=bool)))

    @cached_property
    def classes_ahead(self) -> list[ClassOutlook]:
        """The same class by class, in the order of `classes`; classes without a test picture are left out."""
        found = []
        for number, name in enumerate(self.classes):
            own = self.labels == number
            if own.any():
                ahead = _outlooks(*self._class_errors[number]) if number in self._class_errors else ()
                found.append(ClassOutlook(name, int(own.sum()), float(self.right[-1][:, own].mean()), ahead))
        return found

    @cached_property
    def gains_most(self) -> str | None:
        """The class that twice as many pictures help most; None where no single one stands out."""
        if len(self._class_errors) < 2:
            return None
        gains = np.stack([now - ahead[:, 0] for now, ahead in self._class_errors.values()])  # (K, R)
        most = np.bincount(gains.argmax(axis=0), minlength=len(gains)) / gains.shape[1]
        if most.max() < NAMED_FROM:
            return None
        return self.classes[list(self._class_errors)[int(most.argmax())]]

    @property
    def verdict(self) -> str:
        """What more pictures would bring, in words."""
        twice, four = self.ahead
        sentences = [_sentence(twice, self), _sentence(four, self), self._of_classes]
        return " ".join(sentences)

    @property
    def scope(self) -> str:
        """What the forecast holds for."""
        return translate(
            "This holds for more pictures of the same kind, trained by the same recipe. Judged on %(count)s "
            "test pictures: more of these make the intervals narrower.",
            count=f"{self.count:,}",
        )

    @property
    def _of_classes(self) -> str:
        if len(self._class_errors) < 2:
            return translate("Too few test pictures per class to say which class gains.")
        if self.gains_most is None:
            return translate("No single class is shown to gain most.")
        return translate("Class '%(name)s' would gain most.", name=self.gains_most)

    @cached_property
    def _class_errors(self) -> dict[int, tuple[Floats, Floats]]:
        """What `_errors` gives for each class with test pictures, or groups of them, enough."""
        found = {}
        for number in range(len(self.classes)):
            own = self.labels == number
            units = own.sum() if self.groups is None else len(np.unique(self.groups[own]))
            if units >= MIN_OF_A_CLASS:
                found[number] = self._errors(own, seed=number + 1)
        return found

    def _errors(self, chosen: NDArray[np.bool_], *, seed: int = 0) -> tuple[Floats, Floats]:
        groups = None if self.groups is None else np.unique(self.groups[chosen], return_inverse=True)[1]
        right = [each[:, chosen] for each in self.right]
        wanted = [times * self.counts[-1] for times in AHEAD]
        return forecast_errors(right, self.counts, wanted, groups=groups, seed=seed)

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values."""
        return {
            "count": self.count,
            "shares": [
                {"pictures": pictures, "accuracies": accuracies}
                for pictures, accuracies in zip(self.counts, self.accuracies, strict=True)
            ],
            "ahead": [each.to_json() for each in self.ahead],
            "classes": [each.to_json() for each in self.classes_ahead],
            "gains_most": self.gains_most,
            "verdict": self.verdict,
            "scope": self.scope,
        }


def forecast_errors(
    right: Judged,
    counts: Sequence[int],
    wanted: Sequence[int],
    *,
    groups: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Errors 0..1 that fit what was seen: (REPLICATES,) the mean of trainings on the last of `counts`, and
    (REPLICATES, W) a single training on each of the `wanted` numbers of pictures.

    right   for each of `counts`, ascending, which of N pictures each of its trainings predicts correctly,
            bool (R, N); with two trainings or more in one of them
    groups  int64 (N,) from 0: pictures that were drawn together

    The error is a + b n^-c (Cortes et al., NIPS 1993). A replicate draws the N pictures again, the same for
    all trainings; how much trainings vary among themselves, from what is known of that by so many; and one
    power law, by how well it fits what is left. The quantiles over replicates are an interval.
    """
    generator = np.random.default_rng(seed)
    means = _resampled(right, groups, generator)  # (P, J)
    variance = _variance_of_trainings(right, generator)  # (P,)
    scale = variance[:, None] / [each.shape[0] for each in right] + MODEL_ERROR**2  # (P, J)
    curves = _power_laws(np.asarray(counts, float) / counts[-1])  # (L, J)
    # The level that fits best, of each replicate and power law, and how well it fits.
    apart = means[:, None, :] - curves[None]  # (P, L, J)
    level = (apart / scale[:, None]).sum(axis=2) / (1 / scale).sum(axis=1)[:, None]  # (P, L)
    misfit = ((apart - level[:, :, None]) ** 2 / scale[:, None]).sum(axis=2)
    likelihood = np.exp(-(misfit - misfit.min(axis=1, keepdims=True)) / 2).cumsum(axis=1)
    chosen = (likelihood < generator.random((REPLICATES, 1)) * likelihood[:, -1:]).sum(axis=1)
    present = level[np.arange(REPLICATES), chosen]
    middle = present[:, None] + _power_laws(np.asarray(wanted, float) / counts[-1])[chosen]  # (P, W)
    varied = generator.normal(size=middle.shape) * np.sqrt(variance + MODEL_ERROR**2)[:, None]
    present += generator.normal(size=REPLICATES) * np.sqrt(variance / right[-1].shape[0])
    return np.minimum(1.0, np.exp(present)), np.minimum(1.0, np.exp(middle + varied))


def _resampled(right: Judged, groups: NDArray[np.int64] | None, generator: np.random.Generator) -> Floats:
    """The mean logarithm of the error at each of J shares, the pictures or groups weighted anew: (P, J).

    The Bayesian bootstrap (Rubin, Annals of Statistics 9, 1981) beside Jeffreys' prior of a share, so that no
    error is nought where none was seen.
    """
    total = right[0].shape[1]
    units = total if groups is None else int(groups.max()) + 1
    wrong = np.concatenate([~each for each in right]).T.astype(np.float64)  # (N, trainings)
    ends = np.cumsum([each.shape[0] for each in right])[:-1]
    means = []
    for _ in range(REPLICATES // AT_ONCE):
        weights = generator.exponential(size=(AT_ONCE, units))
        if groups is not None:
            weights = weights[:, groups]  # (AT_ONCE, N)
        prior = generator.gamma(PRIOR, size=(2, AT_ONCE, 1))  # a wrong and a right picture
        errors = (weights @ wrong + prior[0]) / (weights.sum(axis=1, keepdims=True) + prior.sum(axis=0))
        means.append(np.stack([part.mean(axis=1) for part in np.split(np.log(errors), ends, axis=1)], axis=1))
    return np.concatenate(means)


def _variance_of_trainings(right: Judged, generator: np.random.Generator) -> Floats:
    """The variance of the logarithm of a training's error about its mean, drawn REPLICATES times from what
    the differences between trainings on equally many pictures tell of it."""
    wrong = [(~each).sum(axis=1) + PRIOR for each in right]  # mistakes of each training
    freedom = sum(len(each) - 1 for each in wrong)
    left = sum(np.log(each).var() * len(each) for each in wrong)
    # What single flips on so few pictures add to that is no property of the trainings.
    flips = np.mean(
        [each.var(axis=0, ddof=1).sum() / mistakes.mean() ** 2
         for each, mistakes in zip(right, wrong, strict=True) if len(each) > 1]
    )  # fmt: skip
    drawn: Floats = np.maximum(0.0, left / generator.chisquare(freedom, REPLICATES) - flips)
    return drawn


def _power_laws(relative: Floats) -> Floats:
    """Logarithms of all power laws at J numbers of pictures relative to the last, 0 there: (L, J)."""
    powers = relative[None, :] ** -EXPONENTS[:, None]  # (exponents, J)
    laws = FLOORS[None, :, None] + (1 - FLOORS[None, :, None]) * powers[:, None, :]
    return np.asarray(np.log(laws.reshape(-1, len(relative))))


def _outlooks(now: Floats, ahead: Floats) -> tuple[Outlook, ...]:
    found = []
    for times, errors in zip(AHEAD, ahead.T, strict=True):
        low, middle, high = np.quantile(1 - errors, (0.025, 0.5, 0.975)).tolist()
        least, gain, most = np.quantile(now - errors, (0.025, 0.5, 0.975)).tolist()
        found.append(Outlook(times, middle, (low, high), gain, (least, most)))
    return tuple(found)


def _sentence(outlook: Outlook, curve: LearningCurve) -> str:
    low, accuracy, high = (
        percent(each, count=curve.count)
        for each in (outlook.interval[0], outlook.accuracy, outlook.interval[1])
    )
    least, gain, most = (
        points(each, count=curve.count, signed=True)
        for each in (outlook.gain_interval[0], outlook.gain, outlook.gain_interval[1])
    )
    words = {
        "pictures": f"{outlook.times * curve.counts[-1]:,}", "accuracy": accuracy, "low": low, "high": high,
        "gain": gain, "least": least, "most": most,
    }  # fmt: skip
    if outlook.times == 2:
        return translate(
            "Twice as many training pictures (%(pictures)s) would bring an accuracy of about %(accuracy)s "
            "(95 %% interval %(low)s to %(high)s): %(gain)s points (%(least)s to %(most)s).",
            **words,
        )
    return translate(
        "Four times as many (%(pictures)s): about %(accuracy)s (%(low)s to %(high)s), %(gain)s points "
        "(%(least)s to %(most)s).",
        **words,
    )

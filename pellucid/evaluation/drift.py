"""Whether new pictures are like those a network was taught on: tests of two samples, corrected for their
number, and in which way they differ, in words."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.evaluation.chance import holm
from pellucid.evaluation.metrics import wilson
from pellucid.evaluation.novelty import PictureSample, Reference, evenly_spaced
from pellucid.formatting import percent

LEVEL = 0.05  # how often pictures like those held out are called different, at most
PERMUTATIONS = 999
MOST_COMPARED = 1_000  # pictures of each sample whose features are compared
LEAST_PICTURES = 10

ASSUMPTION = (
    "The tests take pictures to be independent of each other: of bursts, of copies or of frames of a film "
    "they are too sure."
)


@dataclass(frozen=True)
class DriftTest:
    """One comparison of new pictures with pictures held out of training.

    name      what is compared: features, unlike, predictions, confidence, brightness, contrast or sharpness
    p         the probability of a difference this large among pictures of one kind, 0..1
    adjusted  the same among all the tests together (Holm 1979, Scandinavian Journal of Statistics 6:65)
    found     whether that is at most 0.05
    sentence  the difference in words
    """

    name: str
    p: float
    adjusted: float
    found: bool
    sentence: str


@dataclass(frozen=True)
class Drift:
    """Whether some pictures are like those that a network was taught on.

    pictures  how many they are
    held_out  how many pictures held out of training they are compared with
    unlike    how many of them are unlike anything taught
    interval  the 95 % interval of their share (Wilson 1927)
    tests     every comparison, the surest difference first
    """

    pictures: int
    held_out: int
    unlike: int
    interval: tuple[float, float]
    tests: tuple[DriftTest, ...]

    def __repr__(self) -> str:
        found = ", ".join(test.name for test in self.differences) or "no difference shown"
        return f"Drift({self.pictures:,} pictures against {self.held_out:,}: {found})"

    @property
    def found(self) -> bool:
        """Whether any test found a difference; of pictures like those held out in at most 5 of 100 cases."""
        return bool(self.differences)

    @property
    def differences(self) -> tuple[DriftTest, ...]:
        """The tests that found one."""
        return tuple(test for test in self.tests if test.found)

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        compared = f"{self.pictures:,} pictures, compared with {self.held_out:,} held out of training"
        if not self.found:
            return f"No difference shown: {compared}."
        count = len(self.differences)
        ways = "one way" if count == 1 else f"{count} ways"
        return f"These pictures differ in {ways} from those it was taught on: {compared}."

    @property
    def unlike_sentence(self) -> str:
        """How many are unlike anything taught, with the interval and what is usual."""
        low, high = self.interval
        share, *bounds = (
            percent(each, count=self.pictures) for each in (self.unlike / self.pictures, low, high)
        )
        return (
            f"Unlike anything taught: {self.unlike:,} of {self.pictures:,}, {share} (95 % interval "
            f"{bounds[0]} to {bounds[1]}); of pictures like those held out about 5 % are called that."
        )

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "pictures": self.pictures,
            "held_out": self.held_out,
            "found": self.found,
            "unlike": self.unlike,
            "unlike_share": self.unlike / self.pictures,
            "unlike_interval": list(self.interval),
            "level": LEVEL,
            "tests": [asdict(test) for test in self.tests],
            "sentence": self.sentence,
        }


def drift(reference: Reference, new: PictureSample, classes: Sequence[str]) -> Drift:
    """Compare a sample of new pictures with the pictures held out.

    classes  the names of predictions

    Features by the energy distance of their principal components (Székely and Rizzo 2013, JSPI 143:1249) with
    999 permutations; predictions by chi-square with as many random tables of the same margins; confidence,
    brightness, contrast and sharpness by Kolmogorov and Smirnov; the number of unlike pictures by its exact
    distribution. The same pictures give the same result.

    Raises UsageError for fewer than ten pictures.
    """
    from scipy.stats import betabinom, ks_2samp  # type: ignore[import-untyped]

    count, known = len(new), reference.held_out
    if count < LEAST_PICTURES:
        raise UsageError(
            f"Expected at least {LEAST_PICTURES} pictures to compare with those a network was taught on; got "
            f"{count}. Fewer can show nothing; predict says of each whether it is unlike anything taught."
        )
    unlike = int((new.distances > reference.threshold).sum())
    # So many of `count` more pictures of the kind are beyond the one at `rank`: beta-binomial, exactly.
    chance = betabinom(count, reference.rank, len(known) + 1 - reference.rank)
    interval = wilson(unlike / count, count)
    found: list[tuple[str, float, str]] = [
        ("features", _features_differ(known, new), _where(known, new)),
        ("unlike", float(min(1.0, chance.sf(unlike - 1))), _unlike_words(unlike, count)),
        ("predictions", _predictions_differ(known, new, len(classes)), _more_often(known, new, classes)),
        (
            "confidence",
            float(ks_2samp(known.confidence, new.confidence).pvalue),
            _confidence_words(known, new),
        ),
    ]
    for column, name in enumerate(("brightness", "contrast", "sharpness")):
        before, now = known.appearance[:, column], new.appearance[:, column]
        found.append((name, float(ks_2samp(before, now).pvalue), _appearance_words(name, before, now)))
    adjusted = holm([p for _, p, _ in found]).tolist()
    tests = [
        DriftTest(name, p, corrected, corrected <= LEVEL, sentence)
        for (name, p, sentence), corrected in zip(found, adjusted, strict=True)
    ]
    tests.sort(key=lambda test: test.p)
    return Drift(count, len(known), unlike, interval, tuple(tests))


def energy_p_value(
    first: Tensor, second: Tensor, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> float:
    """The probability of an energy distance at least as large as that of two samples, float (N, P) and
    (M, P), had their members been dealt to them at random."""
    count, other = len(first), len(second)
    pooled = torch.cat([first, second]).float()
    distances = torch.cdist(pooled, pooled)  # (N + M, N + M)
    generator = torch.Generator().manual_seed(seed)
    dealt = torch.zeros(count + other, 1 + permutations)
    dealt[:count, 0] = 1
    order = torch.rand(count + other, permutations, generator=generator).argsort(dim=0)
    dealt[:, 1:].scatter_(0, order[:count], 1.0)
    towards = distances @ dealt  # (N + M, 1 + R): the sum of distances to the members of the first
    within = (dealt * towards).sum(dim=0).double()
    across = towards.sum(dim=0).double() - within
    outside = distances.sum().double() - within - 2 * across
    energy = 2 * across / (count * other) - within / count**2 - outside / other**2
    beyond = int((energy[1:] >= energy[0] * (1 - 1e-6)).sum())
    return (1 + beyond) / (1 + permutations)


def _features_differ(known: PictureSample, new: PictureSample) -> float:
    parts = (sample.components[evenly_spaced(len(sample), MOST_COMPARED)].float() for sample in (new, known))
    return energy_p_value(*parts)


def _predictions_differ(known: PictureSample, new: PictureSample, classes: int) -> float:
    """Chi-square, against random tables of the same margins: right also where few pictures are expected."""
    counts, before = _class_counts(new, classes), _class_counts(known, classes)
    pooled = counts + before
    generator = np.random.default_rng(0)
    tables = generator.multivariate_hypergeometric(pooled, counts.sum(), PERMUTATIONS, method="marginals")
    expected = pooled * (counts.sum() / pooled.sum())
    occur = pooled > 0
    drawn = np.concatenate([counts[None], tables])[:, occur]
    # The second row of a table mirrors the first, so that it adds the same in all.
    statistics = ((drawn - expected[occur]) ** 2 / expected[occur]).sum(axis=1)
    beyond = int((statistics[1:] >= statistics[0] * (1 - 1e-9)).sum())
    return (1 + beyond) / (1 + PERMUTATIONS)


def _class_counts(sample: PictureSample, classes: int) -> "np.ndarray[Any, Any]":
    return np.asarray(torch.bincount(sample.predictions.long(), minlength=classes))


def _where(known: PictureSample, new: PictureSample) -> str:
    middle = new.distances.median()
    share = percent(float((known.distances < middle).float().mean()), count=len(known))
    return (
        "In the last hidden layer they lie elsewhere: the middle one of them is farther from the nearest "
        f"training pictures than {share} of the pictures held out."
    )


def _unlike_words(unlike: int, count: int) -> str:
    share = percent(unlike / count, count=count)
    return f"More of them are unlike anything taught: {share}, where 5 % are usual."


def _more_often(known: PictureSample, new: PictureSample, classes: Sequence[str]) -> str:
    before, now = (_class_counts(sample, len(classes)) / len(sample) for sample in (known, new))
    change = now - before
    ways = [(int(change.argmax()), "more"), (int(change.argmin()), "less")]
    words = [
        f"'{classes[k]}' {way} often, {percent(float(now[k]), count=len(new))} where it was "
        f"{percent(float(before[k]), count=len(known))}"
        for k, way in ways
    ]
    return f"It predicts {'; '.join(words)}."


def _confidence_words(known: PictureSample, new: PictureSample) -> str:
    before, now = float(known.confidence.mean()), float(new.confidence.mean())
    way = "less" if now < before else "more"
    return (
        f"It is {way} confident: {percent(now, count=len(new))} on average, where it was "
        f"{percent(before, count=len(known))}."
    )


WORDS = {
    "brightness": (
        "They are darker",
        "They are brighter",
        "mean brightness {:.1f} of 255, where it was {:.1f}",
    ),
    "contrast": (
        "They have less contrast",
        "They have more contrast",
        "the values' standard deviation is {:.1f} of 255, where it was {:.1f}",
    ),
    "sharpness": (
        "They are blurred",
        "They are sharper, or noisy",
        "neighbouring pixels differ by {:.2f} of the contrast, where it was {:.2f}",
    ),
}


def _appearance_words(name: str, before: Tensor, now: Tensor) -> str:
    less, more, figures = WORDS[name]
    means = float(now.mean()), float(before.mean())
    return f"{less if means[0] < means[1] else more}: {figures.format(*means)}."

"""How accuracy falls as pictures are damaged more and more: shifted, turned, blurred, covered.

The damage is made, not met: pictures that differ in nature differ in other ways too (after Hendrycks and
Dietterich, arXiv:1903.12261).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.evaluation.chance import LEVEL, holm, paired_p_values
from pellucid.evaluation.evaluation import AnyEvaluation, judge
from pellucid.evaluation.intervals import Estimate
from pellucid.formatting import percent
from pellucid.inference import passes_affordable
from pellucid.language import Message, lazy_gettext, translate
from pellucid.recipe import refuse_unknown_keywords
from pellucid.training.augment import warped
from pellucid.training.sampling import stratified_order

PICTURES, MIN_PICTURES = 1000, 50
MAX_MULTIPLY_ADDS = 200_000_000_000  # of the network over all damaged pictures
FEW = 200  # pictures, below which every second strength is left out
BLOCK = 1 << 20  # values damaged at once
EXAMPLES = 6  # pictures kept that a damage turned wrong

Change = Callable[[Tensor, float, Generator], Tensor]


@dataclass(frozen=True)
class Damage:
    """One way to damage pictures.

    title      in a word
    words      what it does, for a strength
    unit       of the strengths: " %" or "°"
    strengths  from the weakest to the strongest
    change     (images float 0..1 (B, C, H, W), strength, generator) -> images
    """

    title: Message
    words: Message
    unit: str
    strengths: tuple[float, ...]
    change: Change

    def in_words(self, strength: float) -> str:
        """What it does at a strength: "shifted by 8 % of a side"."""
        return translate(self.words.sentence, strength=f"{strength:g}")


@dataclass(frozen=True, eq=False)
class DamagedPicture:
    """A test picture as it was damaged, uint8 (C, H, W), its label, and what was predicted of it."""

    index: int
    image: Tensor
    label: str
    prediction: str
    correct: bool


@dataclass(frozen=True, eq=False)
class StressPoint:
    """One strength of one damage.

    correct   how many of the pictures are predicted correctly
    accuracy  their share with its 95 % interval
    p_value   how often chance alone would part it from the undamaged pictures so far: McNemar's exact test,
              of groups where there are groups; corrected for all points (Holm)
    lower     whether accuracy is lower than undamaged, beyond chance
    example   the first of the pictures
    turned    some that are right undamaged and wrong here
    """

    strength: float
    correct: int
    accuracy: Estimate
    p_value: float
    lower: bool
    example: DamagedPicture
    turned: tuple[DamagedPicture, ...]


@dataclass(frozen=True, eq=False)
class StressCurve:
    """One damage, a name of DAMAGES, from its weakest to its strongest."""

    damage: str
    points: tuple[StressPoint, ...]

    @property
    def first_loss(self) -> StressPoint | None:
        """The weakest strength at which accuracy is lower beyond chance; None where none is."""
        return next((point for point in self.points if point.lower), None)


@dataclass(frozen=True, eq=False)
class Stress:
    """What damage does to accuracy, on the same pictures for every damage.

    count      how many of the `available` pictures, every class in its share
    undamaged  accuracy on them as they are
    """

    count: int
    available: int
    undamaged: Estimate
    curves: tuple[StressCurve, ...]

    def __repr__(self) -> str:
        return f"Stress({self.verdict})"

    @property
    def verdict(self) -> str:
        """From where each damage costs accuracy, in a sentence."""
        first = {curve.damage: point for curve in self.curves if (point := curve.first_loss)}
        if not first:
            return translate("No damage that was tried is shown to lower accuracy.")
        named = ", ".join(
            f"{DAMAGES[name].in_words(point.strength)} ({percent(point.accuracy.value, count=self.count)})"
            for name, point in first.items()
        )
        return translate("Accuracy is lower beyond chance from: %(damages)s.", damages=named)

    @property
    def remark(self) -> str:
        """The damage that leaves least accuracy, in a short sentence; "" where none is shown to lower it."""
        lower = [
            (point.accuracy.value, DAMAGES[curve.damage].in_words(point.strength))
            for curve in self.curves
            for point in curve.points
            if point.lower
        ]
        if not lower:
            return ""
        least, damage = min(lower)
        return translate(
            "Of the damage tried, most harmful: %(damage)s; %(share)s right against %(undamaged)s.",
            damage=damage,
            share=percent(least, count=self.count),
            undamaged=percent(self.undamaged.value, count=self.count),
        )

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values and words."""
        return {
            "verdict": self.verdict,
            "remark": self.remark,
            "count": self.count,
            "available": self.available,
            "undamaged": _figures(self.undamaged),
            "curves": {
                curve.damage: [
                    {
                        "strength": point.strength,
                        "correct": point.correct,
                        **_figures(point.accuracy),
                        "p_value": point.p_value,
                        "lower": point.lower,
                    }
                    for point in curve.points
                ]
                for curve in self.curves
            },
        }


def _figures(accuracy: Estimate) -> dict[str, Any]:
    interval = None if accuracy.interval is None else list(accuracy.interval)
    return {"accuracy": accuracy.value, "interval": interval}


@refuse_unknown_keywords
def stress(
    classifier: Classifier, dataset: Dataset, *, pictures: int | None = None, seed: int = 42
) -> Stress:
    """How accuracy on pictures of `dataset` falls as they are damaged, at several strengths of every damage.

    pictures  how many, drawn with every class in its share; None: up to 1,000, fewer for a large network
    seed      of the pictures drawn, and of the direction, the place or the noise of each

    The same pictures throughout, damaged in the size in which the network receives them and rounded to whole
    values 0..255; in each picture the direction is the same at every strength. How many pictures and how many
    strengths depends on the network alone, never on time. Raises UsageError as `evaluate` does.
    """
    affordable = affordable_pictures(classifier, dataset)
    count = min(len(dataset), max(MIN_PICTURES, affordable) if pictures is None else pictures)
    few = slice(2, 3) if affordable < MIN_PICTURES else slice(1, None, 2)
    strengths = slice(None) if count >= FEW else few
    chosen = stratified_order(dataset, seed=seed)[:count].sort().values
    sample = dataset.subset(chosen)
    undamaged = judge(classifier, sample)
    points = list[tuple[str, StressPoint]]()
    for number, (name, damage) in enumerate(DAMAGES.items()):
        for strength in damage.strengths[strengths]:
            images = _damaged(sample.images, damage, strength, (seed, number))
            points.append((name, replace(_point(classifier, undamaged, sample, images), strength=strength)))
    corrected = holm([point.p_value for _, point in points]).tolist()
    placed = [
        (name, _placed(point, chosen, undamaged, p_value))
        for (name, point), p_value in zip(points, corrected, strict=True)
    ]
    found = [StressCurve(name, tuple(point for of, point in placed if of == name)) for name in DAMAGES]
    return Stress(count, len(dataset), undamaged.scores["accuracy"], tuple(found))


def affordable_pictures(classifier: Classifier, dataset: Dataset) -> int:
    """How many pictures can be damaged in every way within a number of multiply-adds, up to 1,000. Where that
    is fewer than 50, 50 are, at one strength each."""
    passes = sum(len(damage.strengths) for damage in DAMAGES.values())
    return min(PICTURES, passes_affordable(classifier.network, dataset.images, MAX_MULTIPLY_ADDS) // passes)


def _placed(point: StressPoint, places: Tensor, undamaged: AnyEvaluation, p_value: float) -> StressPoint:
    """The point with its corrected p value, and its pictures by their place in the whole data set."""

    def moved(picture: DamagedPicture) -> DamagedPicture:
        return replace(picture, index=int(places[picture.index]))

    return replace(
        point,
        p_value=p_value,
        lower=p_value < LEVEL and point.accuracy.value < undamaged.accuracy,
        example=moved(point.example),
        turned=tuple(map(moved, point.turned)),
    )


def _point(classifier: Classifier, undamaged: AnyEvaluation, sample: Dataset, images: Tensor) -> StressPoint:
    """The figures of `sample`, damaged to `images`; strength and correction are filled in later."""
    damaged = replace(undamaged, probabilities=classifier.predict(images))
    lost, gained = undamaged.right & ~damaged.right, damaged.right & ~undamaged.right
    change = gained.long() - lost.long()
    if undamaged.groups is not None:  # a group counts once, by whether it loses or gains
        change = torch.bincount(undamaged.groups, weights=change.double())
    (p_value,) = paired_p_values((change < 0).sum()[None], (change > 0).sum()[None]).tolist()

    def picture(index: int) -> DamagedPicture:
        names = ", ".join(classifier.names(damaged.probabilities[index]))
        label = (
            sample.label_names[index].replace("|", ", ") if sample.multi_label else sample.label_names[index]
        )
        return DamagedPicture(index, images[index], label, names, bool(damaged.right[index]))

    wronged = torch.nonzero(lost)[:EXAMPLES, 0].tolist()
    accuracy = undamaged.sampling.shares(torch.zeros(len(images), dtype=torch.int64), damaged.right)[0]
    return StressPoint(
        0.0, damaged.correct, accuracy, p_value, False, picture(0), tuple(map(picture, wronged))
    )


def _damaged(images: Tensor, damage: Damage, strength: float, seeds: tuple[int, int]) -> Tensor:
    """Pictures (N, C, H, W) damaged, uint8."""
    draws = torch.Generator().manual_seed(1000 * seeds[0] + seeds[1])
    step = max(1, BLOCK // images[:1].numel())
    blocks = []
    for start in range(0, len(images), step):
        changed = damage.change(images[start : start + step].float() / 255, strength, draws)
        blocks.append((changed * 255).round_().clamp_(0, 255).to(torch.uint8))
    return torch.cat(blocks).contiguous()


def _directions(count: int, draws: Generator) -> Tensor:
    """(B,) angles in radians."""
    return 2 * math.pi * torch.rand(count, generator=draws)


def shifted(images: Tensor, strength: float, draws: Generator) -> Tensor:
    """Moved in some direction by `strength` % of a side, to whole pixels; the edge is carried on."""
    height, width = images.shape[2:]
    angle = _directions(len(images), draws)
    matrix = torch.eye(3).repeat(len(images), 1, 1)
    for row, (side, share) in enumerate(((width, angle.cos()), (height, angle.sin()))):
        matrix[:, row, 2] = 2 * (strength / 100 * side * share).round() / side
    return warped(images, matrix)


def rotated(images: Tensor, strength: float, draws: Generator) -> Tensor:
    """Rotated by `strength` degrees, to one side or the other."""
    side = torch.where(torch.rand(len(images), generator=draws) < 0.5, -1.0, 1.0)
    angle = math.radians(strength) * side
    matrix = torch.eye(3).repeat(len(images), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 0, 1], matrix[:, 1, 0] = -angle.sin(), angle.sin()
    return warped(images, matrix)


def shrunk(images: Tensor, strength: float, draws: Generator) -> Tensor:
    """What is shown made smaller by `strength` %; the edge is carried on."""
    return _resized(images, 1 / (1 - strength / 100))


def enlarged(images: Tensor, strength: float, draws: Generator) -> Tensor:
    """What is shown made larger by `strength` %; the rest is cut off."""
    return _resized(images, 1 / (1 + strength / 100))


def _resized(images: Tensor, factor: float) -> Tensor:
    return warped(images, torch.diag(torch.tensor([factor, factor, 1.0])).repeat(len(images), 1, 1))


def blurred(images: Tensor, strength: float, draws: Generator) -> Tensor:
    """Blurred by a normal distribution whose standard deviation is `strength` % of the shorter side."""
    channels, height, width = images.shape[1:]
    deviation = strength / 100 * min(height, width)
    reach = max(1, math.ceil(3 * deviation))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    weights = (weights / weights.sum()).expand(channels, 1, -1)  # (C, 1, 2R + 1)
    padded = functional.pad(images, (reach, reach, reach, reach), mode="replicate")
    rows = functional.conv2d(padded, weights[:, :, None], groups=channels)
    return functional.conv2d(rows, weights[..., None], groups=channels)


def noisy(images: Tensor, strength: float, draws: Generator) -> Tensor:
    """Normal noise on every value, its standard deviation `strength` % of the way from black to white."""
    return (images + strength / 100 * torch.randn(images.shape, generator=draws)).clamp(0, 1)


def paled(images: Tensor, strength: float, draws: Generator) -> Tensor:
    """Every value brought nearer to the mean of its picture, by `strength` % of the way."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * (1 - strength / 100)


def covered(images: Tensor, strength: float, draws: Generator) -> Tensor:
    """A rectangle of `strength` % of the picture, with its proportions, covered by its mean colour."""
    count, _, height, width = images.shape
    side = math.sqrt(strength / 100)
    corner = torch.rand((2, count, 1), generator=draws) * (1 - side)
    rows, columns = (
        ((torch.arange(length) + 0.5) / length - start - side / 2).abs() < side / 2
        for length, start in zip((height, width), corner, strict=True)
    )  # (B, H), (B, W)
    inside = (rows[:, :, None] & columns[:, None, :])[:, None]
    return torch.where(inside, images.mean(dim=(2, 3), keepdim=True), images)


DAMAGES: Mapping[str, Damage] = {
    "shift": Damage(
        lazy_gettext("shift"),
        lazy_gettext("shifted by %(strength)s %% of a side"),
        " %",
        (4, 8, 12, 20),
        shifted,
    ),
    "rotation": Damage(
        lazy_gettext("rotation"),
        lazy_gettext("rotated by %(strength)s°"),
        "°",
        (5, 10, 20, 40),
        rotated,
    ),
    "smaller": Damage(
        lazy_gettext("smaller"),
        lazy_gettext("made smaller by %(strength)s %%"),
        " %",
        (10, 20, 30, 50),
        shrunk,
    ),
    "larger": Damage(
        lazy_gettext("larger"),
        lazy_gettext("made larger by %(strength)s %%"),
        " %",
        (10, 20, 40, 60),
        enlarged,
    ),
    "blur": Damage(
        lazy_gettext("blur"),
        lazy_gettext("blurred over %(strength)s %% of a side"),
        " %",
        (2, 4, 6, 8),
        blurred,
    ),
    "noise": Damage(
        lazy_gettext("noise"),
        lazy_gettext("noise of %(strength)s %% of white"),
        " %",
        (10, 20, 30, 50),
        noisy,
    ),
    "contrast": Damage(
        lazy_gettext("contrast"),
        lazy_gettext("contrast reduced by %(strength)s %%"),
        " %",
        (40, 60, 80, 90),
        paled,
    ),
    "occlusion": Damage(
        lazy_gettext("occlusion"),
        lazy_gettext("%(strength)s %% of the picture covered"),
        " %",
        (5, 10, 20, 40),
        covered,
    ),
}

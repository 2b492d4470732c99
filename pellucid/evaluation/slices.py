"""For which pictures a classifier does worse: accuracy by what they look like and by where they came from.

With many slices some look bad by luck alone: a slice counts as weak only where an exact test, corrected for
all slices together, finds it below the rest. Measured in benchmarks/slices.py.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pellucid.data.dataset import Dataset, Origin
from pellucid.errors import UsageError
from pellucid.evaluation.chance import LEVEL, holm
from pellucid.evaluation.evaluation import AnyEvaluation
from pellucid.evaluation.intervals import Estimate, Sampling
from pellucid.evaluation.metrics import Bounds
from pellucid.formatting import percent
from pellucid.language import lazy_gettext, translate
from pellucid.recipe import refuse_unknown_keywords

MIN_PICTURES = 20  # in a slice and outside it; fewer can hardly show anything
BINS = 5  # of equal numbers of pictures, where there are enough
MAX_VALUES = 30  # of a folder or a column, the commonest; numbers with more are cut into bins
VISIBLE = 32  # of 255: a pixel that differs more from the ground is ink
VALUES_PER_BLOCK = 1 << 22  # of the pictures measured at once
LUMA = (0.299, 0.587, 0.114)

MEASURES = {
    "brightness": lazy_gettext("brightness"),
    "contrast": lazy_gettext("contrast"),
    "ink": lazy_gettext("ink"),
    "sharpness": lazy_gettext("sharpness"),
    "size": lazy_gettext("size of the original"),
    "folder": lazy_gettext("folder"),
}
UNITS = {
    "brightness": lazy_gettext("of 255"),
    "contrast": lazy_gettext("of 255"),
    "ink": lazy_gettext("%% of the pixels"),
    "size": lazy_gettext("pixels"),
}


@dataclass(frozen=True, eq=False)
class Slice:
    """Test pictures that have something in common, and how they compare with all others.

    measure   a name of MEASURES, or that of a column
    value     what they have in common: the folder, the column's value, or the least and greatest number
    indices   of its pictures in the test set, int64
    correct   how many of them are predicted correctly
    accuracy  their share, with its 95 % interval
    rest      the share of all other pictures that are predicted correctly
    p_value   how often chance alone would put it so far below the rest, corrected for all slices (Holm)
    """

    measure: str
    value: str | Bounds
    indices: Tensor
    correct: int
    accuracy: Estimate
    rest: float
    p_value: float

    @property
    def count(self) -> int:
        """How many pictures it has."""
        return len(self.indices)

    @property
    def weak(self) -> bool:
        """Whether it is worse than the rest beyond chance, among all slices that were looked at."""
        return self.p_value < LEVEL

    @property
    def title(self) -> str:
        """Its measure and value for people: "brightness 12 to 34 of 255", "folder: night"."""
        name = MEASURES.get(self.measure, self.measure)
        if isinstance(self.value, str):
            return f"{name}: {self.value}"
        low, high = map(_figure, self.value)
        value = low if low == high else translate("%(low)s to %(high)s", low=low, high=high)
        return " ".join(filter(None, (str(name), value, str(UNITS.get(self.measure, "")))))

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values."""
        return {
            "measure": self.measure,
            "value": self.value if isinstance(self.value, str) else list(self.value),
            "count": self.count,
            "correct": self.correct,
            "accuracy": self.accuracy.value,
            "interval": None if self.accuracy.interval is None else list(self.accuracy.interval),
            "rest": self.rest,
            "p_value": self.p_value,
            "weak": self.weak,
        }


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices of a test set, in the order of their measures.

    too_few   measures and columns of which no slice has enough pictures to be judged
    """

    count: int
    slices: tuple[Slice, ...]
    too_few: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Slices({self.verdict})"

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> Slice:
        return self.slices[index]

    @property
    def weak(self) -> list[Slice]:
        """Those that are worse than the rest beyond chance, the least accurate first."""
        return sorted((each for each in self.slices if each.weak), key=lambda each: each.accuracy.value)

    @property
    def verdict(self) -> str:
        """Which slices are weak, in a sentence."""
        if not self.slices:
            return translate("Too few test pictures to compare slices of them.")
        if not self.weak:
            return translate(
                "None of %(count)s slices of the test pictures is shown to be worse than the rest.",
                count=len(self.slices),
            )
        named = "; ".join(
            translate(
                "%(slice)s, %(share)s right against %(rest)s",
                slice=each.title,
                share=percent(each.accuracy.value, count=each.count),
                rest=percent(each.rest, count=self.count - each.count),
            )
            for each in self.weak
        )
        return translate("Worse than the rest, beyond chance: %(slices)s.", slices=named)

    @property
    def remark(self) -> str:
        """The least accurate weak slice, in a short sentence; "" where none is weak."""
        if not self.weak:
            return ""
        worst = self.weak[0]
        sentence = translate(
            "Worse than the rest beyond chance: %(slice)s, %(share)s right against %(rest)s.",
            slice=worst.title,
            share=percent(worst.accuracy.value, count=worst.count),
            rest=percent(worst.rest, count=self.count - worst.count),
        )
        if len(self.weak) == 1:
            return sentence
        more = translate("The report shows %(count)s such slices.", count=len(self.weak))
        return f"{sentence} {more}"

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values and words."""
        return {
            "verdict": self.verdict,
            "remark": self.remark,
            "count": self.count,
            "slices": [each.to_json() for each in self.slices],
            "too_few": list(self.too_few),
        }


@dataclass
class _Parts:
    """How one measure divides the pictures: the part of each, int64 (N,), -1 for none; and their values."""

    measure: str
    part: Tensor
    values: Sequence[str | Bounds] = field(default_factory=list)


@refuse_unknown_keywords
def slices(
    evaluation: AnyEvaluation,
    dataset: Dataset,
    origin: Origin | None = None,
    *,
    columns: Mapping[str, Mapping[str, str]] | None = None,
) -> Slices:
    """The accuracy of a classifier by slices of the pictures it was judged on, and which are weak.

    dataset  those pictures, in the order of `evaluation`
    origin   where they came from: the sizes of their files, and the columns of the table that named them
    columns  further ones by name: the value of each picture by its source; "" or none for unknown

    By brightness, contrast, ink (the share of pixels that differ from the ground), sharpness (the variance of
    the Laplacian: low in blurred pictures), size of the file's picture, folder, and every column. Numbers are
    cut into up to five bins of equal numbers of pictures. Of each slice: accuracy with Wilson's interval, and
    Fisher's exact test against all other pictures, one-sided, corrected for all slices (Holm 1979). Where
    pictures belong together in groups, a slice must also be below the rest by a test on groups (a score test,
    its variance by groups). Slices of fewer than 20 pictures are left out.

    Raises UsageError when the pictures are not those of the evaluation.
    """
    if list(evaluation.sources) != list(dataset.sources):
        raise UsageError(
            f"The evaluation is of {evaluation.count:,} pictures; these {len(dataset):,} are others. "
            "Expected the data set it was made from."
        )
    divided = [_binned(name, values) for name, values in measures(dataset.images).items()]
    divided += _of_files(dataset, origin)
    known = {**(origin.columns if origin is not None else {}), **(columns or {})}
    for name, values in known.items():
        divided.append(_of_column(name, [values.get(source, "") for source in dataset.sources]))
    labels = list(dataset.label_names)
    judged, too_few = list[Slice](), list[str]()
    for parts in divided:
        if len(parts.values) < 2 or _same_as(parts, labels):
            continue
        found = _judged(parts, evaluation.right, evaluation.sampling)
        judged += found
        if not found:
            too_few.append(parts.measure)
    corrected = holm([each.p_value for each in judged]).tolist()
    return Slices(
        evaluation.count,
        tuple(replace(each, p_value=p_value) for each, p_value in zip(judged, corrected, strict=True)),
        tuple(too_few),
    )


def measures(images: Tensor) -> dict[str, Tensor]:
    """What pictures (N, C, H, W) look like, float64 (N,) each: "brightness" and "contrast" (mean and standard
    deviation of gray, 0..255), "ink" (percent of the pixels that differ from the ground, which is the median
    of the picture's edge), "sharpness" (variance of the Laplacian)."""
    found: dict[str, list[Tensor]] = {name: [] for name in ("brightness", "contrast", "ink", "sharpness")}
    step = max(1, VALUES_PER_BLOCK // max(1, images[:1].numel()))
    for start in range(0, len(images), step):
        gray = _gray(images[start : start + step].float())  # (B, H, W)
        edge = torch.cat([gray[:, 0], gray[:, -1], gray[:, :, 0], gray[:, :, -1]], dim=1)
        ground = edge.median(dim=1).values[:, None, None]
        found["brightness"].append(gray.mean(dim=(1, 2)).double())
        found["contrast"].append(gray.flatten(1).std(dim=1, correction=0).double())
        found["ink"].append(100 * ((gray - ground).abs() > VISIBLE).double().mean(dim=(1, 2)))
        padded = functional.pad(gray[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
        around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
        found["sharpness"].append((around - 4 * gray).flatten(1).var(dim=1, correction=0).double())
    return {name: torch.cat(parts) for name, parts in found.items() if parts}


def _gray(floats: Tensor) -> Tensor:
    """Pictures (B, C, H, W) in gray, (B, H, W)."""
    if floats.shape[1] != 3:
        return floats.mean(dim=1)
    return torch.einsum("bchw,c->bhw", floats, torch.tensor(LUMA))


def _of_files(dataset: Dataset, origin: Origin | None) -> list[_Parts]:
    """The size of each file's picture, where that is known, and its folder."""
    divided = []
    pixels = {header.source: header.width * header.height for header in origin.headers} if origin else {}
    if pixels:
        sizes = torch.tensor([float(pixels.get(source, math.nan)) for source in dataset.sources])
        divided.append(_binned("size", sizes.double()))
    folders = map(folder_of, dataset.sources, dataset.label_names)
    return [*divided, _of_values("folder", list(folders))]


def folder_of(source: str, label: str) -> str:
    """The folder that a picture lies in: the first one below that of its class, or else its parent.

    "train/cat/night/1.jpg" of a cat is in "night", "hospital_a/1.png" in "hospital_a"; "" for none.
    """
    *folders, _ = re.split(r"[/\\]", source.partition("#")[0])
    if label in folders:
        below = folders[folders.index(label) + 1 :]
        return below[0] if below else ""
    return "/".join(folders)


def _of_column(name: str, values: Sequence[str]) -> _Parts:
    """The parts of a column: its values, or bins of them where they are many numbers."""
    known = {value for value in values if value}
    if len(known) > MAX_VALUES:
        numbers = [_number(value) for value in values]
        if all(not math.isnan(number) for number, value in zip(numbers, values, strict=True) if value):
            return _binned(name, torch.tensor(numbers, dtype=torch.float64))
    return _of_values(name, values)


def _number(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _of_values(measure: str, values: Sequence[str]) -> _Parts:
    """A part for each of the commonest values; none for the others and for ""."""
    counts = Counter(value for value in values if value)
    commonest = sorted(counts, key=lambda value: (-counts[value], value))[:MAX_VALUES]
    place = {value: number for number, value in enumerate(sorted(commonest))}
    part = torch.tensor([place.get(value, -1) for value in values], dtype=torch.int64)
    return _Parts(measure, part, sorted(commonest))


def _binned(measure: str, values: Tensor) -> _Parts:
    """Up to BINS parts of about equal numbers, equal values together; none for values that are not known."""
    known = ~values.isnan()
    number = min(BINS, int(known.sum()) // MIN_PICTURES)
    part = torch.full((len(values),), -1, dtype=torch.int64)
    if number < 2:
        return _Parts(measure, part)
    given = values[known]
    steps = torch.arange(1, number, dtype=torch.float64) / number
    edges = torch.unique(torch.quantile(given.double(), steps, interpolation="lower"))
    places = torch.bucketize(given.double(), edges)  # a value that is an edge is in the bin below it
    _, places = torch.unique(places, return_inverse=True)
    part[known] = places
    ends = [(float(given[places == k].min()), float(given[places == k].max())) for k in places.unique()]
    return _Parts(measure, part, ends)


def _figure(value: float) -> str:
    """Three digits, more for whole numbers: "0.0123", "12.3", "150,528"."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _same_as(parts: _Parts, labels: Sequence[str]) -> bool:
    """Whether the parts are just the classes, whose accuracy is told class by class."""
    pairs = {pair for pair in zip(parts.part.tolist(), labels, strict=True) if pair[0] >= 0}
    return len(pairs) == len({part for part, _ in pairs}) == len({label for _, label in pairs}) > 1


def _judged(parts: _Parts, right: Tensor, sampling: Sampling) -> list[Slice]:
    """The slices of one measure that have enough pictures, their p values not yet corrected."""
    number, total = len(parts.values), int(right.sum())
    outside = torch.where(parts.part < 0, number, parts.part)
    shares = sampling.shares(outside, right, number=number + 1)
    found = []
    for k, value in enumerate(parts.values):
        inside = parts.part == k
        count, correct = int(inside.sum()), int(right[inside].sum())
        others = len(right) - count
        if min(count, others) < MIN_PICTURES:
            continue
        rest = (total - correct) / others
        indices = torch.nonzero(inside)[:, 0]
        p_value = _p_value(right, inside, sampling)
        found.append(Slice(parts.measure, value, indices, correct, shares[k], rest, p_value))
    return found


def _p_value(right: Tensor, inside: Tensor, sampling: Sampling) -> float:
    """How often chance alone would put the pictures inside so far below the others: Fisher's exact test.

    Of pictures in groups, at least by the score test of the difference, whose variance is that of the sums
    over groups (as in Rao and Scott 1992, Biometrics 48:577); 1 where there are too few groups.
    """
    from scipy.special import stdtr  # type: ignore[import-untyped]  # slow to import
    from scipy.stats import hypergeom  # type: ignore[import-untyped]

    if sampling.too_few:
        return 1.0
    count, total, correct = int(inside.sum()), int(right.sum()), int((right & inside).sum())
    exact = float(hypergeom.cdf(correct, len(right), total, count))
    if sampling.groups is None:
        return exact
    weights = torch.where(inside, 1 / count, -1 / (len(right) - count)).double()
    terms = weights * (right.double() - total / len(right))
    sums = torch.bincount(sampling.groups, weights=terms, minlength=sampling.units)
    variance = float(sums.square().sum()) * sampling.units / (sampling.units - 1)
    if not variance:
        return exact
    return max(exact, float(stdtr(sampling.units - 1, float(terms.sum()) / math.sqrt(variance))))

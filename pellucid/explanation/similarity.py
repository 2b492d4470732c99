"""Similarity of two networks: their layers, channels and predictions compared."""

import math
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from scipy.stats import t as student_t  # type: ignore[import-untyped]
from torch import Tensor

from pellucid.classifier import Classifier
from pellucid.errors import UsageError
from pellucid.explanation.activations import record, recordable
from pellucid.inference import scaled

CELLS = 4  # layers are compared after averaging their maps to at most 4 x 4 cells
IDENTICAL = 1 - 1e-9  # a similarity above which there is nothing to be unsure of

CAVEAT = (
    "Similar by this measure does not mean similar in behaviour, nor the reverse (Davari et al., "
    "arXiv:2210.16156): look at the pictures on which the two disagree as well."
)


@dataclass(frozen=True, eq=False)
class LayerSimilarity:
    """Linear CKA, without its bias, of every layer of one network (row) with every layer of another (column):
    1 where one is a rotation and scaling of the other, about 0 where they have nothing in common.

    intervals  for layers of the same name, the 95 % interval for other pictures of the same kind
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    matrix: Tensor
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Pair:
    """Channel `first` of one network and its counterpart in another."""

    first: int
    second: int
    correlation: float


@dataclass(frozen=True)
class Disagreement:
    """A picture on which two classifiers disagree: its index, both predictions and both confidences.

    Of several labels a prediction is "cat|red", its confidence that of the least certain decision.
    """

    index: int
    first: str
    second: str
    first_confidence: float
    second_confidence: float


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Linear centred kernel alignment of two sets of features (N, ...) of the same pictures, N of 4 or more,
    -1..1 (Kornblith et al., arXiv:1905.00414): 1 where one is a rotation and scaling of the other.

    Its three sums are the unbiased ones of Song et al. (JMLR 13:1393): features of few pictures that have
    nothing in common give about 0, where the usual ones give the more, the more features there are.
    """
    ours, theirs = _kernel(first), _kernel(second)
    return float(_alignment(_product(ours, theirs), _product(ours, ours), _product(theirs, theirs)))


def compare_layers(first: Classifier, second: Classifier, images: Tensor) -> LayerSimilarity:
    """The similarity of the layers of two classifiers on uint8 pictures (N, C, H, W), N from 10 to about 500.

    Raises UsageError for fewer pictures.
    """
    if len(images) < 10:
        raise UsageError(f"Expected at least 10 pictures to compare layers on; got {len(images)}.")
    ours, theirs = _kernels(first, images), _kernels(second, images)
    our_own, their_own = (
        {name: _product(kernel, kernel) for name, kernel in kernels.items()} for kernels in (ours, theirs)
    )
    matrix = torch.tensor(
        [
            [
                _alignment(_product(ours[row], theirs[column]), our_own[row], their_own[column])
                for column in theirs
            ]
            for row in ours
        ]
    )
    intervals = {name: _interval(ours[name], theirs[name]) for name in ours if name in theirs}
    return LayerSimilarity(tuple(ours), tuple(theirs), matrix, intervals)


def align_channels(first: Tensor, second: Tensor) -> list[Pair]:
    """The channels of two layers' maps (N, C, ...) for the same pictures, paired to maximise the sum of the
    correlations (Kuhn, Naval Research Logistics 2:83), in the order of the first's channels.

    Maps of different sizes are averaged to the smaller one first. A constant channel correlates 0.
    """
    ours, theirs = _responses(*_same_size(first, second))
    correlations = ours @ theirs.T  # (C1, C2)
    rows, columns = linear_sum_assignment(correlations.numpy(), maximize=True)
    return [
        Pair(row, column, float(correlations[row, column]))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    ]


def disagreements(first: Classifier, second: Classifier, images: Tensor) -> list[Disagreement]:
    """The pictures of uint8 (N, C, H, W) on which the predictions of two classifiers differ, those on which
    both are most confident first. Raises UsageError when their classes differ."""
    if first.classes != second.classes:
        raise UsageError(
            f"Expected two classifiers of the same classes; got {', '.join(first.classes)} and "
            f"{', '.join(second.classes)}."
        )
    ours, theirs = first.predict(images), second.predict(images)
    confidences = first.task.confidence(ours), second.task.confidence(theirs)
    confidence = torch.minimum(*confidences)
    apart = first.task.predictions(ours) != second.task.predictions(theirs)  # (N,) or (N, K)
    differing = torch.nonzero(apart.reshape(len(images), -1).any(dim=1))[:, 0]
    differing = differing[confidence[differing].argsort(descending=True, stable=True)]
    return [
        Disagreement(
            index,
            "|".join(first.names(ours[index])),
            "|".join(second.names(theirs[index])),
            float(confidences[0][index]),
            float(confidences[1][index]),
        )
        for index in differing.tolist()
    ]


def _kernels(classifier: Classifier, images: Tensor) -> dict[str, Tensor]:
    """The Gram matrix (N, N) of the pictures, by layer, with zeros for each picture with itself."""
    outputs: dict[str, list[Tensor]] = {}
    size = recordable(classifier.network, images, 64)
    for start in range(0, len(images), size):
        part = scaled(images[start : start + size])
        for name, output in record(classifier.network, part).items():
            outputs.setdefault(name, []).append(_averaged(output))
    return {name: _kernel(torch.cat(parts)) for name, parts in outputs.items()}


def _kernel(features: Tensor) -> Tensor:
    flat = features.flatten(1).double()  # (N, F)
    flat = flat - flat.mean(dim=0)  # changes no result, and keeps the numbers small
    return (flat @ flat.T).fill_diagonal_(0)


def _averaged(output: Tensor) -> Tensor:
    if output.dim() != 4:
        return output
    size = (min(CELLS, output.shape[2]), min(CELLS, output.shape[3]))
    return torch.nn.functional.adaptive_avg_pool2d(output, size)


def _product(first: Tensor, second: Tensor) -> Tensor:
    """The unbiased product of two kernels (N, N) with zero diagonals (Song et al., JMLR 13:1393)."""
    count, ours, theirs = len(first), first.sum(dim=1), second.sum(dim=1)
    whole = ours.sum() * theirs.sum() / ((count - 1) * (count - 2))
    return ((first * second).sum() + whole - 2 / (count - 2) * (ours @ theirs)) / (count * (count - 3))


def _products_without_each(first: Tensor, second: Tensor) -> Tensor:
    """`_product` of all pictures but each one in turn, (N,)."""
    count = len(first) - 1
    products, ours, theirs = (first * second).sum(dim=1), first.sum(dim=1), second.sum(dim=1)  # (N,) each
    # All sums without a picture follow from its row: nothing is added up twice.
    trace = products.sum() - 2 * products
    whole = (ours.sum() - 2 * ours) * (theirs.sum() - 2 * theirs) / ((count - 1) * (count - 2))
    crossed = ours @ theirs - ours * theirs - second @ ours - first @ theirs + products
    return (trace + whole - 2 / (count - 2) * crossed) / (count * (count - 3))


def _alignment(both: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """CKA -1..1 of the product of two kernels and of each with itself; 0 where one is constant."""
    norms = (first.clamp_min(0) * second.clamp_min(0)).sqrt()
    return torch.where(norms > 0, both / norms.clamp_min(1e-300), 0.0).clamp(-1, 1)


def _interval(first: Tensor, second: Tensor) -> tuple[float, float]:
    """The 95 % interval by the jackknife, on Fisher's scale (Arvesen 1969, Annals of Mathematical Statistics
    40:2076): it always contains the value. Pictures drawn again would make every pair look more alike."""
    pairs = ((first, second), (first, first), (second, second))
    value = float(_alignment(*(_product(*pair) for pair in pairs)))
    if abs(value) > IDENTICAL or value == 0:
        return value, value
    without = _alignment(*(_products_without_each(*pair) for pair in pairs))  # (N,)
    scale, count = without.clamp(-IDENTICAL, IDENTICAL).atanh(), len(without)
    spread = float(((scale - scale.mean()).square().sum() * (count - 1) / count).sqrt())
    half = float(student_t.ppf(0.975, count - 1)) * spread
    return math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)


def _same_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    if first.dim() < 4 or second.dim() < 4 or first.shape[2:] == second.shape[2:]:
        return first, second
    size = (min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3]))
    pool = torch.nn.functional.adaptive_avg_pool2d
    return pool(first, size), pool(second, size)


def _responses(*layers: Tensor) -> list[Tensor]:
    """Each channel's values over all pictures and cells, centred and of length 1, (C, N*h*w)."""
    rows = [layer.transpose(0, 1).flatten(1).double() for layer in layers]
    rows = [row - row.mean(dim=1, keepdim=True) for row in rows]
    return [row / row.norm(dim=1, keepdim=True).clamp_min(1e-12) for row in rows]

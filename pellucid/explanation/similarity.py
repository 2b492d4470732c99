"""Similarity of two networks: their layers, channels and predictions compared."""

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Tensor

from pellucid.classifier import Classifier
from pellucid.errors import UsageError
from pellucid.explanation.activations import record, recordable
from pellucid.inference import scaled

CELLS = 4  # layers are compared after averaging their maps to at most 4 x 4 cells
RESAMPLINGS = 50

CAVEAT = (
    "Similar by this measure does not mean similar in behaviour, nor the reverse (Davari et al., "
    "arXiv:2210.16156): look at the pictures on which the two disagree as well."
)


@dataclass(frozen=True, eq=False)
class LayerSimilarity:
    """Linear CKA, 0..1, between every layer of one network (row) and every layer of another (column).

    intervals  for layers of the same name, the 95 % interval over resampled pictures
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
    """Linear centred kernel alignment of two sets of features (N, ...) of the same pictures, 0..1
    (Kornblith et al., arXiv:1905.00414): 1 where one is a rotation and scaling of the other."""
    return _alignment(_kernel(first), _kernel(second))


def compare_layers(
    first: Classifier, second: Classifier, images: Tensor, *, seed: int = 0
) -> LayerSimilarity:
    """The similarity of the layers of two classifiers on uint8 pictures (N, C, H, W), N from 10 to about 500.

    `seed` draws the resamples of the intervals. Raises UsageError for fewer pictures.
    """
    if len(images) < 10:
        raise UsageError(f"Expected at least 10 pictures to compare layers on; got {len(images)}.")
    ours, theirs = _kernels(first, images), _kernels(second, images)
    matrix = torch.tensor([[_alignment(row, column) for column in theirs.values()] for row in ours.values()])
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(len(images), (RESAMPLINGS, len(images)), generator=generator)
    shared = [name for name in ours if name in theirs]
    intervals = {name: _interval(ours[name], theirs[name], draws) for name in shared}
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
    """The centred Gram matrix (N, N) of the pictures, by layer."""
    outputs: dict[str, list[Tensor]] = {}
    size = recordable(classifier.network, images, 64)
    for start in range(0, len(images), size):
        part = scaled(images[start : start + size])
        for name, output in record(classifier.network, part).items():
            outputs.setdefault(name, []).append(_averaged(output))
    return {name: _kernel(torch.cat(parts)) for name, parts in outputs.items()}


def _kernel(features: Tensor) -> Tensor:
    flat = features.flatten(1).double()  # (N, F)
    flat = flat - flat.mean(dim=0)
    return flat @ flat.T


def _averaged(output: Tensor) -> Tensor:
    if output.dim() != 4:
        return output
    size = (min(CELLS, output.shape[2]), min(CELLS, output.shape[3]))
    return torch.nn.functional.adaptive_avg_pool2d(output, size)


def _alignment(first: Tensor, second: Tensor) -> float:
    norms = first.norm() * second.norm()
    return float((first * second).sum() / norms) if norms > 0 else 0.0


def _interval(first: Tensor, second: Tensor, draws: Tensor) -> tuple[float, float]:
    values = torch.tensor(
        [_alignment(_recentred(first, draw), _recentred(second, draw)) for draw in draws], dtype=torch.float64
    )
    return float(values.quantile(0.025)), float(values.quantile(0.975))


def _recentred(kernel: Tensor, draw: Tensor) -> Tensor:
    drawn = kernel[draw][:, draw]
    return drawn - drawn.mean(dim=0) - drawn.mean(dim=1, keepdim=True) + drawn.mean()


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

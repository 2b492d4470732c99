"""How unlike the training pictures a picture is: its distance from the nearest of them in the last hidden
layer, beside the distances of pictures held out of training."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from pellucid.errors import PellucidError
from pellucid.files import write_bytes
from pellucid.tensors import packed, read_tensors

REFERENCE = "reference.safetensors"  # in a run's folder
NEIGHBOURS = 5  # over whose distances is averaged
UNLIKE = 0.05  # the share of ordinary pictures that is called unlike
LEAST_PICTURES = 19  # held out: with fewer not even the farthest is farther than 95 of 100
MOST_TRAINING, MOST_HELD_OUT = 5_000, 5_000  # pictures in a reference
MOST_BYTES = 4_000_000  # of the features of training pictures
COMPONENTS = 32  # principal components by which pictures are compared
ROWS_PER_BATCH = 512

NOT_HELD_OUT = "no picture was held out of the training that gave the weights"
STOPPED = "training was cut off"
NOT_KNOWN = "what the network learned from is not known"
TOO_FEW = "too few pictures"
NOT_FINITE = "the last hidden layer is not finite"


@dataclass(frozen=True)
class ReferenceFit:
    """What a run's reference was made of.

    training  pictures that the network learned from
    held_out  pictures that it did not
    reason    why there is no reference; "" where there is one
    """

    training: int
    held_out: int
    reason: str = ""


NO_REFERENCE = ReferenceFit(0, 0, STOPPED)


@dataclass(frozen=True, eq=False)
class PictureSample:
    """Some pictures as a network sees and answers them: what two samples are compared by.

    components   float16 (N, P): the principal components of the last hidden layer
    distances    float32 (N,): from the nearest training pictures
    predictions  int32 (N,): the most probable class
    confidence   float32 (N,), 0..1
    appearance   float32 (N, 3): brightness, contrast, sharpness, as `appearance_of` measures them
    """

    components: Tensor
    distances: Tensor
    predictions: Tensor
    confidence: Tensor
    appearance: Tensor

    def __len__(self) -> int:
        return len(self.distances)

    def __repr__(self) -> str:
        return f"PictureSample({len(self):,} pictures)"

    def subset(self, chosen: Tensor) -> "PictureSample":
        """The pictures at these indices."""
        return PictureSample(*(getattr(self, each.name)[chosen] for each in fields(self)))

    @staticmethod
    def joined(parts: "Sequence[PictureSample]") -> "PictureSample":
        """The pictures of several samples, at least one, one after the other."""
        names = [each.name for each in fields(PictureSample)]
        return PictureSample(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, eq=False)
class Novelty:
    """How unlike the training pictures some pictures are.

    distances    float32 (N,): 1 less the mean cosine similarity to the five nearest training pictures
    percentiles  float64 (N,), 0..100: the share of the pictures held out that are nearer
    unlike       bool (N,): farther than about 95 of 100 pictures held out
    """

    distances: Tensor
    percentiles: Tensor
    unlike: Tensor


@dataclass(frozen=True, eq=False)
class Reference:
    """Training pictures as the network sees them, and pictures held out of training to compare new ones with.

    features  float16 (M, F): the last hidden layer of training pictures, each row of length 1
    mean      float32 (F,): of these
    basis     float32 (F, P): their principal components
    held_out  pictures that the network did not learn from
    """

    features: Tensor
    mean: Tensor
    basis: Tensor
    held_out: PictureSample

    def __repr__(self) -> str:
        return f"Reference({len(self.features):,} training pictures, {len(self.held_out):,} held out)"

    @property
    def rank(self) -> int:
        """How many of the pictures held out are at least as far as the threshold."""
        return int(UNLIKE * (len(self.held_out) + 1))

    @property
    def threshold(self) -> float:
        """The distance beyond which a picture is called unlike. Of pictures like those held out it calls
        at most 5 in 100 that, whatever their distances (a conformal p-value; Bates et al. 2023, Annals of
        Statistics 51:149, arXiv:2104.08279)."""
        return float(self.held_out.distances.sort(descending=True).values[self.rank - 1])

    def novelty(self, features: Tensor) -> Novelty:
        """How unlike pictures with these last hidden layers are; float (N, F), of any length."""
        distances = neighbour_distances(functional.normalize(features, dim=1), self.features.float())
        known = self.held_out.distances.sort().values
        percentiles = torch.searchsorted(known, distances).double() * 100 / len(known)
        return Novelty(distances, percentiles, distances > self.threshold)

    def sample(
        self, features: Tensor, probabilities: Tensor, confidence: Tensor, images: Tensor
    ) -> PictureSample:
        """Pictures as `held_out` has its own: their last hidden layers, float (N, F), probabilities (N, K),
        confidence (N,) and pixels (N, C, H, W), uint8 or 0..1."""
        rows = functional.normalize(features, dim=1)
        return PictureSample(
            ((rows - self.mean) @ self.basis).half(),
            neighbour_distances(rows, self.features.float()),
            probabilities.argmax(dim=1).int(),
            confidence.float(),
            appearance_of(images),
        )

    def save(self, folder: Path, *, weights: str) -> None:
        """`folder` holds reference.safetensors, for the network whose weights have that SHA-256."""
        tensors = {name: getattr(self, name) for name in ("features", "mean", "basis")}
        tensors |= {
            f"held_out.{each.name}": getattr(self.held_out, each.name) for each in fields(PictureSample)
        }
        write_bytes(folder / REFERENCE, packed(tensors, {"weights": weights}))

    @staticmethod
    def load(folder: Path, *, weights: str) -> "Reference":
        """What `save` left in `folder`. Raises PellucidError when it is absent, damaged or of other
        weights."""
        path = folder / REFERENCE
        try:
            tensors, metadata = read_tensors(path)
            belongs = metadata.get("weights")
            sample = PictureSample(*(tensors[f"held_out.{each.name}"] for each in fields(PictureSample)))
            found = Reference(tensors["features"], tensors["mean"], tensors["basis"], sample)
            sound = belongs == weights and _is_sound(found)
        except (OSError, KeyError, ValueError, IndexError) as error:
            raise PellucidError(
                f"'{path}' is missing or damaged: {error}. Restore it, or train again."
            ) from error
        if not sound:
            raise PellucidError(
                f"'{path}' is damaged, or belongs to other weights. Restore it, or train again."
            )
        return found


def principal_axes(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (F,) of rows (M, F) and the directions (F, P) along which they vary most, float32."""
    mean = rows.mean(dim=0)
    centred = (rows - mean).double()
    wide = centred.shape[1] > centred.shape[0]  # then the smaller product has the same axes
    product = centred @ centred.T if wide else centred.T @ centred
    axes = torch.linalg.eigh(product).eigenvectors.flip(1)[:, :COMPONENTS]
    return mean, functional.normalize(centred.T @ axes if wide else axes, dim=0).float()


def neighbour_distances(rows: Tensor, references: Tensor, own: Tensor | None = None) -> Tensor:
    """1 less the mean cosine similarity of each row (N, F) to the five nearest references (M, F): float32
    (N,). All have length 1.

    own  int64 (N,): the reference that each row is itself, which does not count; -1 for none
    """
    found = []
    for start in range(0, len(rows), ROWS_PER_BATCH):
        similarities = rows[start : start + ROWS_PER_BATCH] @ references.T  # (B, M)
        if own is not None:
            mine = own[start : start + ROWS_PER_BATCH]
            among = torch.nonzero(mine >= 0)[:, 0]
            similarities[among, mine[among]] = -torch.inf
        found.append(1 - similarities.topk(NEIGHBOURS, dim=1).values.mean(dim=1))
    return torch.cat(found) if found else torch.empty(0)


def appearance_of(images: Tensor) -> Tensor:
    """Brightness, contrast and sharpness of pictures (N, C, H, W), uint8 or 0..1: the mean of the values,
    their standard deviation, and the mean difference of neighbours relative to it, float32 (N, 3). The
    first two are of 0..255; a picture of one colour has a sharpness of 0."""
    found = []
    for start in range(0, len(images), ROWS_PER_BATCH):
        part = images[start : start + ROWS_PER_BATCH]
        pixels = part.float() if part.dtype == torch.uint8 else part * 255
        contrast, brightness = torch.std_mean(pixels, dim=(1, 2, 3), correction=0)
        sides = [pixels.diff(dim=dim).abs().mean(dim=(1, 2, 3)) for dim in (2, 3) if pixels.shape[dim] > 1]
        edges = torch.stack(sides).mean(dim=0) if sides else torch.zeros_like(contrast)
        sharpness = torch.where(contrast > 0, edges / contrast.clamp_min(1e-6), 0.0)
        found.append(torch.stack([brightness, contrast, sharpness], dim=1))
    return torch.cat(found) if found else torch.empty(0, 3)


def stratified(labels: Tensor, count: int) -> Tensor:
    """Up to `count` indices of pictures, as many of each class as it has, but no more than the others need;
    evenly spaced within each. Of several labels, bool (N, K), evenly spaced over all."""
    if len(labels) <= count:
        return torch.arange(len(labels))
    if labels.dim() > 1:
        return evenly_spaced(len(labels), count)
    sizes = torch.bincount(labels)
    quota = bisect_right(range(count + 1), count, key=lambda most: int(sizes.clamp_max(most).sum())) - 1
    chosen = []
    for label in range(len(sizes)):
        members = torch.nonzero(labels == label)[:, 0]
        chosen.append(members[evenly_spaced(len(members), quota)])
    return torch.cat(chosen).sort().values


def evenly_spaced(number: int, count: int) -> Tensor:
    """Up to `count` indices below `number`."""
    return torch.arange(number) if number <= count else torch.arange(count) * number // count


def _is_sound(reference: Reference) -> bool:
    """Whether the shapes fit together and the numbers are finite."""
    count, width = reference.features.shape
    sample, (rows, axes) = reference.held_out, reference.basis.shape
    shapes = (
        reference.mean.shape == (width,) and rows == width,
        count > NEIGHBOURS and len(sample) >= LEAST_PICTURES,
        sample.components.shape == (len(sample), axes),
        sample.appearance.shape == (len(sample), 3),
        sample.predictions.shape == sample.confidence.shape == (len(sample),),
    )
    tensors = (reference.features, reference.mean, reference.basis, sample.components, sample.distances)
    return all(shapes) and all(bool(each.isfinite().all()) for each in tensors)
